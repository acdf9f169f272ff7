"""`/invitations`."""

from dataclasses import asdict
from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from entrepot.hub.accounts import Account
from entrepot.hub.invitations import Invitations
from entrepot.web.api.accounts import Input, Profile
from entrepot.web.api.shapes import PAGE, Address, AfterNumber, Identity, Limit, Page, Time, Who, page


class InvitationOut(BaseModel):
    """An invitation; its secret was shown once."""

    id: int
    organization: str | None
    role: Literal["owner", "member"]
    note: str
    created_at: Time
    expires_at: Time
    used_at: Time | None
    used_by: str | None
    revoked_at: Time | None


class MadeInvitation(InvitationOut):
    """A new one with its secret, which is not shown again."""

    secret: str


class InvitationIn(Input):
    """Into an organization, or only to the installation; `note` is for whoever invites."""

    organization: str | None = None
    role: Literal["owner", "member"] = "member"
    note: str = ""


class Acceptance(Input):
    """The account that it becomes."""

    secret: str
    name: str
    password: str
    email: str | None = None


def invitation_routes(invitations: Invitations) -> APIRouter:
    """Inviting, and accepting."""
    routes = APIRouter(prefix="/invitations", tags=["invitations"])

    @routes.get("", response_model=Page[InvitationOut], summary="The invitations that one has made")
    async def list_invitations(who: Who, after: AfterNumber = 0, limit: Limit = PAGE) -> dict[str, object]:
        found = await invitations.list(who, after, limit + 1)
        return page(found, [each.id for each in found], limit)

    @routes.post("", response_model=MadeInvitation, status_code=201, summary="Invite somebody; it holds for a week")
    async def create(who: Who, address: Address, body: InvitationIn) -> dict[str, object]:
        made, secret = await invitations.create(who, body.organization, body.role, body.note, address)
        return {**asdict(made), "secret": secret}

    @routes.delete("/{id}", status_code=204, summary="Withdraw an invitation that was not used")
    async def withdraw(who: Who, address: Address, id: Identity) -> None:  # noqa: A002 - as the path says it
        await invitations.withdraw(who, id, address)

    @routes.post("/accept", response_model=Profile, status_code=201, summary="Make the account that was invited")
    async def accept(address: Address, body: Acceptance) -> Account:
        return await invitations.accept(body.secret, body.name, body.password, body.email, address)

    return routes
