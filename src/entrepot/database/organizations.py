"""Organizations and their members, and the settings of every namespace."""

from collections.abc import Sequence

from entrepot.access.caller import Caller
from entrepot.access.names import LIBRARY
from entrepot.database.changes import record
from entrepot.database.engine import Conflict, Engine, Row, Transaction
from entrepot.database.robots import end_robot
from entrepot.database.teams import end_team
from entrepot.hub.errors import NotThere, Taken
from entrepot.hub.organizations import Member, Namespace, Settings

_COLUMNS = "n.id, n.name, n.kind, n.full_name, n.creation, n.default_visibility, n.member_role, n.plan, n.created_at"
_LIVE = "n.kind <> 'robot' AND n.deleted_at IS NULL"
_NAMESPACE = f"SELECT {_COLUMNS} FROM accounts n WHERE n.name = :name AND {_LIVE}"  # noqa: S608 - constants
_BY_ID = f"SELECT {_COLUMNS} FROM accounts n WHERE n.id = :id AND {_LIVE}"  # noqa: S608
_ALL = (
    f"SELECT {_COLUMNS} FROM accounts n WHERE n.kind = 'organization' AND n.name > :after"  # noqa: S608
    " AND n.deleted_at IS NULL ORDER BY n.name LIMIT :limit"
)
_OF_MEMBER = (
    f"SELECT {_COLUMNS} FROM members m JOIN accounts n ON n.id = m.organization_id"  # noqa: S608
    " WHERE m.account_id = :account AND n.name > :after AND n.deleted_at IS NULL ORDER BY n.name LIMIT :limit"
)
_RETIRED = "SELECT 1 FROM retired_names WHERE name_key = :key"
_RETIRE = "INSERT INTO retired_names (name_key) VALUES (:key) ON CONFLICT (name_key) DO NOTHING"
_INSERT = (
    "INSERT INTO accounts (kind, name, full_name, created_at) VALUES ('organization', :name, :full_name, now_us())"
    " ON CONFLICT (name) DO NOTHING RETURNING id"
)
# The update changes nothing: it makes what follows in this transaction and in others go one after another.
_LOCK = "UPDATE accounts SET plan = plan WHERE id = :id AND deleted_at IS NULL RETURNING name"
_CHANGE = (
    "UPDATE accounts SET full_name = COALESCE(:full_name, full_name), creation = COALESCE(:creation, creation),"
    " default_visibility = COALESCE(:default_visibility, default_visibility),"
    " member_role = COALESCE(:member_role, member_role) WHERE id = :id AND deleted_at IS NULL"
)
_OWNS = "SELECT name FROM repositories WHERE namespace_id = :id AND deleted_at IS NULL LIMIT 1"
_TEAMS = "SELECT id FROM teams WHERE organization_id = :id"
_ROBOTS = "SELECT id FROM accounts WHERE owner_id = :id AND kind = 'robot' AND deleted_at IS NULL"
_DROP_GRANTS = "DELETE FROM grants WHERE namespace_id = :id"
_DROP_MEMBERS = "DELETE FROM members WHERE organization_id = :id"
_END = "UPDATE accounts SET name = :gone, full_name = '', deleted_at = now_us() WHERE id = :id"
_MEMBERS = (
    "SELECT a.name, a.full_name, m.role, m.created_at FROM members m JOIN accounts a ON a.id = m.account_id"
    " WHERE m.organization_id = :id AND a.name > :after AND a.deleted_at IS NULL ORDER BY a.name LIMIT :limit"
)
_PERSON = "SELECT id, full_name FROM accounts WHERE name = :name AND kind = 'person' AND deleted_at IS NULL"
_ROLE = "SELECT role FROM members WHERE organization_id = :id AND account_id = :account"
_SET_MEMBER = (
    "INSERT INTO members (organization_id, account_id, role, created_at) VALUES (:id, :account, :role, now_us())"
    " ON CONFLICT (organization_id, account_id) DO UPDATE SET role = excluded.role RETURNING created_at"
)
_OTHER_OWNER = (
    "SELECT 1 FROM members m JOIN accounts a ON a.id = m.account_id WHERE m.organization_id = :id AND m.role = 'owner'"
    " AND m.account_id <> :account AND a.deleted_at IS NULL AND a.disabled_at IS NULL LIMIT 1"
)
_DROP_MEMBER = "DELETE FROM members WHERE organization_id = :id AND account_id = :account"
_LEAVE_TEAMS = (
    "DELETE FROM team_members WHERE account_id = :account"
    " AND team_id IN (SELECT id FROM teams WHERE organization_id = :id)"
)
_DROP_MEMBERS_GRANTS = (
    "DELETE FROM grants WHERE account_id = :account AND (namespace_id = :id"
    " OR repository_id IN (SELECT id FROM repositories WHERE namespace_id = :id))"
)


async def lock_namespace(transaction: Transaction, namespace_id: int) -> str:
    """Its name, when it exists; whoever else locks it waits until this transaction has ended. NotThere otherwise."""
    row = await transaction.one(_LOCK, id=namespace_id)
    if row is None:
        raise NotThere("the account or organization has been deleted")
    return str(row[0])


