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
from entrepot.proxy.barring import Bars
from entrepot.proxy.errors import ANSWER_SECONDS, as_answer, check_allowed, not_for
from entrepot.proxy.freshness import MICROSECONDS, State, TagTimes
from entrepot.proxy.ledger import Count
from entrepot.proxy.ports import UpstreamRows
from entrepot.proxy.sources import Source, Sources
from entrepot.proxy.turns import Turns
from entrepot.proxy.upstream import Place
from entrepot.registry.admission import admitted
from entrepot.registry.errors import Barred, ManifestInvalid, ManifestUnverified, Unauthorized
from entrepot.registry.manifests import Manifests
from entrepot.registry.ports import ManifestRows, Stale, StoredManifest

T = TypeVar("T")
_PATIENCE = 3.0  # seconds that an upstream has for a look at a tag which is stored here
NOBODY = Caller()
_log = structlog.get_logger()


class _Look(NamedTuple):
    """What a look at a tag has found: its digest upstream, or why that is not known."""

    digest: str | None
    error: RemoteError | None


class ProxiedManifests:
    """Finds manifests in upstreams' repositories."""

    def __init__(
        self,
        sources: Sources,
        stored: Manifests,
        rows: ManifestRows,
        seen: UpstreamRows,
        turns: Turns,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`stored` keeps what was fetched, without asking for its blobs."""
        self._sources = sources
        self._stored = stored
        self._rows = rows
        self._seen = seen
        self._turns = turns
        self._times = TagTimes(seen, clock)
        self._bars = Bars(seen)
        self._revalidating: dict[tuple[str, str], asyncio.Task[StoredManifest]] = {}
        self._running: dict[str, asyncio.Task[StoredManifest]] = {}

    async def find(
        self, name: str, reference: str, place: Place, grant: Grant, *, whole: bool = False
    ) -> StoredManifest:
        """By tag or digest; `whole`: a client pulls it, which counts as saved when nothing is fetched for that."""
        check_allowed(place)
        found = await self._rows.find_manifest(name, reference)
        if found is None:
            await admitted(self._rows, name, grant)
        elif not grant.covers(name, found.repository_id, found.rights_version):
            raise Unauthorized
        by_digest = ":" in reference
        if found is not None and (by_digest or await self._answers(name, reference, place, found, grant)):
            if whole:
                self._sources.of(place).page.add(Count.SAVED_PULLS)
            return found
        if not grant.fetches(name):
            if found is None:
                raise not_for(name, place)
            return await self._stale(name, reference, place, found, "for others it would be looked at upstream")
        if by_digest:
            return await self._by_digest(name, reference, place)
        answer = await self._by_tag(name, reference, place, found)
        if whole and found is not None and answer.digest == found.digest and answer.stale is None:
            self._sources.of(place).page.add(Count.SAVED_PULLS)
        return answer

    async def stored(self, name: str, tag: str) -> StoredManifest | None:
        """What is stored under a tag, however old; whoever asks must be allowed to have it."""
        return await self._rows.find_manifest(name, tag)

    async def _answers(self, name: str, tag: str, place: Place, found: StoredManifest, grant: Grant) -> bool:
        """Whether a stored tag is answered as it is; one that has just become old is looked at meanwhile."""
        state = await self._times.state(name, tag, place.upstream.freshness(tag))
        if state is State.USABLE and grant.fetches(name):
            self._revalidate(name, tag, place, found)
        return state is not State.OLD

    async def refresh(self, name: str, tag: str, place: Place) -> StoredManifest:
        """Look at a tag now, whatever its freshness."""
        check_allowed(place)
        self._times.forget_absent(name, tag)
        return await self._looked_at(name, tag, place, await self._rows.find_manifest(name, tag), patient=True)

    async def _by_digest(self, name: str, digest: str, place: Place) -> StoredManifest:
        await asyncio.sleep(0)
        await self._bars.refuse(place.upstream.alias, digest)
        source = self._sources.of(place)

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
        absent = self._times.absent(name, tag) if found is None else None
        if absent is not None:
            raise absent
        return await self._looked_at(name, tag, place, found, patient=found is None)

    def _revalidate(self, name: str, tag: str, place: Place, found: StoredManifest) -> None:
        """Look at a tag while it is answered as it is, once for all who ask meanwhile."""
        if (name, tag) not in self._revalidating:
            task = asyncio.create_task(self._looked_at(name, tag, place, found, patient=True))
            self._revalidating[name, tag] = task
            task.add_done_callback(lambda done: self._revalidated(name, tag, done))

    def _revalidated(self, name: str, tag: str, task: "asyncio.Task[StoredManifest]") -> None:
        self._revalidating.pop((name, tag), None)
        if not task.cancelled():
            task.exception()  # heard: the next who asks is told

    async def _looked_at(
        self, name: str, tag: str, place: Place, found: StoredManifest | None, *, patient: bool
    ) -> StoredManifest:
        source = self._sources.of(place)

        async def look() -> StoredManifest:
            return await self._look(name, tag, place, source, found)

        try:
            task = self._shared(f"{name}:{tag}", look)
            if found is not None and not patient:
                await asyncio.wait({task}, timeout=_PATIENCE)
                if not task.done():
                    return await self._stale(name, tag, place, found, f"{place.upstream.alias} is slow")
            return await _in_time(task, place.upstream.alias)
        except RemoteError as error:
            instead = None if found is None else await self._instead(name, tag, place, found, error)
            if instead is not None:
                return instead
            answer = as_answer(error)
            if isinstance(error, RemoteAbsent | RemoteDenied):
                self._times.note_absent(name, tag, answer)
            raise answer from error

    async def _look(
        self, name: str, tag: str, place: Place, source: Source, found: StoredManifest | None
    ) -> StoredManifest:
        first = await self._first(name, tag, place, source) if found is None else None
        if first is not None:
            return first
        described = await source.describe(place.path, tag)
        if found is not None and described.digest == found.digest:
            await self._times.note(name, tag, place.upstream.freshness(tag))
            return found
        try:
            return await self._look_moved(name, tag, described.digest, place, source, found)
        except Barred:
            if found is not None:  # what it has named so far is not what the upstream means by it
                await self._seen.end_tag(name, tag, found.digest)
            raise

    async def _look_moved(
        self, name: str, tag: str, digest: str | None, place: Place, source: Source, found: StoredManifest | None
    ) -> StoredManifest:
        """What is not stored under this tag; `digest` is None when the upstream does not say it."""
        if digest is not None:
            await self._bars.refuse(place.upstream.alias, digest)
        if found is not None and source.budget.scarce:
            return await self._stale(name, tag, place, found, f"few pulls are left at {place.upstream.alias}")
        if place.upstream.delay:
            digest = (
                digest or (await self._fetch(name, tag, place, source, None)).digest
            )  # which is all there is to see
            if found is not None:
                await self._times.note(name, tag, place.upstream.freshness(tag))
            await self._check_delay(name, tag, digest, place)
        fetched = await self._fetch_looked_at(name, tag, digest, place, source, found)
        await self._times.note(name, tag, place.upstream.freshness(tag))
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
        known, and nothing was purged.
        """
        if place.upstream.delay or source.page.limit is not None or await self._holds(name):
            return None
        if await self._bars.any(place.upstream.alias):
            return None
        async with self._turns.manifest(name, None):
            there = await self._rows.find_manifest(name, tag)
            if there is None:
                if await self._holds(name):
                    return None
                there = await self._fetch(name, tag, place, source, tag)
                await self._times.note(name, tag, place.upstream.freshness(tag))
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
        try:
            pushed = await self._stored.push(name, fetched.content, fetched.media_type or None, wanted, tags, NOBODY)
        except Barred as error:
            self._bars.note(str(wanted or Digest.of(fetched.content)), error)
            raise
        except (ManifestInvalid, ManifestUnverified) as error:
            raise RemoteLied(f"{place.upstream.alias} sends what is no manifest: {error.message}") from error
        stored = await self._rows.find_manifest(name, pushed.digest)
        if stored is None:
            raise RemoteFailed(f"{name} was evicted while it was fetched")
        return stored

    async def _check_delay(self, name: str, tag: str, digest: str, place: Place) -> None:
        """A digest that has only just appeared under a tag may be poisoned: it waits (`delay`)."""
        await self._seen.ensure(name, place.upstream.alias)
        first = await self._seen.first_seen(name, tag, digest)
        until = first + place.upstream.delay * MICROSECONDS
        if await self._seen.now() < until:
            when = datetime.fromtimestamp(until / MICROSECONDS, UTC).strftime("%Y-%m-%d %H:%M UTC")
            raise _Delayed(f"{name}:{tag} has been {digest} for too short a time: it is answered from {when} on")

    async def _instead(
        self, name: str, tag: str, place: Place, found: StoredManifest, error: RemoteError
    ) -> StoredManifest | None:
        """What is stored in place of this error; None when the error is to be told: a refusal that has lasted."""
        if isinstance(error, _Delayed) or not isinstance(error, RemoteAbsent | RemoteDenied):
            return await self._stale(name, tag, place, found, error.message)
        gone = await self._times.gone(name, tag)
        _log.warning("an upstream refuses a tag that it had", repository=name, tag=tag, reason=error.message)
        if gone >= place.upstream.stale_if_denied:
            return None
        return await self._stale(name, tag, place, found, error.message, Count.DENIED)

    async def _stale(
        self, name: str, tag: str, place: Place, found: StoredManifest, reason: str, count: Count = Count.STALE
    ) -> StoredManifest:
        self._sources.of(place).page.add(count)
        age = await self._times.last_look(name, tag)
        return replace(found, stale=Stale(reason, None if age is None else int(age)))

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
