"""`/organizations/{organization}/teams`: teams and who is in them."""

from fastapi import APIRouter
from pydantic import BaseModel

from entrepot.hub.teams import Team, Teams
from entrepot.web.api.shapes import PAGE, Address, After, Limit, Page, Time, Who, page


class TeamOut(BaseModel):
    """A team; `members` is how many."""

    id: int
    name: str
    description: str
    created_at: Time
    members: int


class NewTeam(BaseModel):
    """A team that is to be."""

    name: str
    description: str = ""


class TeamChange(BaseModel):
    """What is to be changed; what is left out stays."""

    name: str | None = None
    description: str | None = None


class TeamMember(BaseModel):
    """A person in a team."""

    name: str


def team_routes(teams: Teams) -> APIRouter:
    """Everything about teams."""
    routes = APIRouter(prefix="/organizations/{organization}/teams", tags=["teams"])

    @routes.get("", response_model=Page[TeamOut], summary="The teams of an organization")
    async def list_teams(who: Who, organization: str, after: After = "", limit: Limit = PAGE) -> dict[str, object]:
        found = await teams.list(who, organization, after, limit + 1)
        return page(found, [each.name for each in found], limit)

    @routes.post("", response_model=TeamOut, status_code=201, summary="Make a team")
    async def create(who: Who, address: Address, organization: str, new: NewTeam) -> Team:
        return await teams.create(who, organization, new.name, new.description, address)

    @routes.get("/{team}", response_model=TeamOut, summary="A team")
    async def get(who: Who, organization: str, team: str) -> Team:
        return await teams.get(who, organization, team)

    @routes.patch("/{team}", response_model=TeamOut, summary="Rename or describe a team; its grants stay")
    async def change(who: Who, address: Address, organization: str, team: str, body: TeamChange) -> Team:
        return await teams.change(who, organization, team, body.name, body.description, address)

    @routes.delete("/{team}", status_code=204, summary="End a team and what was granted to it")
    async def delete(who: Who, address: Address, organization: str, team: str) -> None:
        await teams.delete(who, organization, team, address)

    _member_routes(routes, teams)
    return routes


def _member_routes(routes: APIRouter, teams: Teams) -> None:
    @routes.get("/{team}/members", response_model=Page[TeamMember], summary="Who is in a team")
    async def members(
        who: Who, organization: str, team: str, after: After = "", limit: Limit = PAGE
    ) -> dict[str, object]:
        found = await teams.members(who, organization, team, after, limit + 1)
        return page([{"name": name} for name in found], found, limit)

    @routes.put("/{team}/members/{person}", status_code=204, summary="Let a member of the organization in")
    async def add_member(who: Who, address: Address, organization: str, team: str, person: str) -> None:
        await teams.add_member(who, organization, team, person, address)

    @routes.delete("/{team}/members/{person}", status_code=204, summary="Out of the team")
    async def remove_member(who: Who, address: Address, organization: str, team: str, person: str) -> None:
        await teams.remove_member(who, organization, team, person, address)
