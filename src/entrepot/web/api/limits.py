"""`/limits`, `/usage` and `/namespaces/{namespace}/storage`: what was used, by whom, and what is left."""

import time
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel

from entrepot.access.actor import Actor
from entrepot.access.rights import Rights
from entrepot.hub.errors import Forbidden, Invalid
from entrepot.hub.limits import LimitView, LimitViews, StorageView
from entrepot.hub.owners import owned
from entrepot.hub.usage import GROUPS, Usage, UsageQuery, UsageReport, as_csv
from entrepot.web.api.shapes import Address, Moment, Time, Who

_DAY = 86_400_000_000  # microseconds
Group = Literal["hour", "day", "repository", "digest", "tag", "account", "address", "agent"]


class PullerOut(BaseModel):
    """Somebody who used a limit."""

    account: str
    credential: str
    address: str
    pulls: int
    last_at: Time


class LimitOut(BaseModel):
    """A pull limit; null is none."""

    subject: str
    limit: int | None
    window: int
    remaining: int | None
    next_free_in: int
    used_by: list[PullerOut]


class StorageOut(BaseModel):
    """What a namespace stores, in bytes; `undoable` is what only deleted images hold, until that is final."""

    used: int
    images: int
    undoable: int
    loose: int
    uploads: int
    limit: int | None


class UsageOut(BaseModel):
    """Pulls counted together; null for what they were not grouped by."""

    period: Time | None
    repository: str | None
    digest: str | None
    tag: str | None
    account: str | None
    address: str | None
    agent: str | None
    pulls: int
    requests: int
    bytes: int
    first_at: Time
    last_at: Time


class UsagePage(BaseModel):
    """A page of usage; everything before `complete_until` is counted."""

    items: list[UsageOut]
    since: Time
    until: Time
    complete_until: Time
    next: str | None


def limit_routes(views: LimitViews) -> APIRouter:
    """What is left."""
    routes = APIRouter(tags=["limits"])

    @routes.get("/limits", response_model=LimitOut, summary="The caller's pull limit, and who used it")
    async def limits(who: Who, address: Address) -> LimitView:
        return await views.pulls(who, address)

    @routes.get("/namespaces/{namespace}/storage", response_model=StorageOut, summary="What a namespace stores")
    async def storage(who: Who, namespace: str) -> StorageView:
        return await views.storage(who, namespace)

    return routes


def usage_routes(usage: Usage, rights: Rights) -> APIRouter:
    """Who pulled what, when, how often and from where."""
    routes = APIRouter(tags=["usage"])

    @routes.get(
        "/usage",
        response_model=UsagePage,
        responses={200: {"content": {"text/csv": {}}}},
        summary="Who pulled what, when, how often, from where; of a namespace for its owners, else one's own",
    )
    async def report(
        who: Who,
        namespace: Annotated[str | None, Query(max_length=100)] = None,
        since: Moment | None = None,
        until: Moment | None = None,
        group: Annotated[list[Group] | None, Query(max_length=len(GROUPS))] = None,
        after: Annotated[str | None, Query(max_length=2000)] = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        format: Literal["json", "csv"] = "json",  # noqa: A002 - as the query says it
    ) -> object:
        now = time.time_ns() // 1000
        query = UsageQuery(
            since=now - 30 * _DAY if since is None else since,
            until=now if until is None else until,
            group=tuple(each for each in GROUPS if each in (group or ("day", "repository"))),
        )
        query = await _bounded(rights, who, namespace, query)
        found = await usage.report(query, after, limit)
        if format == "json":
            return _page(found)
        headers = {} if found.next is None else {"X-Next": found.next}
        return Response(as_csv(found.rows, header=after is None), media_type="text/csv", headers=headers)

    return routes


async def _bounded(rights: Rights, who: Actor, namespace: str | None, query: UsageQuery) -> UsageQuery:
    """What the caller may see of it: all as an administrator, a namespace as its owner, else what they pulled."""
    if namespace is not None:
        facts, _ = await owned(rights, who, namespace, "", organization=False)
        return UsageQuery(query.since, query.until, query.group, namespace_id=facts.namespace_id)
    if who.administrator and who.by_password:
        return query
    if who.account_id is None:
        raise Forbidden("log in to see what you have pulled, or name a namespace that is yours")
    if not who.scopes.everywhere:
        raise Invalid("this credential is bound to some repositories: name a namespace", "namespace")
    return UsageQuery(query.since, query.until, query.group, account_id=who.account_id)


def _page(found: UsageReport) -> dict[str, object]:
    return {
        "items": [row._asdict() for row in found.rows],
        "since": found.since,
        "until": found.until,
        "complete_until": found.complete_until,
        "next": found.next,
    }
