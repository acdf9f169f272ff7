"""Purging what leaked. To be added before repositories' routes."""

from collections.abc import Sequence

from fastapi import APIRouter
from pydantic import BaseModel, Field

from entrepot.hub.purging import Exposure, Pulled, Purge, Purging
from entrepot.web.api.shapes import PAGE, Address, AfterNumber, Identity, Limit, Page, Time, Who, page


class PurgeIn(BaseModel):
    """What is to be purged."""

    digest: str = Field(max_length=200, description="Of an image, an index, or a layer.")
    reason: str = Field("", description="Whoever pushes it again is told.")
    confirm: bool = Field(False, description="Without it nothing is done: the answer says what would go.")


class HolderOut(BaseModel):
    """A manifest, or a blob, that goes or has gone; of a deleted repository without its name."""

    repository: str
    digest: str
    kind: str
    tags: Sequence[str]


class PurgeOut(BaseModel):
    """A purge."""

    id: int
    repository: str
    digest: str
    reason: str
    at: Time
    account: str | None
    lifted_at: Time | None = Field(description="Since when the digest may come back.")


class PushOut(BaseModel):
    """A tag named it from a time until another, or, without a tag, it was pushed."""

    repository: str
    digest: str
    tag: str | None
    at: Time
    until: Time | None
    account: str | None
    address: str


class PullOut(BaseModel):
    """Pulls within an hour."""

    repository: str
    digest: str
    tag: str
    account: str | None
    address: str
    agent: str
    requests: int
    first_at: Time
    last_at: Time


class CutOut(BaseModel):
    """A download that was cut."""

    at: Time
    address: str
    target: str


class SharedOut(BaseModel):
    """Another image of the namespace that has one of its layers."""

    repository: str
    digest: str
    layer: str


class ExposureOut(BaseModel):
    """Who may have it, and what is still to be done."""

    purge: PurgeOut
    gone: list[HolderOut]
    pushes: list[PushOut]
    pulled: int = Field(description="Pulls in all. The list has the first thousand rows, `…/pulls` all of them.")
    pulls: list[PullOut]
    complete_until: Time = Field(description="Pulls before this time are counted.")
    cut: list[CutOut]
    shared: list[SharedOut]
    versions: str = Field(description="What has become of older versions of its objects in the blob store.")
    unreachable: list[str] = Field(description="What a purge cannot reach.")
    advice: list[str] = Field(description="Is it safe now?")


class PurgedOut(BaseModel):
    """Without `confirm`: what would go. With it: the report."""

    done: bool
    holders: list[HolderOut]
    report: ExposureOut | None


def purge_routes(purging: Purging) -> APIRouter:
    """The routes of a repository."""
    routes = APIRouter(prefix="/repositories/{name:path}/-", tags=["purging"])

    @routes.post("/purge", response_model=PurgedOut, summary="Purge an image or a layer from the namespace, for good")
    async def purge(who: Who, address: Address, name: str, wanted: PurgeIn) -> dict[str, object]:
        if not wanted.confirm:
            holders = await purging.preview(who, name, wanted.digest, address)
            return {"done": False, "holders": [each._asdict() for each in holders], "report": None}
        report = await purging.purge(who, name, wanted.digest, wanted.reason, address)
        return {"done": True, "holders": [each._asdict() for each in report.gone], "report": _shown(report)}

    return routes


def purge_list_routes(purging: Purging) -> APIRouter:
    """The routes of a namespace, or of an upstream by its alias."""
    routes = APIRouter(prefix="/namespaces/{namespace}/purges", tags=["purging"])

    @routes.get("", response_model=Page[PurgeOut], summary="The purges of a namespace, or of an upstream")
    async def purges(who: Who, namespace: str, after: AfterNumber = 0, limit: Limit = PAGE) -> dict[str, object]:
        return _page(await purging.list(who, namespace, after, limit + 1), limit)

    @routes.get("/{id}", response_model=ExposureOut, summary="The report of a purge, as it is known now")
    async def report(who: Who, namespace: str, id: Identity) -> dict[str, object]:  # noqa: A002 - as the path says it
        return _shown(await purging.report(who, namespace, id))

    @routes.get("/{id}/pulls", response_model=Page[PullOut], summary="All pulls of what a purge took")
    async def pulls(
        who: Who,
        namespace: str,
        id: Identity,  # noqa: A002
        after: AfterNumber = 0,
        limit: Limit = PAGE,
    ) -> dict[str, object]:
        return _page(await purging.pulls(who, namespace, id, after, limit + 1), limit)

    @routes.delete("/{id}", status_code=204, summary="Lift a purge, as an administrator: the digest may come back")
    async def lift(who: Who, address: Address, namespace: str, id: Identity) -> None:  # noqa: A002
        await purging.lift(who, namespace, id, address)

    return routes


def installation_purge_routes(purging: Purging) -> APIRouter:
    """The routes of purges that were made where there are no accounts."""
    routes = APIRouter(prefix="/purges", tags=["purging"])

    @routes.get("", response_model=Page[PurgeOut], summary="The purges of the whole installation")
    async def purges(who: Who, after: AfterNumber = 0, limit: Limit = PAGE) -> dict[str, object]:
        return _page(await purging.list(who, "", after, limit + 1), limit)

    @routes.get("/{id}", response_model=ExposureOut, summary="The report of such a purge, as it is known now")
    async def report(who: Who, id: Identity) -> dict[str, object]:  # noqa: A002 - as the path says it
        return _shown(await purging.report(who, "", id))

    @routes.get("/{id}/pulls", response_model=Page[PullOut], summary="All pulls of what such a purge took")
    async def pulls(
        who: Who,
        id: Identity,  # noqa: A002
        after: AfterNumber = 0,
        limit: Limit = PAGE,
    ) -> dict[str, object]:
        return _page(await purging.pulls(who, "", id, after, limit + 1), limit)

    @routes.delete("/{id}", status_code=204, summary="Lift such a purge: the digest may come back")
    async def lift(who: Who, address: Address, id: Identity) -> None:  # noqa: A002
        await purging.lift(who, "", id, address)

    return routes


def _page(found: Sequence[Purge | Pulled], limit: int) -> dict[str, object]:
    return page([each._asdict() for each in found], [each.id for each in found], limit)


def _shown(report: Exposure) -> dict[str, object]:
    """As JSON has it: named tuples would be lists."""
    plain = ("pulled", "complete_until", "versions", "unreachable", "advice")
    lists = {
        name: [each._asdict() for each in value]
        for name, value in report._asdict().items()
        if name != "purge" and name not in plain
    }
    return {"purge": report.purge._asdict(), **lists, **{name: getattr(report, name) for name in plain}}
