"""The `changes` table: one row for each change of an answer or a right, in the transaction that makes it.

Of the registry: `blob.link`, `blob.loose`, `blob.unlink`, `blob.damage`, `manifest.push`, `manifest.delete`,
`manifest.restore`, `tag.move`, `tag.delete`, `tag.restore`, `tag.retention`, `tag.expire`; `old` and
`new` are digests, and a push that gives stored bytes another media type has them as both.
A purge writes `manifest.purge`, `tag.purge` and `blob.purge`.
Of the hub: `tag_rule.*`, `retention.*`, `purge.*`, `repository.*`, `account.*`, `credential.*`, `organization.*`,
`team.*`, `member.*`, `grant.*`, `plan.*`; `subject` names what was changed, `old` and `new` are what it was and what it
is, never a secret.
"""

from entrepot.access.caller import Caller
from entrepot.database.engine import Transaction

_INSERT = (
    "INSERT INTO changes (at, account_id, credential_id, address, kind, namespace_id, repository_id, tag, subject,"
    " old, new, reason) VALUES (COALESCE(CAST(:at AS bigint), now_us()), :account, :credential, :address, :kind,"
    " :namespace, :repository, :tag, :subject, :old, :new, :reason)"
)


async def record(
    transaction: Transaction,
    caller: Caller,
    kind: str,
    repository: int | None = None,
    *,
    namespace: int | None = None,
    subject: str | None = None,
    tag: str | None = None,
    old: str | None = None,
    new: str | None = None,
    at: int | None = None,
) -> None:
    """Write one change; `at` in microseconds where the caller has taken the time already."""
    if namespace is None and caller.basis is not None:
        namespace = caller.basis.namespace_id
    await transaction.run(
        _INSERT,
        at=at,
        account=caller.account_id,
        credential=caller.credential_id,
        address=caller.address,
        kind=kind,
        namespace=namespace,
        repository=repository,
        tag=tag,
        subject=subject,
        old=old,
        new=new,
        reason=caller.reason,
    )
