"""Manifests of upstreams' repositories: what is stored is answered for as long as the upstream's freshness says, and,
whatever happens there, as long as it is kept.

A tag is looked at by HEAD, which no registry counts as a pull; only bytes that are not here are GETs, once for all who
ask at the same time.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import UTC, datetime
from typing import NamedTuple, TypeVar

import structlog

from entrepot.access.caller import Caller
from entrepot.access.grant import Grant
from entrepot.client.errors import RemoteAbsent, RemoteDenied, RemoteError, RemoteFailed, RemoteLied, RemoteSilent
from entrepot.oci.digest import Digest, InvalidDigest
from entrepot.proxy.errors import as_answer
from entrepot.proxy.ledger import Count
from entrepot.proxy.ports import UpstreamRows
from entrepot.proxy.sources import Source, Sources
from entrepot.proxy.turns import Turns
from entrepot.proxy.upstream import Place, Upstream
from entrepot.registry.admission import admitted
from entrepot.registry.errors import Denied, RegistryError, Unauthorized
from entrepot.registry.manifests import Manifests
from entrepot.registry.ports import ManifestRows, Stale, StoredManifest

T = TypeVar("T")
_MICROSECONDS = 1_000_000
_PATIENCE = 3.0  # seconds that an upstream has for a look at a tag which is stored here
ANSWER_SECONDS = 14.0  # and for what is not: the whole of an answer, however many requests it takes
_ABSENT_SECONDS = 10.0  # that a tag which is not there is not asked for again
_WRITTEN_SECONDS = 3600.0  # between two notes that a tag was looked at, where its age says nothing
_REMEMBERED = 20_000
NOBODY = Caller()
_log = structlog.get_logger()


class _Look(NamedTuple):
    """What a look at a tag has found: its digest upstream, or why that is not known."""

    digest: str | None
    error: RemoteError | None


class ProxiedManifests:
    """Finds manifests in upstreams' repositories."""

    def __init__(
        self, sources: Sources, stored: Manifests, rows: ManifestRows, seen: UpstreamRows, turns: Turns
    ) -> None:
        """`stored` keeps what was fetched, without asking for its blobs."""
        self._sources = sources
        self._stored = stored
        self._rows = rows
        self._seen = seen
        self._turns = turns
        self._checked: dict[tuple[str, str], float] = {}  # microseconds of the database's clock
        self._absent: dict[tuple[str, str], tuple[float, RegistryError]] = {}
        self._running: dict[str, asyncio.Task[StoredManifest]] = {}

    async def find(self, name: str, reference: str, place: Place, grant: Grant) -> StoredManifest:
        """By tag or digest."""
        found = await self._rows.find_manifest(name, reference)
        if found is None:
            await admitted(self._rows, name, grant)
        elif not grant.covers(name, found.repository_id, found.rights_version):
            raise Unauthorized
        if found is not None and (":" in reference or await self._is_fresh(name, reference, place.upstream)):
            self._sources.of(place.upstream).page.add(Count.SAVED_PULLS)
            return found
        if ":" in reference:
            return await self._by_digest(name, reference, place)
        return await self._by_tag(name, reference, place, found)

    async def refresh(self, name: str, tag: str, place: Place) -> StoredManifest:
        """Look at a tag now, whatever its freshness."""
        self._absent.pop((name, tag), None)
        return await self._looked_at(name, tag, place, await self._rows.find_manifest(name, tag), patient=True)

    async def _by_digest(self, name: str, digest: str, place: Place) -> StoredManifest:
        await asyncio.sleep(0)
        self._check_allowed(place)
        source = self._sources.of(place.upstream)

        async def fetch() -> StoredManifest:
            async with self._turns.manifest(name, digest):
                there = await self._rows.find_manifest(name, digest)
                return there or await self._fetch(name, digest, place, source)

        try:
            return await _in_time(self._shared(f"{name}@{digest}", fetch), place.upstream.alias)
        except RemoteError as error:
            raise as_answer(error) from error

    async def _by_tag(self, name: str, tag: str, place: Place, found: StoredManifest | None) -> StoredManifest:
        await asyncio.sleep(0)  # what does not wait ends here (web/fast_door.py)
        absent = self._absent.get((name, tag))
        if found is None and absent is not None and absent[0] > time.monotonic():
            raise absent[1]
        return await self._looked_at(name, tag, place, found, patient=found is None)

    async def _looked_at(
        self, name: str, tag: str, place: Place, found: StoredManifest | None, *, patient: bool
    ) -> StoredManifest:
        self._check_allowed(place)
        source = self._sources.of(place.upstream)

        async def look() -> StoredManifest:
            return await self._look(name, tag, place, source, found)

        try:
            task = self._shared(f"{name}:{tag}", look)
            if found is not None and not patient:
                await asyncio.wait({task}, timeout=_PATIENCE)
                if not task.done():
                    return await self._stale(name, tag, found, f"{place.upstream.alias} is slow")
            return await _in_time(task, place.upstream.alias)
        except RemoteError as error:
            if found is not None and await self._may_be_stale(name, tag, place.upstream, error):
                return await self._stale(name, tag, found, error.message)
            answer = as_answer(error)
            if isinstance(error, RemoteAbsent | RemoteDenied):
                self._remember_absent(name, tag, answer)
            raise answer from error

    async def _look(
        self, name: str, tag: str, place: Place, source: Source, found: StoredManifest | None
    ) -> StoredManifest:
        first = await self._first(name, tag, place, source) if found is None else None
        if first is not None:
            return first
        described = await source.describe(place.path, tag)
        if found is not None and described.digest == found.digest:
            source.page.add(Count.SAVED_PULLS)
            await self._note_checked(name, tag, place.upstream)
            return found
        if found is not None and source.budget.scarce:
            return await self._stale(name, tag, found, f"few pulls are left at {place.upstream.alias}")
        if described.digest is not None:
            await self._check_delay(name, tag, described.digest, place)

        fetched = await self._fetch_looked_at(name, tag, described.digest, place, source, found)
        await self._note_checked(name, tag, place.upstream)
        return fetched

    async def _fetch_looked_at(
        self, name: str, tag: str, digest: str | None, place: Place, source: Source, found: StoredManifest | None
    ) -> StoredManifest:
        """What a look has found; `digest` is None when the upstream does not say it."""
        async with self._turns.manifest(name, digest):
            there = await self._rows.find_manifest(name, digest or tag)
            if digest is None and there is not None and (found is None or there.digest != found.digest):
                return there  # somebody fetched it meanwhile
            if digest is None or there is None:
                return await self._fetch(name, digest or tag, place, source, tag)
            await self._stored.push(name, there.content, there.media_type, Digest.parse(there.digest), [tag], NOBODY)
            return there

    async def _first(self, name: str, tag: str, place: Place, source: Source) -> StoredManifest | None:
        """A tag of a repository of which nothing is here is fetched without a look: one request less. None: look at it.

        Only there, as any tag may name what is stored under another one; and only where nobody counts, as far as is
        known.
        """
        if place.upstream.delay or source.page.limit is not None or await self._holds(name):
            return None
        async with self._turns.manifest(name, None):
            there = await self._rows.find_manifest(name, tag)
            if there is None:
                if await self._holds(name):
                    return None
                there = await self._fetch(name, tag, place, source, tag)
                await self._note_checked(name, tag, place.upstream)
            return there

    async def _holds(self, name: str) -> bool:
        repository = await self._rows.find_repository(name)
        return repository is not None and repository.holding

    async def _fetch(
        self, name: str, reference: str, place: Place, source: Source, tag: str | None = None
    ) -> StoredManifest:
        """GET it, verify it, store it. It is the one request that an upstream counts."""
        fetched = await source.manifest(place.path, reference)
        wanted = _digest(reference)
        if wanted is not None and Digest.of(fetched.content, wanted.algorithm) != wanted:
            raise RemoteLied(f"{place.upstream.alias} sent a manifest that has not the digest {reference}")
        await self._seen.ensure(name, place.upstream.alias)
        tags = [tag] if tag is not None else []
        pushed = await self._stored.push(name, fetched.content, fetched.media_type or None, wanted, tags, NOBODY)
        stored = await self._rows.find_manifest(name, pushed.digest)
        if stored is None:
            raise RemoteFailed(f"{name} was evicted while it was fetched")
        return stored

    async def _check_delay(self, name: str, tag: str, digest: str, place: Place) -> None:
        """A digest that has only just appeared under a tag may be poisoned: it waits (`delay`)."""
        delay = place.upstream.delay
        if not delay:
            return
        await self._seen.ensure(name, place.upstream.alias)
        first = await self._seen.first_seen(name, tag, digest)
        until = first + delay * _MICROSECONDS
        if await self._seen.now() < until:
            when = datetime.fromtimestamp(until / _MICROSECONDS, UTC).strftime("%Y-%m-%d %H:%M UTC")
            raise _Delayed(f"{name}:{tag} has been {digest} for too short a time: it is answered from {when} on")

    async def _may_be_stale(self, name: str, tag: str, upstream: Upstream, error: RemoteError) -> bool:
        """Whether what is stored is answered in place of this. A refusal counts only after a while."""
        if isinstance(error, _Delayed) or not isinstance(error, RemoteAbsent | RemoteDenied):
            return True
        since = await self._seen.gone(name, tag)
        self._checked.pop((name, tag), None)
        _log.warning("an upstream has taken back a tag", repository=name, tag=tag, reason=error.message)
        return await self._seen.now() < since + upstream.stale_if_denied * _MICROSECONDS

    async def _is_fresh(self, name: str, tag: str, upstream: Upstream) -> bool:
        fresh = upstream.freshness(tag)
        if fresh.seconds is None:
            return True
        if not fresh.seconds:
            return False
        checked = self._checked.get((name, tag))
        if checked is None:
            seen = await self._seen.seen(name, tag)
            if seen.checked_at is None:
                return False
            checked = seen.checked_at / _MICROSECONDS
            self._remember_checked(name, tag, checked)
        return fresh.holds(time.time() - checked)

    async def _note_checked(self, name: str, tag: str, upstream: Upstream) -> None:
        """Write down that the tag is there; where nobody asks for the exact time, only once an hour."""
        written = self._checked.get((name, tag))
        if written is None:
            seen = await self._seen.seen(name, tag)
            written = None if seen.gone_since is not None else (seen.checked_at or 0) / _MICROSECONDS
        if upstream.freshness(tag).seconds or written is None or time.time() - written > _WRITTEN_SECONDS:
            self._remember_checked(name, tag, await self._seen.checked(name, tag) / _MICROSECONDS)
        else:
            self._remember_checked(name, tag, written)

    def _remember_checked(self, name: str, tag: str, at: float) -> None:
        if len(self._checked) >= _REMEMBERED:
            self._checked.clear()
        self._checked[name, tag] = at

    def _remember_absent(self, name: str, tag: str, error: RegistryError) -> None:
        if len(self._absent) >= _REMEMBERED:
            self._absent.clear()
        self._absent[name, tag] = (time.monotonic() + _ABSENT_SECONDS, error)

    async def _stale(self, name: str, tag: str, found: StoredManifest, reason: str) -> StoredManifest:
        place = self._sources.upstreams.place(name)
        if place is not None:
            self._sources.of(place.upstream).page.add(Count.STALE)
        checked = self._checked.get((name, tag)) or ((await self._seen.seen(name, tag)).checked_at or 0) / _MICROSECONDS
        age = max(0, int(time.time() - checked)) if checked else None
        return replace(found, stale=Stale(reason, age))

    def _check_allowed(self, place: Place) -> None:
        if not place.upstream.allows(place.path):
            raise Denied(f"{place.path} of {place.upstream.alias} may not be read through this registry")

    def _shared(
        self, key: str, work: Callable[[], Coroutine[None, None, StoredManifest]]
    ) -> "asyncio.Task[StoredManifest]":
        """What all who ask at the same time in this worker get by one asking; it goes on when they leave."""
        task = self._running.get(key)
        if task is None:
            task = asyncio.create_task(work())
            self._running[key] = task
            task.add_done_callback(lambda done: self._ended(key, done))
        return task

    def _ended(self, key: str, task: "asyncio.Task[StoredManifest]") -> None:
        self._running.pop(key, None)
        if not task.cancelled():
            task.exception()  # heard, if nobody waits any more


async def _in_time(task: "asyncio.Task[T]", alias: str) -> T:
    """What an upstream gives for what is not stored here, in time for whoever waits; it goes on without them."""
    await asyncio.wait({task}, timeout=ANSWER_SECONDS)
    if not task.done():
        raise RemoteSilent(f"{alias} did not answer within {ANSWER_SECONDS:.0f} seconds")
    return task.result()


class _Delayed(RemoteDenied):
    """A tag's new digest is too fresh to be answered."""

    def __init__(self, message: str) -> None:
        super().__init__(message, forbidden=True)


def _digest(reference: str) -> Digest | None:
    try:
        return Digest.parse(reference)
    except InvalidDigest:
        return None
