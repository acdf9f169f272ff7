"""What was purged and must not come back: asked inside every transaction that would bring a digest into a repository,
and before anything is fetched.

Transactions ask after the rows of the blobs are locked: a purge that is committing meanwhile is then seen, or sees.
"""

from collections.abc import Iterable
from datetime import UTC, datetime

from entrepot.database.engine import Engine, Row, Transaction
from entrepot.registry.errors import Barred

COVERS = (  # whether the purge `p` is of the repository `r`
    "(p.namespace_id = r.namespace_id OR p.upstream = r.upstream OR (p.namespace_id IS NULL AND p.upstream IS NULL))"
)
_BARRING = f"FROM repositories r JOIN purges p ON {COVERS} WHERE r.id = :repository AND p.lifted_at IS NULL"
_ANY = f"SELECT 1 {_BARRING} LIMIT 1"
_COLUMNS = "SELECT p.id, p.at, p.reason, p.namespace_id, p.upstream"
_BARRED = f"{_COLUMNS} {_BARRING} AND p.digest = :digest ORDER BY p.id LIMIT 1"
_BARRING_UPSTREAM = (
    "FROM purges p WHERE p.lifted_at IS NULL"
    " AND (p.upstream = :alias OR (p.namespace_id IS NULL AND p.upstream IS NULL))"
)
_ANY_OF_UPSTREAM = f"SELECT 1 {_BARRING_UPSTREAM} LIMIT 1"
_BARRED_OF_UPSTREAM = f"{_COLUMNS} {_BARRING_UPSTREAM} AND p.digest = :digest ORDER BY p.id LIMIT 1"


async def refuse_purged(transaction: Transaction, repository: int, digests: Iterable[str]) -> None:
    """Barred when one of these was purged from the repository's namespace."""
    if not await transaction.one(_ANY, repository=repository):
        return
    for digest in dict.fromkeys(digests):
        row = await transaction.one(_BARRED, repository=repository, digest=digest)
        if row is not None:
            raise _barred(digest, row)


async def refuse_purged_of(engine: Engine, alias: str, digest: str) -> None:
    """Barred when it was purged from the repositories of this upstream."""
    rows = await engine.read(_BARRED_OF_UPSTREAM, alias=alias, digest=digest)
    if rows:
        raise _barred(digest, rows[0])


async def any_purged_of(engine: Engine, alias: str) -> bool:
    """Whether anything is barred there."""
    return bool(await engine.read(_ANY_OF_UPSTREAM, alias=alias))


def _barred(digest: str, row: Row) -> Barred:
    identity, at, reason, namespace, upstream = row
    day = datetime.fromtimestamp(at / 1_000_000, UTC).strftime("%Y-%m-%d")
    because = f" ({reason})" if reason else ""
    place = upstream or ("this registry" if namespace is None else "this namespace")
    return Barred(
        f"{digest} was purged from {place} on {day}{because} and cannot come back:"
        f" use an image without it, or let an administrator lift purge {identity}",
        {"digest": digest, "purge": identity},
    )
