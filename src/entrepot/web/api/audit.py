"""`/audit`, `/organizations/{organization}/audit`, `/account/audit`: who did what, from where, and why they might."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query
from fastapi.responses import Response
from pydantic import BaseModel

from entrepot.hub.audit import PAGE_MAX, Audit, AuditPage, AuditQuery, as_csv
from entrepot.web.api.shapes import Moment, Time, Who

Text = Annotated[str | None, Query(max_length=300)]
After = Annotated[str, Query(max_length=100, description="Where the page begins: `next` of the page before.")]
Limit = Annotated[int, Query(ge=1, le=PAGE_MAX, description="How many entries a page has at most.")]
Format = Annotated[Literal["json", "csv"], Query(alias="format", description="Of csv X-Next is the next `after`.")]
Pages = Callable[[str, int], Awaitable[AuditPage]]


class EntryOut(BaseModel):
    """Something that happened, or a login `count` times within a minute."""

    at: Time
    kind: str
    who: str | None
    credential_id: int | None
    credential_kind: str | None
    credential: str | None
    address: str
    namespace: str | None
    repository: str | None
    tag: str | None
    subject: str | None
    old: str | None
    new: str | None
    reason: str | None
    count: int


class EntriesOut(BaseModel):
    """A page, newest first."""

    items: list[EntryOut]
    next: str | None


def _query(
    kind: Text = None,
    account: Text = None,
    namespace: Text = None,
    repository: Text = None,
    address: Text = None,
    since: Moment | None = None,
    until: Moment | None = None,
) -> AuditQuery:
    return AuditQuery(kind, account, namespace, repository, address, since, until)


Filters = Annotated[AuditQuery, Depends(_query)]
_ANSWERS: dict[int | str, dict[str, object]] = {200: {"content": {"text/csv": {}}}}


def audit_routes(audit: Audit) -> APIRouter:
    """The three views of the audit."""
    routes = APIRouter(tags=["audit"])

    @routes.get("/audit", response_model=EntriesOut, responses=_ANSWERS, summary="Everything, for administrators")
    async def everything(
        who: Who, query: Filters, after: After = "", limit: Limit = 100, form: Format = "json"
    ) -> object:
        return await _answer(lambda cursor, most: audit.everything(who, query, cursor, most), after, limit, form)

    @routes.get(
        "/organizations/{organization}/audit",
        response_model=EntriesOut,
        responses=_ANSWERS,
        summary="What was done in an organization, for its owners",
    )
    async def of_organization(
        who: Who, organization: str, query: Filters, after: After = "", limit: Limit = 100, form: Format = "json"
    ) -> object:
        return await _answer(
            lambda cursor, most: audit.of_organization(who, organization, query, cursor, most), after, limit, form
        )

    @routes.get("/account/audit", response_model=EntriesOut, responses=_ANSWERS, summary="What concerns oneself")
    async def of_account(
        who: Who, query: Filters, after: After = "", limit: Limit = 100, form: Format = "json"
    ) -> object:
        return await _answer(lambda cursor, most: audit.of_account(who, query, cursor, most), after, limit, form)

    return routes


async def _answer(pages: Pages, after: str, limit: int, form: str) -> object:
    found = await pages(after, limit)
    if form == "json":
        return {"items": found.entries, "next": found.next}
    headers = {} if found.next is None else {"X-Next": found.next}
    return Response(as_csv(found.entries, header=not after), media_type="text/csv", headers=headers)
