"""Deleted repositories of a namespace, and bringing them back."""

from fastapi import APIRouter
from pydantic import BaseModel, Field

from entrepot.hub.deleted_repositories import DeletedRepositories
from entrepot.web.api.shapes import PAGE, Address, AfterNumber, Identity, Limit, Page, Time, Who, page


class DeletedRepositoryOut(BaseModel):
    """A repository that was deleted, and until when it can come back."""

    id: int
    name: str
    deleted_at: Time
    until: Time


class RestoreIn(BaseModel):
    """What it is to be called."""

    name: str | None = Field(None, max_length=300, description="Null: as it was called.")


class RestoredRepositoryOut(BaseModel):
    """It is back."""

    name: str


def deleted_repository_routes(deleted: DeletedRepositories) -> APIRouter:
    """The routes of a namespace."""
    routes = APIRouter(prefix="/namespaces/{namespace}/deleted-repositories", tags=["repositories"])

    @routes.get("", response_model=Page[DeletedRepositoryOut], summary="Deleted repositories that can still come back")
    async def list_deleted(who: Who, namespace: str, after: AfterNumber = 0, limit: Limit = PAGE) -> dict[str, object]:
        found = await deleted.list(who, namespace, after, limit + 1)
        return page([each._asdict() for each in found], [each.id for each in found], limit)

    @routes.post(
        "/{id}/restore",
        response_model=RestoredRepositoryOut,
        summary="Bring a deleted repository back with everything in it; 409 names a free name when its own is taken",
    )
    async def restore(
        who: Who,
        address: Address,
        namespace: str,
        id: Identity,  # noqa: A002 - as the path says it
        wanted: RestoreIn,
    ) -> dict[str, str]:
        return {"name": await deleted.restore(who, namespace, id, wanted.name, address)}

    return routes


def open_deleted_repository_routes(deleted: DeletedRepositories) -> APIRouter:
    """The same where there are no accounts, and so no namespaces."""
    routes = APIRouter(prefix="/deleted-repositories", tags=["repositories"])

    @routes.get("", response_model=Page[DeletedRepositoryOut], summary="Deleted repositories that can still come back")
    async def list_deleted(who: Who, after: AfterNumber = 0, limit: Limit = PAGE) -> dict[str, object]:
        found = await deleted.list(who, "", after, limit + 1)
        return page([each._asdict() for each in found], [each.id for each in found], limit)

    @routes.post(
        "/{id}/restore",
        response_model=RestoredRepositoryOut,
        summary="Bring a deleted repository back with everything in it; 409 names a free name when its own is taken",
    )
    async def restore(who: Who, address: Address, id: Identity, wanted: RestoreIn) -> dict[str, str]:  # noqa: A002
        return {"name": await deleted.restore(who, "", id, wanted.name, address)}

    return routes
