"""Counts the pull events that workers leave in segment files into rows: now and then, and when a node asks for it."""

import asyncio
import time

import structlog

from entrepot.hub.tally import HOUR, TallyRows, tally
from entrepot.registry.errors import StorageError
from entrepot.registry.events import PullSegments

RETENTION = 90 * 24 * HOUR
"""Microseconds that usage by the hour is kept, unless the settings say otherwise."""
PATIENCE = 10.0
"""Seconds after which a node that has not counted is taken for missing; each looks every second whether it is to."""
_LOOK_SECONDS = 0.1
_STEP = 500  # rows that one transaction removes
_SLACK = 1_000_000  # microseconds: an event is appended this long after its time was taken, at most
_log = structlog.get_logger()


class PullCounting:
    """The work of usage. Any worker may do it; one at a time of a node counts."""

    def __init__(
        self, segments: PullSegments, rows: TallyRows, retention: int = RETENTION, patience: float = PATIENCE
    ) -> None:
        """`retention` in microseconds; `patience` in seconds."""
        self._segments = segments
        self._rows = rows
        self._retention = retention
        self._patience = patience

    async def appear(self) -> None:
        """Let all nodes know of this one: before its first request, and for as long as it has something to count."""
        await self._rows.appear(self._segments.node())

    async def leave(self) -> None:
        """Where no process of this node is left, count everything, and let no node wait for this one any more."""
        with self._segments.alone() as last:
            if last and await self._turn() is not None:
                await self._rows.leave(self._segments.node())

    async def roll_up(self) -> int:
        """Count what was appended; returns how many events. After a crash anywhere in it, nothing is counted twice."""
        return await self._turn() or 0

    async def answer(self) -> int:
        """Count, if some node has asked this one to."""
        asked, answered = await self._rows.asked(self._segments.node())
        return await self.roll_up() if answered < asked else 0

    async def everywhere(self) -> list[str]:
        """Let every node count what it has answered up to now; those that have not, in spite of some patience."""
        asked = await self._rows.ask(self._segments.node())
        await self.roll_up()
        end = time.monotonic() + self._patience
        while True:
            silent = await self._rows.silent(asked)
            if not silent or time.monotonic() >= end:
                return silent
            await asyncio.sleep(_LOOK_SECONDS)

    async def prune(self) -> int:
        """Remove usage by the hour that is past its time; returns how many rows."""
        total = 0
        while count := await self._rows.prune(self._retention, _STEP):
            total += count
        return total

    async def _turn(self) -> int | None:
        """Count; None when another process of this node is doing so."""
        total = 0
        with self._segments.turn() as ours:
            if not ours:
                return None
            node = self._segments.node()
            asked, _ = await self._rows.asked(node)  # before looking: what is appended later is none of its business
            until = time.time_ns() // 1000 - _SLACK
            found = await asyncio.to_thread(self._segments.look)
            for segment in found.finished:
                total += await self._count(segment)
                await asyncio.to_thread(self._segments.remove, [segment])
                await self._rows.forget([segment])
            for segment in found.growing:
                total += await self._count(segment, growing=True)
            await self._rows.complete(node, until, asked)
        return total

    async def _count(self, segment: str, *, growing: bool = False) -> int:
        """Count one segment, part by part: each is one transaction, which also says how far it has come."""
        total = torn = 0
        position = await self._rows.position(segment)
        while True:
            part = await asyncio.to_thread(self._segments.read, segment, position, growing=growing)
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
