"""`/tokens` and `/sessions`: a person's own credentials."""

from typing import Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel

from entrepot.hub.tokens import PERSONAL, SESSIONS, Credential, Made, Tokens
from entrepot.web.api.accounts import Input
from entrepot.web.api.shapes import PAGE, Address, AfterNumber, Identity, Limit, Page, Time, Who, page

TokenRole = Literal["repo:read", "repo:write", "repo:admin"]


class CredentialOut(BaseModel):
    """A credential; its secret was shown once."""

    id: int
    kind: str
    label: str
    role: str
    repositories: list[str] | None
    namespaces: list[str] | None
    created_at: Time
    expires_at: Time | None
    revoked_at: Time | None
    used_at: Time | None
    address: str | None


class MadeOut(BaseModel):
    """A new credential with its secret, which is not shown again."""

    credential: CredentialOut
    secret: str


class NewToken(Input):
    """A token that is to be: at most `role`, for everything or for what is named; `expires_in` in seconds."""

    label: str
    role: TokenRole
    repositories: list[str] | None = None
    namespaces: list[str] | None = None
    expires_in: int | None = None


class SessionIn(Input):
    """Who logs in."""

    name: str
    password: str


def token_routes(tokens: Tokens) -> APIRouter:
    """Personal access tokens."""
    routes = APIRouter(prefix="/tokens", tags=["tokens"])

    @routes.get("", response_model=Page[CredentialOut], summary="One's own tokens")
    async def list_tokens(who: Who, after: AfterNumber = 0, limit: Limit = PAGE) -> dict[str, object]:
        return await _page(tokens, who, PERSONAL, after, limit)

    @routes.post("", response_model=MadeOut, status_code=201, summary="Make a token; its secret is shown this once")
    async def create(who: Who, address: Address, new: NewToken) -> Made:
        return await tokens.create(who, new.label, new.role, new.repositories, new.namespaces, new.expires_in, address)

    @routes.delete("/{id}", status_code=204, summary="End a token and what it has obtained")
    async def revoke(who: Who, address: Address, id: Identity) -> None:  # noqa: A002 - as the path says it
        await tokens.revoke(who, PERSONAL, id, address)

    return routes


def session_routes(tokens: Tokens) -> APIRouter:
    """Sessions of the API, and the refresh tokens of clients."""
    routes = APIRouter(prefix="/sessions", tags=["sessions"])

    @routes.get("", response_model=Page[CredentialOut], summary="Where one is logged in: sessions and clients")
    async def list_sessions(who: Who, after: AfterNumber = 0, limit: Limit = PAGE) -> dict[str, object]:
        return await _page(tokens, who, SESSIONS, after, limit)

    @routes.post("", response_model=MadeOut, status_code=201, summary="Log in; the secret is a Bearer of this API")
    async def begin(address: Address, body: SessionIn, request: Request) -> Made:
        return await tokens.begin_session(body.name, body.password, address, request.headers.get("user-agent", ""))

    @routes.delete("/{id}", status_code=204, summary="Log out")
    async def end(who: Who, address: Address, id: Identity) -> None:  # noqa: A002
        await tokens.revoke(who, SESSIONS, id, address)

    return routes


async def _page(tokens: Tokens, who: Who, kinds: tuple[str, ...], after: int, limit: int) -> dict[str, object]:
    found: list[Credential] = list(await tokens.list(who, kinds, after, limit + 1))
    return page(found, [each.id for each in found], limit)
