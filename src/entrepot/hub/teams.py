"""Teams: members of an organization who get grants together."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from entrepot.access.actor import Actor
from entrepot.access.caller import Caller
from entrepot.access.rights import Rights
from entrepot.hub.errors import NotThere
from entrepot.hub.owners import owned, seen_inside
from entrepot.hub.words import check_part_name, text_within

DESCRIPTION_MAX = 500  # characters


@dataclass(frozen=True, slots=True)
class Team:
    """A team; `created_at` in microseconds since 1970, `members` is how many."""

    id: int
    name: str
    description: str
    created_at: int
    members: int


class TeamRows(Protocol):
    """What teams need of the database. Pages are in byte order of names, after `after`."""

    async def team(self, organization_id: int, name: str) -> Team | None:
        """A team of an organization."""
        ...

    async def teams(self, organization_id: int, after: str, limit: int) -> Sequence[Team]:
        """A page of its teams."""
        ...

    async def add_team(self, organization_id: int, name: str, description: str, caller: Caller) -> Team:
        """A new one; Taken when there is one of this name."""
        ...

    async def change_team(
        self, organization_id: int, team_id: int, name: str | None, description: str | None, caller: Caller
    ) -> None:
        """Change what is given; its id and so its grants stay. NotThere, Taken."""
        ...

    async def remove_team(self, organization_id: int, team_id: int, caller: Caller) -> None:
        """End it with its grants; NotThere."""
        ...

    async def team_members(self, team_id: int, after: str, limit: int) -> Sequence[str]:
        """A page of the names of its members."""
        ...

    async def add_team_member(self, organization_id: int, team_id: int, name: str, caller: Caller) -> None:
        """Add a member of the organization; nothing when in the team already. NotThere for others."""
        ...

    async def remove_team_member(self, organization_id: int, team_id: int, name: str, caller: Caller) -> None:
        """NotThere for who is not in the team."""
        ...


class Teams:
    """What people do with teams: members see them, owners change them."""

    def __init__(self, rows: TeamRows, rights: Rights) -> None:
        self._rows = rows
        self._rights = rights

    async def list(self, actor: Actor, organization: str, after: str, limit: int) -> Sequence[Team]:
        """The teams of an organization."""
        return await self._rows.teams(await seen_inside(self._rights, actor, organization), after, limit)

    async def get(self, actor: Actor, organization: str, name: str) -> Team:
        """One team."""
        return await self._team(await seen_inside(self._rights, actor, organization), organization, name)

    async def create(self, actor: Actor, organization: str, name: str, description: str, address: str) -> Team:
        """A new team without members."""
        organization_id, caller = await self._owned(actor, organization, address)
        check_part_name(name)
        text_within(description, DESCRIPTION_MAX, "description")
        return await self._rows.add_team(organization_id, name, description, caller)

    async def change(
        self, actor: Actor, organization: str, name: str, new: str | None, description: str | None, address: str
    ) -> Team:
        """Another name or description; grants stay."""
        organization_id, caller = await self._owned(actor, organization, address)
        team = await self._team(organization_id, organization, name)
        if new is not None:
            check_part_name(new)
        text_within(description, DESCRIPTION_MAX, "description")
        await self._rows.change_team(organization_id, team.id, new, description, caller)
        return await self._team(organization_id, organization, new or name)

    async def delete(self, actor: Actor, organization: str, name: str, address: str) -> None:
        """End a team and all that was granted to it."""
        organization_id, caller = await self._owned(actor, organization, address)
        team = await self._team(organization_id, organization, name)
        await self._rows.remove_team(organization_id, team.id, caller)

    async def members(self, actor: Actor, organization: str, name: str, after: str, limit: int) -> Sequence[str]:
        """The names of a team's members."""
        organization_id = await seen_inside(self._rights, actor, organization)
        team = await self._team(organization_id, organization, name)
        return await self._rows.team_members(team.id, after, limit)

    async def add_member(self, actor: Actor, organization: str, name: str, member: str, address: str) -> None:
        """Let a member of the organization into a team."""
        organization_id, caller = await self._owned(actor, organization, address)
        team = await self._team(organization_id, organization, name)
        await self._rows.add_team_member(organization_id, team.id, member, caller)

    async def remove_member(self, actor: Actor, organization: str, name: str, member: str, address: str) -> None:
        """Out of the team, not out of the organization."""
        organization_id, caller = await self._owned(actor, organization, address)
        team = await self._team(organization_id, organization, name)
        await self._rows.remove_team_member(organization_id, team.id, member, caller)

    async def _owned(self, actor: Actor, organization: str, address: str) -> tuple[int, Caller]:
        facts, caller = await owned(self._rights, actor, organization, address, by_person=True)
        assert facts.namespace_id is not None
        return facts.namespace_id, caller

    async def _team(self, organization_id: int, organization: str, name: str) -> Team:
        team = await self._rows.team(organization_id, name)
        if team is None:
            raise NotThere(f"there is no team {name!r} in {organization}")
        return team
