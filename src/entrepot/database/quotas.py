"""How much a namespace may store, and how much it does: distinct digests, whichever of its repositories have them.

What its repositories link counts, whether a manifest names it or not yet, and so do its manifests and what its open
uploads have received or have been promised. Only a namespace whose plan has a limit is ever added up.
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
_NAMED = (
    "SELECT f.digest FROM manifest_references f JOIN manifests m ON m.id = f.manifest_id"  # noqa: S608
    f" WHERE m.repository_id IN {_OURS}"
)
_LINKED = f"b.id IN (SELECT l.blob_id FROM links l WHERE l.repository_id IN {_OURS})"  # noqa: S608
_USED = (
    "SELECT"  # noqa: S608 - constants
    f" COALESCE((SELECT CAST(SUM(b.size) AS bigint) FROM blobs b WHERE {_LINKED} AND b.digest IN ({_NAMED})), 0),"
    f" COALESCE((SELECT CAST(SUM(b.size) AS bigint) FROM blobs b WHERE {_LINKED} AND b.digest NOT IN ({_NAMED})), 0),"
    " COALESCE((SELECT CAST(SUM(d.size) AS bigint) FROM (SELECT DISTINCT m.digest, m.size FROM manifests m"
    f" WHERE m.repository_id IN {_OURS}) d), 0),"
    " COALESCE((SELECT CAST(SUM(CASE WHEN u.reserved > u.size THEN u.reserved ELSE u.size END) AS bigint)"
    f" FROM uploads u WHERE u.repository_id IN {_OURS} AND u.id <> :but), 0)"
)
_ALLOWED = "SELECT p.storage FROM accounts n JOIN plans p ON p.name = n.plan WHERE n.id = :namespace"
_HAS = f"SELECT 1 FROM blobs b WHERE b.id = :blob AND {_LINKED}"  # noqa: S608
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


@dataclass(frozen=True, slots=True)
class Storage:
    """What a namespace stores, in bytes: `images` with their manifests, `loose` what no manifest names, `uploads`."""

    images: int
    loose: int
    uploads: int

    @property
    def used(self) -> int:
        """All of it."""
        return self.images + self.loose + self.uploads


async def stored(transaction: Transaction, namespace: int, *, but: str = "") -> Storage:
    """What a namespace stores; `but` is an upload that is left out."""
    row = await transaction.one(_USED, namespace=namespace, but=but)
    assert row is not None
    return Storage(images=row[0] + row[2], loose=row[1], uploads=row[3])


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
        raise Denied(
            f"the plan {plan} of {name} allows {shown(allowed)} of storage and {shown(storage.used)} are used:"
            f" {shown(storage.images)} by images, {shown(storage.loose)} by layers that no image names yet,"
            f" {shown(storage.uploads)} by open uploads. Delete images, or take a larger plan"
        )
    return left


async def room_for_blob(transaction: Transaction, repository: int, blob: int, size: int) -> None:
    """Denied when linking this blob here would take the namespace over its limit; nothing when it has it already."""
    limit = await transaction.one(_LIMIT, repository=repository)
    if limit is not None and not await transaction.one(_HAS, blob=blob, namespace=limit[0]):
        await room(transaction, repository, size)


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
        found = Storage(images=row[0] + row[2], loose=row[1], uploads=row[3])
        return StorageView(found.used, found.images, found.loose, found.uploads, limit)
