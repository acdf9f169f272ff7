"""Repositories as people see them: their rows, their ends, their stars."""

from collections.abc import Sequence

from entrepot.access.caller import Caller
from entrepot.database.changes import record
from entrepot.database.engine import Engine, Row, Transaction
from entrepot.database.organizations import lock_namespace
from entrepot.database.plans import check_private
from entrepot.database.quotas import refuse_growth, used_if_limited
from entrepot.database.repositories import made_repository_id
from entrepot.database.search import index
from entrepot.database.tag_rules import refuse_end_of_name
from entrepot.hub.errors import LimitReached, NotThere, Taken
from entrepot.hub.repositories import Description, Repository
from entrepot.registry.errors import Denied

PAGE = 100  # names in one look-up
_KEPT = 30 * 24 * 60 * 60 * 1_000_000  # microseconds that a name stays its former owner's

_COLUMNS = "r.id, r.name, r.visibility, r.description, r.stars, r.created_at, r.archived_at"
_SLOTS = ", ".join(f":n{number}" for number in range(PAGE))
_OF_NAMES = (
    f"SELECT {_COLUMNS} FROM repositories r WHERE r.name IN ({_SLOTS})"  # noqa: S608 - constants
    " AND r.deleted_at IS NULL ORDER BY r.name"
)
_README = "SELECT readme FROM repositories WHERE id = :id AND deleted_at IS NULL"
_EXISTS = "SELECT 1 FROM repositories WHERE name = :name"
# The update changes nothing: what follows goes on only from what was decided on, and others wait.
_LOCK = (
    "UPDATE repositories SET name = name WHERE id = :id AND rights_version = :version AND deleted_at IS NULL"
    " RETURNING name, visibility, namespace_id, archived_at"
)
_DESCRIBE = (
    "UPDATE repositories SET description = COALESCE(:description, description), readme = COALESCE(:readme, readme)"
    " WHERE id = :id"
)
_SHOW = "UPDATE repositories SET visibility = :visibility WHERE id = :id"
_END_RIGHTS = "UPDATE repositories SET rights_version = rights_version + 1 WHERE id = :id"
_ARCHIVE = "UPDATE repositories SET archived_at = now_us() WHERE id = :id"
_UNARCHIVE = "UPDATE repositories SET archived_at = NULL WHERE id = :id"
_RENAME = "UPDATE repositories SET name = :name, namespace_id = :namespace WHERE id = :id"
_LEAVE_NAME = (
    "INSERT INTO former_names (name, repository_id, until) VALUES (:name, :id, now_us() + :kept)"
    " ON CONFLICT (name) DO UPDATE SET repository_id = excluded.repository_id, until = excluded.until"
)
_TAKE_NAME = "DELETE FROM former_names WHERE name = :name"
_DROP_GRANTS = "DELETE FROM grants WHERE repository_id = :id"
_DROP_STARS = "DELETE FROM stars WHERE repository_id = :id"
_DROP_FORMER = "DELETE FROM former_names WHERE repository_id = :id"
_LOCK_UPLOADS = "UPDATE uploads SET generation = generation + 1 WHERE repository_id = :id"
_TRASH_BODIES = (
    "INSERT INTO trash (store, key) SELECT u.store, b.key FROM upload_bodies b JOIN uploads u ON u.id = b.upload_id"
    " WHERE u.repository_id = :id ON CONFLICT (store, key) DO NOTHING"
)
_END_WORK = (
    _LOCK_UPLOADS,
    _TRASH_BODIES,
    "DELETE FROM upload_bodies WHERE upload_id IN (SELECT id FROM uploads WHERE repository_id = :id)",
    "DELETE FROM uploads WHERE repository_id = :id",
    _DROP_GRANTS,
    _DROP_STARS,
    _DROP_FORMER,
)
_END = (
    "UPDATE repositories SET name = :gone, deleted_name = name, deleted_at = now_us(), sighted = NULL, stars = 0,"
    " rights_version = rights_version + 1 WHERE id = :id"
)
_STAR = (
    "INSERT INTO stars (repository_id, account_id, created_at) SELECT r.id, :account, now_us() FROM repositories r"
    " WHERE r.id = :id ON CONFLICT (repository_id, account_id) DO NOTHING"
)
_UNSTAR = "DELETE FROM stars WHERE repository_id = :id AND account_id = :account"
_COUNT_STAR = "UPDATE repositories SET stars = stars + :by WHERE id = :id AND deleted_at IS NULL"
_STARRED = "SELECT 1 FROM stars WHERE repository_id = :id AND account_id = :account"
_OPENNESS = {"private": 0, "internal": 1, "public": 2}


