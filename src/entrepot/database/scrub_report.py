"""What is known to be wrong with what is stored."""

from collections.abc import Sequence

from entrepot.database.engine import Engine
from entrepot.hub.scrub import Orphan, ScrubState, Wrong

_COUNTS = "SELECT damage, COUNT(*) FROM blobs WHERE damage IS NOT NULL GROUP BY damage"
_ORPHAN_COUNT = "SELECT COUNT(*) FROM orphans"
_PERCENT = (
    "SELECT CASE WHEN newest.id > 0 THEN 100 * s.position / newest.id ELSE 0 END FROM scrub s,"
    " (SELECT COALESCE(MAX(id), 0) AS id FROM blobs) newest WHERE s.id = 1"
)
_WRONG = (
    "SELECT id, digest, damage, size FROM blobs WHERE damage IS NOT NULL AND id > CAST(:after AS bigint)"
    " ORDER BY id LIMIT :limit"
)
_REPOSITORIES = (
    "SELECT r.name FROM links l JOIN repositories r ON r.id = l.repository_id WHERE l.blob_id = :blob"
    " AND r.deleted_at IS NULL ORDER BY r.name LIMIT 20"
)
_ORPHANS = "SELECT key, since, quarantined_at FROM orphans WHERE key > :after ORDER BY key LIMIT :limit"


class DatabaseScrubReport:
    """The port ScrubReportRows."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def state(self) -> ScrubState:
        """See the port. Ids rise with age, and some are gone: the percentage is not exact."""
        counts = {kind: int(count) for kind, count in await self._engine.read(_COUNTS)}
        orphans = await self._engine.read(_ORPHAN_COUNT)
        percent = await self._engine.read(_PERCENT)
        return ScrubState(
            counts.get("damaged", 0),
            counts.get("missing", 0),
            int(orphans[0][0]),
            min(100, int(percent[0][0])),
        )

    async def wrong(self, after: int, limit: int) -> Sequence[Wrong]:
        """See the port."""
        found = []
        for blob, digest, kind, size in await self._engine.read(_WRONG, after=after, limit=limit):
            names = [name for (name,) in await self._engine.read(_REPOSITORIES, blob=blob)]
            found.append(Wrong(blob, digest, kind, size, names))
        return found

    async def orphans(self, after: str, limit: int) -> Sequence[Orphan]:
        """See the port."""
        return [Orphan(*row) for row in await self._engine.read(_ORPHANS, after=after, limit=limit)]
