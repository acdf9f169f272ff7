"""Manifests, tags and what lists them."""

from collections.abc import Sequence

from entrepot.access.caller import Caller
from entrepot.database.cache import ReadCache
from entrepot.database.changes import record
from entrepot.database.engine import Conflict, Engine, Transaction
from entrepot.database.holding import forget_unlinked, hold
from entrepot.database.purges import refuse_purged
from entrepot.database.quotas import room
from entrepot.database.repositories import made_repository_id, repository_id
from entrepot.database.tag_rules import refuse_move
from entrepot.registry.ports import NewManifest, Referrer, StoredManifest, StoredRepository

_CACHED = 256 * 1024  # bytes: larger manifests are rare and read from the database each time

STORED = (  # the columns of a StoredManifest: of the manifest `m`, its repository `r`, and the account `n` of that
    "m.id, m.digest, m.media_type, m.content, r.id, r.rights_version, m.kind,"
    " CASE WHEN r.pulls_exempt = 1 OR n.pulls_exempt = 1 THEN 1 ELSE 0 END"
)
_COLUMNS = f"SELECT {STORED} FROM repositories r LEFT JOIN accounts n ON n.id = r.namespace_id"  # noqa: S608 - constants
_BY_TAG = (
    f"{_COLUMNS} JOIN tags t ON t.repository_id = r.id JOIN manifests m ON m.id = t.manifest_id"
    " WHERE r.name = :repository AND t.name = :reference"
)
_BY_DIGEST = (
    f"{_COLUMNS} JOIN manifests m ON m.repository_id = r.id WHERE r.name = :repository AND m.digest = :reference"
    " AND m.deleted_at IS NULL"
)
_HOLDS = (
    "(EXISTS (SELECT 1 FROM links l WHERE l.repository_id = r.id)"
    " OR EXISTS (SELECT 1 FROM manifests m WHERE m.repository_id = r.id AND m.deleted_at IS NULL))"
)
_REPOSITORY = (
    f"SELECT r.id, r.rights_version, CASE WHEN {_HOLDS} THEN 1 ELSE 0 END FROM repositories r"  # noqa: S608 - a constant
    " WHERE r.name = :repository"
)
_REPOSITORIES = (
    f"SELECT r.name FROM repositories r WHERE r.name > :after AND {_HOLDS}"  # noqa: S608
    " AND r.deleted_at IS NULL ORDER BY r.name LIMIT :limit"
)
_TAGS = (
    "SELECT t.name FROM tags t WHERE t.repository_id = (SELECT id FROM repositories WHERE name = :repository)"
    " AND t.name > :after ORDER BY t.name LIMIT :limit"
)
_REFERRERS = (
    "SELECT m.id, m.media_type, m.digest, m.size, m.artifact_type, m.annotations FROM manifests m"
    " WHERE m.repository_id = (SELECT id FROM repositories WHERE name = :repository)"
    " AND m.subject = :subject AND m.id > :after AND m.deleted_at IS NULL"
)
_OF_TYPE = " AND m.artifact_type = :artifact_type"
_BY_ID = " ORDER BY m.id LIMIT :limit"
_INSERT = (
    "INSERT INTO manifests (repository_id, digest, media_type, size, artifact_type, subject, pushed_at, annotations,"
    " kind, content, tagged) VALUES (:repository, :digest, :media_type, :size, :artifact_type, :subject, now_us(),"
    " :annotations, :kind, :content, :tagged) ON CONFLICT (repository_id, digest) DO NOTHING RETURNING id"
)
_PUSHED_AGAIN = (
    "UPDATE manifests SET pushed_at = now_us(), tagged = CASE WHEN tagged > :tagged THEN tagged ELSE :tagged END"
    " WHERE repository_id = :repository AND digest = :digest RETURNING id, media_type, deletion_id, deleted_at"
)
_LEAVE_TAGS = "DELETE FROM deleted_tags WHERE manifest_id = :manifest"
_LEAVE = (
    "DELETE FROM deletions WHERE id = :deletion AND NOT EXISTS (SELECT 1 FROM manifests m WHERE"
    " m.deletion_id = :deletion) AND NOT EXISTS (SELECT 1 FROM deleted_tags t WHERE t.deletion_id = :deletion)"
)
_LIVE_AGAIN = "UPDATE manifests SET deleted_at = NULL, deletion_id = NULL, sighted = NULL WHERE id = :id"
_RETYPE = "UPDATE manifests SET media_type = :media_type WHERE id = :id"
_REFER = (
    "INSERT INTO manifest_references (manifest_id, digest, kind) VALUES (:manifest, :digest, :kind)"
    " ON CONFLICT (manifest_id, digest, kind) DO NOTHING"
)
# The time of a tag's move strictly rises; a push of the digest that the tag already has is no move and gives no row.
_MOVE = (
    "INSERT INTO tags (repository_id, name, manifest_id, moved_at) VALUES (:repository, :tag, :manifest, now_us())"
    " ON CONFLICT (repository_id, name) DO UPDATE SET previous_id = tags.manifest_id,"
    " manifest_id = excluded.manifest_id, expires_at = NULL, moved_at = CASE WHEN excluded.moved_at > tags.moved_at"
    " THEN excluded.moved_at ELSE tags.moved_at + 1 END WHERE tags.manifest_id <> excluded.manifest_id"
    " RETURNING previous_id, moved_at"
)
_LAST_CHANGE = "SELECT at FROM changes WHERE repository_id = :repository AND tag = :tag ORDER BY id DESC LIMIT 1"
_MOVE_LATER = "UPDATE tags SET moved_at = :at WHERE repository_id = :repository AND name = :tag"
_DIGEST = "SELECT digest FROM manifests WHERE id = :id"
_ID = "SELECT id FROM manifests WHERE repository_id = :repository AND digest = :digest"


