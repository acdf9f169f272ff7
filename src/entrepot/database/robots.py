"""Robots of organizations, and their tokens."""

import json
from collections.abc import Sequence

from entrepot.access.actor import Role
from entrepot.access.caller import Caller
from entrepot.access.credentials import NewSecret
from entrepot.database.changes import record
from entrepot.database.engine import Engine, Transaction
from entrepot.hub.errors import NotThere, Taken
from entrepot.hub.robots import Robot

# A robot's rights are its grants, which are admin at most: the token narrows them no further.
_SCOPES = json.dumps({"role": Role.ADMIN.word})
_SELECT = (
    "SELECT a.id, a.name, a.full_name, a.created_at, c.created_at, c.expires_at, u.used_at FROM accounts a"
    " LEFT JOIN credentials c ON c.account_id = a.id AND c.kind = 'robot' AND c.revoked_at IS NULL"
    " AND (c.expires_at IS NULL OR c.expires_at > now_us())"
    " LEFT JOIN credential_uses u ON u.credential_id = c.id"
    " WHERE a.owner_id = :organization AND a.kind = 'robot' AND a.deleted_at IS NULL"
)
_ROBOT = _SELECT + " AND a.name = :name"
_ROBOTS = _SELECT + " AND a.name > :after ORDER BY a.name LIMIT :limit"
_INSERT = (
    "INSERT INTO accounts (kind, name, owner_id, full_name, created_at)"
    " SELECT 'robot', :name, n.id, :description, now_us() FROM accounts n"
    " WHERE n.id = :organization AND n.deleted_at IS NULL ON CONFLICT (name) DO NOTHING RETURNING id"
)
# The update changes nothing: two rotations at once go one after another, and one token remains.
_LOCK = (
    "UPDATE accounts SET name = name WHERE id = :id AND owner_id = :organization AND kind = 'robot'"
    " AND deleted_at IS NULL RETURNING name"
)
_NEW_CREDENTIAL = (
    "INSERT INTO credentials (account_id, kind, lookup, hash, scopes, created_at, created_by, expires_at)"
    " VALUES (:account, 'robot', :lookup, :hash, :scopes, now_us(), :by, now_us() + CAST(:lifetime AS bigint))"
)
_REVOKE = "UPDATE credentials SET revoked_at = now_us() WHERE account_id = :id AND revoked_at IS NULL"
_DROP_GRANTS = "DELETE FROM grants WHERE account_id = :id"
_END = "UPDATE accounts SET name = :gone, full_name = '', deleted_at = now_us() WHERE id = :id"


async def end_robot(transaction: Transaction, robot_id: int) -> None:
    """Delete a robot with its tokens and grants; another one of its name will have another id."""
    await transaction.run(_REVOKE, id=robot_id)
    await transaction.run(_DROP_GRANTS, id=robot_id)
    await transaction.run(_END, id=robot_id, gone=f"~{robot_id}")


class DatabaseRobots:
    """The port RobotRows."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def robot(self, organization_id: int, name: str) -> Robot | None:
        """See the port."""
        rows = await self._engine.read(_ROBOT, organization=organization_id, name=name)
        return Robot(*rows[0]) if rows else None

    async def robots(self, organization_id: int, after: str, limit: int) -> Sequence[Robot]:
        """See the port."""
        rows = await self._engine.read(_ROBOTS, organization=organization_id, after=after, limit=limit)
        return [Robot(*row) for row in rows]

    async def add_robot(
        self,
        organization_id: int,
        name: str,
        description: str,
        secret: NewSecret,
        lifetime: int | None,
        caller: Caller,
    ) -> None:
        """See the port."""

        async def add(transaction: Transaction) -> None:
            row = await transaction.one(_INSERT, organization=organization_id, name=name, description=description)
            if row is None:
                raise Taken(f"there is a robot {name!r} already", "name")
            await record(transaction, caller, "account.create", namespace=organization_id, subject=name)
            await _give_token(transaction, organization_id, row[0], name, secret, lifetime, caller)

        await self._engine.write(add, durable=True)

    async def replace_token(
        self, organization_id: int, robot_id: int, secret: NewSecret | None, lifetime: int | None, caller: Caller
    ) -> None:
        """See the port."""

        async def replace(transaction: Transaction) -> None:
            name = await _locked(transaction, organization_id, robot_id)
            if await transaction.run(_REVOKE, id=robot_id):
                await record(transaction, caller, "credential.revoke", namespace=organization_id, subject=name)
            if secret is not None:
                await _give_token(transaction, organization_id, robot_id, name, secret, lifetime, caller)

        await self._engine.write(replace, durable=True)

    async def remove_robot(self, organization_id: int, robot_id: int, caller: Caller) -> None:
        """See the port."""

        async def remove(transaction: Transaction) -> None:
            name = await _locked(transaction, organization_id, robot_id)
            await end_robot(transaction, robot_id)
            await record(transaction, caller, "account.delete", namespace=organization_id, subject=name)

        await self._engine.write(remove, durable=True)


async def _locked(transaction: Transaction, organization_id: int, robot_id: int) -> str:
    row = await transaction.one(_LOCK, id=robot_id, organization=organization_id)
    if row is None:
        raise NotThere("the robot has been deleted")
    return str(row[0])


async def _give_token(
    transaction: Transaction,
    organization_id: int,
    robot_id: int,
    name: str,
    secret: NewSecret,
    lifetime: int | None,
    caller: Caller,
) -> None:
    await transaction.run(
        _NEW_CREDENTIAL,
        account=robot_id,
        lookup=secret.lookup,
        hash=secret.hash,
        scopes=_SCOPES,
        by=caller.account_id,
        lifetime=lifetime,
    )
    await record(transaction, caller, "credential.create", namespace=organization_id, subject=name)
