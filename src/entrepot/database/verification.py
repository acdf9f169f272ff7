"""The rows that bytes are compared with."""

from collections.abc import Sequence

from entrepot.database.engine import Engine, Transaction
from entrepot.registry.verification import NamedBlob

_COUNT = "SELECT COUNT(*) FROM blobs WHERE store = :store AND state <> 'removing'"
_BLOBS = (
    "SELECT id, digest, size, key FROM blobs WHERE store = :store AND id > CAST(:after AS bigint)"
    " AND state <> 'removing' ORDER BY id LIMIT :limit"
)
_STILL = "SELECT 1 FROM blobs WHERE id = :id AND key = :key AND state <> 'removing'"
_NAMED = (
    "SELECT 1 WHERE EXISTS (SELECT 1 FROM blobs WHERE key = :key) OR EXISTS (SELECT 1 FROM upload_bodies"
    " WHERE key = :key) OR EXISTS (SELECT 1 FROM trash WHERE store = :store AND key = :key)"
)
_SIGHT = "INSERT INTO orphans (store, key, since) VALUES (:store, :key, now_us()) ON CONFLICT (store, key) DO NOTHING"
_QUARANTINE = (
    "UPDATE orphans SET quarantined_at = now_us() WHERE store = :store AND key = :key AND quarantined_at IS NULL"
    " AND since <= now_us() - CAST(:grace AS bigint)"
)
_END = (
    "DELETE FROM orphans WHERE store = :store AND key = :key"
    " AND quarantined_at <= now_us() - CAST(:quarantine AS bigint)"
)
_IS_QUARANTINED = "SELECT quarantined_at FROM orphans WHERE store = :store AND key = :key"
_TRASH = "INSERT INTO trash (store, key) VALUES (:store, :key) ON CONFLICT (store, key) DO NOTHING"


class DatabaseVerification:
    """The port VerificationRows."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def count(self, store: str) -> int:
        """See the port."""
        return int((await self._engine.scan(_COUNT, store=store))[0][0])

    async def blobs(self, store: str, after: int, limit: int) -> Sequence[NamedBlob]:
        """See the port."""
        return [NamedBlob(*row) for row in await self._engine.read(_BLOBS, store=store, after=after, limit=limit)]

    async def still(self, blob: NamedBlob) -> bool:
        """See the port."""
        return bool(await self._engine.read(_STILL, id=blob.id, key=blob.key))

    async def unnamed(self, store: str, keys: Sequence[str]) -> Sequence[str]:
        """See the port."""
        return [key for key in keys if not await self._engine.read(_NAMED, store=store, key=key)]

    async def sight_orphan(self, store: str, key: str, grace: int, quarantine: int) -> str:
        """See the port. A key is claimed before its first byte and used once, so what nothing names stays so."""
        here = {"store": store, "key": key}

        async def sight(transaction: Transaction) -> str:
            if await transaction.one(_NAMED, **here):
                return "named by now"
            if not await transaction.run(_SIGHT, **here):
                if await transaction.run(_END, quarantine=quarantine, **here):
                    await transaction.run(_TRASH, **here)
                    return "trashed"
                await transaction.run(_QUARANTINE, grace=grace, **here)
            row = await transaction.one(_IS_QUARANTINED, **here)
            return "sighted" if row is None or row[0] is None else "quarantined"

        return await self._engine.write(sight, durable=True)
