"""`/upstreams`: the registries that are read through, what they still give, and looking at a tag now."""

from fastapi import APIRouter
from pydantic import BaseModel, Field

from entrepot.access.actor import Actor
from entrepot.hub.errors import Forbidden, Invalid, NotThere
from entrepot.oci.reference import InvalidName, InvalidTag, check_name, check_tag
from entrepot.proxy.ledger import Count, Ledger, State
from entrepot.proxy.manifests import ProxiedManifests
from entrepot.proxy.upstream import Upstreams
from entrepot.web.api.shapes import Who


class UpstreamOut(BaseModel):
    """An upstream as this node knows it. Counts are since its start."""

    alias: str
    url: str
    budget: str = Field(description="In words, such as `37 of 200 pulls left`.")
    limit: int | None
    remaining: int | None
    window_seconds: int | None
    wait_seconds: float = Field(description="How long it is left alone, as it has said that it has had enough.")
    looks: int
    pulls: int
    blobs: int
    failures: int
    saved_pulls: int
    saved_bytes: int
    stale: int


class UpstreamsOut(BaseModel):
    """All upstreams."""

    items: list[UpstreamOut]


class TagIn(BaseModel):
    """A tag of an upstream's repository, by its name there."""

    repository: str = Field(max_length=255)
    tag: str = Field(max_length=128)


class TagOut(BaseModel):
    """What the tag names now, and whether that is only what is stored here."""

    digest: str
    stale: bool


def upstream_routes(upstreams: Upstreams, ledger: Ledger, manifests: ProxiedManifests) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/upstreams", tags=["upstreams"])

    @routes.get("", response_model=UpstreamsOut, summary="The upstreams, and what is left of their budgets")
    async def list_upstreams(who: Who) -> dict[str, object]:
        _logged_in(who)
        urls = {each.alias: each.url for each in upstreams}
        return {"items": [_shown(state, urls[state.alias]) for state in ledger.state()]}

    @routes.post("/{alias}/refresh", response_model=TagOut, summary="Look at a tag now, whatever its freshness")
    async def refresh(who: Who, alias: str, wanted: TagIn) -> dict[str, object]:
        if not who.administrator:
            raise Forbidden("administrators look at tags of upstreams")
        name = f"{alias}/{wanted.repository}"
        try:
            check_name(name)
            check_tag(wanted.tag)
        except (InvalidName, InvalidTag) as error:
            raise Invalid(str(error)) from None
        place = upstreams.place(name)
        if place is None:
            raise NotThere("there is no such upstream")
        found = await manifests.refresh(name, wanted.tag, place)
        return {"digest": found.digest, "stale": found.stale is not None}

    return routes


def _logged_in(who: Actor) -> None:
    if who.anonymous:
        raise Forbidden("log in to see the upstreams")


def _shown(state: State, url: str) -> dict[str, object]:
    if state.limit is None or state.remaining is None:
        budget = "no limit is known"
    else:
        budget = f"{state.remaining} of {state.limit} pulls left"
    if state.wait:
        budget += f", next in {state.wait:.0f} seconds"
    return {
        "alias": state.alias,
        "url": url,
        "budget": budget,
        "limit": state.limit,
        "remaining": state.remaining,
        "window_seconds": state.window,
        "wait_seconds": round(state.wait, 1),
        **{what.name.lower(): int(state.counts[what]) for what in Count},
    }
