"""Upstreams' repositories: their tags' state, and the links that the cache holds."""

import contextlib
from collections.abc import Collection

from entrepot.access.caller import Caller
from entrepot.database.blobs import link
from entrepot.database.changes import record
from entrepot.database.deletion import drop_tag
from entrepot.database.engine import Conflict, Engine, Transaction
from entrepot.database.holding import loosen_blob, use
from entrepot.database.purges import any_purged_of, refuse_purged, refuse_purged_of
from entrepot.database.tag_rules import refuse_delete, rules_of
from entrepot.proxy.eviction import Evicted
from entrepot.proxy.forgetting import Bare
from entrepot.proxy.keeping import Held
from entrepot.proxy.ports import Seen
from entrepot.proxy.uses import USE_SECONDS
from entrepot.registry.errors import Denied

# Nobody lists what comes from an upstream: who may read it is decided by the upstream's configuration.
_ENSURE = (
    "INSERT INTO repositories (name, created_at, visibility, upstream) VALUES (:name, now_us(), 'private', :alias)"
    " ON CONFLICT (name) DO NOTHING"
)
_EXISTS = "SELECT id FROM repositories WHERE name = :name"
_NAMING = (
    "SELECT m.content FROM manifest_references f JOIN manifests m ON m.id = f.manifest_id"
    " JOIN repositories r ON r.id = m.repository_id"
    " WHERE f.digest = :digest AND f.kind <> 'child' AND r.name = :name LIMIT 1"
)
_STORED = (
    "SELECT r.id, b.id FROM repositories r, blobs b WHERE r.name = :name AND b.digest = :digest"
    " AND b.state <> 'removing' AND b.damage IS NULL"
)
_HELD_BY = (
    "SELECT EXISTS (SELECT 1 FROM links l JOIN repositories r ON r.id = l.repository_id WHERE l.blob_id = b.id"
    " AND r.upstream = :alias) FROM blobs b WHERE b.digest = :digest AND b.state <> 'removing' AND b.damage IS NULL"
)
_SEEN = (
    "SELECT t.checked_at, t.gone_since FROM upstream_tags t JOIN repositories r ON r.id = t.repository_id"
    " WHERE r.name = :name AND t.tag = :tag"
)
_CHECKED = (
    "INSERT INTO upstream_tags (repository_id, tag, checked_at) SELECT r.id, :tag, now_us() FROM repositories r"
    " WHERE r.name = :name ON CONFLICT (repository_id, tag) DO UPDATE SET checked_at = excluded.checked_at,"
    " gone_since = NULL RETURNING checked_at"
)
_GONE = (
    "INSERT INTO upstream_tags (repository_id, tag, gone_since) SELECT r.id, :tag, now_us() FROM repositories r"
    " WHERE r.name = :name ON CONFLICT (repository_id, tag) DO UPDATE SET"
    " gone_since = COALESCE(upstream_tags.gone_since, excluded.gone_since) RETURNING gone_since"
)
_SIGHTED = (
    "INSERT INTO upstream_sightings (repository_id, tag, digest, first_at) SELECT r.id, :tag, :digest, now_us()"
    " FROM repositories r WHERE r.name = :name ON CONFLICT (repository_id, tag, digest) DO UPDATE SET"
    " first_at = upstream_sightings.first_at RETURNING first_at"
)
# What begins with `alias/` lies between `alias/` and `alias0` in byte order, as 0 follows the slash.
_HOSTED_UNDER = (
    "SELECT name FROM repositories WHERE upstream IS NULL AND deleted_at IS NULL AND name >= :first AND name < :end"
    " ORDER BY name LIMIT 1"
)
_NAMED = (
    "SELECT r.id, m.id FROM repositories r JOIN tags t ON t.repository_id = r.id"
    " JOIN manifests m ON m.id = t.manifest_id WHERE r.name = :name AND t.name = :tag AND m.digest = :digest"
)
_NOW = "SELECT now_us()"
_STEP = USE_SECONDS * 1_000_000  # microseconds
_NOW_NOTED = f"now_us() / {_STEP} * {_STEP}"
_USED = (
    f"UPDATE links SET used_at = {_NOW_NOTED} WHERE repository_id = (SELECT id FROM repositories WHERE name = :name)"  # noqa: S608
    " AND blob_id = (SELECT id FROM blobs WHERE digest = :digest)"
)
_USED_IMAGE = (
    f"UPDATE links SET used_at = {_NOW_NOTED} WHERE (used_at IS NULL OR used_at < {_NOW_NOTED})"  # noqa: S608
    " AND EXISTS (SELECT 1 FROM repositories r JOIN manifests m ON m.repository_id = r.id"
    " JOIN manifest_references f ON f.manifest_id = m.id JOIN blobs b ON b.digest = f.digest"
    " WHERE r.name = :name AND m.digest = :digest AND links.repository_id = r.id AND links.blob_id = b.id)"
)
_OF_UPSTREAM = (
    " FROM links l JOIN repositories r ON r.id = l.repository_id JOIN blobs b ON b.id = l.blob_id"
    " WHERE r.upstream = :alias"
)
_OF_ALL = _OF_UPSTREAM.replace("= :alias", "IS NOT NULL")
_HELD = f"SELECT COALESCE(CAST(SUM(b.size) AS bigint), 0){_OF_UPSTREAM}"
_HELD_BY_ALL = _HELD.replace(_OF_UPSTREAM, _OF_ALL)
_ORDER = "COALESCE(l.used_at, l.created_at), l.created_at, r.id, b.id"
_OLDEST = (  # what was used may have been used a step later than is noted
    f"SELECT {_ORDER}, r.name, b.digest, b.size, b.store, b.key{_OF_UPSTREAM}"
    " AND ((l.used_at IS NULL AND l.created_at <= CAST(:before AS bigint))"
    f" OR l.used_at <= CAST(:before AS bigint) - {_STEP})"
    f" AND ({_ORDER}) > (CAST(:a AS bigint), CAST(:b AS bigint), CAST(:c AS bigint), CAST(:d AS bigint))"
    f" ORDER BY {_ORDER} LIMIT :limit"
)
_OLDEST_OF_ALL = _OLDEST.replace(_OF_UPSTREAM, _OF_ALL)
_UNLINK = "DELETE FROM links WHERE repository_id = :repository AND blob_id = :blob"
_UNHELD = (
    "DELETE FROM blobs WHERE id = :blob AND NOT EXISTS (SELECT 1 FROM links l WHERE l.blob_id = :blob)"
    " AND NOT EXISTS (SELECT 1 FROM manifest_references f JOIN manifests m ON m.id = f.manifest_id"
    " JOIN repositories r ON r.id = m.repository_id WHERE f.digest = :digest AND r.upstream IS NULL)"
)
_TRASH = "INSERT INTO trash (store, key) VALUES (:store, :key) ON CONFLICT (store, key) DO NOTHING"
_LINKED_OF = (  # a blob that the manifest {0} names is linked in its repository
    "SELECT 1 FROM manifest_references g JOIN blobs b ON b.digest = g.digest JOIN links l ON l.blob_id = b.id"
    " WHERE g.manifest_id = {0}.id AND l.repository_id = {0}.repository_id"
)
_LIVE_BESIDE = "{0}.repository_id = m.repository_id AND {0}.deleted_at IS NULL"
_BARE = (
    "SELECT m.id, r.name, m.digest FROM manifests m JOIN repositories r ON r.id = m.repository_id"  # noqa: S608
    " WHERE r.upstream = :alias AND m.deleted_at IS NULL AND m.id > :after"
    " AND m.pushed_at <= now_us() - CAST(:age AS bigint)"
    " AND NOT EXISTS (SELECT 1 FROM manifest_references f JOIN manifests p ON p.id = f.manifest_id"
    f" WHERE f.digest = m.digest AND f.kind = 'child' AND {_LIVE_BESIDE.format('p')})"
    f" AND NOT EXISTS ({_LINKED_OF.format('m')})"
    " AND NOT EXISTS (SELECT 1 FROM manifest_references f JOIN manifests c ON c.digest = f.digest"
    f" WHERE f.manifest_id = m.id AND f.kind = 'child' AND {_LIVE_BESIDE.format('c')}"
    f" AND (EXISTS ({_LINKED_OF.format('c')}) OR EXISTS (SELECT 1 FROM manifest_references g"
    " WHERE g.manifest_id = c.id AND g.kind = 'child')))"  # of indexes in indexes nobody knows how deep they go
    " AND NOT EXISTS (SELECT 1 FROM tags t JOIN upstream_tags u ON u.repository_id = t.repository_id AND u.tag = t.name"
    " WHERE t.manifest_id = m.id AND u.checked_at > now_us() - CAST(:age AS bigint)) ORDER BY m.id LIMIT :limit"
)
_TAGS_OF = "SELECT name FROM tags WHERE manifest_id = :manifest ORDER BY name"
_FORGET_TAGS = (
    "DELETE FROM upstream_tags WHERE (repository_id, tag) IN (SELECT u.repository_id, u.tag FROM upstream_tags u"
    " JOIN repositories r ON r.id = u.repository_id WHERE r.upstream = :alias"
    " AND COALESCE(u.checked_at, u.gone_since) <= now_us() - CAST(:age AS bigint) AND NOT EXISTS"
    " (SELECT 1 FROM tags t WHERE t.repository_id = u.repository_id AND t.name = u.tag) LIMIT :limit)"
)
_NOBODY = Caller()
_BEGINNING = (-(2**62), 0, 0, 0)  # before every link


