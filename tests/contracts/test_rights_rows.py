"""Rights over SQLite and PostgreSQL: after whatever has happened, what is listed is what may be pulled.

test_grant_rows.py shows it of worlds as they were made; here they change, and credentials are bound in every way.
"""

import random
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from entrepot.access.actor import ANONYMOUS, Actor, Role, Scopes
from entrepot.access.decision import Action, Facts
from entrepot.database.engine import Transaction
from entrepot.database.rights import facts_in
from entrepot.hub.errors import HubError
from entrepot.hub.organizations import CREATION, MEMBER_ROLES, MEMBERSHIPS, VISIBILITIES, Settings
from tests.support.hub_rows import HERE, Hub, hub_over
from tests.support.rows import DAY, SOMEBODY, Database, Rows, rows_over

STEPS = 30
ROLES = ("read", "write", "admin")


@pytest.fixture
def hub(database: Database) -> Hub:
    """One worker's hub, over a database of each kind."""
    return hub_over(database.engine())


class Play:
    """An organization and people, to whom one thing after another happens. What is refused does not happen."""

    def __init__(self, hub: Hub, dice: random.Random) -> None:
        self.hub, self.dice = hub, dice
        self.mark = secrets.token_hex(4)
        self.names: list[str] = []

    async def begin(self) -> None:
        """The owner, two organizations, a team, a robot, three people."""
        hub = self.hub
        self.owner = await hub.person(f"{self.mark}-owner")
        self.people = [await hub.person(f"{self.mark}-{number}") for number in range(3)]
        self.organizations = [f"{self.mark}-{word}" for word in ("org", "other")]
        for name in self.organizations:
            await hub.organizations.create(self.owner, name, "", HERE)
        self.organization = self.organizations[0]
        await hub.teams.create(self.owner, self.organization, "team", "", HERE)
        self.robot = await hub.robot(self.owner, self.organization, "ci")
        for _ in range(4):
            await self.create()

    async def step(self) -> None:
        """Something happens to somebody."""
        happening: Callable[[], Awaitable[object]] = self.dice.choice(
            [self.create, self.show, self.grant, self.grant_all, self.ungrant, self.join, self.leave, self.team,
             self.leave_team, self.rename, self.transfer, self.delete, self.archive, self.set_up]
        )  # fmt: skip
        try:
            await happening()
        except HubError:
            return

    async def create(self) -> None:
        """A repository of the organization, or of somebody's own."""
        owner = self.dice.choice([self.owner, self.owner, *self.people])
        namespace = self.organization if owner is self.owner else owner.name
        name = f"{namespace}/r{len(self.names)}"
        await self.hub.repository(owner, name, self.dice.choice(VISIBILITIES))
        self.names.append(name)

    async def show(self) -> None:
        """To more or to fewer."""
        visibility = self.dice.choice(VISIBILITIES)
        await self.hub.repositories.set_visibility(self.owner, self._name(), visibility, HERE)

    async def grant(self) -> None:
        """On a repository."""
        await self.hub.grants.set_on_repository(
            self.owner, self._name(), *self._grantee(), self.dice.choice(ROLES), HERE
        )

    async def grant_all(self) -> None:
        """On everything."""
        await self.hub.grants.set_on_namespace(
            self.owner, self.organization, *self._grantee(), self.dice.choice(ROLES), HERE
        )

    async def ungrant(self) -> None:
        """Of either kind."""
        if self.dice.random() < 0.5:
            await self.hub.grants.remove_from_namespace(self.owner, self.organization, *self._grantee(), HERE)
        await self.hub.grants.remove_from_repository(self.owner, self._name(), *self._grantee(), HERE)

    async def join(self) -> None:
        """As a member or an owner."""
        await self.hub.organizations.set_member(
            self.owner, self.organization, self._person(), self.dice.choice(MEMBERSHIPS), HERE
        )

    async def leave(self) -> None:
        """With teams and grants."""
        await self.hub.organizations.remove_member(self.owner, self.organization, self._person(), HERE)

    async def team(self) -> None:
        """Into it."""
        await self.hub.teams.add_member(self.owner, self.organization, "team", self._person(), HERE)

    async def leave_team(self) -> None:
        """Out of it."""
        await self.hub.teams.remove_member(self.owner, self.organization, "team", self._person(), HERE)

    async def rename(self) -> None:
        """Within the namespace."""
        old, new = self._name(), f"{self.organization}/renamed-{secrets.token_hex(3)}"
        await self.hub.repositories.rename(self.owner, old, new, HERE)
        self.names.append(new)

    async def transfer(self) -> None:
        """To the other organization, or back."""
        moved = await self.hub.repositories.transfer(
            self.owner, self._name(), self.dice.choice(self.organizations), HERE
        )
        self.names.append(moved.name)

    async def delete(self) -> None:
        """For ever."""
        await self.hub.repositories.delete(self.owner, self._name(), HERE)

    async def archive(self) -> None:
        """Or not."""
        await self.hub.repositories.set_archived(self.owner, self._name(), self.dice.random() < 0.5, HERE)

    async def set_up(self) -> None:
        """What members may do."""
        await self.hub.organizations.change(
            self.owner,
            self.organization,
            Settings(member_role=self.dice.choice(MEMBER_ROLES), creation=self.dice.choice(CREATION)),
            HERE,
        )

    async def actors(self) -> list[Actor]:
        """Everybody, and everybody's credentials bound in every way there is."""
        rows = await self.hub.engine.read("SELECT id, namespace_id FROM repositories WHERE deleted_at IS NULL")
        some = frozenset(row[0] for row in self.dice.sample(rows, min(3, len(rows))))
        spaces = frozenset(row[1] for row in self.dice.sample(rows, 1))
        bounds = [(None, None), (some, None), (None, spaces), (some, spaces), (frozenset[int](), None)]
        root = Actor(0, "root", "person", administrator=True, payer_id=0, credential_kind="password")
        whole = [self.owner, *self.people, self.robot, root]
        bound = [
            replace(who, credential_kind="personal", credential_id=1, scopes=Scopes(role, *bound))
            for who in whole
            for role in (Role.NONE, Role.READ, Role.OWNER)
            for bound in (self.dice.choice(bounds),)
        ]
        return [ANONYMOUS, *whole, *bound]

    def _name(self) -> str:
        return self.dice.choice(self.names)

    def _person(self) -> str:
        return self.dice.choice(self.people).name

    def _grantee(self) -> tuple[str, str]:
        return self.dice.choice([("team", "team"), ("robot", self.robot.name), ("person", self._person())])


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
async def test_whatever_has_happened_what_is_listed_is_exactly_what_may_be_pulled(hub: Hub, seed: int) -> None:
    play = Play(hub, random.Random(seed))
    await play.begin()
    for _ in range(STEPS):
        await play.step()
    rows = await hub.engine.read("SELECT name FROM repositories WHERE deleted_at IS NULL")
    for actor in await play.actors():
        may = sorted([name for (name,) in rows if await hub.may_pull(actor, name)])
        assert await hub.rights.visible(actor, "", 1000) == may, actor
        for size in (1, 4):
            listed: list[str] = []
            while page := await hub.rights.visible(actor, listed[-1] if listed else "", size):
                assert len(page) <= size
                listed += page
            assert listed == may, actor


