"""Keeping each upstream, and all together, within their size: what was not used for longest goes, link by link.

An upstream is charged for its links. Bytes that no other link and no hosted manifest holds are removed with the last
one; who is reading them goes on. Manifests stay for now (see `forgetting`): they are small, and they say what may be
fetched again. Images that are kept, and what was used in the last minutes, stay even when that is more than the size:
so whoever has begun to pull an image finds all of it.
"""

from collections.abc import Awaitable, Callable, Collection
from typing import NamedTuple, Protocol

from entrepot.proxy.keeping import Held
from entrepot.proxy.upstream import Upstreams

_STEP = 50  # links that one transaction looks at
_EVERYTHING = 2**62  # bytes
IN_USE = 300.0
"""Seconds since its last use in which a blob is taken for part of an image that is being pulled."""


class Evicted(NamedTuple):
    """What a step has done: bytes that are free, and where to go on, None at the end."""

    freed: int
    after: tuple[int, ...] | None


class HeldRows(Protocol):
    """What upstreams hold."""

    async def held(self, alias: str | None) -> int:
        """Bytes that the links of an upstream's repositories stand for; None: of all upstreams'."""
        ...

    async def evict(
        self,
        alias: str | None,
        excess: int,
        unused: float,
        limit: int,
        spared: Collection[Held] = (),
        after: tuple[int, ...] | None = None,
    ) -> Evicted:
        """End the links that were not used for longest, and not for `unused` seconds (and USE_SECONDS, to
        which uses are noted), until `excess` bytes are free; at most `limit` are looked at."""
        ...


class Eviction:
    """The job."""

    def __init__(
        self,
        upstreams: Upstreams,
        size: int | None,
        rows: HeldRows,
        kept: Callable[[], Awaitable[Collection[Held]]],
        in_use: float = IN_USE,
    ) -> None:
        """`size`: bytes that all upstreams together may hold, None for any number. `kept`: blobs that stay."""
        self._upstreams = upstreams
        self._sizes: list[tuple[str | None, int | None]] = [
            (upstream.alias, upstream.size) for upstream in upstreams
        ] + [(None, size)]
        self._rows = rows
        self._kept = kept
        self._in_use = in_use

    async def run(self) -> int:
        """Bring every upstream within its size, and end what was not used for too long; returns the bytes let go."""
        total = 0
        for upstream in self._upstreams:
            if upstream.keep is not None:
                total += await self._evict(upstream.alias, None, max(upstream.keep, self._in_use))
        for alias, size in self._sizes:
            if size is not None:
                total += await self._evict(alias, size, self._in_use)
        return total

    async def _evict(self, alias: str | None, size: int | None, unused: float) -> int:
        """Until no more than `size` is held, which is looked at before each step, as other nodes do the same; None:
        whatever is held."""
        total = 0
        spared: Collection[Held] | None = None
        after: tuple[int, ...] | None = None
        while (excess := _EVERYTHING if size is None else await self._rows.held(alias) - size) > 0:
            spared = await self._kept() if spared is None else spared
            step = await self._rows.evict(alias, excess, unused, _STEP, spared, after)
            total, after = total + step.freed, step.after
            if after is None:
                break
        return total
