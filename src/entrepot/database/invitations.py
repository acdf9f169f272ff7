"""Invitations as rows."""

from collections.abc import Sequence

from entrepot.access.caller import Caller
from entrepot.database.accounts import add_account, read_account
from entrepot.database.changes import record
from entrepot.database.engine import Engine, Transaction
from entrepot.hub.accounts import Account, NewAccount
from entrepot.hub.invitations import Invitation, NewInvitation

_SELECT = (
    "SELECT i.id, n.name, i.role, i.note, i.created_at, i.expires_at, i.used_at, a.name, i.revoked_at"
    " FROM invitations i LEFT JOIN accounts n ON n.id = i.organization_id LEFT JOIN accounts a ON a.id = i.used_by"
)
_ONE = _SELECT + " WHERE i.id = :id"
_PAGE = _SELECT + " WHERE i.created_by = :creator AND i.id > :after ORDER BY i.id LIMIT :limit"
_ADD = (
    "INSERT INTO invitations (lookup, hash, organization_id, role, note, created_at, created_by, expires_at) VALUES"
    " (:lookup, :hash, :organization, :role, :note, now_us(), :by, now_us() + CAST(:lifetime AS bigint)) RETURNING id"
)
_HOLDS = "used_at IS NULL AND revoked_at IS NULL AND expires_at > now_us()"
_WITHDRAW = f"UPDATE invitations SET revoked_at = now_us() WHERE id = :id AND created_by = :creator AND {_HOLDS}"  # noqa: S608
_PROOF = f"SELECT hash FROM invitations WHERE lookup = :lookup AND {_HOLDS}"  # noqa: S608 - constants
# By one conditional update, so that of two who use it at once one makes an account.
_USE = (
    f"UPDATE invitations SET used_at = now_us() WHERE lookup = :lookup AND {_HOLDS}"  # noqa: S608
    " RETURNING id, organization_id, role"
)
_BECAME = "UPDATE invitations SET used_by = :account WHERE id = :id"
_LET_IN = (
    "INSERT INTO members (organization_id, account_id, role, created_at) SELECT n.id, :account, :role, now_us()"
    " FROM accounts n WHERE n.id = :organization AND n.deleted_at IS NULL"
)


class DatabaseInvitations:
    """The port InvitationRows."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def add_invitation(self, new: NewInvitation, lifetime: int, caller: Caller) -> Invitation:
        """See the port."""

        async def add(transaction: Transaction) -> Invitation:
            row = await transaction.one(
                _ADD,
                lookup=new.secret.lookup,
                hash=new.secret.hash,
                organization=new.organization_id,
                role=new.role,
                note=new.note,
                by=caller.account_id,
                lifetime=lifetime,
            )
            assert row is not None
            await record(transaction, caller, "account.invite", namespace=new.organization_id, subject=new.note)
            made = await transaction.one(_ONE, id=row[0])
            assert made is not None
            return Invitation(*made)

        return await self._engine.write(add, durable=True)

    async def invitations(self, creator_id: int, after: int, limit: int) -> Sequence[Invitation]:
        """See the port."""
        rows = await self._engine.read(_PAGE, creator=creator_id, after=after, limit=limit)
        return [Invitation(*row) for row in rows]

    async def withdraw(self, creator_id: int, invitation_id: int, caller: Caller) -> bool:
        """See the port."""

        async def withdraw(transaction: Transaction) -> bool:
            return await transaction.run(_WITHDRAW, id=invitation_id, creator=creator_id) == 1

        return await self._engine.write(withdraw, durable=True)

    async def proof(self, lookup: str) -> str | None:
        """See the port."""
        rows = await self._engine.read(_PROOF, lookup=lookup)
        return str(rows[0][0]) if rows else None

    async def accept(self, lookup: str, new: NewAccount, caller: Caller) -> Account | None:
        """See the port."""

        async def accept(transaction: Transaction) -> Account | None:
            row = await transaction.one(_USE, lookup=lookup)
            if row is None:
                return None
            account = await add_account(transaction, new, caller)
            await transaction.run(_BECAME, id=row[0], account=account)
            if row[1] is not None:
                await transaction.run(_LET_IN, organization=row[1], account=account, role=row[2])
                await record(transaction, caller, "member.add", namespace=row[1], subject=new.name, new=row[2])
            return await read_account(transaction, account)

        return await self._engine.write(accept, durable=True)
