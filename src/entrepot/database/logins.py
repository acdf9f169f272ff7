"""What logging in reads of accounts and credentials, and where logins are written down."""

from entrepot.access.login_rows import StoredCredential, StoredIdentity
from entrepot.database.engine import Engine, Row, Transaction

_IDENTITY = (
    "SELECT i.id, a.id, a.name, a.kind, a.administrator, a.disabled_at, i.secret, i.changed_at FROM accounts a"
    " JOIN identities i ON i.account_id = a.id WHERE a.deleted_at IS NULL AND i.provider = :provider AND "
)
_BY_NAME = f"{_IDENTITY}a.name = :name"
_BY_ACCOUNT = f"{_IDENTITY}a.id = :account"
# A token of a token is at most three deep: what a password made, what that obtained, and so on; each must live.
_PARENTS = (
    "(SELECT 1 FROM credentials p LEFT JOIN credentials q ON q.id = p.parent_id WHERE p.id = c.parent_id"
    " AND (p.revoked_at IS NOT NULL OR p.expires_at <= now_us() OR q.revoked_at IS NOT NULL"
    " OR q.expires_at <= now_us()))"
)
_CREDENTIAL = (
    f"SELECT c.id, c.kind, c.hash, c.scopes, c.expires_at, CASE WHEN EXISTS {_PARENTS}"  # noqa: S608 - constants
    " OR c.revoked_at IS NOT NULL OR a.deleted_at IS NOT NULL OR a.disabled_at IS NOT NULL"
    " OR o.deleted_at IS NOT NULL OR o.disabled_at IS NOT NULL THEN 1 ELSE 0 END,"
    " a.id, a.name, a.kind, a.administrator, a.owner_id"
    " FROM credentials c JOIN accounts a ON a.id = c.account_id LEFT JOIN accounts o ON o.id = a.owner_id WHERE "
)
_BY_LOOKUP = f"{_CREDENTIAL}c.lookup = :lookup"
_BY_ID = f"{_CREDENTIAL}c.id = :id"
# Notes are written down a moment later: of an account that was deleted meanwhile nothing that tells who it was.
_GONE = "a.deleted_at IS NOT NULL"
_DELETED = f"SELECT 1 FROM accounts a WHERE a.id = :id AND {_GONE}"  # noqa: S608 - a constant
_USED = (
    "INSERT INTO credential_uses (credential_id, used_at, address, agent)"  # noqa: S608
    " SELECT c.id, CAST(:at AS bigint), CAST(:address AS text), CAST(:agent AS text) FROM credentials c"
    f" WHERE c.id = :id AND NOT EXISTS (SELECT 1 FROM accounts a WHERE a.id = c.account_id AND {_GONE})"
    " ON CONFLICT (credential_id) DO UPDATE SET used_at = excluded.used_at,"
    " address = excluded.address, agent = excluded.agent WHERE credential_uses.used_at < excluded.used_at"
)
_COUNT = (
    "UPDATE logins SET count = count + :count, at = :at WHERE minute = :minute AND COALESCE(account_id, 0) = :account"
    " AND name_key = :name AND address = :address AND outcome = :outcome"
)
_LOGIN = (
    "INSERT INTO logins (at, minute, account_id, name_key, address, outcome, reason, count) VALUES (:at, :minute,"
    " NULLIF(CAST(:account AS bigint), 0), :name, :address, :outcome, :reason, :count)"
)
_ACCOUNT = "SELECT id, administrator, disabled_at FROM accounts WHERE name = :name AND kind = 'person'"
_NAME = "SELECT name FROM accounts WHERE id = :id AND deleted_at IS NULL"
_MAKE = "INSERT INTO accounts (kind, name, created_at) VALUES ('person', :name, now_us()) ON CONFLICT (name) DO NOTHING"
_MINUTE = 60_000_000  # microseconds


class DatabaseLogins:
    """The port LoginRows, and what logins leave behind."""

    def __init__(self, engine: Engine, provider: str = "password") -> None:
        """`provider`: whose identities prove passwords."""
        self._engine = engine
        self._provider = provider

    async def identity(self, name: str) -> StoredIdentity | None:
        """See the port."""
        rows = await self._engine.read(_BY_NAME, name=name, provider=self._provider)
        return _identity(rows[0]) if rows else None

    async def identity_by_account(self, account_id: int) -> StoredIdentity | None:
        """See the port."""
        rows = await self._engine.read(_BY_ACCOUNT, account=account_id, provider=self._provider)
        return _identity(rows[0]) if rows else None

    async def credential(self, lookup: str) -> StoredCredential | None:
        """See the port."""
        rows = await self._engine.read(_BY_LOOKUP, lookup=lookup)
        return _credential(rows[0]) if rows else None

    async def credential_by_id(self, credential_id: int) -> StoredCredential | None:
        """See the port."""
        rows = await self._engine.read(_BY_ID, id=credential_id)
        return _credential(rows[0]) if rows else None

    def dummy(self, name: str) -> str | None:
        """See the port."""
        return None

    async def account_of(self, name: str) -> tuple[int, bool, bool] | None:
        """See the port FileAccounts."""

        async def find(transaction: Transaction) -> Row | None:
            await transaction.run(_MAKE, name=name)
            return await transaction.one(_ACCOUNT, name=name)

        rows = await self._engine.read(_ACCOUNT, name=name)
        row = rows[0] if rows else await self._engine.write(find, durable=True)
        return None if row is None else (row[0], bool(row[1]), row[2] is not None)

    async def name_of(self, account_id: int) -> str | None:
        """See the port FileAccounts."""
        rows = await self._engine.read(_NAME, id=account_id)
        return rows[0][0] if rows else None

    async def write_notes(
        self, uses: list[tuple[int, int, str, str]], logins: list[tuple[int, int | None, str, str, str, str, int]]
    ) -> None:
        """See the port NoteRows; logins are merged by minute, name, address and outcome."""

        async def write(transaction: Transaction) -> None:
            for credential, at, address, agent in uses:
                await transaction.run(_USED, id=credential, at=at, address=address, agent=agent)
            for at, account, name, came_from, outcome, reason, count in logins:
                gone = account is not None and await transaction.one(_DELETED, id=account)
                address = "" if gone else came_from
                place: dict[str, object] = {
                    "at": at,
                    "minute": at // _MINUTE,
                    "account": account or 0,
                    "name": name,
                    "address": address,
                    "outcome": outcome,
                    "count": count,
                }
                if not await transaction.run(_COUNT, **place):
                    await transaction.run(_LOGIN, **place, reason=reason)

        await self._engine.write(write, durable=False)


def _identity(row: Row) -> StoredIdentity:
    identity, account, name, kind, administrator, disabled, secret, changed = row
    return StoredIdentity(identity, account, name, kind, bool(administrator), disabled is not None, secret, changed)


def _credential(row: Row) -> StoredCredential:
    identity, credential_kind, proof, scopes, expires, ended, account, name, kind, administrator, owner = row
    return StoredCredential(
        identity, credential_kind, proof, scopes, expires, bool(ended), account, name, kind, bool(administrator), owner
    )