class _Missing(Exception):
    """Blobs that the repository does not have: what was held already is let go with the transaction."""

    def __init__(self, digests: list[str]) -> None:
        super().__init__()
        self.digests = digests


class DatabaseManifests:
    """The port ManifestRows."""

    def __init__(self, engine: Engine, cache: ReadCache) -> None:
        self._engine = engine
        self._cache = cache

    async def find_manifest(self, repository: str, reference: str) -> StoredManifest | None:
        """See the port."""
        cached: StoredManifest | None = await self._cache.get(repository, reference)
        if cached is not None:
            return cached
        statement = _BY_DIGEST if ":" in reference else _BY_TAG
        rows = await self._engine.read(statement, repository=repository, reference=reference)
        if not rows:
            return None
        manifest = StoredManifest(*rows[0])
        if len(manifest.content) <= _CACHED:
            self._cache.put(repository, reference, manifest, len(manifest.content))
        return manifest

    async def find_repository(self, repository: str) -> StoredRepository | None:
        """See the port."""
        rows = await self._engine.read(_REPOSITORY, repository=repository)
        return StoredRepository(rows[0][0], rows[0][1], bool(rows[0][2])) if rows else None

    async def put_manifest(
        self, repository: str, manifest: NewManifest, tags: Sequence[str], caller: Caller, *, durable: bool = True
    ) -> list[str]:
        """See the port."""

        async def put(transaction: Transaction) -> None:
            identity = await repository_id(transaction, repository, caller)
            if identity is None and manifest.required:
                raise _Missing(list(manifest.required))
            if identity is None:
                identity = await made_repository_id(transaction, repository, caller)
            others = {digest for digest, _ in manifest.references} - set(manifest.required)
            missing = await hold(transaction, identity, manifest.required, others)
            if missing:
                raise _Missing([digest for digest in manifest.required if digest in missing])
            await refuse_purged(
                transaction, identity, (manifest.digest, *(digest for digest, _ in manifest.references))
            )
            if not await transaction.one(_ID, repository=identity, digest=manifest.digest):
                await room(transaction, identity, len(manifest.content))
            stored = await _store(transaction, identity, manifest, bool(tags), caller)
            for tag in tags:
                await move(transaction, identity, tag, stored, manifest.digest, caller)

        try:
            await self._engine.write(put, durable=durable)
        except _Missing as missing:
            return missing.digests
        return []

    async def tags(self, repository: str, after: str, limit: int) -> list[str]:
        """See the port."""
        return [row[0] for row in await self._engine.read(_TAGS, repository=repository, after=after, limit=limit)]

    async def repositories(self, after: str, limit: int) -> list[str]:
        """See the port."""
        return [row[0] for row in await self._engine.read(_REPOSITORIES, after=after, limit=limit)]

    async def referrers(
        self, repository: str, subject: str, artifact_type: str | None, after: int, limit: int
    ) -> list[Referrer]:
        """See the port."""
        values: dict[str, object] = {"repository": repository, "subject": subject, "after": after, "limit": limit}
        if artifact_type is None:
            rows = await self._engine.read(_REFERRERS + _BY_ID, **values)
        else:
            rows = await self._engine.read(_REFERRERS + _OF_TYPE + _BY_ID, artifact_type=artifact_type, **values)
        return [Referrer(*row) for row in rows]


