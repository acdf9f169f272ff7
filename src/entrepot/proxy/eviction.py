"""Keeping each upstream, and all together, within their size: what was not used for longest goes, link by link.

An upstream is charged for its links. Bytes that no other link and no hosted manifest holds are removed with the last
one; who is reading them goes on. Manifests stay: they are small, and they say what may be fetched again.
"""

from typing import Protocol

from entrepot.proxy.upstream import Upstreams

_STEP = 50  # links that one transaction ends


class HeldRows(Protocol):
    """What upstreams hold."""

    async def held(self, alias: str | None) -> int:
        """Bytes that the links of an upstream's repositories stand for; None: of all upstreams'."""
        ...

    async def evict(self, alias: str | None, excess: int, limit: int) -> int:
        """End the links that were not used for longest, at most `limit`, until `excess` bytes are free; the bytes."""
        ...


class Eviction:
    """The job."""

    def __init__(self, upstreams: Upstreams, size: int | None, rows: HeldRows) -> None:
        """`size`: bytes that all upstreams together may hold, None for any number."""
        self._limits = [(upstream.alias, upstream.size) for upstream in upstreams] + [(None, size)]
        self._rows = rows

    async def run(self) -> int:
        """Bring every upstream within its size; returns how many bytes were let go."""
        total = 0
        for alias, size in self._limits:
            if size is None:
                continue
            excess = await self._rows.held(alias) - size
            while excess > 0:
                freed = await self._rows.evict(alias, excess, _STEP)
                if not freed:
                    break
                excess -= freed
                total += freed
        return total
