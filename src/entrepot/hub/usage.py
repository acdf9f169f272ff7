"""Usage: who pulled what, when, how often, from where; and who used up a pull limit.

Who may see what is decided by whoever calls: a report is of the repositories, or the namespace, that it is asked for.
"""

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from entrepot.hub.errors import Invalid
from entrepot.hub.spreadsheets import csv_of, iso
from entrepot.hub.tally import HOUR

GROUPS = ("hour", "day", "repository", "digest", "tag", "account", "address", "agent")
"""What rows can be counted by; `hour` and `day` (of UTC) exclude each other."""
REPOSITORIES_MAX = 100  # that a report can be restricted to one by one
PAGE_MAX = 1000  # rows
_NUMBERS = ("hour", "day", "repository", "account")
_LARGEST = 2**63 - 1
_LONGEST = 366 * 24 * HOUR

Cursor = tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class UsageQuery:
    """What a report is of. Times in microseconds since 1970, `since` inclusive; whole hours are reported.

    `repository_ids` and `namespace_id` bound what is seen; None for both is everything, for administrators.
    `account_id` 0 is those without an account. `address` is one address, or the /64 of IPv6 addresses.
    """

    since: int
    until: int
    group: tuple[str, ...]
    repository_ids: frozenset[int] | None = None
    namespace_id: int | None = None
    account_id: int | None = None
    address: str | None = None


class UsageRow(NamedTuple):
    """Pulls counted together; None for what they were not grouped by.

    `period` is the beginning of an hour or a day. An account of 0 is nobody; names are those of now. `pulls` are those
    that a limit would count, `requests` those of indexes, referrers and attestations as well; `bytes` of manifests.
    """

    period: int | None
    repository_id: int | None
    repository: str | None
    digest: str | None
    tag: str | None
    account_id: int | None
    account: str | None
    address: str | None
    agent: str | None
    pulls: int
    requests: int
    bytes: int
    first_at: int
    last_at: int


class Puller(NamedTuple):
    """Somebody who used a pull limit: an account by one of its credentials from an address. 0 and empty are none."""

    account_id: int
    account: str
    credential_id: int
    credential: str
    address: str
    pulls: int
    last_at: int


@dataclass(frozen=True, slots=True)
class UsageReport:
    """A page of usage from `since` to `until`, in the order of what it is grouped by.

    Everything before `complete_until` is counted, 0 when that is not known; `next` is the cursor of the page after.
    """

    rows: Sequence[UsageRow]
    since: int
    until: int
    complete_until: int
    next: str | None


class UsageRows(Protocol):
    """What reports need of the database."""

    async def usage(self, query: UsageQuery, after: Cursor | None, limit: int) -> Sequence[UsageRow]:
        """Rows in the order of `query.group`, as GROUPS orders it, after the one with these values."""
        ...

    async def pullers(self, account_id: int | None, subject: str | None, window: int, limit: int) -> Sequence[Puller]:
        """Who pulled images, most first: as an account or its robots, or without an account from a `subject`."""
        ...

    async def complete_until(self) -> int:
        """Everything before this time, in microseconds, is counted; 0 when no node has said so."""
        ...


class Usage:
    """Reports of usage."""

    def __init__(self, rows: UsageRows) -> None:
        self._rows = rows

    async def report(self, query: UsageQuery, cursor: str | None, limit: int) -> UsageReport:
        """A page of at most `limit` rows; Invalid when the query or the cursor cannot be used."""
        query = _checked(query)
        if not 1 <= limit <= PAGE_MAX:
            raise Invalid(f"a page has 1 to {PAGE_MAX} rows", "n")
        after = None if cursor is None else _read_cursor(cursor, query.group)
        complete = await self._rows.complete_until()  # first, so that it is never later than the rows are
        rows = await self._rows.usage(query, after, limit + 1)
        following = _write_cursor(rows[limit - 1], query.group) if len(rows) > limit else None
        return UsageReport(rows[:limit], query.since, query.until, complete, following)

    async def top_of_account(self, account_id: int, window: int, limit: int) -> Sequence[Puller]:
        """Who used the limit of an account, or of an organization by its robots, in the last `window` seconds.

        It is counted by whole hours, from the one in which the window begins.
        """
        return await self._rows.pullers(account_id, None, window, limit)

    async def top_of_address(self, subject: str, window: int, limit: int) -> Sequence[Puller]:
        """The same of an IPv4 address or the /64 of IPv6 addresses, for those without an account."""
        return await self._rows.pullers(None, subject, window, limit)


def as_csv(rows: Sequence[UsageRow], *, header: bool = True) -> str:
    """Rows as CSV (RFC 4180), times in ISO 8601; no cell is a formula to a spreadsheet."""
    told = [
        row._asdict()
        | {
            "period": None if row.period is None else iso(row.period),
            "first_at": iso(row.first_at),
            "last_at": iso(row.last_at),
        }
        for row in rows
    ]
    lines = [[each[name] for name in UsageRow._fields] for each in told]
    return csv_of([UsageRow._fields, *lines] if header else lines)


def _checked(query: UsageQuery) -> UsageQuery:
    """The query with whole hours and its group in order; Invalid when it cannot be used."""
    for word in query.group:
        if word not in GROUPS:
            raise Invalid(f"usage is grouped by {', '.join(GROUPS)}; not by {word[:40]!r}", "group")
    group = tuple(word for word in GROUPS if word in query.group)
    if not group or {"hour", "day"} <= set(group):
        raise Invalid(f"group by at least one of {', '.join(GROUPS)}, and not by both hour and day", "group")
    since, until = query.since // HOUR * HOUR, -(-query.until // HOUR) * HOUR
    if not 0 <= since < until <= _LARGEST or until - since > _LONGEST:
        raise Invalid("a report is from a time to a later one, at most 366 days", "from")
    if query.repository_ids is not None and len(query.repository_ids) > REPOSITORIES_MAX:
        raise Invalid(f"a report is of at most {REPOSITORIES_MAX} repositories, or of a namespace", "repository")
    if query.address is not None and not query.address.isprintable():
        raise Invalid("this is no address", "address")
    return UsageQuery(since, until, group, query.repository_ids, query.namespace_id, query.account_id, query.address)


def _values(row: UsageRow, group: tuple[str, ...]) -> list[int | str | None]:
    fields = {"hour": "period", "day": "period", "repository": "repository_id", "account": "account_id"}
    return [getattr(row, fields.get(word, word)) for word in group]


def _write_cursor(row: UsageRow, group: tuple[str, ...]) -> str:
    return base64.urlsafe_b64encode(json.dumps(_values(row, group)).encode()).decode().rstrip("=")


def _read_cursor(cursor: str, group: tuple[str, ...]) -> Cursor:
    """The values that a cursor says; Invalid when it is not of a report that is grouped like this."""
    try:
        values = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError):
        values = None
    types = [int if word in _NUMBERS else str for word in group]
    if not isinstance(values, list) or [type(value) for value in values] != types:
        raise Invalid("this cursor is not of such a report", "cursor")
    for value in values:
        usable = value.isprintable() if isinstance(value, str) else abs(value) <= _LARGEST
        if not usable:
            raise Invalid("this cursor is not of such a report", "cursor")
    return tuple(values)
