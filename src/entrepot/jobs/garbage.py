"""The collection of garbage in the background, and what it has done for the metrics."""

from collections.abc import Awaitable, Callable

import structlog

from entrepot.registry.garbage import Collector

_log = structlog.get_logger()


class Collection:
    """The job: every worker runs it, and one at a time has the lease."""

    def __init__(self, collector: Collector, all_agree: Callable[[], Awaitable[bool]]) -> None:
        """`all_agree`: whether database and bytes belong together; else nothing is collected."""
        self._collector = collector
        self._all_agree = all_agree

    async def run(self) -> int:
        """One round; returns how much was moved on."""
        if not await self._all_agree():
            return 0
        collected = await self._collector.run()
        if collected.total:
            _log.info("garbage collected", **{phase.value: count for phase, count in collected.counts.items()})
        return collected.total
