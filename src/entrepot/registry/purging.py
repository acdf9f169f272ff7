"""Purging: what leaked must be gone, at once and for good, whoever is reading it (docs/lifecycle.md)."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

_BROKEN_SECONDS = 5.0  # that a worker may be late with its look
_LATELY = 10_000  # that are remembered, for downloads that were allowed before them and begin after them


class Bounds(NamedTuple):
    """What a purge is of: a namespace, by its id, or an upstream's repositories, by its alias; with neither, of
    everything."""

    namespace: int | None = None
    upstream: str | None = None


class Purged(NamedTuple):
    """Something that a purge took from a repository. `id` counts up over all purges, in the order of their commits."""

    id: int
    purge: int
    bounds: Bounds
    digest: str


class CutRows(Protocol):
    """What cutting needs of the database."""

    async def latest_purged(self) -> int:
        """The highest id of Purged so far."""
        ...

    async def purged_since(self, after: int) -> Sequence[Purged]:
        """What purges took, with ids over `after`."""
        ...

    async def within(self, repository_id: int, bounds: Bounds) -> bool:
        """Whether this repository is one of those."""
        ...

    async def note_cut(self, purge: int, address: str, target: str) -> None:
        """Remember that a download was cut."""
        ...


class Fetches(Protocol):
    """What this worker is fetching from upstreams."""

    def cut(self, digest: str, alias: str | None) -> None:
        """Fetch this blob no further for repositories of this upstream, or of any, and drop what has arrived."""
        ...


@dataclass(eq=False)
class Download:
    """Bytes of a blob on their way to a client; `stop` ends it short. `cut` tells that a purge did."""

    repository_id: int
    digest: str
    address: str
    target: str
    stop: Callable[[], object]
    cut: bool = False


class Downloads:
    """The downloads that this worker is sending."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.seen = 0
        """The id of the last Purged that this worker has cut."""
        self._lately: deque[Purged] = deque(maxlen=_LATELY)
        self._due: list[tuple[Purged, Download]] = []
        self._broken: deque[tuple[float, Download]] = deque()
        self._running: dict[str, set[Download]] = {}

    def begin(self, download: Download, since: int) -> None:
        """It is being sent. `since`: what `seen` was when it was asked whether the client may have it; what was purged
        after that is cut as if it had been running."""
        self._running.setdefault(download.digest, set()).add(download)
        if self.seen > since:
            missed = (each for each in self._lately if each.id > since and each.digest == download.digest)
            self._due.extend((each, download) for each in missed)

    def end(self, download: Download) -> None:
        """It is over, whole or not; may be called twice."""
        same = self._running.get(download.digest)
        if same is not None:
            same.discard(download)
            if not same:
                del self._running[download.digest]

    def broke_off(self, download: Download) -> None:
        """It has ended, as nothing comes any more: a purge that this worker is about to see may have cut its fetch."""
        self.end(download)
        now = self._clock()
        while self._broken and now - self._broken[0][0] > _BROKEN_SECONDS:
            self._broken.popleft()
        self._broken.append((now, download))

    def see(self, purged: Purged) -> None:
        """Those of its digest are to be cut; they are `due`."""
        self.seen = purged.id
        self._lately.append(purged)
        since = self._clock() - _BROKEN_SECONDS
        broken = [each for at, each in self._broken if at > since and each.digest == purged.digest]
        self._due.extend((purged, each) for each in (*self._running.get(purged.digest, ()), *broken))

    def due(self) -> Sequence[tuple[Purged, Download]]:
        """What is to be cut, if it is within what was purged, and has not ended by itself."""
        broken = {download for _, download in self._broken}
        self._due = [
            (purged, each) for purged, each in self._due if not each.cut and (self._runs(each) or each in broken)
        ]
        return tuple(self._due)

    def spare(self, purged: Purged, download: Download) -> None:
        """It is not within that."""
        self._due.remove((purged, download))

    def cut(self, download: Download) -> None:
        """End it short, unless it has ended."""
        download.cut = True
        if self._runs(download):
            download.stop()

    def _runs(self, download: Download) -> bool:
        return download in self._running.get(download.digest, ())


class Cutting:
    """The job of every worker that cuts what is being sent, and fetched, of what was purged."""

    def __init__(self, rows: CutRows, downloads: Downloads, fetches: Fetches) -> None:
        self._rows = rows
        self._downloads = downloads
        self._fetches = fetches
        self._to_note: list[tuple[Purged, Download]] = []

    async def begin(self) -> None:
        """To be awaited before the first request: what was purged until now is refused, and never has to be cut."""
        self._downloads.seen = await self._rows.latest_purged()

    async def run(self) -> int:
        """Look for purges since the last time; how many downloads were cut.

        All are cut before the first is noted, as writing may have to wait; what the database could not do is done the
        next time.
        """
        for purged in await self._rows.purged_since(self._downloads.seen):
            self._downloads.see(purged)
            if purged.bounds.namespace is None:
                self._fetches.cut(purged.digest, purged.bounds.upstream)
        count = 0
        for purged, download in self._downloads.due():
            if not await self._rows.within(download.repository_id, purged.bounds):
                self._downloads.spare(purged, download)
            elif not download.cut:
                self._downloads.cut(download)
                self._to_note.append((purged, download))
                count += 1
        while self._to_note:
            purged, download = self._to_note[0]
            await self._rows.note_cut(purged.purge, download.address, download.target)
            self._to_note.pop(0)
        return count
