"""The credentials of people: personal access tokens, sessions, refresh tokens."""

import json
from collections.abc import Sequence

from entrepot.access.actor import Role
from entrepot.access.caller import Caller
from entrepot.access.credentials import NewSecret
from entrepot.database.changes import record
from entrepot.database.engine import Engine, Row, Transaction
from entrepot.database.standing import refuse_ended
from entrepot.hub.tokens import ROLES, Credential

_SELECT = (
    "SELECT c.id, c.kind, c.label, c.scopes, c.created_at, c.expires_at, c.revoked_at, u.used_at, u.address"
    " FROM credentials c LEFT JOIN credential_uses u ON u.credential_id = c.id"
)
_PAGE = (
    _SELECT
    + " WHERE c.account_id = :account AND c.kind IN (:kind, :other) AND c.id > :after ORDER BY c.id LIMIT :limit"
)
_ONE = _SELECT + " WHERE c.id = :id"
_ADD = (
    "INSERT INTO credentials (account_id, kind, label, lookup, hash, scopes, created_at, created_by, expires_at)"
    " VALUES (:account, :kind, :label, :lookup, :hash, :scopes, now_us(), :by,"
    " now_us() + CAST(:lifetime AS bigint)) RETURNING id"
)
_FIND = "SELECT label, kind FROM credentials WHERE id = :id AND account_id = :account AND kind IN (:kind, :other)"
# What it obtained, and what that obtained: refresh tokens beget none, so there is no more.
_REVOKE = (
    "UPDATE credentials SET revoked_at = now_us() WHERE revoked_at IS NULL AND (id = :id OR parent_id = :id"
    " OR parent_id IN (SELECT p.id FROM credentials p WHERE p.parent_id = :id))"
)
_REPOSITORY = "SELECT name FROM repositories WHERE id = :id AND deleted_at IS NULL"
_NAMESPACE = "SELECT name FROM accounts WHERE id = :id AND deleted_at IS NULL"
_WORDS = {role.word: word for word, role in ROLES.items()} | {Role.OWNER.word: "everything"}


class DatabaseTokens:
    """The port CredentialRows."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def credentials(self, account_id: int, kinds: Sequence[str], after: int, limit: int) -> Sequence[Credential]:
        """See the port."""
        rows = await self._engine.read(_PAGE, account=account_id, after=after, limit=limit, **_of(kinds))
        return [await self._credential(row) for row in rows]

    async def add_credential(
        self,
        account_id: int,
        kind: str,
        label: str,
        secret: NewSecret,
        scopes: str,
        lifetime: int | None,
        caller: Caller,
    ) -> Credential:
        """See the port."""

        async def add(transaction: Transaction) -> Row:
            await refuse_ended(transaction, caller.actor, account_id)
            row = await transaction.one(
                _ADD,
                account=account_id,
                kind=kind,
                label=label,
                lookup=secret.lookup,
                hash=secret.hash,
                scopes=scopes,
                by=caller.account_id,
                lifetime=lifetime,
            )
            assert row is not None
            await record(transaction, caller, "credential.create", namespace=account_id, subject=label, new=kind)
            made = await transaction.one(_ONE, id=row[0])
            assert made is not None
            return made

        return await self._credential(await self._engine.write(add, durable=True))

    async def revoke(self, account_id: int, kinds: Sequence[str], credential_id: int, caller: Caller) -> bool:
        """See the port."""

        async def revoke(transaction: Transaction) -> bool:
            row = await transaction.one(_FIND, id=credential_id, account=account_id, **_of(kinds))
            if row is None:
                return False
            if await transaction.run(_REVOKE, id=credential_id):
                kind = "credential.revoke"
                await record(transaction, caller, kind, namespace=account_id, subject=row[0], old=row[1])
            return True

        return await self._engine.write(revoke, durable=True)

    async def _credential(self, row: Row) -> Credential:
        identity, kind, label, scopes, created, expires, revoked, used, address = row
        stored = json.loads(scopes)
        return Credential(
            identity,
            kind,
            label,
            _WORDS.get(stored["role"], stored["role"]),
            await self._names(_REPOSITORY, stored.get("repositories")),
            await self._names(_NAMESPACE, stored.get("namespaces")),
            created,
            expires,
            revoked,
            used,
            address,
        )

    async def _names(self, statement: str, ids: Sequence[int] | None) -> list[str] | None:
        """The names that they have now; what was deleted has none."""
        if ids is None:
            return None
        found = [await self._engine.read(statement, id=identity) for identity in ids]
        return [rows[0][0] for rows in found if rows]


def _of(kinds: Sequence[str]) -> dict[str, object]:
    return {"kind": kinds[0], "other": kinds[-1]}
