"""`/upstreams`: the registries that are read through, what they still give, and looking at a tag now."""

from datetime import UTC, datetime, timedelta

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
    """A credential at an upstream as this node knows it. Counts are since its start."""

    alias: str
    credential: str = Field(description="Its user name or helper; empty for anybody.")
    url: str
    source: str = Field(description="Whom it counts our pulls for: an address or an account; empty if it does not say.")
    budget: str = Field(description="In words, such as `37 of 200 left, next at 14:20 UTC`.")
    limit: int | None
    remaining: int | None
    window_seconds: int | None
    next_at: str | None = Field(description="When the next pull comes back, as far as it is known here; RFC 3339.")
    wait_seconds: float = Field(description="How long it is left alone, as it has said that it has had enough.")
    looks: int
    pulls: int
    blobs: int
    failures: int
    saved_pulls: int
    saved_bytes: int
    stale: int
    denied: int


class UpstreamsOut(BaseModel):
    """All upstreams, each once a credential."""

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
        name = upstreams.stored_name(f"{alias}/{wanted.repository}")
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
        budget = f"{state.remaining} of {state.limit} left"
    now = datetime.now(UTC)
    until = now + timedelta(seconds=state.wait) if state.wait else None
    next_at = datetime.fromtimestamp(state.next_at, UTC) if state.next_at is not None else None
    next_at = max(until or now, next_at or now) if until or next_at else None
    if next_at is not None:
        budget += f", next at {next_at:%H:%M} UTC"
    return {
        "alias": state.alias,
        "credential": state.credential,
        "url": url,
        "source": state.source,
        "budget": budget,
        "limit": state.limit,
        "remaining": state.remaining,
        "window_seconds": state.window,
        "next_at": None if next_at is None else f"{next_at:%Y-%m-%dT%H:%M:%SZ}",
        "wait_seconds": round(state.wait, 1),
        **{what.name.lower(): int(state.counts[what]) for what in Count},
    }
