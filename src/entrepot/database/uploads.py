"""Upload sessions, their bodies, and the trash that their leftovers go to."""

from collections.abc import Sequence

from entrepot.access.caller import Caller
from entrepot.database.blobs import link
from entrepot.database.engine import Conflict, Engine, Transaction
from entrepot.database.holding import use
from entrepot.database.purges import refuse_purged
from entrepot.database.quotas import room
from entrepot.database.repositories import made_repository_id
from entrepot.database.verification import DatabaseVerification
from entrepot.registry.ports import Body, Upload

_OPEN = (
    "INSERT INTO uploads (id, repository_id, store, size, generation, algorithm, expires_at, account_id)"
    " VALUES (:id, :repository, :store, 0, 0, :algorithm, now_us() + :lifetime, :account)"
)
_FIND = (
    "SELECT u.id, u.repository_id, u.store, u.size, u.generation, u.algorithm, u.digest FROM uploads u"
    " JOIN repositories r ON r.id = u.repository_id"
    " WHERE u.id = :id AND r.name = :repository AND u.expires_at > now_us()"
)
_BODIES = "SELECT key, size FROM upload_bodies WHERE upload_id = :id AND position IS NOT NULL ORDER BY position"
_CLAIM = "INSERT INTO upload_bodies (upload_id, key) SELECT id, :key FROM uploads WHERE id = :id"
_RENEW = (
    "UPDATE uploads SET expires_at = now_us() + CAST(:lifetime AS bigint) WHERE id = :id"
    " AND expires_at < now_us() + CAST(:left AS bigint)"
)
_STEP = (
    "UPDATE uploads SET size = size + :size, generation = generation + 1, digest = :digest, reserved = 0,"
    " expires_at = now_us() + :lifetime WHERE id = :id AND size = :before AND generation = :generation"
)
_JOIN = "UPDATE upload_bodies SET position = :position, size = :size WHERE upload_id = :id AND key = :key"
_LOCK = "UPDATE uploads SET generation = generation + 1 WHERE id = :id AND size = :size AND generation = :generation"
_SHORTEN = (
    "UPDATE uploads SET size = :size, digest = NULL, generation = generation + 1"
    " WHERE id = :id AND generation = :generation"
)
_TRASH = "INSERT INTO trash (store, key) VALUES (:store, :key) ON CONFLICT (store, key) DO NOTHING"
_TRASH_OTHERS = (
    "INSERT INTO trash (store, key) SELECT u.store, b.key FROM upload_bodies b JOIN uploads u ON u.id = b.upload_id"
    " WHERE u.id = :id AND b.key <> :keep ON CONFLICT (store, key) DO NOTHING"
)
# A key that became nothing. It is in the trash already when its session has ended, but its bytes may have come after
# that was emptied; and it may be in use, when a request that lost the race adopted the same body as the one that won.
_TRASH_UNUSED = (
    "INSERT INTO trash (store, key) SELECT :store, :key"
    " WHERE NOT EXISTS (SELECT 1 FROM upload_bodies WHERE upload_id = :id AND key = :key)"
    " AND NOT EXISTS (SELECT 1 FROM blobs WHERE key = :key) ON CONFLICT (store, key) DO NOTHING"
)
_FORGET_CLAIM = "DELETE FROM upload_bodies WHERE upload_id = :id AND key = :key AND position IS NULL"
_FORGET_BODY = "DELETE FROM upload_bodies WHERE upload_id = :id AND key = :key"
_FORGET_BODIES = "DELETE FROM upload_bodies WHERE upload_id = :id"
_FORGET = "DELETE FROM uploads WHERE id = :id"
_LOCK_ANY = (
    "UPDATE uploads SET generation = generation + 1"
    " WHERE id = :id AND repository_id = (SELECT id FROM repositories WHERE name = :repository)"
)
_NEW_BLOB = (
    "INSERT INTO blobs (digest, size, store, key, created_at, state, since)"
    " VALUES (:digest, :size, :store, :key, now_us(), 'loose', now_us()) ON CONFLICT (digest) DO NOTHING RETURNING id"
)
_OLD_BLOB = "SELECT id, store, key FROM blobs WHERE digest = :digest"
_TAKE_OVER = (
    "UPDATE blobs SET store = :store, key = :key, size = :size, damage = NULL, state = 'loose', since = now_us(),"
    " sighted = NULL WHERE id = :blob AND state = 'removing'"
)
_BROKEN = "SELECT store, key FROM blobs WHERE id = :blob AND damage IS NOT NULL"
_MEND = "UPDATE blobs SET store = :store, key = :key, size = :size, damage = NULL WHERE id = :blob"
_KNOW_STORE = (
    "INSERT INTO store (name, id, generation) SELECT CAST(:name AS text), CAST(:id AS text),"
    " CASE WHEN EXISTS (SELECT 1 FROM blobs WHERE store = :name) THEN 1 ELSE 0 END WHERE true"
    " ON CONFLICT (name) DO NOTHING"
)
_STORE = "SELECT id, generation FROM store WHERE name = :name"
_OLDER = "UPDATE store SET generation = generation + 1 WHERE name = :name RETURNING id, generation"
_RENAME_STORE = (
    "INSERT INTO store (name, id, generation) VALUES (:name, :id, 1)"
    " ON CONFLICT (name) DO UPDATE SET id = excluded.id, generation = excluded.generation RETURNING id, generation"
)
_NEWEST = "SELECT key FROM blobs WHERE store = :store AND state <> 'removing' ORDER BY id DESC LIMIT 10"
_EXPIRED = "SELECT id FROM uploads WHERE expires_at <= now_us() ORDER BY expires_at LIMIT :limit"
_EXPIRE = "UPDATE uploads SET generation = generation + 1 WHERE id = :id AND expires_at <= now_us()"
_TRASHED = (  # while a backup runs, what it names may be on its way out and must stay; a clock that has gone back
    # since a backup died does not hold it for longer than an hour
    "SELECT store, key FROM trash WHERE NOT EXISTS (SELECT 1 FROM lifecycle"
    " WHERE removals_held_until > now_us() AND removals_held_until <= now_us() + 3600000000) LIMIT :limit"
)
_KEYS = 50  # that one statement forgets
_TRASH_SLOTS = ", ".join(f"(CAST(:store{number} AS text), CAST(:key{number} AS text))" for number in range(_KEYS))
_FORGET_TRASH = f"DELETE FROM trash WHERE (store, key) IN (VALUES {_TRASH_SLOTS})"  # noqa: S608 - constants
_LIMITED = (
    "SELECT 1 FROM repositories r JOIN accounts n ON n.id = r.namespace_id JOIN plans p ON p.name = n.plan"
    " WHERE r.id = :repository AND p.storage IS NOT NULL"
)
_RELEASE = "UPDATE uploads SET reserved = 0 WHERE id = :id AND reserved <> 0"
_RESERVE = "UPDATE uploads SET reserved = :size WHERE id = :id"
_AHEAD = 1024 * 1024  # bytes that a body is promised beyond what it has, so that it asks seldom
_MICROSECONDS = 1_000_000


