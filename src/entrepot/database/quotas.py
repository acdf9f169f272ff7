"""How much a namespace may store, and how much it does: distinct digests, whichever of its repositories have them.

What its repositories link counts, whether a manifest names it or not yet, and so do its manifests and what its open
uploads have received or have been promised. What a deletion took counts until it can no longer be undone, as it would
come back whole: a blob that was deleted beside a deleted manifest, and a deleted repository, too. What is read through
an upstream belongs to no namespace. Only a namespace whose plan has a limit is ever added up.
"""

from dataclasses import dataclass

from entrepot.database.engine import Engine, Transaction
from entrepot.hub.limits import StorageView
from entrepot.registry.errors import Denied

_LIMIT = (
    "SELECT n.id, n.name, p.name, p.storage FROM repositories r JOIN accounts n ON n.id = r.namespace_id"
    " JOIN plans p ON p.name = n.plan WHERE r.id = :repository AND p.storage IS NOT NULL"
)
_LOCK = "UPDATE accounts SET plan = plan WHERE id = :namespace"  # who changes what is stored takes turns
_OURS = "(SELECT r.id FROM repositories r WHERE r.namespace_id = :namespace)"
_LIVE = "MAX(CASE WHEN m.deleted_at IS NULL AND r.deleted_at IS NULL THEN 1 ELSE 0 END)"
_MANIFESTS_HERE = "JOIN repositories r ON r.id = m.repository_id WHERE r.namespace_id = :namespace"
_LINKED = f"SELECT l.blob_id FROM links l WHERE l.repository_id IN {_OURS}"  # noqa: S608 - constants
_TO_COME_BACK = f"SELECT u.digest FROM unlinked u WHERE u.repository_id IN {_OURS}"  # noqa: S608
_SUM = "COALESCE(CAST(SUM(CASE WHEN {0} THEN {1} ELSE 0 END) AS bigint), 0)"
_USED = (
    f"WITH named AS (SELECT f.digest AS digest, {_LIVE} AS live FROM manifest_references f"  # noqa: S608
    f" JOIN manifests m ON m.id = f.manifest_id {_MANIFESTS_HERE} GROUP BY f.digest),"
    f" held AS (SELECT b.digest, b.size FROM blobs b WHERE b.id IN ({_LINKED})"
    f" UNION SELECT b.digest, b.size FROM blobs b WHERE b.digest IN ({_TO_COME_BACK})),"
    f" own AS (SELECT m.digest, MAX(m.size) AS size, {_LIVE} AS live FROM manifests m {_MANIFESTS_HERE}"
    " GROUP BY m.digest),"
    f" of_blobs AS (SELECT {_SUM.format('n.live = 1', 'h.size')} AS live,"
    f" {_SUM.format('n.live = 0', 'h.size')} AS gone, {_SUM.format('n.digest IS NULL', 'h.size')} AS loose"
    " FROM held h LEFT JOIN named n ON n.digest = h.digest),"
    f" of_own AS (SELECT {_SUM.format('o.live = 1', 'o.size')} AS live, {_SUM.format('o.live = 0', 'o.size')} AS gone"
    " FROM own o)"
    " SELECT b.live + o.live, b.gone + o.gone, b.loose,"
    " COALESCE((SELECT CAST(SUM(CASE WHEN u.reserved > u.size THEN u.reserved ELSE u.size END) AS bigint)"
    f" FROM uploads u WHERE u.repository_id IN {_OURS} AND u.id <> :but), 0) FROM of_blobs b, of_own o"
)
_ALLOWED = "SELECT p.storage FROM accounts n JOIN plans p ON p.name = n.plan WHERE n.id = :namespace"
_OF_NAMESPACE = (
    "SELECT n.name, p.name, p.storage FROM accounts n JOIN plans p ON p.name = n.plan WHERE n.id = :namespace"
    " AND p.storage IS NOT NULL"
)
_HAS = f"SELECT 1 FROM blobs b WHERE b.id = :blob AND (b.id IN ({_LINKED}) OR b.digest IN ({_TO_COME_BACK}))"  # noqa: S608
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


