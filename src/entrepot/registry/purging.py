"""Purging: what leaked must be gone, at once and for good, whoever is reading it (docs/lifecycle.md)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol


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


@dataclass
class Downloads:
    """The downloads that this worker is sending."""

    _running: dict[str, set[Download]] = field(default_factory=dict)

    def begin(self, download: Download) -> None:
        """It is being sent."""
        self._running.setdefault(download.digest, set()).add(download)

    def end(self, download: Download) -> None:
        """It is over, whole or not; may be called twice."""
        same = self._running.get(download.digest)
        if same is not None:
            same.discard(download)
            if not same:
                del self._running[download.digest]

    def of(self, digest: str) -> Sequence[Download]:
        """Those of a digest."""
        return tuple(self._running.get(digest, ()))


class Cutting:
    """The job of every worker that cuts what is being sent, and fetched, of what was purged."""

    def __init__(self, rows: CutRows, downloads: Downloads, fetches: Fetches) -> None:
        self._rows = rows
        self._downloads = downloads
        self._fetches = fetches
        self._seen: int | None = None
        self._fetched: list[Purged] = []

    async def run(self) -> int:
        """Look for purges since the last time; how many downloads were cut.

        Fetches are cut one look later: by then every worker has cut, and noted, the downloads that read from them.
        """
        if self._seen is None:
            self._seen = await self._rows.latest_purged()
            return 0
        for each in self._fetched:
            self._fetches.cut(each.digest, each.bounds.upstream)
        self._fetched.clear()
        count = 0
        for each in await self._rows.purged_since(self._seen):
            if each.bounds.namespace is None:
                self._fetched.append(each)
            for download in self._downloads.of(each.digest):
                if await self._rows.within(download.repository_id, each.bounds):
                    download.cut = True
                    download.stop()
                    await self._rows.note_cut(each.purge, download.address, download.target)
                    count += 1
            self._seen = each.id
        return count
