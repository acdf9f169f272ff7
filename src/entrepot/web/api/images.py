"""Images of a repository: history of tags, deleting with a preview, undo. To be added before repositories' routes."""

from dataclasses import replace
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from entrepot.hub.images import BULK, Images, Outcome, Wanted
from entrepot.registry.deletion import Deleted, Preview, Restored
from entrepot.registry.history import Move
from entrepot.web.api.shapes import PAGE, Address, AfterNumber, Limit, Page, Time, Who, page

_UNDO = "Bring back a deleted image with what went along; 409 offers free tags when one of its own is taken"
Seen = Annotated[list[str] | None, Query(max_length=128, description="The tags that were seen to name it.")]


class MoveOut(BaseModel):
    """A tag came to name something else; `kind` says why: a push (`tag.move`), `tag.delete`, `tag.restore`,
    `tag.retention`, `tag.expire`, `tag.purge`."""

    at: Time
    kind: str
    old: str | None
    new: str | None
    account: str | None
    address: str | None = Field(description="From where; only whoever may delete is told.")


class PreviewOut(BaseModel):
    """What a delete would take: digests and tags; bytes that nothing else holds; what forbids it: indexes by their
    digests (`holders`), rules of tags in words (`refusals`)."""

    manifests: list[str]
    tags: list[str]
    holders: list[str]
    refusals: list[str]
    freed: int


class DeletedOut(BaseModel):
    """What was deleted: the image, its children and referrers, and the tags of all of them."""

    manifests: list[str]
    tags: list[str]


class RestoredOut(BaseModel):
    """What is back; `left` are tags that were to be left."""

    manifests: list[str]
    tags: list[str]
    left: list[str]


class TagDeletedOut(BaseModel):
    """A tag was deleted."""

    digest: str = Field(description="What it named: that keeps answering by its digest.")
    note: str


class WantedIn(BaseModel):
    """One delete: what was seen."""

    digest: str = Field(max_length=200)
    tag: str | None = Field(None, max_length=200, description="Null: the image itself, with what goes along.")


class WantedManyIn(BaseModel):
    """Deletes, each by itself."""

    items: list[WantedIn] = Field(min_length=1, max_length=BULK)


class OutcomeOut(BaseModel):
    """What became of one; `manifests` and `tags` went."""

    tag: str | None
    digest: str
    outcome: Literal["deleted", "moved", "absent", "refused"]
    detail: str = Field(description="Why it was not deleted; of a tag that was: that its image stays.")
    manifests: list[str]
    tags: list[str]


class OutcomesOut(BaseModel):
    """What became of each, in their order."""

    items: list[OutcomeOut]


class UndoIn(BaseModel):
    """What the tags are to be called."""

    tags: dict[str, str | None] = Field(
        {}, max_length=1000, description="By what they were: another tag, or null for one that is not to come back."
    )


class TagIn(BaseModel):
    """What a tag is to name."""

    digest: str = Field(max_length=200)


def image_routes(images: Images) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/repositories/{name:path}/-", tags=["images"])

    @routes.get("/tags/{tag}/history", response_model=Page[MoveOut], summary="What a tag has named, newest first")
    async def history(who: Who, name: str, tag: str, after: AfterNumber = 0, limit: Limit = PAGE) -> dict[str, object]:
        found: list[Move] = list(await images.history(who, name, tag, after, limit + 1))
        return page(found, [each.id for each in found], limit)

    @routes.put("/tags/{tag}", status_code=204, summary="Let a tag that is free name an image again")
    async def restore_tag(who: Who, address: Address, name: str, tag: str, wanted: TagIn) -> None:
        await images.restore_tag(who, name, tag, wanted.digest, address)

    @routes.delete("/tags/{tag}", response_model=TagDeletedOut, summary="Delete a tag, and only the tag")
    async def delete_tag(
        who: Who, address: Address, name: str, tag: str, digest: str | None = None
    ) -> dict[str, object]:
        gone = await images.delete_tag(who, name, tag, digest, address)
        return {"digest": gone.digest, "note": _still_there(gone.digest)}

    _deletions(routes, images)
    return routes


def _deletions(routes: APIRouter, images: Images) -> None:
    @routes.post(
        "/deletions", response_model=OutcomesOut, summary="Delete many tags or images, each only if it is what was seen"
    )
    async def delete_many(who: Who, address: Address, name: str, wanted: WantedManyIn) -> dict[str, object]:
        deletes = [Wanted(each.digest, each.tag) for each in wanted.items]
        outcomes = await images.delete_many(who, name, deletes, address)
        return {"items": [_told(each) for each in outcomes]}

    @routes.get("/manifests/{digest}/deletion", response_model=PreviewOut, summary="What deleting an image would take")
    async def preview(who: Who, address: Address, name: str, digest: str) -> Preview:
        return await images.preview(who, name, digest, address)

    @routes.delete("/manifests/{digest}", response_model=DeletedOut, summary="Delete an image with what goes along")
    async def delete(who: Who, address: Address, name: str, digest: str, tag: Seen = None) -> Deleted:
        return await images.delete(who, name, digest, tag, address)

    @routes.post("/manifests/{digest}/undo", response_model=RestoredOut, summary=_UNDO)
    async def undo(who: Who, address: Address, name: str, digest: str, wanted: UndoIn | None = None) -> Restored:
        return await images.undo(who, name, digest, wanted.tags if wanted else {}, address)


def _still_there(digest: str) -> str:
    return f"the image still answers by its digest: to delete that too, DELETE …/-/manifests/{digest}"


def _told(each: Outcome) -> Outcome:
    """A tag's delete tells that its image stays, here too."""
    return replace(each, detail=_still_there(each.digest)) if each.tag and each.outcome == "deleted" else each
