"""The rows that bytes are compared with, and what was found."""

from collections.abc import Mapping, Sequence

from entrepot.access.caller import Caller
from entrepot.database.changes import record
from entrepot.database.engine import Engine, Transaction
from entrepot.registry.verification import NamedBlob

_VERIFIER = Caller(address="", reason="verification")

_TOTAL = (
    "SELECT COUNT(*), COALESCE(CAST(SUM(size) AS bigint), 0) FROM blobs WHERE store = :store AND state <> 'removing'"
)
_BLOB = "SELECT id, digest, size, key, damage FROM blobs WHERE store = :store AND state <> 'removing'"
_BLOBS = f"{_BLOB} AND id > CAST(:after AS bigint) ORDER BY id LIMIT :limit"
_DAMAGED = f"{_BLOB} AND damage IS NOT NULL AND id > CAST(:after AS bigint) ORDER BY id LIMIT :limit"
_COUNTS = "SELECT damage, COUNT(*) FROM blobs WHERE damage IS NOT NULL GROUP BY damage"
_LOCK = "UPDATE blobs SET sighted = sighted WHERE id = :id AND key = :key AND state <> 'removing' RETURNING damage"
_MARK = "UPDATE blobs SET damage = :damage WHERE id = :id"
_UNMARK = "UPDATE blobs SET damage = NULL WHERE id = :id"
_LINKED = "SELECT repository_id FROM links WHERE blob_id = :id ORDER BY repository_id"
_OF_UPSTREAMS = (
    "SELECT r.name FROM blobs b JOIN links l ON l.blob_id = b.id JOIN repositories r ON r.id = l.repository_id"
    " WHERE b.digest = :digest AND r.upstream IS NOT NULL AND r.deleted_at IS NULL UNION"
    " SELECT r.name FROM manifest_references f JOIN manifests m ON m.id = f.manifest_id"
    " JOIN repositories r ON r.id = m.repository_id"
    " WHERE f.digest = :digest AND r.upstream IS NOT NULL AND r.deleted_at IS NULL ORDER BY 1 LIMIT :limit"
)
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

    async def total(self, store: str) -> tuple[int, int]:
        """See the port."""
        count, size = (await self._engine.scan(_TOTAL, store=store))[0]
        return int(count), int(size)

    async def blobs(self, store: str, after: int, limit: int) -> Sequence[NamedBlob]:
        """See the port."""
        return [NamedBlob(*row) for row in await self._engine.read(_BLOBS, store=store, after=after, limit=limit)]

    async def damaged(self, store: str, after: int, limit: int) -> Sequence[NamedBlob]:
        """See the port."""
        return [NamedBlob(*row) for row in await self._engine.read(_DAMAGED, store=store, after=after, limit=limit)]

    async def damage(self) -> Mapping[str, int]:
        """See the port."""
        return {kind: int(count) for kind, count in await self._engine.read(_COUNTS)}

    async def mark(self, blob: NamedBlob, damage: str | None) -> bool:
        """See the port. Every repository that has the blob is told, as caches hold where its bytes are."""

        async def note(transaction: Transaction) -> bool:
            row = await transaction.one(_LOCK, id=blob.id, key=blob.key)
            if row is None:
                return False
            if damage is None:
                await transaction.run(_UNMARK, id=blob.id)
            elif row[0] != damage:
                await transaction.run(_MARK, id=blob.id, damage=damage)
                for (repository,) in await transaction.all(_LINKED, id=blob.id):
                    await record(transaction, _VERIFIER, "blob.damage", repository, old=blob.digest)
            return True

        return await self._engine.write(note, durable=True)

    async def of_upstreams(self, digest: str, limit: int) -> Sequence[str]:
        """See the port."""
        return [name for (name,) in await self._engine.read(_OF_UPSTREAMS, digest=digest, limit=limit)]

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