class DatabaseUploads:
    """The ports UploadRows and Housekeeping."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def open_upload(
        self, repository: str, upload: str, store: str, algorithm: str | None, lifetime: int, caller: Caller
    ) -> None:
        """See the port."""

        async def insert(transaction: Transaction) -> None:
            identity = await made_repository_id(transaction, repository, caller)
            await room(transaction, identity, 0)
            await transaction.run(
                _OPEN,
                id=upload,
                repository=identity,
                store=store,
                algorithm=algorithm,
                lifetime=lifetime * _MICROSECONDS,
                account=caller.account_id,
            )

        await self._engine.write(insert, durable=False)

    async def find_upload(self, repository: str, upload: str) -> Upload | None:
        """See the port."""
        rows = await self._engine.read(_FIND, id=upload, repository=repository)
        return Upload(*rows[0]) if rows else None

    async def upload_bodies(self, upload: str) -> list[Body]:
        """See the port."""
        return [Body(*row) for row in await self._engine.read(_BODIES, id=upload)]

    async def claim_body(self, upload: str, key: str, lifetime: int = 0) -> bool:
        """See the port."""

        async def claim(transaction: Transaction) -> bool:
            if not await transaction.run(_CLAIM, id=upload, key=key):
                return False
            if lifetime:
                half, whole = lifetime * _MICROSECONDS // 2, lifetime * _MICROSECONDS
                await transaction.run(_RENEW, id=upload, lifetime=whole, left=half)
            return True

        try:
            return await self._engine.write(claim, durable=False)
        except Conflict:
            return False

    async def renew_upload(self, upload: str, lifetime: int) -> None:
        """See the port."""
        whole = lifetime * _MICROSECONDS

        async def renew(transaction: Transaction) -> None:
            await transaction.run(_RENEW, id=upload, lifetime=whole, left=whole)

        await self._engine.write(renew, durable=False)

    async def reserve(self, upload: Upload, size: int, *, more: bool) -> int | None:
        """See the port."""
        if not await self._engine.read(_LIMITED, repository=upload.repository_id):
            return None

        async def promise(transaction: Transaction) -> int | None:
            left = await room(transaction, upload.repository_id, size, upload=upload.id)
            if left is None:
                return None
            promised = min(left, size + _AHEAD) if more else size
            await transaction.run(_RESERVE, id=upload.id, size=promised)
            return promised

        return await self._engine.write(promise, durable=False)

    async def discard_body(self, upload: Upload, key: str) -> None:
        """See the port."""

        async def discard(transaction: Transaction) -> None:
            await _discard(transaction, upload, key)

        await self._engine.write(discard, durable=False)

    async def join_body(self, upload: Upload, key: str, size: int, digest: str | None, lifetime: int) -> bool:
        """See the port."""

        async def join(transaction: Transaction) -> bool:
            stepped = await transaction.run(
                _STEP,
                id=upload.id,
                size=size,
                before=upload.offset,
                generation=upload.generation,
                digest=digest,
                lifetime=lifetime * _MICROSECONDS,
            )
            if not stepped:
                await _discard(transaction, upload, key)
                return False
            position = upload.generation + 1
            return await transaction.run(_JOIN, id=upload.id, key=key, position=position, size=size) == 1

        return await self._engine.write(join, durable=False)

    async def shorten_upload(self, upload: Upload, bodies: Sequence[Body]) -> None:
        """See the port."""
        kept = {body.key for body in bodies}

        async def shorten(transaction: Transaction) -> None:
            size = sum(body.size for body in bodies)
            if not await transaction.run(_SHORTEN, id=upload.id, size=size, generation=upload.generation):
                return
            for key, _ in await transaction.all(_BODIES, id=upload.id):
                if key not in kept:
                    await transaction.run(_FORGET_BODY, id=upload.id, key=key)
                    await transaction.run(_TRASH, store=upload.store, key=key)

        await self._engine.write(shorten, durable=False)

    async def close_upload(self, upload: Upload, digest: str, size: int, key: str, caller: Caller) -> bool:
        """See the port."""

        async def close(transaction: Transaction) -> bool:
            if not await transaction.run(_LOCK, id=upload.id, size=upload.offset, generation=upload.generation):
                await _discard(transaction, upload, key)
                return False
            new = await transaction.one(_NEW_BLOB, digest=digest, size=size, store=upload.store, key=key)
            row = new or await transaction.one(_OLD_BLOB, digest=digest)
            if row is None:
                raise Conflict("the blob was removed meanwhile")
            await link(transaction, upload.repository_id, row[0], digest, caller)
            keep = new is not None
            if not await use(transaction, upload.repository_id, row[0]):  # the old bytes are on their way out
                keep = bool(await transaction.run(_TAKE_OVER, blob=row[0], store=upload.store, key=key, size=size))
                if not keep:
                    raise Conflict("the blob was removed meanwhile")
                await transaction.run(_TRASH, store=row[1], key=row[2])
                await use(transaction, upload.repository_id, row[0])
            keep = keep or await _mend(transaction, upload, row[0], size, key)
            await refuse_purged(transaction, upload.repository_id, (digest,))
            await _end(transaction, upload.id, key if keep else "")
            return True

        return await self._engine.write(close, durable=True)

    async def cancel_upload(self, repository: str, upload: str) -> bool:
        """See the port."""

        async def cancel(transaction: Transaction) -> bool:
            if not await transaction.run(_LOCK_ANY, id=upload, repository=repository):
                return False
            await _end(transaction, upload, "")
            return True

        return await self._engine.write(cancel, durable=False)

    async def store_identity(self, store: str, fresh: str) -> str:
        """See the port."""

        async def know(transaction: Transaction) -> str:
            await transaction.run(_KNOW_STORE, name=store, id=fresh)
            row = await transaction.one(_STORE, name=store)
            assert row is not None
            return f"{row[0]} {row[1]}"

        return await self._engine.write(know, durable=True)

    async def raise_generation(self, store: str) -> str:
        """See the port."""

        async def older(transaction: Transaction) -> str:
            row = await transaction.one(_OLDER, name=store)
            assert row is not None
            return f"{row[0]} {row[1]}"

        return await self._engine.write(older, durable=True)

    async def rename_store(self, store: str, fresh: str) -> str:
        """See the port."""

        async def rename(transaction: Transaction) -> str:
            row = await transaction.one(_RENAME_STORE, name=store, id=fresh)
            assert row is not None
            return f"{row[0]} {row[1]}"

        return await self._engine.write(rename, durable=True)

    async def newest_keys(self, store: str) -> list[str]:
        """See the port."""
        return [key for (key,) in await self._engine.read(_NEWEST, store=store)]

    async def unnamed(self, store: str, keys: Sequence[str]) -> Sequence[str]:
        """See the port."""
        return await DatabaseVerification(self._engine).unnamed(store, keys)

    async def expire_uploads(self, limit: int) -> int:
        """See the port."""

        async def expire(transaction: Transaction) -> int:
            ended = 0
            for (upload,) in await transaction.all(_EXPIRED, limit=limit):
                if await transaction.run(_EXPIRE, id=upload):
                    await _end(transaction, upload, "")
                    ended += 1
            return ended

        return await self._engine.write(expire, durable=False)

    async def trashed(self, limit: int) -> list[tuple[str, str]]:
        """See the port."""
        return [(store, key) for store, key in await self._engine.read(_TRASHED, limit=limit)]

    async def empty_trash(self, keys: Sequence[tuple[str, str]]) -> None:
        """See the port."""

        async def empty(transaction: Transaction) -> None:
            for start in range(0, len(keys), _KEYS):
                these: dict[str, object] = {}
                for number in range(_KEYS):
                    store, key = keys[start + number] if start + number < len(keys) else ("", "")
                    these |= {f"store{number}": store, f"key{number}": key}
                await transaction.run(_FORGET_TRASH, **these)

        await self._engine.write(empty, durable=False)


async def _mend(transaction: Transaction, upload: Upload, blob: int, size: int, key: str) -> bool:
    """Give a blob these bytes whose own were found damaged or missing; `use` has locked its row."""
    broken = await transaction.one(_BROKEN, blob=blob)
    if broken is None:
        return False
    await transaction.run(_MEND, blob=blob, store=upload.store, key=key, size=size)
    await transaction.run(_TRASH, store=broken[0], key=broken[1])
    return True


async def _discard(transaction: Transaction, upload: Upload, key: str) -> None:
    """A claimed key that becomes nothing; a body that has joined stays in its session."""
    await transaction.run(_FORGET_CLAIM, id=upload.id, key=key)
    await transaction.run(_RELEASE, id=upload.id)
    await transaction.run(_TRASH_UNUSED, id=upload.id, store=upload.store, key=key)


async def _end(transaction: Transaction, upload: str, keep: str) -> None:
    """End a session whose row this transaction has locked by an update."""
    await transaction.run(_TRASH_OTHERS, id=upload, keep=keep)
    await transaction.run(_FORGET_BODIES, id=upload)
    await transaction.run(_FORGET, id=upload)
