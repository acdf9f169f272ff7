"""Blobs and the links that make them readable in a repository."""

from entrepot.access.caller import Caller
from entrepot.access.grant import Grant
from entrepot.database.cache import ReadCache
from entrepot.database.changes import record
from entrepot.database.engine import Engine, Transaction
from entrepot.database.holding import revive, use
from entrepot.database.purges import refuse_purged
from entrepot.database.quotas import room_for_blob
from entrepot.database.repositories import made_repository_id
from entrepot.registry.ports import StoredBlob

_FIND = (
    "SELECT b.digest, b.size, b.store, b.key, r.id, r.rights_version, b.id, b.state,"
    " l.loose_since + CAST(:grace AS bigint), now_us() FROM repositories r"
    " JOIN links l ON l.repository_id = r.id JOIN blobs b ON b.id = l.blob_id"
    " WHERE r.name = :repository AND b.digest = :digest AND b.state <> 'removing' AND b.damage IS NULL"
)
_LINK = (
    "INSERT INTO links (repository_id, blob_id, created_at, loose_since) SELECT r.id, :blob, now_us(),"
    " CASE WHEN r.upstream IS NULL THEN now_us() END FROM repositories r WHERE r.id = :repository"
    " ON CONFLICT (repository_id, blob_id) DO NOTHING"
)
_LINKED_ANYWHERE = (
    "SELECT b.id, b.size FROM blobs b WHERE b.digest = :digest"
    " AND b.state <> 'removing' AND b.damage IS NULL AND EXISTS (SELECT 1 FROM links l WHERE l.blob_id = b.id)"
)
_LINKED_IN = (
    "SELECT b.id, b.size, r.id, r.rights_version FROM repositories r JOIN links l ON l.repository_id = r.id"
    " JOIN blobs b ON b.id = l.blob_id"
    " WHERE r.name = :source AND b.digest = :digest AND b.state <> 'removing' AND b.damage IS NULL"
)


class _BeingRemoved(Exception):
    """The collector was first: the client uploads the blob anew."""


async def link(transaction: Transaction, repository: int, blob: int, digest: str, caller: Caller) -> None:
    """Let a repository read a blob; in a hosted one the link is loose until a manifest names it."""
    if await transaction.run(_LINK, repository=repository, blob=blob):
        await record(transaction, caller, "blob.link", repository, new=digest)


class DatabaseBlobs:
    """The port BlobRows."""

    def __init__(self, engine: Engine, cache: ReadCache, grace: float) -> None:
        """`grace`: seconds after which a look at what is loose is a use of it (`lifecycle.grace`)."""
        self._grace = int(grace * 1_000_000)
        self._engine = engine
        self._cache = cache

    async def find_blob(self, repository: str, digest: str) -> StoredBlob | None:
        """See the port."""
        key = f"blob {digest}"
        cached: tuple[StoredBlob, int | None] | None = await self._cache.get(repository, key)
        if cached is not None and (cached[1] is None or self._engine.now() < cached[1]):
            return cached[0]
        rows = await self._engine.read(_FIND, repository=repository, digest=digest, grace=self._grace)
        if not rows:
            return None
        *found, identity, state, until, now = rows[0]
        blob = StoredBlob(*found)
        if state == "quarantined" or (until is not None and until <= now):
            await self._engine.write(lambda t: revive(t, blob.repository_id, identity), durable=True)
            return await self.find_blob(repository, digest)
        self._cache.put(repository, key, (blob, until), 0)
        return blob

    async def mount_blob(self, repository: str, digest: str, source: str | None, caller: Caller, grant: Grant) -> bool:
        """See the port."""

        async def mount(transaction: Transaction) -> bool:
            blob = await _mountable(transaction, digest, source, grant)
            if blob is None:
                return False
            target = await made_repository_id(transaction, repository, caller)
            await room_for_blob(transaction, target, *blob)
            await link(transaction, target, blob[0], digest, caller)
            if not await use(transaction, target, blob[0]):
                raise _BeingRemoved
            await refuse_purged(transaction, target, (digest,))
            return True

        try:
            return await self._engine.write(mount, durable=True)
        except _BeingRemoved:
            return False


async def _mountable(transaction: Transaction, digest: str, source: str | None, grant: Grant) -> tuple[int, int] | None:
    """The id and the size of a blob that may be linked elsewhere."""
    if source is None:
        row = await transaction.one(_LINKED_ANYWHERE, digest=digest) if grant.everything else None
        return None if row is None else (row[0], row[1])
    row = await transaction.one(_LINKED_IN, digest=digest, source=source)
    return (row[0], row[1]) if row is not None and grant.covers(source, row[2], row[3]) else None
