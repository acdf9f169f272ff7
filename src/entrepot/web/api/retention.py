"""Retention policies, what they would do, and tags that expire. To be added before repositories' routes."""

from datetime import datetime
from typing import Any

from fastapi import APIRouter
from pydantic import AwareDatetime, BaseModel, Field

from entrepot.hub.retention import Outcome, Retention
from entrepot.hub.tag_rules import Where
from entrepot.web.api.shapes import Address, Time, Who


class PolicyIn(BaseModel):
    """A policy: what a rule that keeps covers stays; of the rest goes what a rule that deletes covers."""

    rules: list[dict[str, Any]] = Field(
        description="Each has an `action` (keep or delete) and conditions that must all be true: `tags` (with `syntax`"
        " and `except`) or `untagged`, `last`, `newest` (`level`, `count`), `younger_than`, `older_than`,"
        " `pulled_within`, `not_pulled_within` (as 30d)."
    )


class PolicyOut(PolicyIn):
    """A policy and when it last ran."""

    ran_at: Time | None


class DoomedOut(BaseModel):
    """A tag, or, with an empty tag, a manifest without one; `rule` counts from 1."""

    tag: str
    digest: str
    rule: int
    manifests: list[str] = Field(description="With a manifest: those that go along, as what belongs to it.")
    tags: list[str] = Field(description="The tags that go along, in which clients keep what belongs to it.")


class OutcomeOut(BaseModel):
    """What would go, or is gone."""

    items: list[DoomedOut]
    complete_until: Time = Field(description="Pulls before this time are known.")
    waits_for: list[str] = Field(description="Nodes whose pulls are not known: nothing is deleted while there is one.")


class ExpiryIn(BaseModel):
    """When a tag is to end."""

    digest: str = Field(max_length=200, description="What it names now: when it has moved, nothing is done.")
    at: AwareDatetime | None = Field(description="A time with its zone; null: never.")


def retention_routes(retention: Retention) -> APIRouter:
    """The routes of a repository."""
    routes = APIRouter(prefix="/repositories/{name:path}/-", tags=["retention"])

    @routes.get("/retention", response_model=PolicyOut, summary="A repository's own policy")
    async def policy(who: Who, name: str) -> dict[str, object]:
        return (await retention.policy(who, Where(repository=name)))._asdict()

    @routes.put("/retention", status_code=204, summary="Set a repository's policy; without rules it ends")
    async def set_policy(who: Who, address: Address, name: str, new: PolicyIn) -> None:
        await retention.set_policy(who, Where(repository=name), new.rules, address)

    @routes.get("/retention/preview", response_model=OutcomeOut, summary="What a run would delete: changes nothing")
    async def preview(who: Who, name: str) -> dict[str, object]:
        return _shown(await retention.preview(who, name))

    @routes.post("/retention/run", response_model=OutcomeOut, summary="Run the policy that holds here, now")
    async def run(who: Who, address: Address, name: str) -> dict[str, object]:
        return _shown(await retention.run_now(who, name, address))

    @routes.put("/tags/{tag}/expiry", status_code=204, summary="Let a tag end by itself")
    async def expire(who: Who, address: Address, name: str, tag: str, wanted: ExpiryIn) -> None:
        at = None if wanted.at is None else _micro(wanted.at)
        await retention.set_expiry(who, name, tag, wanted.digest, at, address)

    return routes


def namespace_retention_routes(retention: Retention) -> APIRouter:
    """The routes of a namespace, and of nodes."""
    routes = APIRouter(tags=["retention"])

    @routes.get("/namespaces/{namespace}/retention", response_model=PolicyOut, summary="A namespace's policy")
    async def policy(who: Who, namespace: str) -> dict[str, object]:
        return (await retention.policy(who, Where(namespace=namespace)))._asdict()

    @routes.put(
        "/namespaces/{namespace}/retention", status_code=204, summary="Set it for repositories without one of their own"
    )
    async def set_policy(who: Who, address: Address, namespace: str, new: PolicyIn) -> None:
        await retention.set_policy(who, Where(namespace=namespace), new.rules, address)

    @routes.delete("/usage/nodes/{node}", status_code=204, summary="Wait no more for the pulls of a node that is gone")
    async def forget(who: Who, node: str) -> None:
        await retention.forget_node(who, node)

    return routes


def _shown(outcome: Outcome) -> dict[str, object]:
    items = [each._asdict() for each in outcome.doomed]
    return {"items": items, "complete_until": outcome.complete_until, "waits_for": outcome.waits_for}


def _micro(time: datetime) -> int:
    return int(time.timestamp() * 1_000_000)
