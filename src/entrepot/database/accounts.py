"""People's accounts: made, changed, disabled, ended."""

from collections.abc import Sequence
from dataclasses import replace

from entrepot.access.caller import Caller
from entrepot.database.changes import record
from entrepot.database.engine import Engine, Row, Transaction
from entrepot.database.pseudonyms import pseudonym, pseudonymise
from entrepot.database.standing import lock_account, refuse_ended
from entrepot.hub.accounts import Account, AccountRows, Changes, NewAccount
from entrepot.hub.errors import Forbidden, NotThere, Taken

_COLUMNS = (
    "a.id, a.name, a.full_name, a.email, a.administrator, a.plan, a.created_at, CASE WHEN a.disabled_at IS NULL THEN 0"
    " ELSE 1 END"
)
_LIVE = "a.kind = 'person' AND a.deleted_at IS NULL"
_BY_NAME = f"SELECT {_COLUMNS} FROM accounts a WHERE a.name = :name AND {_LIVE}"  # noqa: S608 - constants
_BY_ID = f"SELECT {_COLUMNS} FROM accounts a WHERE a.id = :id AND {_LIVE}"  # noqa: S608
_LIST = f"SELECT {_COLUMNS} FROM accounts a WHERE a.name > :after AND {_LIVE} ORDER BY a.name LIMIT :limit"  # noqa: S608
_RETIRED = "SELECT 1 FROM retired_names WHERE name_key = :key"
_RETIRE = "INSERT INTO retired_names (name_key) VALUES (:key) ON CONFLICT (name_key) DO NOTHING"
_INSERT = (
    "INSERT INTO accounts (kind, name, full_name, email, administrator, created_at) VALUES ('person', :name,"
    " :full_name, :email, :administrator, now_us()) ON CONFLICT (name) DO NOTHING RETURNING id"
)
# Of two accounts that claim one address the first has it; the other is not told, or addresses could be tried out.
_CLAIM = (
    "UPDATE accounts SET email_key = :key WHERE id = :id"
    " AND NOT EXISTS (SELECT 1 FROM accounts o WHERE o.email_key = :key AND o.id <> :id)"
)
_UNCLAIM = "UPDATE accounts SET email_key = NULL WHERE id = :id"
_PROVE = (
    "INSERT INTO identities (account_id, provider, subject, secret, changed_at)"
    " VALUES (:id, 'password', :name, :secret, now_us())"
)
_PROVE_ANEW = (
    "UPDATE identities SET secret = :secret, changed_at = CASE WHEN now_us() > changed_at THEN now_us()"
    " ELSE changed_at + 1 END WHERE account_id = :id AND provider = 'password'"
)
_CHANGE = (
    "UPDATE accounts SET full_name = COALESCE(:full_name, full_name), email = COALESCE(:email, email) WHERE id = :id"
)
# Every change of who administers goes through this update first, so that two of them take turns.
_LOCK_ADMINISTRATORS = "UPDATE accounts SET administrator = administrator WHERE administrator = 1"
_OTHER_ADMINISTRATOR = (
    "SELECT 1 FROM accounts a WHERE a.administrator = 1 AND a.id <> :id AND a.disabled_at IS NULL"
    " AND a.deleted_at IS NULL LIMIT 1"
)
_PROMOTE = "UPDATE accounts SET administrator = :flag WHERE id = :id"
_DISABLE = "UPDATE accounts SET disabled_at = now_us() WHERE id = :id"
_ENABLE = "UPDATE accounts SET disabled_at = NULL WHERE id = :id"
# What a password obtained, and what that obtained.
_END_SESSIONS = (
    "UPDATE credentials SET revoked_at = now_us() WHERE account_id = :id AND kind IN ('session', 'refresh')"
    " AND parent_id IS NULL AND revoked_at IS NULL"
)
# Of a disabled account no client stays logged in, by whatever credential: its tokens hold again when it is enabled.
_END_LOGINS = (
    "UPDATE credentials SET revoked_at = now_us() WHERE account_id = :id AND kind IN ('session', 'refresh')"
    " AND revoked_at IS NULL"
)
_END_ALL = "UPDATE credentials SET revoked_at = now_us() WHERE account_id = :id AND revoked_at IS NULL"
_OWNS = "SELECT name FROM repositories WHERE namespace_id = :id AND deleted_at IS NULL ORDER BY name LIMIT 1"
_LAST_OWNER_OF = (
    "SELECT n.name FROM members m JOIN accounts n ON n.id = m.organization_id WHERE m.account_id = :id"
    " AND m.role = 'owner' AND n.deleted_at IS NULL AND NOT EXISTS (SELECT 1 FROM members o JOIN accounts p"
    " ON p.id = o.account_id WHERE o.organization_id = n.id AND o.role = 'owner' AND o.account_id <> :id"
    " AND p.deleted_at IS NULL AND p.disabled_at IS NULL) ORDER BY n.name LIMIT 1"
)
_GONE = (  # what of a deleted account is nobody's business any more
    "DELETE FROM identities WHERE account_id = :id",
    "DELETE FROM members WHERE account_id = :id",
    "DELETE FROM team_members WHERE account_id = :id",
    "DELETE FROM grants WHERE account_id = :id OR namespace_id = :id",
    "DELETE FROM known_addresses WHERE account_id = :id",
    "DELETE FROM stars WHERE account_id = :id",
)
_END = (
    "UPDATE accounts SET name = :gone, full_name = '', email = NULL, email_key = NULL, administrator = 0,"
    " deleted_at = now_us() WHERE id = :id"
)


