"""Repositories that were deleted and can still come back: their rows wait under another name for the collector."""

from collections.abc import Sequence

from entrepot.access.caller import Caller
from entrepot.database.changes import record
from entrepot.database.engine import Engine, Transaction
from entrepot.database.organizations import lock_namespace
from entrepot.database.plans import check_private
from entrepot.database.search import index
from entrepot.hub.deleted_repositories import DeletedRepository
from entrepot.hub.errors import LimitReached, NotThere, Taken
from entrepot.registry.errors import Denied

# The collector marks one that it has begun to empty, by a sighting before all others: that never comes back.
_WAITING = (
    "deleted_at IS NOT NULL AND emptied_at IS NULL AND upstream IS NULL AND COALESCE(sighted, 0) >= 0"
    " AND deleted_at > now_us() - CAST(:undo AS bigint)"
    " AND (CAST(:namespace AS bigint) IS NULL OR namespace_id = CAST(:namespace AS bigint))"
)
_LISTED = (
    "SELECT id, deleted_name, deleted_at, deleted_at + CAST(:undo AS bigint) FROM repositories"  # noqa: S608
    f" WHERE {_WAITING} AND id > CAST(:after AS bigint) ORDER BY id LIMIT :limit"
)
_LOCK = (
    f"UPDATE repositories SET sighted = sighted WHERE id = :id AND {_WAITING}"  # noqa: S608
    " RETURNING deleted_name, visibility"
)
_EXISTS = "SELECT 1 FROM repositories WHERE name = :name"
_BACK = (
    "UPDATE repositories SET name = :name, deleted_name = NULL, deleted_at = NULL, sighted = NULL,"
    " rights_version = rights_version + 1 WHERE id = :id"
)
_TAKE_NAME = "DELETE FROM former_names WHERE name = :name"
_OFFERS = 100


class DatabaseDeletedRepositories:
    """The port DeletedRepositoryRows."""

    def __init__(self, engine: Engine, undo: float) -> None:
        """`undo`: seconds in which a repository can come back (`lifecycle.undo`)."""
        self._engine = engine
        self._undo = int(undo * 1_000_000)

    async def waiting(self, namespace_id: int | None, after: int, limit: int) -> Sequence[DeletedRepository]:
        """See the port."""
        rows = await self._engine.read(_LISTED, namespace=namespace_id, undo=self._undo, after=after, limit=limit)
        return [DeletedRepository(*row) for row in rows]

    async def restore(self, namespace_id: int | None, identity: int, name: str | None, caller: Caller) -> str:
        """See the port."""

        async def bring_back(transaction: Transaction) -> str:
            if namespace_id is not None:
                await lock_namespace(transaction, namespace_id)
            row = await transaction.one(_LOCK, id=identity, namespace=namespace_id, undo=self._undo)
            if row is None:
                raise NotThere(f"there is no deleted repository {identity} here that can still come back")
            wanted = name or str(row[0])
            if await transaction.one(_EXISTS, name=wanted):
                offer = await _free(transaction, wanted)
                raise Taken(f"the name {wanted!r} is taken by now: restore it as {offer!r}, which is free", "name")
            if row[1] == "private" and namespace_id is not None:
                try:
                    await check_private(transaction, namespace_id, caller)
                except Denied as denied:
                    raise LimitReached(denied.message, "visibility") from None
            await transaction.run(_BACK, id=identity, name=wanted)
            await transaction.run(_TAKE_NAME, name=wanted)
            await index(transaction, identity)
            await record(transaction, caller, "repository.restore", identity, namespace=namespace_id, new=wanted)
            return wanted

        return await self._engine.write(bring_back, durable=True)


async def _free(transaction: Transaction, name: str) -> str:
    """A name like this one that no repository has."""
    for number in range(1, _OFFERS):
        offer = f"{name}-restored" + (f"-{number}" if number > 1 else "")
        if not await transaction.one(_EXISTS, name=offer):
            return offer
    raise Taken(f"the name {name!r} is taken, and so are those like it: give another one", "name")
