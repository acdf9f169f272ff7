"""Who may do what: grants on repositories and on namespaces.

A repository's name has slashes, so what belongs to it stands behind `/-/`, which no name can contain: the grants of
`olga` would else be the repository `olga/grants`.
"""

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from entrepot.hub.grants import Access, Grant, Grants
from entrepot.web.api.shapes import PAGE, Address, AfterNumber, Limit, Page, Time, Who, page

Kind = Literal["person", "robot", "team"]
GrantRole = Literal["read", "write", "admin"]


class GrantOut(BaseModel):
    """A role of somebody; `everywhere`: on the whole namespace."""

    id: int
    kind: Kind
    name: str
    role: GrantRole
    everywhere: bool
    created_at: Time


class GrantIn(BaseModel):
    """What is granted."""

    role: GrantRole


class AccessOut(BaseModel):
    """Who has access without a grant, and why."""

    kind: Literal["owners", "members", "everybody", "accounts"]
    name: str
    role: Literal["read", "write", "owner"]
    reason: str


def grant_routes(grants: Grants) -> APIRouter:
    """Grants on repositories and namespaces. To be added before the routes of repositories."""
    routes = APIRouter(tags=["grants"])

    @routes.get("/repositories/{name:path}/-/grants", response_model=Page[GrantOut], summary="What is granted there")
    async def of_repository(who: Who, name: str, after: AfterNumber = 0, limit: Limit = PAGE) -> dict[str, object]:
        found = await grants.of_repository(who, name, after, limit + 1)
        return page(found, [each.id for each in found], limit)

    @routes.get("/repositories/{name:path}/-/access", response_model=list[AccessOut], summary="Who has access unasked")
    async def everybody(who: Who, name: str) -> list[Access]:
        return list(await grants.everybody(who, name))

    @routes.put(
        "/repositories/{name:path}/-/grants/{kind}/{grantee}",
        response_model=GrantOut,
        summary="Grant a role, or change it",
    )
    async def grant(who: Who, address: Address, name: str, kind: Kind, grantee: str, body: GrantIn) -> Grant:
        return await grants.set_on_repository(who, name, kind, grantee, body.role, address)

    @routes.delete(
        "/repositories/{name:path}/-/grants/{kind}/{grantee}", status_code=204, summary="Take what was granted"
    )
    async def take(who: Who, address: Address, name: str, kind: Kind, grantee: str) -> None:
        await grants.remove_from_repository(who, name, kind, grantee, address)

    _namespace_routes(routes, grants)
    return routes


def _namespace_routes(routes: APIRouter, grants: Grants) -> None:
    @routes.get("/namespaces/{namespace}/grants", response_model=Page[GrantOut], summary="What is granted everywhere")
    async def of_namespace(who: Who, namespace: str, after: AfterNumber = 0, limit: Limit = PAGE) -> dict[str, object]:
        found = await grants.of_namespace(who, namespace, after, limit + 1)
        return page(found, [each.id for each in found], limit)

    @routes.put(
        "/namespaces/{namespace}/grants/{kind}/{grantee}",
        response_model=GrantOut,
        summary="Grant a role in every repository",
    )
    async def grant_everywhere(
        who: Who, address: Address, namespace: str, kind: Kind, grantee: str, body: GrantIn
    ) -> Grant:
        return await grants.set_on_namespace(who, namespace, kind, grantee, body.role, address)

    @routes.delete(
        "/namespaces/{namespace}/grants/{kind}/{grantee}", status_code=204, summary="Take what was granted everywhere"
    )
    async def take_everywhere(who: Who, address: Address, namespace: str, kind: Kind, grantee: str) -> None:
        await grants.remove_from_namespace(who, namespace, kind, grantee, address)
