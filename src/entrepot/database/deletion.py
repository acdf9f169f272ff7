"""Deleting manifests and tags, what goes along with them, and bringing it back."""

import json
from collections.abc import Iterable, Mapping

from entrepot.access.caller import Caller
from entrepot.database.cascade import LIVE, NAMED, Plan
from entrepot.database.changes import record
from entrepot.database.engine import Conflict, Engine, Transaction
from entrepot.database.freed import freed_by
from entrepot.database.holding import forget_unlinked, hold
from entrepot.database.manifests import move
from entrepot.database.repositories import repository_id
from entrepot.database.tag_rules import refuse_delete, refuse_restore, rules_of
from entrepot.registry.deletion import Deleted, Preview, Restored, TagDeleted
from entrepot.registry.errors import Denied, Moved, TagInvalid, Unsupported

# As when a deletion is planned, of one that gets a tag of its own: no index takes it along any more.
_LOCK_TAGGED = "UPDATE manifests SET tagged = 1 WHERE id = :manifest AND deleted_at IS NULL"
_NOW = "CASE WHEN now_us() > moved_at THEN now_us() ELSE moved_at + 1 END"
_DROP_TAG = (
    f"DELETE FROM tags WHERE repository_id = :repository AND name = :tag AND manifest_id = :manifest RETURNING {_NOW}"  # noqa: S608
)
_NEW = "INSERT INTO deletions (repository_id, at, digest) VALUES (:repository, now_us(), :digest) RETURNING id"
_DELETE = (
    "UPDATE manifests SET deleted_at = now_us(), deletion_id = :deletion, sighted = NULL"
    " WHERE id = :manifest AND deleted_at IS NULL"
)
_KEEP_TAG = "INSERT INTO deleted_tags (deletion_id, name, manifest_id) VALUES (:deletion, :tag, :manifest)"
_DELETED = (
    "SELECT deletion_id FROM manifests WHERE repository_id = :repository AND digest = :digest"
    " AND deleted_at IS NOT NULL"
)
_TOGETHER = "SELECT id, digest FROM manifests WHERE deletion_id = :deletion AND deleted_at IS NOT NULL ORDER BY id"
_REVIVE = (
    "UPDATE manifests SET deleted_at = NULL, deletion_id = NULL, sighted = NULL WHERE id = :manifest"
    " AND deleted_at IS NOT NULL"
)
_KEPT_TAGS = "SELECT name, manifest_id FROM deleted_tags WHERE deletion_id = :deletion ORDER BY name"
_FORGET_TAGS = "DELETE FROM deleted_tags WHERE deletion_id = :deletion"
_FORGET = "DELETE FROM deletions WHERE id = :deletion"
_TAKEN = "SELECT m.digest FROM tags t JOIN manifests m ON m.id = t.manifest_id WHERE t.repository_id = :repository AND t.name = :tag"  # noqa: E501
_REFERENCES = "SELECT digest FROM manifest_references WHERE manifest_id = :manifest"
_LINK_AGAIN = (
    "INSERT INTO links (repository_id, blob_id, created_at) SELECT u.repository_id, b.id, now_us() FROM unlinked u"
    " JOIN blobs b ON b.digest = u.digest WHERE u.repository_id = :repository AND u.digest = :digest"
    " ON CONFLICT (repository_id, blob_id) DO NOTHING"
)
_HOLDERS = (
    "SELECT m.digest FROM manifest_references f JOIN manifests m ON m.id = f.manifest_id WHERE f.digest = :digest"
    " AND m.repository_id = :repository AND m.deleted_at IS NULL ORDER BY m.id LIMIT 1"
)
_NAMED_BY_DELETED = (
    "SELECT 1 FROM manifest_references f JOIN manifests m ON m.id = f.manifest_id WHERE f.digest = :digest"
    " AND m.repository_id = :repository LIMIT 1"
)
_REMEMBER_LINK = (
    "INSERT INTO unlinked (repository_id, digest) VALUES (:repository, :digest)"
    " ON CONFLICT (repository_id, digest) DO NOTHING"
)
_UNLINK = (
    "DELETE FROM links WHERE repository_id = :repository AND blob_id = (SELECT id FROM blobs WHERE digest = :digest)"
)
_TAG_MAX = 128  # characters (distribution-spec)


