"""Counts the pull events that workers have left in segment files into rows, and removes what is counted."""

import asyncio
import time

import structlog

from entrepot.hub.tally import HOUR, TallyRows, tally
from entrepot.registry.errors import StorageError
from entrepot.registry.events import PullSegments

RETENTION = 90 * 24 * HOUR
"""Microseconds that usage by the hour is kept, unless the settings say otherwise."""
_STEP = 500  # rows that one transaction removes
_SLACK = 1_000_000  # microseconds: an event is appended this long after its time was taken, at most
_log = structlog.get_logger()


class PullCounting:
    """The two jobs of usage. Any worker may run them; one at a time of a node counts."""

    def __init__(self, segments: PullSegments, rows: TallyRows, retention: int = RETENTION) -> None:
        """`retention` in microseconds."""
        self._segments = segments
        self._rows = rows
        self._retention = retention

    async def roll_up(self) -> int:
        """Count what is finished; returns how many events. After a crash anywhere in it, nothing is counted twice."""
        total = 0
        with self._segments.turn() as ours:
            if not ours:
                return 0
            now = time.time_ns() // 1000 - _SLACK
            found = await asyncio.to_thread(self._segments.look)
            for segment in found.finished:
                total += await self._count(segment)
                await asyncio.to_thread(self._segments.remove, [segment])
                await self._rows.forget([segment])
            until = now if found.open_since is None else min(now, found.open_since)
            await self._rows.complete(self._segments.node(), until)
        return total

    async def prune(self) -> int:
        """Remove usage by the hour that is past its time; returns how many rows."""
        total = 0
        while count := await self._rows.prune(self._retention, _STEP):
            total += count
        return total

    async def _count(self, segment: str) -> int:
        """Count one segment, part by part: each is one transaction, which also says how far it has come."""
        total = torn = 0
        position = await self._rows.position(segment)
        while True:
            part = await asyncio.to_thread(self._segments.read, segment, position)
            if part.position > position:
                if not await self._rows.count(segment, position, part.position, tally(part.events)):
                    raise StorageError(f"somebody else is counting the pull events of {segment}")
                total += sum(len(each.times) for each in part.events)
                torn += part.torn
            if part.last:
                break
            position = part.position
        if torn:
            _log.warning("some pull events were cut off and are not counted", segment=segment, count=torn)
        return total
