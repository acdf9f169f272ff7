"""Removing older backups from a place, and the bytes that only they named."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from entrepot.registry.backup_places import Place, named_bytes
from entrepot.registry.snapshots import SnapshotFile

_STEP = 100  # removals between two signs of life


class Older:
    """The older backups of a place in which nobody else writes.

    A snapshot goes before its bytes, so what is listed is whole after a crash at any moment; what is left of it goes
    the next time, as all bytes are looked at.
    """

    def __init__(self, place: Place, still_alone: Callable[[], Awaitable[None]]) -> None:
        """`still_alone` raises when somebody else may write."""
        self._place = place
        self._still_alone = still_alone

    async def remove(self, newest: str, keep: int, work: Path) -> tuple[int, int]:
        """Keep `newest`, and the last before it, `keep` in all: how many snapshots, and how many bytes, are gone.

        StorageError, and nothing is gone, when one that stays cannot be read: it is not known what it needs.
        """
        others = [name for name in await self._place.snapshots() if name != newest]
        old = others[: max(0, len(others) - keep + 1)]
        needed: set[str] = set()
        for name in [*others[len(old) :], newest]:
            file = work / f"{name}.kept"
            await self._place.fetch(name, file)
            needed |= await asyncio.to_thread(_needed, file)
            file.unlink()
        await self._still_alone()
        for name in old:
            await self._place.drop(name)
        removed = 0
        async for key in self._place.keys():
            if key in needed:
                continue
            if removed % _STEP == 0:
                await self._still_alone()
            await self._place.remove(key)
            removed += 1
        return len(old), removed


def _needed(snapshot: Path) -> set[str]:
    return {each.key for each in named_bytes(SnapshotFile(snapshot))}
