"""Plans, and what a namespace's plan allows."""

from collections.abc import Sequence
from dataclasses import asdict

from entrepot.access.actor import ANONYMOUS
from entrepot.access.caller import Caller
from entrepot.access.decision import Action, decide
from entrepot.database.changes import record
from entrepot.database.engine import Engine, Transaction
from entrepot.database.rights import facts_in
from entrepot.hub.errors import NotThere, Taken
from entrepot.hub.plans import Plan, no_plan
from entrepot.registry.errors import Denied

_LOCK = "UPDATE accounts SET plan = plan WHERE id = :namespace"
_ALLOWED = (
    "SELECT p.name, p.private_repositories FROM accounts n JOIN plans p ON p.name = n.plan WHERE n.id = :namespace"
)
_IN_USE = (
    "SELECT r.name FROM repositories r WHERE r.namespace_id = :namespace AND r.visibility = 'private'"
    " AND r.deleted_at IS NULL ORDER BY r.name LIMIT :limit"
)
_COLUMNS = "name, private_repositories, storage, pulls"
_PLANS = f"SELECT {_COLUMNS} FROM plans WHERE name > :after ORDER BY name LIMIT :limit"  # noqa: S608 - constants
_PLAN = f"SELECT {_COLUMNS} FROM plans WHERE name = :name"  # noqa: S608
_INSERT = (
    f"INSERT INTO plans ({_COLUMNS}) VALUES (:name, :private_repositories, :storage, :pulls)"  # noqa: S608
    " ON CONFLICT (name) DO NOTHING"
)
_CHANGE = (
    "UPDATE plans SET private_repositories = :private_repositories, storage = :storage, pulls = :pulls"
    " WHERE name = :name"
)
# The update changes nothing: nobody is given a plan while it ends.
_LOCK_PLAN = "UPDATE plans SET name = name WHERE name = :name"
_HAS = "SELECT name FROM accounts WHERE plan = :name AND deleted_at IS NULL LIMIT 1"
_DELETE = "DELETE FROM plans WHERE name = :name"
_NAMESPACE = (
    "UPDATE accounts SET plan = plan WHERE name = :name AND kind <> 'robot' AND deleted_at IS NULL RETURNING id, plan"
)
_GIVE = "UPDATE accounts SET plan = :plan WHERE id = :id"


async def check_private(transaction: Transaction, namespace_id: int, caller: Caller) -> None:
    """Denied, with the name of one in use, when the plan has no private repository left; two at once take turns.

    The name is one that the caller may read: others' private repositories are nobody's business even here.
    """
    await transaction.run(_LOCK, namespace=namespace_id)
    plan = await transaction.one(_ALLOWED, namespace=namespace_id)
    if plan is None or plan[1] is None:
        return
    used = [row[0] for row in await transaction.all(_IN_USE, namespace=namespace_id, limit=plan[1])]
    if len(used) < plan[1]:
        return
    allowed = "1 private repository" if plan[1] == 1 else f"{plan[1]} private repositories"
    told = await _readable(transaction, used, caller)
    named = f", and {told} is one that is in use: make it public" if told else ""
    raise Denied(f"the plan {plan[0]} allows {allowed}{named or '; make one public'}, or take another plan")


async def _readable(transaction: Transaction, names: Sequence[str], caller: Caller) -> str | None:
    """The first of these repositories that the caller may read."""
    actor = caller.actor or ANONYMOUS
    for name in names:
        if decide(actor, Action.PULL, await facts_in(transaction, actor.account_id, name)).allowed:
            return name
    return None


class DatabasePlans:
    """The port PlanRows."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def plans(self, after: str, limit: int) -> Sequence[Plan]:
        """See the port."""
        return [Plan(*row) for row in await self._engine.read(_PLANS, after=after, limit=limit)]

    async def add_plan(self, plan: Plan, caller: Caller) -> None:
        """See the port."""

        async def add(transaction: Transaction) -> None:
            if not await transaction.run(_INSERT, **asdict(plan)):
                raise Taken(f"there is a plan {plan.name!r} already", "name")
            await record(transaction, caller, "plan.create", subject=plan.name, new=_described(plan))

        await self._engine.write(add, durable=True)

    async def change_plan(self, plan: Plan, caller: Caller) -> None:
        """See the port."""

        async def change(transaction: Transaction) -> None:
            before = await transaction.one(_PLAN, name=plan.name)
            if before is None or not await transaction.run(_CHANGE, **asdict(plan)):
                raise no_plan(plan.name)
            old = _described(Plan(*before))
            await record(transaction, caller, "plan.change", subject=plan.name, old=old, new=_described(plan))

        await self._engine.write(change, durable=True)

    async def remove_plan(self, name: str, caller: Caller) -> None:
        """See the port."""

        async def remove(transaction: Transaction) -> None:
            if not await transaction.run(_LOCK_PLAN, name=name):
                raise no_plan(name)
            if holder := await transaction.one(_HAS, name=name):
                raise Taken(f"{holder[0]} has the plan {name}: give those who have it another one first")
            await transaction.run(_DELETE, name=name)
            await record(transaction, caller, "plan.delete", subject=name)

        await self._engine.write(remove, durable=True)

    async def set_plan(self, namespace: str, plan: str, caller: Caller) -> None:
        """See the port."""

        async def give(transaction: Transaction) -> None:
            if not await transaction.run(_LOCK_PLAN, name=plan):
                raise no_plan(plan)
            row = await transaction.one(_NAMESPACE, name=namespace)
            if row is None:
                raise NotThere(f"there is no account or organization {namespace!r}")
            await transaction.run(_GIVE, id=row[0], plan=plan)
            await record(transaction, caller, "plan.set", namespace=row[0], subject=namespace, old=row[1], new=plan)

        await self._engine.write(give, durable=True)


def _described(plan: Plan) -> str:
    """The limits of a plan, for the audit."""
    limits = {key: "none" if value is None else value for key, value in asdict(plan).items() if key != "name"}
    return " ".join(f"{key}={value}" for key, value in limits.items())
