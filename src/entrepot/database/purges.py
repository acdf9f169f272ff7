"""What was purged and must not come back: asked inside every transaction that would bring a digest into a repository.

It is asked after the rows of the blobs are locked: a purge that is committing meanwhile is then seen, or sees.
"""

from collections.abc import Iterable
from datetime import UTC, datetime

from entrepot.database.engine import Transaction
from entrepot.registry.errors import Denied

_ANY = (
    "SELECT 1 FROM purges p JOIN repositories r ON r.namespace_id = p.namespace_id WHERE r.id = :repository"
    " AND p.lifted_at IS NULL LIMIT 1"
)
_BARRED = (
    "SELECT p.id, p.at, p.reason FROM purges p JOIN repositories r ON r.namespace_id = p.namespace_id"
    " WHERE r.id = :repository AND p.digest = :digest AND p.lifted_at IS NULL LIMIT 1"
)


async def refuse_purged(transaction: Transaction, repository: int, digests: Iterable[str]) -> None:
    """Denied when one of these was purged from the repository's namespace."""
    if not await transaction.one(_ANY, repository=repository):
        return
    for digest in dict.fromkeys(digests):
        row = await transaction.one(_BARRED, repository=repository, digest=digest)
        if row is not None:
            identity, at, reason = row
            day = datetime.fromtimestamp(at / 1_000_000, UTC).strftime("%Y-%m-%d")
            because = f" ({reason})" if reason else ""
            raise Denied(
                f"{digest} was purged from this namespace on {day}{because} and cannot come back:"
                f" build the image without it, or let an owner of the namespace lift purge {identity}",
                {"digest": digest, "purge": identity},
            )
