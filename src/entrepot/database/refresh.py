"""Refresh tokens as rows: one for a credential and a client."""

from entrepot.access.caller import Caller
from entrepot.database.changes import record
from entrepot.database.engine import Engine, Transaction
from entrepot.database.standing import refuse_ended

_FIND = (
    "SELECT lookup FROM credentials WHERE account_id = :account AND kind = 'refresh' AND client = :client"
    " AND COALESCE(parent_id, 0) = :parent AND revoked_at IS NULL ORDER BY id LIMIT 1"
)
_ADD = (
    "INSERT INTO credentials (account_id, kind, parent_id, label, client, lookup, hash, scopes, created_at, created_by)"
    " VALUES (:account, 'refresh', NULLIF(CAST(:parent AS bigint), 0), :client, :client, :lookup, :hash, :scopes,"
    " now_us(), :account)"
)
# A token that was never used counts from its making.
_UNUSED = (
    "UPDATE credentials SET revoked_at = now_us() WHERE kind = 'refresh' AND revoked_at IS NULL"
    " AND created_at < now_us() - :age AND NOT EXISTS (SELECT 1 FROM credential_uses u"
    " WHERE u.credential_id = credentials.id AND u.used_at >= now_us() - :age)"
)


class DatabaseRefreshTokens:
    """The port RefreshRows."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def refresh_lookup(
        self, account_id: int, parent_id: int | None, client: str, scopes: str, fresh: tuple[str, str], caller: Caller
    ) -> str:
        """See the port."""
        where: dict[str, object] = {"account": account_id, "parent": parent_id or 0, "client": client}
        rows = await self._engine.read(_FIND, **where)
        if rows:
            return str(rows[0][0])

        async def add(transaction: Transaction) -> str:
            await refuse_ended(transaction, caller.actor, account_id)
            row = await transaction.one(_FIND, **where)
            if row is not None:
                return str(row[0])
            lookup, proof = fresh
            await transaction.run(_ADD, **where, lookup=lookup, hash=proof, scopes=scopes)
            await record(transaction, caller, "credential.create", namespace=account_id, subject=client, new="refresh")
            return lookup

        return await self._engine.write(add, durable=True)

    async def end_unused(self, age: int) -> int:
        """End those that nobody has used for `age` microseconds; returns how many."""

        async def end(transaction: Transaction) -> int:
            return await transaction.run(_UNUSED, age=age)

        return await self._engine.write(end, durable=True)
