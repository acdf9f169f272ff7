"""The `changes` table: one row for each change of an answer or a right, in the transaction that makes it.

Kinds: `blob.link`, `blob.unlink`, `manifest.push`, `manifest.delete`, `tag.move`, `tag.delete`.
`old` and `new` are digests; a push that gives stored bytes another media type has them as both.
"""

from entrepot.database.engine import Transaction
from entrepot.registry.ports import Caller

_INSERT = (
    "INSERT INTO changes (at, account, address, kind, repository_id, tag, old, new)"
    " VALUES (COALESCE(CAST(:at AS bigint), now_us()), :account, :address, :kind, :repository, :tag, :old, :new)"
)


async def record(
    transaction: Transaction,
    caller: Caller,
    kind: str,
    repository: int,
    *,
    tag: str | None = None,
    old: str | None = None,
    new: str | None = None,
    at: int | None = None,
) -> None:
    """Write one change; `at` in microseconds where the caller has taken the time already."""
    await transaction.run(
        _INSERT,
        at=at,
        account=caller.account,
        address=caller.address,
        kind=kind,
        repository=repository,
        tag=tag,
        old=old,
        new=new,
    )