async def test_the_facts_are_the_same_inside_a_transaction(hub: Hub) -> None:
    play = Play(hub, random.Random(4))
    await play.begin()
    for _ in range(STEPS):
        await play.step()
    for who in (None, *(person.account_id for person in play.people)):
        for name in [*play.names, "nobody/nothing", f"{play.organization}/nothing"]:

            async def inside(transaction: Transaction, who: int | None = who, name: str = name) -> Facts:
                return await facts_in(transaction, who, name)

            outside = await hub.rights.facts(replace(ANONYMOUS, account_id=who), name)
            assert await hub.engine.write(inside, durable=False) == outside


async def test_a_catalog_has_only_what_something_was_pushed_to(hub: Hub) -> None:
    owner = await hub.person("olga")
    for name in ("olga/empty", "olga/full"):
        await hub.repository(owner, name)
    rows: Rows = rows_over(hub.engine)
    upload, key = "one", "one.body"
    await rows.uploads.open_upload("olga/full", upload, "filesystem", None, DAY, SOMEBODY)
    opened = await rows.uploads.find_upload("olga/full", upload)
    assert opened is not None
    assert await rows.uploads.claim_body(upload, key)
    digest = f"sha256:{secrets.token_hex(32)}"
    assert await rows.uploads.close_upload(opened, digest, 1, key, SOMEBODY)
    assert await hub.rights.visible(owner, "", 10) == ["olga/empty", "olga/full"]
    assert await hub.rights.visible(owner, "", 10, holding=True) == ["olga/full"]


async def test_a_name_that_was_given_up_is_nobodys_but_its_owners_for_thirty_days(hub: Hub) -> None:
    owner, member = await hub.person("olga"), await hub.person("mo")
    await hub.organizations.create(owner, "acme", "", HERE)
    await hub.organizations.set_member(owner, "acme", "mo", "member", HERE)
    await hub.repository(owner, "acme/old")
    await hub.repositories.rename(owner, "acme/old", "acme/new", HERE)
    for actor, may in ((owner, True), (member, False)):
        assert (await hub.rights.decide(actor, Action.PUSH, "acme/old")).allowed == may
        assert (await hub.rights.decide(actor, Action.PUSH, "acme/other")).allowed

    async def a_month_later(transaction: Transaction) -> None:
        await transaction.run("UPDATE former_names SET until = now_us() WHERE name = 'acme/old'")

    await hub.engine.write(a_month_later, durable=False)
    assert (await hub.rights.decide(member, Action.PUSH, "acme/old")).allowed
