"""Grants on repositories and namespaces."""

from collections.abc import Sequence
from dataclasses import dataclass

from entrepot.access.caller import Caller
from entrepot.database.changes import record
from entrepot.database.engine import Engine, Transaction
from entrepot.database.organizations import lock_namespace
from entrepot.hub.errors import NotThere
from entrepot.hub.grants import Grant, Target

_SELECT = (
    "SELECT g.id, COALESCE(a.kind, 'team'), COALESCE(a.name, t.name), g.role, g.repository_id, g.created_at"
    " FROM grants g LEFT JOIN accounts a ON a.id = g.account_id LEFT JOIN teams t ON t.id = g.team_id"
)
_PAGE = " AND g.id > :after ORDER BY g.id LIMIT :limit"
_OF_NAMESPACE = f"{_SELECT} WHERE g.namespace_id = :namespace{_PAGE}"
_OF_REPOSITORY = f"{_SELECT} WHERE (g.namespace_id = :namespace OR g.repository_id = :repository){_PAGE}"
_PERSON = "SELECT id FROM accounts WHERE name = :name AND kind = 'person' AND deleted_at IS NULL"
_ROBOT = (
    "SELECT id FROM accounts WHERE name = :name AND kind = 'robot' AND owner_id = :namespace AND deleted_at IS NULL"
)
_TEAM = "SELECT id FROM teams WHERE name = :name AND organization_id = :namespace"
_FIND = {"person": _PERSON, "robot": _ROBOT, "team": _TEAM}
# The updates change nothing: a grant is given or taken, or its target or grantee ends, one after another.
_LOCK_REPOSITORY = (
    "UPDATE repositories SET name = name WHERE id = :repository AND namespace_id = :namespace AND deleted_at IS NULL"
    " RETURNING name"
)
_LOCK_ACCOUNT = "UPDATE accounts SET name = name WHERE id = :id AND deleted_at IS NULL"
_LOCK_TEAM = "UPDATE teams SET name = name WHERE id = :id"


@dataclass(frozen=True, slots=True)
class _Place:
    """Whose grant, on what: one of two columns each. There is an index for each pair."""

    holder: str  # account_id or team_id
    holder_id: int
    on: str  # repository_id or namespace_id
    on_id: int

    def statement(self, head: str) -> str:
        """A statement about this one grant."""
        return f"{head} FROM grants WHERE {self.holder} = :holder AND {self.on} = :target"

    def insert(self) -> str:
        """The statement that gives it."""
        return (
            f"INSERT INTO grants ({self.holder}, {self.on}, role, created_at)"  # noqa: S608 - names of columns
            " VALUES (:holder, :target, :role, now_us()) RETURNING id, created_at"
        )

    def values(self) -> dict[str, int]:
        """For both."""
        return {"holder": self.holder_id, "target": self.on_id}


class DatabaseGrants:
    """The port GrantRows."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def grants(self, target: Target, after: int, limit: int) -> Sequence[Grant]:
        """See the port."""
        if target.repository_id is None:
            rows = await self._engine.read(_OF_NAMESPACE, namespace=target.namespace_id, after=after, limit=limit)
        else:
            rows = await self._engine.read(
                _OF_REPOSITORY,
                namespace=target.namespace_id,
                repository=target.repository_id,
                after=after,
                limit=limit,
            )
        return [Grant(row[0], row[1], row[2], row[3], row[4] is None, row[5]) for row in rows]

    async def set_grant(self, target: Target, kind: str, name: str, role: str, caller: Caller) -> Grant:
        """See the port."""

        async def give(transaction: Transaction) -> Grant:
            on = await _locked(transaction, target)
            place = await _place(transaction, target, kind, name)
            if place is None:
                where = "" if kind == "person" else " of this organization"
                raise NotThere(f"there is no {kind} {name!r}{where}", "name")
            before = await transaction.one(place.statement("SELECT role"), **place.values())
            await transaction.run(place.statement("DELETE"), **place.values())
            row = await transaction.one(place.insert(), **place.values(), role=role)
            assert row is not None
            old = before[0] if before else None
            if old != role:
                await _record(transaction, caller, "grant.set", target, f"{kind} {name} on {on}", old, role)
            return Grant(row[0], kind, name, role, target.repository_id is None, row[1])

        return await self._engine.write(give, durable=True)

    async def remove_grant(self, target: Target, kind: str, name: str, caller: Caller) -> None:
        """See the port."""

        async def take(transaction: Transaction) -> None:
            on = await _locked(transaction, target)
            place = await _place(transaction, target, kind, name)
            before = await transaction.one(place.statement("SELECT role"), **place.values()) if place else None
            if place is None or before is None:
                raise NotThere(f"nothing is granted to the {kind} {name!r} there")
            await transaction.run(place.statement("DELETE"), **place.values())
            await _record(transaction, caller, "grant.remove", target, f"{kind} {name} on {on}", before[0], None)

        await self._engine.write(take, durable=True)


async def _locked(transaction: Transaction, target: Target) -> str:
    """The name of what the grant is on."""
    if target.repository_id is None:
        return await lock_namespace(transaction, target.namespace_id)
    row = await transaction.one(_LOCK_REPOSITORY, repository=target.repository_id, namespace=target.namespace_id)
    if row is None:
        raise NotThere("the repository has been deleted or transferred")
    return str(row[0])


async def _place(transaction: Transaction, target: Target, kind: str, name: str) -> _Place | None:
    """Whose grant it is and on what, when the grantee exists."""
    statement = _FIND[kind]
    if kind == "person":
        row = await transaction.one(statement, name=name)
    else:
        row = await transaction.one(statement, name=name, namespace=target.namespace_id)
    if row is None or not await transaction.run(_LOCK_TEAM if kind == "team" else _LOCK_ACCOUNT, id=row[0]):
        return None
    holder = "team_id" if kind == "team" else "account_id"
    if target.repository_id is None:
        return _Place(holder, row[0], "namespace_id", target.namespace_id)
    return _Place(holder, row[0], "repository_id", target.repository_id)


async def _record(
    transaction: Transaction,
    caller: Caller,
    kind: str,
    target: Target,
    subject: str,
    old: str | None,
    new: str | None,
) -> None:
    await record(
        transaction,
        caller,
        kind,
        target.repository_id,
        namespace=target.namespace_id,
        subject=subject,
        old=old,
        new=new,
    )
