"""Teams and who is in them."""

from collections.abc import Sequence

from entrepot.access.caller import Caller
from entrepot.database.changes import record
from entrepot.database.engine import Engine, Transaction
from entrepot.hub.errors import NotThere, Taken
from entrepot.hub.teams import Team

_COLUMNS = "t.id, t.name, t.description, t.created_at, (SELECT COUNT(*) FROM team_members m WHERE m.team_id = t.id)"
_TEAM = f"SELECT {_COLUMNS} FROM teams t WHERE t.organization_id = :organization AND t.name = :name"  # noqa: S608
_TEAMS = (
    f"SELECT {_COLUMNS} FROM teams t WHERE t.organization_id = :organization AND t.name > :after"  # noqa: S608
    " ORDER BY t.name LIMIT :limit"
)
_INSERT = (
    "INSERT INTO teams (organization_id, name, description, created_at)"
    " SELECT n.id, :name, :description, now_us() FROM accounts n WHERE n.id = :organization AND n.deleted_at IS NULL"
    " ON CONFLICT (organization_id, name) DO NOTHING RETURNING id, created_at"
)
# The update changes nothing: it makes what follows in this transaction and in others go one after another.
_LOCK = "UPDATE teams SET name = name WHERE id = :id AND organization_id = :organization RETURNING name"
_OF_NAME = "SELECT id FROM teams WHERE organization_id = :organization AND name = :name"
_CHANGE = "UPDATE teams SET name = :name, description = COALESCE(:description, description) WHERE id = :id"
_DROP_GRANTS = "DELETE FROM grants WHERE team_id = :id"
_DROP_MEMBERS = "DELETE FROM team_members WHERE team_id = :id"
_DROP = "DELETE FROM teams WHERE id = :id"
_MEMBERS = (
    "SELECT a.name FROM team_members m JOIN accounts a ON a.id = m.account_id"
    " WHERE m.team_id = :id AND a.name > :after AND a.deleted_at IS NULL ORDER BY a.name LIMIT :limit"
)
# Locks the membership, so that who is being removed from the organization does not enter a team meanwhile.
_MEMBER = (
    "UPDATE members SET role = role WHERE organization_id = :organization"
    " AND account_id = (SELECT id FROM accounts WHERE name = :name) RETURNING account_id"
)
_ENTER = (
    "INSERT INTO team_members (team_id, account_id) VALUES (:id, :account) ON CONFLICT (team_id, account_id) DO NOTHING"
)
_LEAVE = "DELETE FROM team_members WHERE team_id = :id AND account_id = (SELECT id FROM accounts WHERE name = :name)"


async def end_team(transaction: Transaction, team_id: int) -> None:
    """Delete a team with what was granted to it."""
    for statement in (_DROP_GRANTS, _DROP_MEMBERS, _DROP):
        await transaction.run(statement, id=team_id)


class DatabaseTeams:
    """The port TeamRows."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def team(self, organization_id: int, name: str) -> Team | None:
        """See the port."""
        rows = await self._engine.read(_TEAM, organization=organization_id, name=name)
        return Team(*rows[0]) if rows else None

    async def teams(self, organization_id: int, after: str, limit: int) -> Sequence[Team]:
        """See the port."""
        rows = await self._engine.read(_TEAMS, organization=organization_id, after=after, limit=limit)
        return [Team(*row) for row in rows]

    async def add_team(self, organization_id: int, name: str, description: str, caller: Caller) -> Team:
        """See the port."""

        async def add(transaction: Transaction) -> Team:
            row = await transaction.one(_INSERT, organization=organization_id, name=name, description=description)
            if row is None:
                raise Taken(f"there is a team {name!r} already", "name")
            await record(transaction, caller, "team.create", namespace=organization_id, subject=name)
            return Team(row[0], name, description, row[1], 0)

        return await self._engine.write(add, durable=True)

    async def change_team(
        self, organization_id: int, team_id: int, name: str | None, description: str | None, caller: Caller
    ) -> None:
        """See the port."""

        async def change(transaction: Transaction) -> None:
            before = await _locked(transaction, organization_id, team_id)
            new = name or before
            if new != before and await transaction.one(_OF_NAME, organization=organization_id, name=new):
                raise Taken(f"there is a team {new!r} already", "name")
            await transaction.run(_CHANGE, id=team_id, name=new, description=description)
            await record(
                transaction,
                caller,
                "team.change",
                namespace=organization_id,
                subject=new,
                old=before,
                new=new,
            )

        await self._engine.write(change, durable=True)

    async def remove_team(self, organization_id: int, team_id: int, caller: Caller) -> None:
        """See the port."""

        async def remove(transaction: Transaction) -> None:
            name = await _locked(transaction, organization_id, team_id)
            await end_team(transaction, team_id)
            await record(transaction, caller, "team.delete", namespace=organization_id, subject=name)

        await self._engine.write(remove, durable=True)

    async def team_members(self, team_id: int, after: str, limit: int) -> Sequence[str]:
        """See the port."""
        return [row[0] for row in await self._engine.read(_MEMBERS, id=team_id, after=after, limit=limit)]

    async def add_team_member(self, organization_id: int, team_id: int, name: str, caller: Caller) -> None:
        """See the port."""

        async def enter(transaction: Transaction) -> None:
            team = await _locked(transaction, organization_id, team_id)
            member = await transaction.one(_MEMBER, organization=organization_id, name=name)
            if member is None:
                raise NotThere(f"{name!r} is no member of the organization: add them there first", "name")
            if await transaction.run(_ENTER, id=team_id, account=member[0]):
                await record(transaction, caller, "team.enter", namespace=organization_id, subject=name, new=team)

        await self._engine.write(enter, durable=True)

    async def remove_team_member(self, organization_id: int, team_id: int, name: str, caller: Caller) -> None:
        """See the port."""

        async def leave(transaction: Transaction) -> None:
            team = await _locked(transaction, organization_id, team_id)
            if not await transaction.run(_LEAVE, id=team_id, name=name):
                raise NotThere(f"{name!r} is not in the team {team}")
            await record(transaction, caller, "team.leave", namespace=organization_id, subject=name, old=team)

        await self._engine.write(leave, durable=True)


async def _locked(transaction: Transaction, organization_id: int, team_id: int) -> str:
    row = await transaction.one(_LOCK, id=team_id, organization=organization_id)
    if row is None:
        raise NotThere("the team has been deleted")
    return str(row[0])
