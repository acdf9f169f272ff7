"""The scrub in the background, and what is damaged for the metrics."""

from collections.abc import Awaitable, Callable

import structlog

from entrepot.registry.scrub import Scrubber

SECONDS = 20.0
_log = structlog.get_logger()


class Scrubbing:
    """The job: every worker runs it, and one at a time has the turn."""

    def __init__(
        self, scrubber: Scrubber, all_agree: Callable[[], Awaitable[bool]], tell: Callable[[int, int], None]
    ) -> None:
        """`all_agree`: whether database and bytes belong together; `tell`: how many are damaged, and missing."""
        self._scrubber = scrubber
        self._all_agree = all_agree
        self._tell = tell

    async def run(self) -> int:
        """One round; returns how often a blob was found damaged or missing, or could not be mended."""
        count = 0
        try:
            if await self._all_agree():
                async for found in self._scrubber.run():
                    _log.error("blob is not as it should be", what=found.kind, digest=found.digest, note=found.note)
                    count += 1
        finally:  # what a round has found before it failed counts too
            known = await self._scrubber.damage()
            self._tell(known.get("damaged", 0), known.get("missing", 0))
        return count
