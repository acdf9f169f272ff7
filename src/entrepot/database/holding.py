"""Which blobs and links manifests hold, and which are loose: what moves them besides the collector (docs/lifecycle.md).

Whoever comes to rely on a blob changes its row, and so waits for a collector that has just decided about it, or makes
that collector look again. Rows are changed in the order link, blob, by digest.
"""

from collections.abc import Iterable

from entrepot.access.caller import Caller
from entrepot.database.changes import record
from entrepot.database.engine import Transaction

OF_HOSTED = (  # whether a manifest of a hosted repository, live or deleted, names the blob `blobs`
    "EXISTS (SELECT 1 FROM manifest_references f JOIN manifests m ON m.id = f.manifest_id"
    " JOIN repositories r ON r.id = m.repository_id WHERE f.digest = blobs.digest AND r.upstream IS NULL)"
)
HELD = (  # or a repository of an upstream has it
    f"({OF_HOSTED} OR EXISTS (SELECT 1 FROM links l JOIN repositories r ON r.id = l.repository_id"  # noqa: S608
    " WHERE l.blob_id = blobs.id AND r.upstream IS NOT NULL))"
)
NAMED_HERE = (  # whether a manifest of the repository of the link `links`, live or deleted, names its blob
    "EXISTS (SELECT 1 FROM blobs b JOIN manifest_references f ON f.digest = b.digest"
    " JOIN manifests m ON m.id = f.manifest_id WHERE b.id = links.blob_id AND m.repository_id = links.repository_id)"
)
_HOLD_LINK = (
    "UPDATE links SET loose_since = NULL, sighted = NULL WHERE repository_id = :repository"
    " AND blob_id = (SELECT id FROM blobs WHERE digest = :digest)"
)
_HOLD_BLOB = (
    "UPDATE blobs SET state = 'held', since = NULL, sighted = NULL WHERE digest = :digest AND state <> 'removing'"
)
_HOLD_WHOLE_BLOB = f"{_HOLD_BLOB} AND damage IS NULL"
_USE_LINK = (
    "UPDATE links SET loose_since = now_us(), sighted = NULL WHERE repository_id = :repository AND blob_id = :blob"
    " AND loose_since IS NOT NULL"
)
_USE_BLOB = (
    "UPDATE blobs SET state = CASE WHEN state = 'held' OR EXISTS (SELECT 1 FROM repositories r"
    " WHERE r.id = :repository AND r.upstream IS NOT NULL) THEN 'held' ELSE 'loose' END,"
    " since = CASE WHEN state = 'held' THEN NULL ELSE now_us() END, sighted = NULL"
    " WHERE id = :blob AND state <> 'removing'"
)
_REVIVE = (
    "UPDATE blobs SET state = 'loose', since = now_us(), sighted = NULL WHERE id = :blob AND state = 'quarantined'"
)
_LOCK_BLOB = "UPDATE blobs SET sighted = sighted WHERE digest = :digest AND state = 'held'"
_LOOSEN_BLOB = (
    "UPDATE blobs SET state = 'loose', since = now_us(), sighted = NULL WHERE digest = :digest AND state = 'held'"  # noqa: S608
    f" AND NOT {HELD}"
)
_LOOSEN_LINK = (
    "UPDATE links SET loose_since = now_us(), sighted = NULL WHERE repository_id = :repository"  # noqa: S608
    " AND blob_id = (SELECT id FROM blobs WHERE digest = :digest)"
    " AND (SELECT upstream FROM repositories WHERE id = :repository) IS NULL"
    f" AND NOT {NAMED_HERE}"
)

_FORGET_UNLINKED = (
    "DELETE FROM unlinked WHERE repository_id = :repository AND digest = :digest AND NOT EXISTS (SELECT 1 FROM"
    " manifest_references f JOIN manifests m ON m.id = f.manifest_id WHERE f.digest = :digest"
    " AND m.repository_id = :repository AND m.deleted_at IS NOT NULL)"
)


async def hold(transaction: Transaction, repository: int, required: Iterable[str], others: Iterable[str]) -> list[str]:
    """Hold what a manifest names; returns the required digests that the repository does not have, or not whole.

    `others` may be absent: an index's children, which some builders make of layers, and layers kept elsewhere.
    """
    missing: list[str] = []
    for digest in sorted(required):
        linked = await transaction.run(_HOLD_LINK, repository=repository, digest=digest)
        if not linked or not await transaction.run(_HOLD_WHOLE_BLOB, digest=digest):
            missing.append(digest)
    for digest in sorted(others):
        if await transaction.run(_HOLD_LINK, repository=repository, digest=digest):
            await transaction.run(_HOLD_BLOB, digest=digest)
    return missing


async def use(transaction: Transaction, repository: int, blob: int) -> bool:
    """A commit or a mount: what is loose is so from now on. False for a blob that is being removed."""
    await transaction.run(_USE_LINK, repository=repository, blob=blob)
    return await transaction.run(_USE_BLOB, repository=repository, blob=blob) == 1


async def revive(transaction: Transaction, repository: int, blob: int) -> None:
    """Bring a blob back from quarantine, and its link here from its end."""
    await transaction.run(_USE_LINK, repository=repository, blob=blob)
    await transaction.run(_REVIVE, blob=blob)


async def forget_unlinked(transaction: Transaction, repository: int, digests: Iterable[str]) -> None:
    """A blob's DELETE is remembered only while a deleted manifest could come back that names it."""
    for digest in sorted(digests):
        await transaction.run(_FORGET_UNLINKED, repository=repository, digest=digest)


async def loosen_blob(transaction: Transaction, digest: str) -> None:
    """What may have held this blob does so no more.

    The row is locked before it is looked whether something else does: a push that is committing meanwhile is then seen.
    """
    if await transaction.run(_LOCK_BLOB, digest=digest):
        await transaction.run(_LOOSEN_BLOB, digest=digest)


async def loosen(transaction: Transaction, repository: int, digests: Iterable[str], caller: Caller) -> None:
    """What a manifest of this repository has just stopped naming is loose from now on, unless something holds it.

    Caches are told, as a look at what is loose may be a use of it.
    """
    for digest in sorted(digests):
        if await transaction.run(_LOOSEN_LINK, repository=repository, digest=digest):
            await record(transaction, caller, "blob.loose", repository, old=digest)
        await loosen_blob(transaction, digest)