class DatabaseDeletions:
    """The port DeletionRows."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def preview(self, repository: str, digest: str, caller: Caller) -> Preview | None:
        """See the port."""

        async def look(transaction: Transaction) -> Preview | None:
            identity, plan = await _planned(transaction, repository, digest, caller)
            if identity is None or plan is None:
                return None
            holders = await plan.holders(transaction, identity, digest)
            freed = await freed_by(transaction, identity, plan.manifests, caller)
            refusals = await _refusals(transaction, identity, plan, caller)
            return Preview(sorted(plan.manifests.values()), sorted(plan.tags), holders, refusals, freed)

        return await self._engine.write(look, durable=False)

    async def delete_manifest(
        self,
        repository: str,
        digest: str,
        caller: Caller,
        seen: Iterable[str] | None = None,
        *,
        spare_tags: bool = False,
    ) -> Deleted | None:
        """See the port."""

        async def delete(transaction: Transaction) -> Deleted | None:
            identity, plan = await _planned(transaction, repository, digest, caller)
            if identity is None or plan is None:
                return None
            holders = await plan.holders(transaction, identity, digest)
            if holders:
                raise Unsupported(
                    f"{digest} is part of the index {holders[0]}: delete that, and this goes with it",
                    {"digest": digest, "holders": holders[:100]},
                )
            own = sorted(tag for tag, manifest in plan.tags.items() if plan.manifests[manifest] == digest)
            if seen is not None and sorted(seen) != own:
                raise Moved(f"the tags of {digest} have moved since: they are {', '.join(own) or 'none'} now")
            if spare_tags and (alien := plan.alien(await rules_of(transaction, identity))):
                raise Moved(f"with {digest} would go the tag {alien[0]}", {"digest": digest})
            return await _carry_out(transaction, identity, digest, plan, caller)

        return await self._engine.write(delete, durable=True)

    async def delete_tag(
        self, repository: str, tag: str, caller: Caller, seen: str | None = None, kind: str = "tag.delete"
    ) -> TagDeleted | None:
        """See the port."""

        async def delete(transaction: Transaction) -> TagDeleted | None:
            identity = await repository_id(transaction, repository, caller)
            row = await transaction.one(NAMED, repository=identity, tag=tag) if identity is not None else None
            if identity is None or row is None:
                return None
            manifest, digest = row
            if seen is not None and seen != digest:
                raise Moved(f"{tag} has moved since: it names {digest} now", {"digest": digest})
            await refuse_delete(transaction, identity, tag, await rules_of(transaction, identity), caller)
            await drop_tag(transaction, identity, tag, manifest, digest, caller, kind)
            return TagDeleted(digest)

        return await self._engine.write(delete, durable=True)

    async def undo(
        self, repository: str, digest: str, caller: Caller, names: Mapping[str, str | None]
    ) -> Restored | None:
        """See the port."""

        async def bring_back(transaction: Transaction) -> Restored | None:
            identity = await repository_id(transaction, repository, caller)
            row = await transaction.one(_DELETED, repository=identity, digest=digest) if identity is not None else None
            if identity is None or row is None:
                return None
            manifests: dict[int, str] = {}
            for manifest, name in await transaction.all(_TOGETHER, deletion=row[0]):
                manifests[manifest] = name
            for manifest, name in manifests.items():
                await _revive(transaction, identity, manifest, name, caller)
            back, left = await _bring_back_tags(transaction, identity, row[0], digest, manifests, names, caller)
            await transaction.run(_FORGET_TAGS, deletion=row[0])
            await transaction.run(_FORGET, deletion=row[0])
            return Restored(sorted(manifests.values()), back, left)

        return await self._engine.write(bring_back, durable=True)

    async def restore_tag(self, repository: str, tag: str, digest: str, caller: Caller) -> bool:
        """See the port."""

        async def restore(transaction: Transaction) -> bool:
            identity = await repository_id(transaction, repository, caller)
            row = await transaction.one(LIVE, repository=identity, digest=digest) if identity is not None else None
            if identity is None or row is None or not await transaction.run(_LOCK_TAGGED, manifest=row[0]):
                return False
            taken = await transaction.one(_TAKEN, repository=identity, tag=tag)
            if taken is not None and taken[0] != digest:
                offer = await _free_tag(transaction, identity, tag)
                raise Moved(
                    f"{tag} names {taken[0]} now: restore it as {offer or 'another tag'}, which is free,"
                    f" or delete {tag} first",
                    {"digest": taken[0], "free": offer},
                )
            await refuse_restore(transaction, identity, tag, digest, caller)
            await move(transaction, identity, tag, row[0], digest, caller, "tag.restore", free=True)
            return True

        return await self._engine.write(restore, durable=True)

    async def unlink_blob(self, repository: str, digest: str, caller: Caller) -> bool:
        """See the port."""

        async def unlink(transaction: Transaction) -> bool:
            identity = await repository_id(transaction, repository, caller)
            if identity is None:
                return False
            here = {"repository": identity, "digest": digest}
            if not await transaction.run(_UNLINK, **here):
                return False
            holder = await transaction.one(_HOLDERS, **here)
            if holder is not None:
                raise Unsupported(
                    f"the manifest {holder[0]} needs this blob: delete that first",
                    {"digest": digest, "holders": [holder[0]]},
                )
            if await transaction.one(_NAMED_BY_DELETED, **here):
                await transaction.run(_REMEMBER_LINK, **here)
            await record(transaction, caller, "blob.unlink", identity, old=digest)
            return True

        return await self._engine.write(unlink, durable=True)


async def _bring_back_tags(
    transaction: Transaction,
    repository: int,
    deletion: int,
    digest: str,
    manifests: Mapping[int, str],
    names: Mapping[str, str | None],
    caller: Caller,
) -> tuple[list[str], list[str]]:
    """Let the tags of a deletion name again what they named: as what they are back, and which are left."""
    kept: dict[str, int] = dict(await transaction.all(_KEPT_TAGS, deletion=deletion))
    unknown = sorted(set(names) - set(kept))
    if unknown:
        raise TagInvalid(f"the tag {unknown[0][:200]!r} did not go with {digest}: leave it out")
    back: list[str] = []
    left: list[str] = []
    taken: dict[str, str] = {}
    for tag, manifest in kept.items():
        name = names.get(tag, tag)
        if name is None or manifest not in manifests:
            left.append(tag)
            continue
        other = await transaction.one(_TAKEN, repository=repository, tag=name)
        if other is not None:
            taken[tag] = other[0]
            continue
        await refuse_restore(transaction, repository, name, manifests[manifest], caller)
        await move(transaction, repository, name, manifest, manifests[manifest], caller, "tag.restore", free=True)
        back.append(name)
    if taken:
        raise await _taken(transaction, repository, taken, names)
    return back, left


async def _taken(
    transaction: Transaction, repository: int, taken: Mapping[str, str], names: Mapping[str, str | None]
) -> Moved:
    """What is said when tags cannot come back as they were called: what they name, and an answer that would do."""
    free: dict[str, str | None] = {tag: await _free_tag(transaction, repository, tag) for tag in taken}
    now = ", ".join(f"{names.get(tag) or tag} names {digest}" for tag, digest in taken.items())
    return Moved(
        f"{now} now, so nothing was brought back: say what they are to be called, such as"
        f" {json.dumps({'tags': {**names, **free}})}, with null for what is not to come back",
        {"taken": dict(taken), "free": free},
    )


async def _free_tag(transaction: Transaction, repository: int, tag: str) -> str | None:
    """A tag like this one that names nothing, None when the first hundred all do."""
    stem = tag[: _TAG_MAX - len("-restored-99")]
    for number in range(1, 100):
        offer = f"{stem}-restored" + (f"-{number}" if number > 1 else "")
        if not await transaction.one(_TAKEN, repository=repository, tag=offer):
            return offer
    return None


async def _planned(
    transaction: Transaction, repository: str, digest: str, caller: Caller
) -> tuple[int | None, Plan | None]:
    identity = await repository_id(transaction, repository, caller)
    row = await transaction.one(LIVE, repository=identity, digest=digest) if identity is not None else None
    if identity is None or row is None:
        return identity, None
    plan = Plan()
    await plan.take(transaction, identity, row[0], digest)
    return identity, plan if plan.manifests else None


async def _refusals(transaction: Transaction, repository: int, plan: Plan, caller: Caller) -> list[str]:
    """Why tags that would go may not."""
    rules = await rules_of(transaction, repository)
    found: list[str] = []
    for tag in sorted(plan.tags):
        try:
            await refuse_delete(transaction, repository, tag, rules, caller)
        except Denied as error:
            found.append(error.message)
    return found


async def _carry_out(transaction: Transaction, repository: int, digest: str, plan: Plan, caller: Caller) -> Deleted:
    row = await transaction.one(_NEW, repository=repository, digest=digest)
    assert row is not None
    rules = await rules_of(transaction, repository)
    for tag, manifest in sorted(plan.tags.items()):
        await refuse_delete(transaction, repository, tag, rules, caller)
        await drop_tag(transaction, repository, tag, manifest, plan.manifests[manifest], caller)
        await transaction.run(_KEEP_TAG, deletion=row[0], tag=tag, manifest=manifest)
    for manifest, name in sorted(plan.manifests.items()):
        if not await transaction.run(_DELETE, deletion=row[0], manifest=manifest):
            raise Conflict("the manifest was deleted meanwhile")
        await record(transaction, caller, "manifest.delete", repository, old=name)
    return Deleted(sorted(plan.manifests.values()), sorted(plan.tags))


async def drop_tag(
    transaction: Transaction,
    repository: int,
    tag: str,
    manifest: int,
    digest: str,
    caller: Caller,
    kind: str = "tag.delete",
) -> None:
    """End a tag that names this manifest, and write that into its history."""
    row = await transaction.one(_DROP_TAG, repository=repository, tag=tag, manifest=manifest)
    if row is None:
        raise Conflict("the tag was moved meanwhile")
    await record(transaction, caller, kind, repository, tag=tag, old=digest, at=row[0])


async def _revive(transaction: Transaction, repository: int, manifest: int, digest: str, caller: Caller) -> None:
    if not await transaction.run(_REVIVE, manifest=manifest):
        raise Conflict("the manifest was forgotten meanwhile")
    named = [name for (name,) in await transaction.all(_REFERENCES, manifest=manifest)]
    for each in named:
        if await transaction.run(_LINK_AGAIN, repository=repository, digest=each):
            await record(transaction, caller, "blob.link", repository, new=each)
    await forget_unlinked(transaction, repository, named)
    await hold(transaction, repository, (), named)
    await record(transaction, caller, "manifest.restore", repository, new=digest)
