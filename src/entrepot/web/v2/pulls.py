"""Charging a pull, and writing it down: what happens to a manifest between its row and its answer.

A pull is a 200 answer to a GET of a manifest that is no index, no referrer and no attestation (protocol.md §4.1). The
headers are Docker Hub's, in its lower case, on HEAD too, which counts nothing.
"""

import time

from entrepot.access.pulls import PullCounter, PullLimit, Spent
from entrepot.oci.mediatype import OCI_INDEX
from entrepot.registry.events import LOOK, PullEvent, PullEvents
from entrepot.registry.ports import StoredManifest
from entrepot.web.message import Headers
from entrepot.web.v2.errors import refusal
from entrepot.web.v2.visit import Refused, Visit

PREVIEW_CONTENT = f'{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[]}}'.encode()
_LOOKED = "?"  # no tag
_NOTED = 64  # events of one visit whose unchanging part is remembered
_MESSAGE = (
    "You have reached your pull rate limit: {limit} pulls in {window}. Log in, or ask whoever runs this registry for"
    " a larger one; the next pull is free in {wait} seconds"
)


class PullDesk:
    """Counts pulls against limits and appends them to the worker's events."""

    def __init__(self, counter: PullCounter, events: PullEvents) -> None:
        self._counter = counter
        self._events = events

    async def charge(self, visit: Visit, found: StoredManifest, *, counted: bool) -> Headers:
        """The headers that go with this manifest; Refused by 429 when it counts and nothing is left."""
        if visit.limit is None or found.exempt:
            return []
        if not counted or found.kind != "image":
            return limit_headers(visit, (await self._counter.look(visit.subject, visit.limit)).remaining)
        ahead = self._counter.spend_ahead(visit.subject, visit.limit)
        if ahead is not None:
            return limit_headers(visit, ahead)
        spent = await self._counter.spend(visit.subject, visit.limit)
        if not spent.allowed:
            headers = [*limit_headers(visit, spent.remaining), (b"retry-after", b"%d" % spent.retry_after)]
            raise Refused(refusal(429, "TOOMANYREQUESTS", _told(visit.limit, spent), headers=headers))
        return limit_headers(visit, spent.remaining)

    async def shown(self, visit: Visit) -> Headers:
        """The headers of a caller who pulls nothing."""
        if visit.limit is None:
            return []
        return limit_headers(visit, (await self._counter.look(visit.subject, visit.limit)).remaining)

    def note(self, visit: Visit, found: StoredManifest, tag: str, agent: str, *, pulled: bool) -> None:
        """Write down that this manifest was answered, or, unless it was `pulled`, that it was looked at."""
        key = (found.id, tag, agent) if pulled else (found.id, _LOOKED, "")
        prepared = visit.noted.get(key)
        if prepared is None:
            event = _event(visit, found, tag, agent)
            if not pulled:
                event = event._replace(kind=LOOK, tag="", agent="", bytes=0)
            prepared = self._events.prepare(event)
            if len(visit.noted) < _NOTED:
                visit.noted[key] = prepared
        self._events.append_again(prepared, time.time_ns() // 1000)


def _event(visit: Visit, found: StoredManifest, tag: str, agent: str) -> PullEvent:
    return PullEvent(
        repository_id=found.repository_id,
        digest=found.digest,
        tag=tag,
        kind=found.kind,
        account_id=visit.caller.account_id,
        credential_id=visit.caller.credential_id,
        address=visit.caller.address,
        agent=agent,
        bytes=len(found.content),
        at=0,
    )


def limit_headers(visit: Visit, remaining: int) -> Headers:
    """`ratelimit-limit`, `ratelimit-remaining` and `docker-ratelimit-source` (protocol.md §4.2)."""
    assert visit.limit is not None
    return [(b"ratelimit-remaining", b"%d;w=%d" % (remaining, visit.limit.window)), *visit.limit_headers]


def _told(limit: PullLimit, spent: Spent) -> str:
    hours, seconds = divmod(limit.window, 3600)
    window = f"{hours} hours" if hours > 1 and not seconds else f"{limit.window} seconds"
    return _MESSAGE.format(limit=limit.limit, window=window, wait=spent.retry_after)