async def _store(transaction: Transaction, repository: int, manifest: NewManifest, tagged: bool, caller: Caller) -> int:
    row = await transaction.one(
        _INSERT,
        repository=repository,
        digest=manifest.digest,
        media_type=manifest.media_type,
        size=len(manifest.content),
        artifact_type=manifest.artifact_type,
        subject=manifest.subject,
        annotations=manifest.annotations,
        kind=manifest.kind,
        content=manifest.content,
        tagged=int(tagged),
    )
    if row is None:
        again = {"repository": repository, "digest": manifest.digest, "tagged": int(tagged)}
        row = await transaction.one(_PUSHED_AGAIN, **again)
        if row is None:
            raise Conflict("the manifest was forgotten meanwhile")
        if row[3] is not None:
            await transaction.run(_LIVE_AGAIN, id=row[0])
            await leave_deletion(transaction, row[0], row[2])
            await forget_unlinked(transaction, repository, (digest for digest, _ in manifest.references))
            await record(transaction, caller, "manifest.push", repository, new=manifest.digest)
        if row[1] != manifest.media_type:
            await transaction.run(_RETYPE, id=row[0], media_type=manifest.media_type)
            await record(transaction, caller, "manifest.push", repository, old=manifest.digest, new=manifest.digest)
        return int(row[0])
    for digest, kind in manifest.references:
        await transaction.run(_REFER, manifest=row[0], digest=digest, kind=kind)
    await record(transaction, caller, "manifest.push", repository, new=manifest.digest)
    return int(row[0])


async def leave_deletion(transaction: Transaction, manifest: int, deletion: int | None) -> None:
    """What went with a manifest that is forgotten, or was pushed again, is no longer brought back with it."""
    await transaction.run(_LEAVE_TAGS, manifest=manifest)
    if deletion is not None:
        await transaction.run(_LEAVE, deletion=deletion)


async def move(
    transaction: Transaction,
    repository: int,
    tag: str,
    manifest: int,
    digest: str,
    caller: Caller,
    kind: str = "tag.move",
    *,
    free: bool = False,
) -> None:
    """Let a tag name a manifest, and write that into its history; nothing when it does already. Denied by a rule.

    `free`: the tag was seen to name nothing; Conflict when somebody was there first.
    """
    row = await transaction.one(_MOVE, repository=repository, tag=tag, manifest=manifest)
    if row is None:
        return
    previous, at = row
    if previous is None:
        old = None
        at = await _after_its_past(transaction, repository, tag, at)
    elif free:
        raise Conflict("the tag was pushed meanwhile")
    else:
        old = await _digest(transaction, previous)
    await refuse_move(transaction, repository, tag, old, digest, caller)
    await record(transaction, caller, kind, repository, tag=tag, old=old, new=digest, at=at)


async def _after_its_past(transaction: Transaction, repository: int, tag: str, at: int) -> int:
    """The time of a tag that is new or comes back: later than its last change, whatever the clock says."""
    last = await transaction.one(_LAST_CHANGE, repository=repository, tag=tag)
    if last is None or last[0] < at:
        return at
    await transaction.run(_MOVE_LATER, repository=repository, tag=tag, at=last[0] + 1)
    return int(last[0]) + 1


async def _digest(transaction: Transaction, manifest: int) -> str | None:
    row = await transaction.one(_DIGEST, id=manifest)
    return None if row is None else str(row[0])
