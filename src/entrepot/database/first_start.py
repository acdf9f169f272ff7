"""The first start with accounts: the administrator, and the organization `library`."""

from entrepot.access.caller import Caller
from entrepot.access.names import LIBRARY
from entrepot.database.changes import record
from entrepot.database.engine import Engine, Transaction

ADMINISTRATOR = "admin"

_ADMINISTRATORS = "SELECT 1 FROM accounts WHERE administrator = 1 AND deleted_at IS NULL"
# By one statement, so that of several nodes that start together one makes it.
_MAKE = (
    "INSERT INTO accounts (kind, name, administrator, created_at) SELECT 'person', :name, 1, now_us()"
    f" WHERE NOT EXISTS ({_ADMINISTRATORS}) ON CONFLICT (name) DO NOTHING RETURNING id"
)
_PROVE = (
    "INSERT INTO identities (account_id, provider, subject, secret, changed_at)"
    " VALUES (:account, 'password', :name, :secret, now_us())"
)
_LIBRARY = (
    "INSERT INTO accounts (kind, name, member_role, created_at) VALUES ('organization', :name, 'write', now_us())"
    " ON CONFLICT (name) DO NOTHING"
)


async def has_administrator(engine: Engine) -> bool:
    """Whether anybody administers this installation."""
    return bool(await engine.read(_ADMINISTRATORS))


async def make_administrator(engine: Engine, password_hash: str | None) -> bool:
    """Make `admin` with this password while there is no administrator; False when somebody else was first.

    None where passwords are proved elsewhere.
    """

    async def make(transaction: Transaction) -> bool:
        row = await transaction.one(_MAKE, name=ADMINISTRATOR)
        if row is None:
            return False
        if password_hash is not None:
            await transaction.run(_PROVE, account=row[0], name=ADMINISTRATOR, secret=password_hash)
        await record(transaction, Caller(), "account.create", namespace=row[0], subject=ADMINISTRATOR)
        return True

    return await engine.write(make, durable=True)


async def make_library(engine: Engine) -> None:
    """Make the organization that one-component names belong to, if it is not there."""

    async def make(transaction: Transaction) -> None:
        await transaction.run(_LIBRARY, name=LIBRARY)

    if not await engine.read("SELECT 1 FROM accounts WHERE name = :name", name=LIBRARY):
        await engine.write(make, durable=True)