async def add_account(transaction: Transaction, new: NewAccount, caller: Caller) -> int:
    """Make an account in this transaction and return its id; Taken when the name is or was somebody's."""
    row = None
    if not await transaction.one(_RETIRED, key=new.name_key):
        row = await transaction.one(
            _INSERT,
            name=new.name,
            full_name=new.full_name,
            email=new.email,
            administrator=int(new.administrator),
        )
    if row is None:
        raise Taken(f"the name {new.name!r} is taken", "name")
    if new.email is not None:
        await transaction.run(_CLAIM, id=row[0], key=new.email.lower())
    await transaction.run(_PROVE, id=row[0], name=new.name, secret=new.password_hash)
    await record(transaction, caller, "account.create", namespace=row[0], subject=new.name)
    return int(row[0])


async def read_account(transaction: Transaction, account_id: int) -> Account:
    """An account as it is inside this transaction; NotThere when it is deleted."""
    row = await transaction.one(_BY_ID, id=account_id)
    if row is None:
        raise NotThere("the account has been deleted")
    return _account(row)


class DatabaseAccounts(AccountRows):
    """The port AccountRows."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def account(self, name: str) -> Account | None:
        """See the port."""
        rows = await self._engine.read(_BY_NAME, name=name)
        return _account(rows[0]) if rows else None

    async def account_by_id(self, account_id: int) -> Account | None:
        """See the port."""
        rows = await self._engine.read(_BY_ID, id=account_id)
        return _account(rows[0]) if rows else None

    async def accounts(self, after: str, limit: int) -> Sequence[Account]:
        """See the port."""
        return [_account(row) for row in await self._engine.read(_LIST, after=after, limit=limit)]

    async def add(self, new: NewAccount, caller: Caller) -> Account:
        """See the port."""

        async def add(transaction: Transaction) -> Account:
            return await read_account(transaction, await add_account(transaction, new, caller))

        return await self._engine.write(add, durable=True)

    async def change(self, account_id: int, changes: Changes, caller: Caller) -> None:
        """See the port."""

        async def change(transaction: Transaction) -> None:
            before = await read_account(transaction, account_id)
            await transaction.run(_CHANGE, id=account_id, full_name=changes.full_name, email=changes.email)
            if changes.email is not None:
                await transaction.run(_UNCLAIM, id=account_id)
                await transaction.run(_CLAIM, id=account_id, key=changes.email.lower())
            await record(transaction, caller, "account.change", namespace=account_id, subject=before.name)

        await self._engine.write(change, durable=True)

    async def set_password(self, account_id: int, password_hash: str, caller: Caller, *, reset: bool) -> None:
        """See the port."""

        async def change(transaction: Transaction) -> None:
            await refuse_ended(transaction, None if reset else caller.actor, account_id)
            account = await read_account(transaction, account_id)
            if not await transaction.run(_PROVE_ANEW, id=account_id, secret=password_hash):
                await transaction.run(_PROVE, id=account_id, name=account.name, secret=password_hash)
            await transaction.run(_END_ALL if reset else _END_SESSIONS, id=account_id)
            kind = "account.reset" if reset else "account.password"
            await record(transaction, caller, kind, namespace=account_id, subject=account.name)

        await self._engine.write(change, durable=True)

    async def set_administrator(self, account_id: int, flag: bool, caller: Caller) -> None:
        """See the port."""

        async def change(transaction: Transaction) -> None:
            account = await read_account(transaction, account_id)
            await transaction.run(_LOCK_ADMINISTRATORS)
            if not flag:
                await _another_administrator(transaction, account)
            await transaction.run(_PROMOTE, id=account_id, flag=int(flag))
            kind = "account.administrator"
            await record(transaction, caller, kind, namespace=account_id, subject=account.name, new=str(flag).lower())

        await self._engine.write(change, durable=True)

    async def set_disabled(self, account_id: int, flag: bool, caller: Caller) -> None:
        """See the port."""

        async def change(transaction: Transaction) -> None:
            account = await read_account(transaction, account_id)
            if flag:
                await transaction.run(_LOCK_ADMINISTRATORS)
                await _another_administrator(transaction, account)
                await lock_account(transaction, account_id)
                await transaction.run(_END_LOGINS, id=account_id)
            await transaction.run(_DISABLE if flag else _ENABLE, id=account_id)
            kind = "account.disable" if flag else "account.enable"
            await record(transaction, caller, kind, namespace=account_id, subject=account.name)

        await self._engine.write(change, durable=True)

    async def remove(self, account_id: int, name_key: str, caller: Caller) -> None:
        """See the port."""

        async def remove(transaction: Transaction) -> None:
            account = await read_account(transaction, account_id)
            await transaction.run(_LOCK_ADMINISTRATORS)
            await _another_administrator(transaction, account)
            await lock_account(transaction, account_id)
            if (owned := await transaction.one(_OWNS, id=account_id)) is not None:
                raise Taken(f"{account.name} still owns {owned[0]}: delete or transfer its repositories first")
            if (last := await transaction.one(_LAST_OWNER_OF, id=account_id)) is not None:
                raise Taken(f"{account.name} is the last owner of {last[0]}: make somebody else an owner first")
            await transaction.run(_END_ALL, id=account_id)
            for statement in _GONE:
                await transaction.run(statement, id=account_id)
            await pseudonymise(transaction, account_id, account.name)
            await transaction.run(_RETIRE, key=name_key)
            await transaction.run(_END, id=account_id, gone=f"~{account_id}")
            by = replace(caller, address="") if caller.account_id == account_id else caller
            gone = pseudonym(account_id)
            await record(transaction, by, "account.delete", namespace=account_id, subject=gone)

        await self._engine.write(remove, durable=True)


async def _another_administrator(transaction: Transaction, account: Account) -> None:
    """Forbidden when this account is the last that administers the installation."""
    if account.administrator and not await transaction.one(_OTHER_ADMINISTRATOR, id=account.id):
        raise Forbidden(f"{account.name} is the last administrator: make somebody else one first")


def _account(row: Row) -> Account:
    identity, name, full_name, email, administrator, plan, created_at, disabled = row
    return Account(identity, name, full_name, email, bool(administrator), plan, created_at, bool(disabled))