async def hosted_under(engine: Engine, alias: str) -> str | None:
    """A hosted repository under this alias, from before it was one; None when there is none."""
    rows = await engine.read(_HOSTED_UNDER, first=f"{alias}/", end=f"{alias}0")
    return str(rows[0][0]) if rows else None


class DatabaseUpstreams:
    """The ports UpstreamRows, HeldRows and BareRows."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def ensure(self, repository: str, alias: str) -> int:
        """See the port."""
        rows = await self._engine.read(_EXISTS, name=repository)
        if rows:
            return int(rows[0][0])

        async def insert(transaction: Transaction) -> int:
            await transaction.run(_ENSURE, name=repository, alias=alias)
            return int((await transaction.all(_EXISTS, name=repository))[0][0])

        return await self._engine.write(insert, durable=False)

    async def naming(self, repository: str, digest: str) -> bytes | None:
        """See the port."""
        rows = await self._engine.read(_NAMING, name=repository, digest=digest)
        return rows[0][0] if rows else None

    async def stored(self, alias: str, digest: str) -> bool | None:
        """See the port."""
        rows = await self._engine.read(_HELD_BY, alias=alias, digest=digest)
        return bool(rows[0][0]) if rows else None

    async def link_stored(self, repository: str, digest: str) -> bool:
        """See the port."""
        if not await self._engine.read(_STORED, name=repository, digest=digest):
            return False

        async def add(transaction: Transaction) -> bool:
            row = await transaction.one(_STORED, name=repository, digest=digest)
            if row is None:
                return False
            await link(transaction, row[0], row[1], digest, _NOBODY)
            if not await use(transaction, row[0], row[1]):
                raise Conflict("the blob is being removed")
            await refuse_purged(transaction, row[0], (digest,))
            return True

        try:
            return await self._engine.write(add, durable=False)
        except Conflict:
            return False

    async def refuse_purged(self, alias: str, digest: str) -> None:
        """See the port."""
        await refuse_purged_of(self._engine, alias, digest)

    async def any_purged(self, alias: str) -> bool:
        """See the port."""
        return await any_purged_of(self._engine, alias)

    async def end_tag(self, repository: str, tag: str, digest: str) -> None:
        """See the port."""

        async def end(transaction: Transaction) -> None:
            row = await transaction.one(_NAMED, name=repository, tag=tag, digest=digest)
            if row is not None:
                await refuse_delete(transaction, row[0], tag, await rules_of(transaction, row[0]), _NOBODY)
                await drop_tag(transaction, row[0], tag, row[1], digest, _NOBODY, "tag.purge")

        with contextlib.suppress(Conflict, Denied):
            await self._engine.write(end, durable=False)

    async def seen(self, repository: str, tag: str) -> Seen:
        """See the port."""
        rows = await self._engine.read(_SEEN, name=repository, tag=tag)
        return Seen(*rows[0]) if rows else Seen(None, None)

    async def checked(self, repository: str, tag: str) -> int:
        """See the port."""
        return await self._time(_CHECKED, name=repository, tag=tag)

    async def gone(self, repository: str, tag: str) -> int:
        """See the port."""
        rows = await self._engine.read(_SEEN, name=repository, tag=tag)
        if rows and rows[0][1] is not None:
            return int(rows[0][1])
        return await self._time(_GONE, name=repository, tag=tag)

    async def first_seen(self, repository: str, tag: str, digest: str) -> int:
        """See the port."""
        return await self._time(_SIGHTED, name=repository, tag=tag, digest=digest)

    async def now(self) -> int:
        """See the port."""
        return int((await self._engine.read(_NOW))[0][0])

    async def used(self, repository: str, digest: str) -> None:
        """See the port."""
        await self._note(_USED, repository, digest)

    async def used_image(self, repository: str, digest: str) -> None:
        """See the port."""
        await self._note(_USED_IMAGE, repository, digest)

    async def _note(self, statement: str, repository: str, digest: str) -> None:
        async def note(transaction: Transaction) -> None:
            await transaction.run(statement, name=repository, digest=digest)

        await self._engine.write(note, durable=False)

    async def held(self, alias: str | None) -> int:
        """See the port."""
        rows = self._engine.scan(_HELD_BY_ALL) if alias is None else self._engine.scan(_HELD, alias=alias)
        return int((await rows)[0][0])

    async def evict(
        self,
        alias: str | None,
        excess: int,
        unused: float,
        limit: int,
        spared: Collection[Held] = (),
        after: tuple[int, ...] | None = None,
    ) -> Evicted:
        """See the port. Removal is one transaction; the bytes go with the trash, after it."""
        of = {} if alias is None else {"alias": alias}
        oldest = _OLDEST_OF_ALL if alias is None else _OLDEST
        a, b, c, d = after or _BEGINNING

        async def end(transaction: Transaction) -> Evicted:
            freed = 0
            before = (await transaction.all(_NOW))[0][0] - int(unused * 1_000_000)
            rows = await transaction.all(oldest, limit=limit, before=before, a=a, b=b, c=c, d=d, **of)
            for *_, repository, blob, name, digest, size, store, key in rows:
                if freed >= excess:
                    return Evicted(freed, None)
                if (name, digest) not in spared:
                    freed += await _unlink(transaction, repository, blob, digest, size, store, key)
            return Evicted(freed, tuple(rows[-1][:4]) if len(rows) == limit else None)

        return await self._engine.write(end, durable=True)

    async def bare(self, alias: str, age: float, after: int, limit: int) -> list[Bare]:
        """See the port."""
        of = {"alias": alias, "age": int(age * 1_000_000), "after": after, "limit": limit}
        found = []
        for identity, name, digest in await self._engine.scan(_BARE, **of):
            tags = [str(row[0]) for row in await self._engine.read(_TAGS_OF, manifest=identity)]
            found.append(Bare(identity, name, digest, tags))
        return found

    async def forget_tags(self, alias: str, age: float, limit: int) -> int:
        """See the port."""

        async def forget(transaction: Transaction) -> int:
            return await transaction.run(_FORGET_TAGS, alias=alias, age=int(age * 1_000_000), limit=limit)

        return await self._engine.write(forget, durable=False)

    async def _time(self, statement: str, **values: object) -> int:
        async def run(transaction: Transaction) -> int:
            row = await transaction.one(statement, **values)
            return int(row[0]) if row is not None else 0

        return await self._engine.write(run, durable=False)


async def _unlink(
    transaction: Transaction, repository: int, blob: int, digest: str, size: int, store: str, key: str
) -> int:
    """End a link, and the blob that nothing else holds; the bytes that the upstream is charged for no more."""
    if not await transaction.run(_UNLINK, repository=repository, blob=blob):
        return 0
    await record(transaction, _NOBODY, "blob.unlink", repository, old=digest)
    if await transaction.run(_UNHELD, blob=blob, digest=digest):
        await transaction.run(_TRASH, store=store, key=key)
    else:
        await loosen_blob(transaction, digest)
    return size
