"""The audit: who did what, from where, to what, and why they might. One list over changes and logins.

Administrators see all of it, owners of an organization what was done in it, and people what they did themselves and
what was done to them. A repository is named only to who may know of it now; where somebody else came from, and what
they call their credential, is told only to who answers for the place.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from entrepot.access.actor import Actor
from entrepot.access.decision import Action
from entrepot.access.names import namespace_of
from entrepot.access.rights import Rights
from entrepot.hub.errors import Forbidden, Invalid
from entrepot.hub.owners import owned, permitted
from entrepot.hub.spreadsheets import csv_of, iso

PAGE_MAX = 1000  # entries
_LARGEST = 2**63 - 1
_CURSOR = re.compile(r"([0-9]{1,19})\.([01])\.([0-9]{1,19})", re.ASCII)
_COLUMNS = (
    "at", "kind", "who", "credential_id", "credential_kind", "credential", "address", "namespace", "repository", "tag",
    "subject", "old", "new", "reason", "count",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Place:
    """Where an entry stands: newest first, of one moment changes before logins. `table`: 1 for changes, 0 logins."""

    at: int
    table: int
    id: int


@dataclass(frozen=True, slots=True)
class AuditQuery:
    """What is looked for; None is anything. `kind` is how kinds begin; times in microseconds, `since` inclusive.

    `namespace_id` and `concerning` bound what is seen: what was done in a namespace; and what an account did or what
    was done to it.
    """

    kind: str | None = None
    account: str | None = None
    namespace: str | None = None
    repository: str | None = None
    address: str | None = None
    since: int | None = None
    until: int | None = None
    namespace_id: int | None = None
    concerning: Actor | None = None


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Something that happened, or a login `count` times within a minute.

    `who` is None for nobody, and `deleted#ID` for an account that is no more. `repository_namespace_id` is where the
    repository is now. `subject` names what was changed; of a login by a name that is no
    account, it is a keyed hash of that name.
    """

    place: Place
    kind: str
    account_id: int | None
    who: str | None
    credential_id: int | None
    credential_kind: str | None
    credential: str | None
    address: str
    namespace_id: int | None
    namespace: str | None
    repository_namespace_id: int | None
    repository: str | None
    tag: str | None
    subject: str | None
    old: str | None
    new: str | None
    reason: str | None
    count: int

    @property
    def at(self) -> int:
        """When, in microseconds since 1970."""
        return self.place.at


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Entries, newest first; `next` is the cursor of the page after, None at the end."""

    entries: Sequence[AuditEntry]
    next: str | None


class AuditRows(Protocol):
    """What this needs of the database."""

    async def entries(self, query: AuditQuery, after: Place | None, limit: int) -> Sequence[AuditEntry]:
        """Up to `limit` entries after this place, newest first."""
        ...


class Audit:
    """Three views of one list; each page decides again whether it may be seen."""

    def __init__(self, rows: AuditRows, rights: Rights) -> None:
        self._rows = rows
        self._rights = rights

    async def everything(self, actor: Actor, query: AuditQuery, cursor: str, limit: int) -> AuditPage:
        """All of it, for administrators."""
        if not actor.administers:
            raise Forbidden("the audit of everything is for administrators who have logged in with a password")
        return await self._page(query, cursor, limit)

    async def of_organization(
        self, actor: Actor, organization: str, query: AuditQuery, cursor: str, limit: int
    ) -> AuditPage:
        """What was done in an organization, for its owners."""
        facts, _ = await owned(self._rights, actor, organization, "")
        await self._check_repository(actor, query, organization)
        found = await self._page(replace(query, namespace_id=facts.namespace_id), cursor, limit)
        named = await self._named(actor, found.entries, facts.namespace_id)
        return AuditPage([_without_labels(actor, each) for each in named], found.next)

    async def of_account(self, actor: Actor, query: AuditQuery, cursor: str, limit: int) -> AuditPage:
        """What a person did, logins among it, and what others did to their account and namespace."""
        if actor.anonymous or not actor.by_password:
            raise Forbidden("log in with a password to see what was done with your account")
        await self._check_repository(actor, query, actor.name)
        found = await self._page(replace(query, concerning=actor), cursor, limit)
        named = await self._named(actor, found.entries, actor.account_id)
        return AuditPage([_without_others(actor, each) for each in named], found.next)

    async def _page(self, query: AuditQuery, cursor: str, limit: int) -> AuditPage:
        _check(query, limit)
        found = await self._rows.entries(query, _read_cursor(cursor), limit + 1)
        return AuditPage(found[:limit], _write_cursor(found[limit - 1].place) if len(found) > limit else None)

    async def _check_repository(self, actor: Actor, query: AuditQuery, home: str) -> None:
        """NotThere when one is asked for that is elsewhere, and that the actor may not know of."""
        if query.repository is not None and namespace_of(query.repository) != home:
            await permitted(self._rights, actor, Action.PULL, query.repository)

    async def _named(self, actor: Actor, entries: Sequence[AuditEntry], home: int | None) -> Sequence[AuditEntry]:
        """The entries without the names of repositories that are elsewhere now and that the actor may not see."""
        elsewhere = {
            each.repository for each in entries if each.repository and each.repository_namespace_id != home
        }  # of a page, so there are not many
        hidden = {name for name in elsewhere if not (await self._rights.decide(actor, Action.PULL, name)).allowed}
        return [replace(each, repository=None) if each.repository in hidden else each for each in entries]


def as_csv(entries: Sequence[AuditEntry], *, header: bool) -> str:
    """Entries as CSV (RFC 4180), times in ISO 8601; no cell is a formula to a spreadsheet."""
    lines: list[Sequence[object]] = [_COLUMNS] if header else []
    for each in entries:
        lines.append([iso(each.at), *(getattr(each, name) for name in _COLUMNS[1:])])
    return csv_of(lines)


def _without_labels(actor: Actor, entry: AuditEntry) -> AuditEntry:
    """What somebody calls their own tokens is theirs; robots are the organization's."""
    if entry.credential_kind == "robot" or entry.account_id == actor.account_id:
        return entry
    return replace(entry, credential=None)


def _without_others(actor: Actor, entry: AuditEntry) -> AuditEntry:
    """In one's own namespace one sees what an owner sees; elsewhere, what others did, but not from where."""
    if entry.account_id == actor.account_id or entry.namespace_id == actor.account_id:
        return _without_labels(actor, entry)
    return replace(entry, credential_id=None, credential_kind=None, credential=None, address="")


def _check(query: AuditQuery, limit: int) -> None:
    if not 1 <= limit <= PAGE_MAX:
        raise Invalid(f"a page has 1 to {PAGE_MAX} entries", "limit")
    for field in ("kind", "account", "namespace", "repository", "address"):
        value = getattr(query, field)
        if value is not None and not value.isprintable():
            raise Invalid(f"this is no {field}", field)
    for field in ("since", "until"):
        time = getattr(query, field)
        if time is not None and abs(time) > _LARGEST:
            raise Invalid("this is no time", field)


def _write_cursor(place: Place) -> str:
    return f"{place.at}.{place.table}.{place.id}"


def _read_cursor(cursor: str) -> Place | None:
    if not cursor:
        return None
    match = _CURSOR.fullmatch(cursor)
    place = Place(*(int(each) for each in match.groups())) if match else None
    if place is None or max(place.at, place.id) > _LARGEST:
        raise Invalid("this cursor is not of an audit", "after")
    return place
