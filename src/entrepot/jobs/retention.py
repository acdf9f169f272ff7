"""Retention in the background: policies run each hour, tags end when their time has come."""

import structlog

from entrepot.hub.errors import Taken
from entrepot.hub.retention import Retention, RetentionRows

RETENTION_SECONDS = 300
EXPIRY_SECONDS = 10
_STEP = 50  # tags that one transaction ends
_log = structlog.get_logger()


class Retaining:
    """The two jobs; any worker of any node may run them."""

    def __init__(self, retention: Retention, rows: RetentionRows) -> None:
        self._retention = retention
        self._rows = rows

    async def run(self) -> int:
        """Run the policies that are due, unless pulls of some node are not counted yet; how much was deleted."""
        try:
            return await self._retention.run_due()
        except Taken as reason:
            _log.warning("retention waits", reason=reason.message)
            return 0

    async def expire(self) -> int:
        """End tags whose time has come; how many were looked at."""
        total = 0
        while (count := await self._rows.expire(_STEP)) > 0:
            total += count
        return total
