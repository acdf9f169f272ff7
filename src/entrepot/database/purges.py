"""What was purged and must not come back: asked inside every transaction that would bring a digest into a repository.

It is asked after the rows of the blobs are locked: a purge that is committing meanwhile is then seen, or sees.
"""

from collections.abc import Iterable
from datetime import UTC, datetime

from entrepot.database.engine import Transaction
from entrepot.registry.errors import Denied

_OF = (
    "FROM repositories r JOIN purges p ON p.namespace_id IS NULL OR p.namespace_id = r.namespace_id"
    " WHERE r.id = :repository AND r.upstream IS NULL AND p.lifted_at IS NULL"
)
_ANY = f"SELECT 1 {_OF} LIMIT 1"
_BARRED = f"SELECT p.id, p.at, p.reason, p.namespace_id {_OF} AND p.digest = :digest LIMIT 1"


async def refuse_purged(transaction: Transaction, repository: int, digests: Iterable[str]) -> None:
    """Denied when one of these was purged from the repository's namespace."""
    if not await transaction.one(_ANY, repository=repository):
        return
    for digest in dict.fromkeys(digests):
        row = await transaction.one(_BARRED, repository=repository, digest=digest)
        if row is not None:
            identity, at, reason, namespace = row
            day = datetime.fromtimestamp(at / 1_000_000, UTC).strftime("%Y-%m-%d")
            because = f" ({reason})" if reason else ""
            place = "this registry" if namespace is None else "this namespace"
            owner = "an administrator" if namespace is None else "an owner of the namespace"
            raise Denied(
                f"{digest} was purged from {place} on {day}{because} and cannot come back:"
                f" build the image without it, or let {owner} lift purge {identity}",
                {"digest": digest, "purge": identity},
            )
