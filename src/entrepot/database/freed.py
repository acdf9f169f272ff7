"""What a deletion would free, as far as whoever asks may know who else has the same bytes.

That another repository has a layer is told only of those that the caller may pull from: what is private elsewhere would
else be found out by asking what the deletion of one's own copy frees.
"""

from entrepot.access.actor import ANONYMOUS
from entrepot.access.caller import Caller
from entrepot.access.decision import Action, decide
from entrepot.database.engine import Transaction
from entrepot.database.rights import facts_in

_MOST = 50  # repositories looked at; beyond them nobody else is known to have it

_MANIFEST_SIZE = "SELECT size FROM manifests WHERE id = :manifest"
_REFERENCES = "SELECT digest FROM manifest_references WHERE manifest_id = :manifest"
_SIZE = "SELECT size FROM blobs WHERE digest = :digest"
_HERE = (
    "SELECT f.manifest_id FROM manifest_references f JOIN manifests m ON m.id = f.manifest_id"
    " WHERE f.digest = :digest AND m.repository_id = :repository LIMIT :limit"
)
_ELSEWHERE = (
    "SELECT DISTINCT r.name, CASE r.visibility WHEN 'public' THEN 0 ELSE 1 END FROM manifest_references f"
    " JOIN manifests m ON m.id = f.manifest_id JOIN repositories r ON r.id = m.repository_id"
    " WHERE f.digest = :digest AND r.id <> :repository AND r.deleted_at IS NULL ORDER BY 2, 1 LIMIT :limit"
)


async def freed_by(transaction: Transaction, repository: int, manifests: dict[int, str], caller: Caller) -> int:
    """Bytes that only these manifests of a repository hold, their own among them, as far as the caller may know."""
    total = 0
    digests: set[str] = set()
    for manifest in manifests:
        row = await transaction.one(_MANIFEST_SIZE, manifest=manifest)
        total += row[0] if row is not None else 0
        digests |= {digest for (digest,) in await transaction.all(_REFERENCES, manifest=manifest)}
    for digest in digests:
        here = await transaction.all(_HERE, digest=digest, repository=repository, limit=len(manifests) + 1)
        if all(manifest in manifests for (manifest,) in here) and not await _elsewhere(
            transaction, repository, digest, caller
        ):
            row = await transaction.one(_SIZE, digest=digest)
            total += row[0] if row is not None else 0
    return total


async def _elsewhere(transaction: Transaction, repository: int, digest: str, caller: Caller) -> bool:
    """Whether a manifest names it in another repository that the caller may pull."""
    actor = caller.actor or ANONYMOUS
    for name, _ in await transaction.all(_ELSEWHERE, digest=digest, repository=repository, limit=_MOST):
        if decide(actor, Action.PULL, await facts_in(transaction, actor.account_id, name)).allowed:
            return True
    return False
