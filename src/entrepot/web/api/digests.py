"""`/digests/{digest}`: which version is really running?"""

from fastapi import APIRouter
from pydantic import BaseModel, Field

from entrepot.hub.digests import Digests, Found
from entrepot.web.api.shapes import Time, Who


class SpanOut(BaseModel):
    """A tag named the manifest from `since` to `until`, null when it still does; `now` is what it names now."""

    tag: str
    since: Time
    until: Time | None
    now: str | None


class FoundOut(BaseModel):
    """A manifest that is the digest or names it."""

    repository: str
    manifest: str
    role: str = Field(
        description="What the digest is: image, index, referrer, attestation; or config, layer, child of it; gone: a"
        " manifest that was here and cannot be brought back."
    )
    deleted_at: Time | None
    tags: list[SpanOut]


class DigestOut(BaseModel):
    """Where a digest is and was, among what the caller may pull."""

    digest: str
    items: list[FoundOut]


def digest_routes(digests: Digests) -> APIRouter:
    """The route."""
    routes = APIRouter(tags=["images"])

    @routes.get(
        "/digests/{digest}",
        response_model=DigestOut,
        summary="Which repositories and tags have, or had, what an engine prints: an image's id, a digest, a layer",
    )
    async def find(who: Who, digest: str) -> dict[str, object]:
        return {"digest": digest, "items": [_shown(each) for each in await digests.find(who, digest)]}

    return routes


def _shown(each: Found) -> dict[str, object]:
    return {**each._asdict(), "tags": [span._asdict() for span in each.tags]}
