"""Whose pulls are charged to nobody, as rows. A change drops what read caches have of it."""

from entrepot.access.caller import Caller
from entrepot.database.changes import record
from entrepot.database.engine import Engine, Transaction
from entrepot.hub.errors import NotThere, Taken
from entrepot.hub.exemptions import Exemption

_OF_REPOSITORY = (
    "SELECT r.pulls_exempt, COALESCE(n.pulls_exempt, 0) FROM repositories r LEFT JOIN accounts n"
    " ON n.id = r.namespace_id WHERE r.id = :id"
)
_OF_NAMESPACE = "SELECT pulls_exempt FROM accounts WHERE name = :name AND kind <> 'robot' AND deleted_at IS NULL"
_EXEMPT_REPOSITORY = (
    "UPDATE repositories SET pulls_exempt = :flag WHERE id = :id AND rights_version = :version AND deleted_at IS NULL"
)
_EXEMPT_NAMESPACE = (
    "UPDATE accounts SET pulls_exempt = :flag WHERE name = :name AND kind <> 'robot' AND deleted_at IS NULL"
    " RETURNING id"
)


class DatabaseExemptions:
    """The port ExemptionRows."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def of_repository(self, repository_id: int) -> Exemption:
        """See the port."""
        rows = await self._engine.read(_OF_REPOSITORY, id=repository_id)
        own, above = rows[0] if rows else (0, 0)
        return Exemption(bool(own), bool(own or above))

    async def of_namespace(self, namespace: str) -> Exemption | None:
        """See the port."""
        rows = await self._engine.read(_OF_NAMESPACE, name=namespace)
        return Exemption(bool(rows[0][0]), bool(rows[0][0])) if rows else None

    async def exempt_repository(self, flag: bool, caller: Caller) -> None:
        """See the port."""
        basis = caller.basis
        assert basis is not None
        assert basis.repository_id is not None

        async def change(transaction: Transaction) -> None:
            values = {"id": basis.repository_id, "version": basis.rights_version}
            if not await transaction.run(_EXEMPT_REPOSITORY, flag=int(flag), **values):
                raise Taken("the repository has just been changed by somebody else: look at it again")
            await record(transaction, caller, "repository.exempt", basis.repository_id, new=str(flag).lower())

        await self._engine.write(change, durable=True)

    async def exempt_namespace(self, namespace: str, flag: bool, caller: Caller) -> None:
        """See the port."""

        async def change(transaction: Transaction) -> None:
            row = await transaction.one(_EXEMPT_NAMESPACE, name=namespace, flag=int(flag))
            if row is None:
                raise NotThere(f"there is no account or organization {namespace[:60]!r}")
            told = str(flag).lower()
            await record(transaction, caller, "namespace.exempt", namespace=row[0], subject=namespace, new=told)

        await self._engine.write(change, durable=True)