class DatabaseOrganizations:
    """The port OrganizationRows."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def namespace(self, name: str) -> Namespace | None:
        """See the port."""
        rows = await self._engine.read(_NAMESPACE, name=name)
        return Namespace(*rows[0]) if rows else None

    async def organizations(self, member_id: int | None, after: str, limit: int) -> Sequence[Namespace]:
        """See the port."""
        if member_id is None:
            rows = await self._engine.read(_ALL, after=after, limit=limit)
        else:
            rows = await self._engine.read(_OF_MEMBER, account=member_id, after=after, limit=limit)
        return [Namespace(*row) for row in rows]

    async def add_organization(
        self, name: str, name_key: str, full_name: str, owner_id: int, caller: Caller
    ) -> Namespace:
        """See the port."""

        async def add(transaction: Transaction) -> Namespace:
            row = None
            if not await transaction.one(_RETIRED, key=name_key):
                row = await transaction.one(_INSERT, name=name, full_name=full_name)
            if row is None:
                raise Taken(f"the name {name!r} is taken", "name")
            await transaction.one(_SET_MEMBER, id=row[0], account=owner_id, role="owner")
            await record(transaction, caller, "organization.create", namespace=row[0], subject=name)
            made = await transaction.one(_BY_ID, id=row[0])
            assert made is not None
            return Namespace(*made)

        return await self._engine.write(add, durable=True)

    async def change_namespace(self, namespace_id: int, settings: Settings, caller: Caller) -> None:
        """See the port."""

        async def change(transaction: Transaction) -> None:
            await lock_namespace(transaction, namespace_id)
            before = await transaction.one(_BY_ID, id=namespace_id)
            await transaction.run(
                _CHANGE,
                id=namespace_id,
                full_name=settings.full_name,
                creation=settings.creation,
                default_visibility=settings.default_visibility,
                member_role=settings.member_role,
            )
            after = await transaction.one(_BY_ID, id=namespace_id)
            if before != after and before is not None and after is not None:
                kind = "organization.change" if after[2] == "organization" else "account.change"
                await record(
                    transaction,
                    caller,
                    kind,
                    namespace=namespace_id,
                    subject=after[1],
                    old=_described(before),
                    new=_described(after),
                )

        await self._engine.write(change, durable=True)

    async def remove_organization(self, organization_id: int, name_key: str, caller: Caller) -> None:
        """See the port."""

        async def remove(transaction: Transaction) -> None:
            name = await lock_namespace(transaction, organization_id)
            if held := await transaction.one(_OWNS, id=organization_id):
                raise Taken(f"{name} still has repositories, {held[0]} among them: delete or transfer them first")
            for (team,) in await transaction.all(_TEAMS, id=organization_id):
                await end_team(transaction, team)
            for (robot,) in await transaction.all(_ROBOTS, id=organization_id):
                await end_robot(transaction, robot)
            await transaction.run(_DROP_GRANTS, id=organization_id)
            await transaction.run(_DROP_MEMBERS, id=organization_id)
            await transaction.run(_END, id=organization_id, gone=f"~{organization_id}")
            await transaction.run(_RETIRE, key=name_key)
            await record(transaction, caller, "organization.delete", namespace=organization_id, subject=name)

        await self._engine.write(remove, durable=True)

    async def members(self, organization_id: int, after: str, limit: int) -> Sequence[Member]:
        """See the port."""
        rows = await self._engine.read(_MEMBERS, id=organization_id, after=after, limit=limit)
        return [Member(*row) for row in rows]

    async def set_member(self, organization_id: int, name: str, role: str, caller: Caller) -> Member:
        """See the port."""

        async def put(transaction: Transaction) -> Member:
            organization = await lock_namespace(transaction, organization_id)
            person = await transaction.one(_PERSON, name=name)
            if person is None:
                raise NotThere(f"there is no account {name!r} of a person", "name")
            before = await transaction.one(_ROLE, id=organization_id, account=person[0])
            if before == ("owner",) and role != "owner":
                await _keep_an_owner(transaction, organization_id, organization, person[0])
            row = await transaction.one(_SET_MEMBER, id=organization_id, account=person[0], role=role)
            if row is None:
                raise Conflict("the member was removed meanwhile")
            old = before[0] if before else None
            if old != role:
                await record(
                    transaction, caller, "member.set", namespace=organization_id, subject=name, old=old, new=role
                )
            return Member(name, person[1], role, row[0])

        return await self._engine.write(put, durable=True)

    async def remove_member(self, organization_id: int, name: str, caller: Caller) -> None:
        """See the port."""

        async def remove(transaction: Transaction) -> None:
            organization = await lock_namespace(transaction, organization_id)
            person = await transaction.one(_PERSON, name=name)
            before = await transaction.one(_ROLE, id=organization_id, account=person[0]) if person else None
            if person is None or before is None:
                raise NotThere(f"{name!r} is no member of {organization}")
            if before[0] == "owner":
                await _keep_an_owner(transaction, organization_id, organization, person[0])
            for statement in (_LEAVE_TEAMS, _DROP_MEMBERS_GRANTS, _DROP_MEMBER):
                await transaction.run(statement, id=organization_id, account=person[0])
            await record(transaction, caller, "member.remove", namespace=organization_id, subject=name, old=before[0])

        await self._engine.write(remove, durable=True)


async def _keep_an_owner(transaction: Transaction, organization_id: int, name: str, account_id: int) -> None:
    """Taken when this account is the last owner; `library` is the administrators' whoever its members are."""
    if name != LIBRARY and not await transaction.one(_OTHER_OWNER, id=organization_id, account=account_id):
        raise Taken(f"this is the last owner of {name}: make somebody else owner first")


def _described(row: Row) -> str:
    """The settings of a namespace, for the audit."""
    return f"creation={row[4]} default_visibility={row[5]} member_role={row[6]} full_name={row[3]}"
