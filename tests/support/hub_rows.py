"""The hub's rows over a database, and people, organizations and repositories to put into it."""

from dataclasses import dataclass, replace

from entrepot.access.actor import ANONYMOUS, Actor, Role, Scopes
from entrepot.access.credentials import Secrets
from entrepot.access.decision import Action
from entrepot.access.rights import Rights
from entrepot.database.engine import Engine, Transaction
from entrepot.database.grants import DatabaseGrants
from entrepot.database.hub_repositories import DatabaseHubRepositories
from entrepot.database.organizations import DatabaseOrganizations
from entrepot.database.plans import DatabasePlans
from entrepot.database.rights import DatabaseRights
from entrepot.database.robots import DatabaseRobots
from entrepot.database.search import DatabaseSearch
from entrepot.database.teams import DatabaseTeams
from entrepot.hub.grants import Grants
from entrepot.hub.organizations import Organizations
from entrepot.hub.plans import Plans
from entrepot.hub.repositories import Description, Repositories
from entrepot.hub.robots import Robots
from entrepot.hub.search import Search
from entrepot.hub.teams import Teams

HERE = "192.0.2.1"
_PERSON = (
    "INSERT INTO accounts (kind, name, administrator, created_at) VALUES ('person', :name, :administrator, now_us())"
    " RETURNING id"
)


@dataclass(frozen=True)
class Hub:
    """What one worker has of the hub: its use-cases over real rows."""

    engine: Engine
    rights: Rights
    organizations: Organizations
    teams: Teams
    robots: Robots
    grants: Grants
    repositories: Repositories
    plans: Plans
    search: Search

    async def person(self, name: str, *, administrator: bool = False) -> Actor:
        """A person who has logged in with a password."""

        async def insert(transaction: Transaction) -> int:
            row = await transaction.one(_PERSON, name=name, administrator=int(administrator))
            assert row is not None
            return int(row[0])

        account = await self.engine.write(insert, durable=False)
        return Actor(account, name, "person", administrator, account, credential_kind="password")

    async def robot(self, owner: Actor, organization: str, name: str) -> Actor:
        """A robot that has logged in with its token."""
        robot, _ = await self.robots.create(owner, organization, name, "", None, HERE)
        scopes = Scopes(Role.ADMIN)
        return Actor(robot.id, robot.name, "robot", credential_id=1, credential_kind="robot", scopes=scopes)

    async def repository(self, owner: Actor, name: str, visibility: str = "public", about: str = "") -> int:
        """A repository that its owner has created; its id."""
        made = await self.repositories.create(owner, name, visibility, Description(about), HERE)
        return made.id

    async def may_pull(self, actor: Actor, name: str) -> bool:
        """What the one decision says."""
        return (await self.rights.decide(actor, Action.PULL, name)).allowed


def hub_over(engine: Engine) -> Hub:
    """The hub's use-cases over an engine, as the composition root makes them."""
    rights = Rights(DatabaseRights(engine))
    return Hub(
        engine,
        rights,
        Organizations(DatabaseOrganizations(engine), rights, lambda name: f"key of {name}"),
        Teams(DatabaseTeams(engine), rights),
        Robots(DatabaseRobots(engine), rights, Secrets(b"k" * 32)),
        Grants(DatabaseGrants(engine), rights),
        Repositories(DatabaseHubRepositories(engine), rights),
        Plans(DatabasePlans(engine)),
        Search(DatabaseSearch(engine)),
    )


def by_token(actor: Actor, role: Role = Role.ADMIN, *, repositories: frozenset[int] | None = None) -> Actor:
    """The same person, by a personal access token."""
    scopes = Scopes(role, repositories)
    return replace(actor, credential_id=1, credential_kind="personal", scopes=scopes)


NOBODY = ANONYMOUS
