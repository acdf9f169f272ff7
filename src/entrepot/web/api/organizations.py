"""`/organizations`: organizations, their settings and members."""

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from entrepot.hub.organizations import Member, Namespace, Organizations, Settings
from entrepot.web.api.shapes import PAGE, Address, After, Limit, Page, Time, Who, page

Creation = Literal["members", "owners"]
Visibility = Literal["public", "internal", "private"]
MemberRole = Literal["none", "read", "write"]
Membership = Literal["owner", "member"]


class NamespaceOut(BaseModel):
    """An account or organization as the owner of repositories."""

    id: int
    name: str
    kind: Literal["person", "organization"]
    full_name: str
    creation: Creation
    default_visibility: Visibility
    member_role: MemberRole
    plan: str
    created_at: Time


class NewOrganization(BaseModel):
    """An organization that is to be."""

    name: str
    full_name: str = ""


class SettingsIn(BaseModel):
    """What is to be changed of a namespace; what is left out stays."""

    full_name: str | None = None
    creation: Creation | None = None
    default_visibility: Visibility | None = None
    member_role: MemberRole | None = None

    def settings(self) -> Settings:
        """As the hub takes them."""
        return Settings(self.full_name, self.creation, self.default_visibility, self.member_role)


class MemberOut(BaseModel):
    """A person in an organization."""

    name: str
    full_name: str
    role: Membership
    created_at: Time


class MemberIn(BaseModel):
    """What a person is to be in an organization."""

    role: Membership = "member"


def organization_routes(organizations: Organizations) -> APIRouter:
    """Everything under `/organizations` that is not about teams or robots."""
    routes = APIRouter(prefix="/organizations", tags=["organizations"])

    @routes.get("", response_model=Page[NamespaceOut], summary="The organizations that you are in")
    async def mine(who: Who, after: After = "", limit: Limit = PAGE) -> dict[str, object]:
        found = await organizations.mine(who, after, limit + 1)
        return page(found, [each.name for each in found], limit)

    @routes.post("", response_model=NamespaceOut, status_code=201, summary="Make an organization")
    async def create(who: Who, address: Address, new: NewOrganization) -> Namespace:
        return await organizations.create(who, new.name, new.full_name, address)

    @routes.get("/{organization}", response_model=NamespaceOut, summary="An organization")
    async def get(organization: str) -> Namespace:
        return await organizations.get(organization)

    @routes.patch("/{organization}", response_model=NamespaceOut, summary="Change its settings")
    async def change(who: Who, address: Address, organization: str, body: SettingsIn) -> Namespace:
        await organizations.get(organization)
        return await organizations.change(who, organization, body.settings(), address)

    @routes.delete("/{organization}", status_code=204, summary="End an organization without repositories")
    async def delete(who: Who, address: Address, organization: str) -> None:
        await organizations.delete(who, organization, address)

    _member_routes(routes, organizations)
    return routes


def _member_routes(routes: APIRouter, organizations: Organizations) -> None:
    @routes.get("/{organization}/members", response_model=Page[MemberOut], summary="Its members")
    async def members(who: Who, organization: str, after: After = "", limit: Limit = PAGE) -> dict[str, object]:
        found = await organizations.members(who, organization, after, limit + 1)
        return page(found, [each.name for each in found], limit)

    @routes.put("/{organization}/members/{person}", response_model=MemberOut, summary="Add a member, or change one")
    async def set_member(who: Who, address: Address, organization: str, person: str, body: MemberIn) -> Member:
        return await organizations.set_member(who, organization, person, body.role, address)

    @routes.delete("/{organization}/members/{person}", status_code=204, summary="Remove a member, or leave")
    async def remove_member(who: Who, address: Address, organization: str, person: str) -> None:
        await organizations.remove_member(who, organization, person, address)