@dataclass(frozen=True, slots=True)
class Storage:
    """What a namespace stores, in bytes: `images` with their manifests; `undoable`, what only deleted ones hold that
    can come back; `loose`, what no manifest names; `uploads`."""

    images: int
    undoable: int
    loose: int
    uploads: int

    @property
    def used(self) -> int:
        """All of it."""
        return self.images + self.undoable + self.loose + self.uploads


async def stored(transaction: Transaction, namespace: int, *, but: str = "") -> Storage:
    """What a namespace stores; `but` is an upload that is left out."""
    row = await transaction.one(_USED, namespace=namespace, but=but)
    assert row is not None
    return Storage(*row)


async def room(transaction: Transaction, repository: int, need: int, *, upload: str = "") -> int | None:
    """How many bytes more the namespace of this repository may store; None without limit, Denied when less than `need`.

    `need` and the answer include what `upload` has already. Others who would store something wait for this transaction.
    """
    limit = await transaction.one(_LIMIT, repository=repository)
    if limit is None:
        return None
    namespace, name, plan, allowed = limit
    await transaction.run(_LOCK, namespace=namespace)
    storage = await stored(transaction, namespace, but=upload)
    left = int(allowed) - storage.used
    if left < need or left <= 0:
        raise Denied(_refusal(name, plan, allowed, storage))
    return left


async def room_for_blob(transaction: Transaction, repository: int, blob: int, size: int) -> None:
    """Denied when linking this blob here would take the namespace over its limit; nothing when it has it already."""
    limit = await transaction.one(_LIMIT, repository=repository)
    if limit is not None and not await transaction.one(_HAS, blob=blob, namespace=limit[0]):
        await room(transaction, repository, size)


async def used_if_limited(transaction: Transaction, namespace: int) -> int | None:
    """What a namespace stores, None when its plan has no limit; who would store something waits for the transaction."""
    if not await transaction.one(_OF_NAMESPACE, namespace=namespace):
        return None
    await transaction.run(_LOCK, namespace=namespace)
    return (await stored(transaction, namespace)).used


async def refuse_growth(transaction: Transaction, namespace: int, before: int | None) -> None:
    """Denied when a namespace that stored `before` has more now, and more than its plan allows."""
    limit = await transaction.one(_OF_NAMESPACE, namespace=namespace)
    if limit is None or before is None:
        return
    name, plan, allowed = limit
    storage = await stored(transaction, namespace)
    if storage.used > max(before, int(allowed)):
        raise Denied(_refusal(name, plan, allowed, storage, "would be"))


def _refusal(name: str, plan: str, allowed: int, storage: Storage, are: str = "are") -> str:
    return (
        f"the plan {plan} of {name} allows {shown(allowed)} of storage and {shown(storage.used)} {are} used:"
        f" {shown(storage.images)} by images, {shown(storage.undoable)} by deleted ones while that can be undone,"
        f" {shown(storage.loose)} by layers that no image names yet, {shown(storage.uploads)} by open uploads."
        " Delete images and wait, purge them, or take a larger plan"
    )


def shown(size: int) -> str:
    """Bytes as Docker writes them, in powers of a thousand."""
    value, unit = float(size), 0
    while value >= 999.5 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.3g} {_UNITS[unit]}"


class DatabaseStorage:
    """The port StorageRows."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def storage(self, namespace_id: int) -> StorageView:
        """See the port."""
        row = (await self._engine.scan(_USED, namespace=namespace_id, but=""))[0]
        limit = (await self._engine.read(_ALLOWED, namespace=namespace_id))[0][0]
        found = Storage(*row)
        return StorageView(found.used, found.images, found.undoable, found.loose, found.uploads, limit)
