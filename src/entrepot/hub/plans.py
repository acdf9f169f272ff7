"""Plans: how many private repositories, how much storage and how many pulls an account or organization may have."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from entrepot.access.actor import Actor
from entrepot.access.caller import Caller, caller_of
from entrepot.access.limits import UNLIMITED
from entrepot.hub.errors import Forbidden, Invalid, NotThere
from entrepot.hub.words import check_part_name

BUILT_IN = ("free", "pro", "team", "unlimited")
_MOST = 2**63 - 1  # of a column


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan; None is without a limit. `storage` in bytes, `pulls` in a window of `limits.pulls.window`.

    `pulls` is None for the limit of the settings, and -1 for none at all.
    """

    name: str
    private_repositories: int | None
    storage: int | None
    pulls: int | None


class PlanRows(Protocol):
    """What plans need of the database."""

    async def plans(self, after: str, limit: int) -> Sequence[Plan]:
        """A page of them, in byte order of names."""
        ...

    async def add_plan(self, plan: Plan, caller: Caller) -> None:
        """A new one; Taken when there is one of this name."""
        ...

    async def change_plan(self, plan: Plan, caller: Caller) -> None:
        """Other limits under the same name; NotThere."""
        ...

    async def remove_plan(self, name: str, caller: Caller) -> None:
        """NotThere; Taken while somebody has it."""
        ...

    async def set_plan(self, namespace: str, plan: str, caller: Caller) -> None:
        """Give an account or organization a plan; NotThere without either."""
        ...


class Plans:
    """Everybody sees them, administrators change them."""

    def __init__(self, rows: PlanRows) -> None:
        self._rows = rows

    async def list(self, after: str, limit: int) -> Sequence[Plan]:
        """A page of all plans."""
        return await self._rows.plans(after, limit)

    async def create(self, actor: Actor, plan: Plan, address: str) -> None:
        """A new plan."""
        caller = _administrator(actor, address)
        check_part_name(plan.name)
        _check(plan)
        await self._rows.add_plan(plan, caller)

    async def change(self, actor: Actor, plan: Plan, address: str) -> None:
        """Other limits: what is above them stays, and nothing is added to it."""
        caller = _administrator(actor, address)
        _check(plan)
        await self._rows.change_plan(plan, caller)

    async def delete(self, actor: Actor, name: str, address: str) -> None:
        """End a plan that nobody has."""
        caller = _administrator(actor, address)
        if name in BUILT_IN:
            raise Forbidden(f"the plan {name} is built in: change its limits instead")
        await self._rows.remove_plan(name, caller)

    async def give(self, actor: Actor, namespace: str, plan: str, address: str) -> None:
        """Set the plan of an account or organization."""
        caller = _administrator(actor, address)
        check_part_name(plan, "plan")
        await self._rows.set_plan(namespace, plan, caller)


def no_plan(name: str) -> NotThere:
    """For a name that no plan has."""
    return NotThere(f"there is no plan {name!r}", "plan")


def _administrator(actor: Actor, address: str) -> Caller:
    if not actor.administers:
        raise Forbidden("plans are changed by administrators who have logged in with a password")
    return caller_of(actor, address)


def _check(plan: Plan) -> None:
    for field in ("private_repositories", "storage", "pulls"):
        value = getattr(plan, field)
        least = UNLIMITED if field == "pulls" else 0
        if value is not None and not least <= value <= _MOST:
            raise Invalid(f"{field} is a number from {least}, or null", field)
