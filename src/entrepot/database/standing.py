"""Whether what somebody came with still holds, inside the transaction that gives them something for it.

Who logs in and who changes a password may come at the same moment. What was obtained by the old password must end with
it: so both lock the account first, and what is handed out is handed out to a login that still holds.
"""

from entrepot.access.actor import Actor
from entrepot.access.errors import LoginRefused
from entrepot.database.engine import Transaction

_LOCK = "UPDATE accounts SET plan = plan WHERE id = :account"
# A password of a file has a negative time: what proves it has no row.
_STANDS = (
    "SELECT 1 FROM accounts a WHERE a.id = :account AND a.disabled_at IS NULL AND a.deleted_at IS NULL"
    " AND (CAST(:credential AS bigint) = 0 OR EXISTS (SELECT 1 FROM credentials c WHERE c.id = :credential"
    " AND c.account_id = a.id AND c.revoked_at IS NULL))"
    " AND (CAST(:password_at AS bigint) <= 0 OR EXISTS (SELECT 1 FROM identities i WHERE i.account_id = a.id"
    " AND i.provider = 'password' AND i.changed_at = :password_at))"
)


async def lock_account(transaction: Transaction, account_id: int) -> None:
    """Whoever changes what this account's logins are worth, or hands out something for one, takes turns."""
    await transaction.run(_LOCK, account=account_id)


async def refuse_ended(transaction: Transaction, actor: Actor | None, account_id: int) -> None:
    """LoginRefused when the actor is this account and its password or credential has ended meanwhile."""
    await lock_account(transaction, account_id)
    if actor is None or actor.account_id != account_id:  # the operator, who makes it for somebody else
        return
    values = {"credential": actor.credential_id or 0, "password_at": actor.password_at}
    if not await transaction.one(_STANDS, account=account_id, **values):
        raise LoginRefused("the password or the token has just ended: log in again")
