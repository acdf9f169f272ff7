"""Robots: accounts of an organization that machines log in with, by a token and never by a password."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from entrepot.access.actor import Actor
from entrepot.access.caller import Caller
from entrepot.access.credentials import NewSecret, Secrets
from entrepot.access.rights import Rights
from entrepot.hub.errors import Invalid, NotThere
from entrepot.hub.owners import owned
from entrepot.hub.words import check_part_name, text_within

DESCRIPTION_MAX = 200  # characters
_DAY = 86_400_000_000  # microseconds
_LONGEST = 3650  # days


@dataclass(frozen=True, slots=True)
class Robot:
    """A robot, called `organization+name`; times in microseconds since 1970.

    Those of its token are None when it has no valid one; `token_expires_at` also when that does not expire.
    """

    id: int
    name: str
    description: str
    created_at: int
    token_created_at: int | None
    token_expires_at: int | None
    token_used_at: int | None


class RobotRows(Protocol):
    """What robots need of the database. Pages are in byte order of names, after `after`."""

    async def robot(self, organization_id: int, name: str) -> Robot | None:
        """A robot of an organization, by its whole name."""
        ...

    async def robots(self, organization_id: int, after: str, limit: int) -> Sequence[Robot]:
        """A page of its robots."""
        ...

    async def add_robot(
        self,
        organization_id: int,
        name: str,
        description: str,
        secret: NewSecret,
        lifetime: int | None,
        caller: Caller,
    ) -> None:
        """A new one with its token; `lifetime` in microseconds. Taken when there is one of this name."""
        ...

    async def replace_token(
        self, organization_id: int, robot_id: int, secret: NewSecret | None, lifetime: int | None, caller: Caller
    ) -> None:
        """End the robot's tokens, and give it this one unless it is None; NotThere."""
        ...

    async def remove_robot(self, organization_id: int, robot_id: int, caller: Caller) -> None:
        """End it with its tokens and grants; NotThere."""
        ...


class Robots:
    """What owners do with robots. Their rights come from grants alone."""

    def __init__(self, rows: RobotRows, rights: Rights, secrets: Secrets) -> None:
        self._rows = rows
        self._rights = rights
        self._secrets = secrets

    async def list(self, actor: Actor, organization: str, after: str, limit: int) -> Sequence[Robot]:
        """The robots of an organization; `after` is a whole name."""
        organization_id, _ = await self._owned(actor, organization, "")
        return await self._rows.robots(organization_id, after, limit)

    async def get(self, actor: Actor, organization: str, name: str) -> Robot:
        """One robot, by its name within the organization."""
        organization_id, _ = await self._owned(actor, organization, "")
        return await self._robot(organization_id, organization, name)

    async def create(
        self, actor: Actor, organization: str, name: str, description: str, days: int | None, address: str
    ) -> tuple[Robot, str]:
        """A new robot and its token, which is shown this once; it expires after `days`, or never."""
        organization_id, caller = await self._owned(actor, organization, address)
        check_part_name(name)
        text_within(description, DESCRIPTION_MAX, "description")
        secret = self._secrets.make("robot")
        await self._rows.add_robot(
            organization_id, f"{organization}+{name}", description, secret, _lifetime(days), caller
        )
        return await self._robot(organization_id, organization, name), secret.text

    async def rotate(
        self, actor: Actor, organization: str, name: str, days: int | None, address: str
    ) -> tuple[Robot, str]:
        """Another token in place of the one it has, which ends at once."""
        organization_id, caller = await self._owned(actor, organization, address)
        robot = await self._robot(organization_id, organization, name)
        secret = self._secrets.make("robot")
        await self._rows.replace_token(organization_id, robot.id, secret, _lifetime(days), caller)
        return await self._robot(organization_id, organization, name), secret.text

    async def revoke(self, actor: Actor, organization: str, name: str, address: str) -> None:
        """End its token; the robot and its grants stay."""
        organization_id, caller = await self._owned(actor, organization, address)
        robot = await self._robot(organization_id, organization, name)
        await self._rows.replace_token(organization_id, robot.id, None, None, caller)

    async def delete(self, actor: Actor, organization: str, name: str, address: str) -> None:
        """End it with its token and grants."""
        organization_id, caller = await self._owned(actor, organization, address)
        robot = await self._robot(organization_id, organization, name)
        await self._rows.remove_robot(organization_id, robot.id, caller)

    async def _owned(self, actor: Actor, organization: str, address: str) -> tuple[int, Caller]:
        facts, caller = await owned(self._rights, actor, organization, address, by_person=True)
        assert facts.namespace_id is not None
        return facts.namespace_id, caller

    async def _robot(self, organization_id: int, organization: str, name: str) -> Robot:
        robot = await self._rows.robot(organization_id, f"{organization}+{name}")
        if robot is None:
            raise NotThere(f"there is no robot {name!r} in {organization}")
        return robot


def _lifetime(days: int | None) -> int | None:
    if days is None:
        return None
    if not 1 <= days <= _LONGEST:
        raise Invalid(
            f"a token lives for 1 to {_LONGEST} days, or without an end when none are given", "expires_in_days"
        )
    return days * _DAY
