"""`/scrub`: what is known to be wrong with what is stored."""

from collections.abc import Sequence

from fastapi import APIRouter
from pydantic import BaseModel, Field

from entrepot.hub.scrub import ScrubReport, ScrubState
from entrepot.web.api.shapes import PAGE, After, AfterNumber, Limit, Page, Time, Who, page


class ScrubOut(BaseModel):
    """In numbers, as `/metrics` and `entrepot verify` have them."""

    damaged: int
    missing: int
    orphans: int = Field(description="Bytes that no row names, sighted by `entrepot verify --remove-orphans`.")
    percent: int = Field(description="How much of the blobs is behind the reading that is going on.")


class WrongOut(BaseModel):
    """A blob that no door answers until it is whole again."""

    digest: str
    kind: str = Field(description="`damaged` or `missing`.")
    size: int
    repositories: Sequence[str] = Field(description="At most 20 that have it: a push to any of them mends it.")


class OrphanOut(BaseModel):
    """Bytes that no row names."""

    key: str
    since: Time
    quarantined_at: Time | None


def scrub_routes(report: ScrubReport) -> APIRouter:
    """The routes, for administrators."""
    routes = APIRouter(prefix="/scrub", tags=["scrub"])

    @routes.get("", response_model=ScrubOut, summary="How many blobs are damaged or missing")
    async def state(who: Who) -> ScrubState:
        return await report.state(who)

    @routes.get("/blobs", response_model=Page[WrongOut], summary="Blobs that are damaged or missing")
    async def blobs(who: Who, after: AfterNumber = 0, limit: Limit = PAGE) -> dict[str, object]:
        found = await report.wrong(who, after, limit + 1)
        return page([each._asdict() for each in found], [each.id for each in found], limit)

    @routes.get("/orphans", response_model=Page[OrphanOut], summary="Bytes that no row names")
    async def orphans(who: Who, after: After = "", limit: Limit = PAGE) -> dict[str, object]:
        found = await report.orphans(who, after, limit + 1)
        return page([each._asdict() for each in found], [each.key for each in found], limit)

    return routes