class DatabaseHubRepositories:
    """The port HubRepositoryRows."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def repositories(self, names: Sequence[str]) -> Sequence[Repository]:
        """See the port."""
        found: list[Repository] = []
        for start in range(0, len(names), PAGE):
            some = names[start : start + PAGE]
            slots = {f"n{number}": some[number] if number < len(some) else "" for number in range(PAGE)}
            found += [Repository(*row) for row in await self._engine.read(_OF_NAMES, **slots)]
        return sorted(found, key=lambda each: each.name)

    async def readme(self, repository_id: int) -> str:
        """See the port."""
        rows = await self._engine.read(_README, id=repository_id)
        return str(rows[0][0]) if rows else ""

    async def create_repository(self, name: str, description: Description, caller: Caller) -> None:
        """See the port."""

        async def create(transaction: Transaction) -> None:
            assert caller.basis is not None
            assert caller.basis.namespace_id is not None
            await lock_namespace(transaction, caller.basis.namespace_id)
            if await transaction.one(_EXISTS, name=name):
                raise Taken(f"the name {name!r} is taken: choose another", "name")
            try:
                identity = await made_repository_id(transaction, name, caller)
            except Denied as denied:
                raise LimitReached(denied.message, "visibility") from None
            await transaction.run(
                _DESCRIBE, id=identity, description=description.description, readme=description.readme
            )
            await transaction.run(_TAKE_NAME, name=name)
            await index(transaction, identity)

        await self._engine.write(create, durable=True)

    async def describe(self, description: Description, caller: Caller) -> None:
        """See the port."""

        async def describe(transaction: Transaction) -> None:
            identity, _ = await _locked(transaction, caller)
            await transaction.run(
                _DESCRIBE, id=identity, description=description.description, readme=description.readme
            )
            await index(transaction, identity)
            await record(transaction, caller, "repository.describe", identity, subject=description.description)

        await self._engine.write(describe, durable=True)

    async def set_visibility(self, visibility: str, caller: Caller) -> None:
        """See the port."""

        async def show(transaction: Transaction) -> None:
            identity, (_, before, namespace, _) = await _locked(transaction, caller)
            if before == visibility:
                return
            if visibility == "private":
                await _check_plan(transaction, namespace, caller)
            await transaction.run(_SHOW, id=identity, visibility=visibility)
            if _OPENNESS[visibility] < _OPENNESS[before]:
                await transaction.run(_END_RIGHTS, id=identity)
            await index(transaction, identity)
            await record(transaction, caller, "repository.visibility", identity, old=before, new=visibility)

        await self._engine.write(show, durable=True)

    async def set_archived(self, archived: bool, caller: Caller) -> None:
        """See the port."""

        async def archive(transaction: Transaction) -> None:
            identity, (_, _, _, archived_at) = await _locked(transaction, caller)
            if (archived_at is not None) == archived:
                return
            await transaction.run(_ARCHIVE if archived else _UNARCHIVE, id=identity)
            await record(transaction, caller, "repository.archive" if archived else "repository.unarchive", identity)

        await self._engine.write(archive, durable=True)

    async def rename(self, name: str, namespace_id: int, caller: Caller) -> None:
        """See the port."""

        async def rename(transaction: Transaction) -> None:
            await lock_namespace(transaction, namespace_id)
            identity, (old, visibility, before, _) = await _locked(transaction, caller)
            await refuse_end_of_name(transaction, identity, caller)
            if await transaction.one(_EXISTS, name=name):
                raise Taken(f"the name {name!r} is taken: choose another", "name")
            used = None
            if namespace_id != before:
                used = await used_if_limited(transaction, namespace_id)
                if visibility == "private":
                    await _check_plan(transaction, namespace_id, caller)
                await transaction.run(_DROP_GRANTS, id=identity)
            await transaction.run(_RENAME, id=identity, name=name, namespace=namespace_id)
            await _check_storage(transaction, namespace_id, used)
            await transaction.run(_END_RIGHTS, id=identity)
            await transaction.run(_TAKE_NAME, name=name)
            await transaction.run(_LEAVE_NAME, id=identity, name=old, kept=_KEPT)
            await index(transaction, identity)
            kind = "repository.rename" if namespace_id == before else "repository.transfer"
            await record(transaction, caller, kind, identity, old=old, new=name)

        await self._engine.write(rename, durable=True)

    async def delete(self, caller: Caller) -> None:
        """See the port."""

        async def delete(transaction: Transaction) -> None:
            identity, (name, _, _, _) = await _locked(transaction, caller)
            await refuse_end_of_name(transaction, identity, caller)
            for statement in _END_WORK:
                await transaction.run(statement, id=identity)
            await transaction.run(_END, id=identity, gone=f"~{identity}")
            await index(transaction, identity)
            await record(transaction, caller, "repository.delete", identity, old=name)

        await self._engine.write(delete, durable=True)

    async def set_star(self, repository_id: int, account_id: int, starred: bool) -> None:
        """See the port."""

        async def put(transaction: Transaction) -> None:
            if not await transaction.run(_COUNT_STAR, id=repository_id, by=1 if starred else -1):
                raise NotThere("the repository has been deleted")
            statement = _STAR if starred else _UNSTAR
            if not await transaction.run(statement, id=repository_id, account=account_id):
                await transaction.run(_COUNT_STAR, id=repository_id, by=-1 if starred else 1)

        await self._engine.write(put, durable=False)

    async def starred(self, repository_id: int, account_id: int) -> bool:
        """See the port."""
        return bool(await self._engine.read(_STARRED, id=repository_id, account=account_id))


async def _locked(transaction: Transaction, caller: Caller) -> tuple[int, Row]:
    """The id of the repository that was decided on, and (name, visibility, namespace id, archived at)."""
    assert caller.basis is not None
    assert caller.basis.repository_id is not None
    row = await transaction.one(_LOCK, id=caller.basis.repository_id, version=caller.basis.rights_version)
    if row is None:
        raise Taken("the repository has just been changed by somebody else: look at it again")
    return caller.basis.repository_id, row


async def _check_storage(transaction: Transaction, namespace_id: int, before: int | None) -> None:
    """LimitReached when what was transferred is more than the namespace's plan has room for."""
    try:
        await refuse_growth(transaction, namespace_id, before)
    except Denied as denied:
        raise LimitReached(denied.message, "namespace") from None


async def _check_plan(transaction: Transaction, namespace_id: int, caller: Caller) -> None:
    """LimitReached when the namespace's plan has no private repository left."""
    try:
        await check_private(transaction, namespace_id, caller)
    except Denied as denied:
        raise LimitReached(denied.message, "visibility") from None
