"""Organizations, members, teams and robots, by the use-cases over SQLite and PostgreSQL."""

import asyncio
import re

import pytest

from entrepot.access.actor import Actor
from entrepot.hub.errors import Forbidden, HubError, Invalid, NotThere, Taken
from entrepot.hub.organizations import Settings
from tests.support.hub_rows import HERE, NOBODY, Hub, by_token, hub_over
from tests.support.rows import Database


@pytest.fixture
def hub(database: Database) -> Hub:
    """One worker's hub, over a database of each kind."""
    return hub_over(database.engine())


async def acme(hub: Hub, *members: str) -> tuple[Actor, list[Actor]]:
    """An organization `acme`, its owner `olga` and its members."""
    owner = await hub.person("olga")
    await hub.organizations.create(owner, "acme", "Acme Ltd.", HERE)
    people = [await hub.person(name) for name in members]
    for person in people:
        await hub.organizations.set_member(owner, "acme", person.name, "member", HERE)
    return owner, people


async def test_whoever_makes_an_organization_owns_it(hub: Hub) -> None:
    owner, _ = await acme(hub)
    (member,) = await hub.organizations.members(owner, "acme", "", 10)
    assert (member.name, member.role) == ("olga", "owner")
    (mine,) = await hub.organizations.mine(owner, "", 10)
    assert (mine.name, mine.full_name, mine.kind, mine.plan) == ("acme", "Acme Ltd.", "organization", "unlimited")


async def test_everybody_sees_their_own_organizations_and_administrators_all(hub: Hub) -> None:
    _, (mia,) = await acme(hub, "mia")
    root, sam = await hub.person("root", administrator=True), await hub.person("sam")
    await hub.organizations.create(root, "other", "", HERE)
    seen = [[each.name for each in await hub.organizations.mine(actor, "", 10)] for actor in (NOBODY, sam, mia, root)]
    assert seen == [[], [], ["acme"], ["acme", "other"]]


async def test_accounts_and_organizations_share_their_names(hub: Hub) -> None:
    owner, _ = await acme(hub)
    for name in ("olga", "acme"):
        with pytest.raises(Taken, match=f"'{name}' is taken"):
            await hub.organizations.create(owner, name, "", HERE)


@pytest.mark.parametrize("name", ["library", "Acme", "a.b", "x", "admin"])
async def test_a_name_that_no_account_can_have_is_refused(hub: Hub, name: str) -> None:
    owner = await hub.person("olga")
    with pytest.raises(Invalid):
        await hub.organizations.create(owner, name, "", HERE)


async def test_a_deleted_organization_ends_with_all_it_had_and_its_name_is_never_given_again(hub: Hub) -> None:
    owner, (mia,) = await acme(hub, "mia")
    robot = await hub.robot(owner, "acme", "ci")
    await hub.teams.create(owner, "acme", "backend", "", HERE)
    await hub.teams.add_member(owner, "acme", "backend", "mia", HERE)
    await hub.grants.set_on_namespace(owner, "acme", "team", "backend", "write", HERE)
    await hub.repository(owner, "acme/app")
    with pytest.raises(Taken, match="acme/app among them"):
        await hub.organizations.delete(owner, "acme", HERE)
    await hub.repositories.delete(owner, "acme/app", HERE)
    await hub.organizations.delete(owner, "acme", HERE)
    for table in ("teams", "team_members", "members", "grants"):
        assert await hub.engine.read(f"SELECT 1 FROM {table}") == []
    assert await hub.engine.read("SELECT 1 FROM credentials WHERE revoked_at IS NULL") == []
    assert (
        await hub.engine.read("SELECT 1 FROM accounts WHERE id = :id AND deleted_at IS NULL", id=robot.account_id) == []
    )
    with pytest.raises(NotThere):
        await hub.organizations.get("acme")
    with pytest.raises(Taken):
        await hub.organizations.create(mia, "acme", "", HERE)


async def test_the_last_owner_stays_until_there_is_another(hub: Hub) -> None:
    owner, (mia,) = await acme(hub, "mia")
    with pytest.raises(Taken, match="last owner"):
        await hub.organizations.remove_member(owner, "acme", "olga", HERE)
    with pytest.raises(Taken, match="last owner"):
        await hub.organizations.set_member(owner, "acme", "olga", "member", HERE)
    await hub.organizations.set_member(owner, "acme", "mia", "owner", HERE)
    await hub.organizations.remove_member(owner, "acme", "olga", HERE)
    assert [member.name for member in await hub.organizations.members(mia, "acme", "", 10)] == ["mia"]


async def test_two_owners_who_leave_at_once_do_not_leave_nobody(database: Database) -> None:
    one, other = hub_over(database.engine()), hub_over(database.engine())
    owner, (mia,) = await acme(one, "mia")
    await one.organizations.set_member(owner, "acme", "mia", "owner", HERE)
    left = await asyncio.gather(
        one.organizations.remove_member(owner, "acme", "olga", HERE),
        other.organizations.remove_member(mia, "acme", "mia", HERE),
        return_exceptions=True,
    )
    assert sorted(type(each).__name__ for each in left) == ["NoneType", "Taken"]


async def test_who_leaves_loses_teams_and_grants_there(hub: Hub) -> None:
    owner, (mia,) = await acme(hub, "mia")
    await hub.repository(owner, "acme/app", "private")
    await hub.teams.create(owner, "acme", "backend", "", HERE)
    await hub.teams.add_member(owner, "acme", "backend", "mia", HERE)
    await hub.grants.set_on_repository(owner, "acme/app", "person", "mia", "write", HERE)
    assert await hub.may_pull(mia, "acme/app")
    await hub.organizations.remove_member(mia, "acme", "mia", HERE)
    await hub.organizations.set_member(owner, "acme", "mia", "member", HERE)
    assert await hub.teams.members(owner, "acme", "backend", "", 10) == []
    assert await hub.grants.of_repository(owner, "acme/app", 0, 10) == []


async def test_settings_change_and_the_change_is_recorded_once(hub: Hub) -> None:
    owner, _ = await acme(hub)
    settings = Settings(creation="owners", default_visibility="private", member_role="write")
    for _ in range(2):
        changed = await hub.organizations.change(owner, "acme", settings, HERE)
    assert (changed.creation, changed.default_visibility, changed.member_role) == ("owners", "private", "write")
    assert changed.full_name == "Acme Ltd."
    rows = await hub.engine.read("SELECT old, new FROM changes WHERE kind = 'organization.change'")
    assert len(rows) == 1
    assert rows[0][0].startswith("creation=members default_visibility=public")


@pytest.mark.parametrize(
    "settings", [Settings(creation="all"), Settings(member_role="admin"), Settings(full_name="x" * 201)]
)
async def test_settings_that_mean_nothing_are_refused(hub: Hub, settings: Settings) -> None:
    owner, _ = await acme(hub)
    with pytest.raises(Invalid):
        await hub.organizations.change(owner, "acme", settings, HERE)


async def test_people_set_the_visibility_that_their_own_repositories_begin_with(hub: Hub) -> None:
    olga = await hub.person("olga")
    changed = await hub.organizations.change(olga, "olga", Settings(default_visibility="private"), HERE)
    assert changed.default_visibility == "private"
    with pytest.raises(Invalid, match="no such setting"):
        await hub.organizations.change(olga, "olga", Settings(creation="owners"), HERE)


async def test_members_see_who_is_in_it_and_strangers_do_not(hub: Hub) -> None:
    _, (mia,) = await acme(hub, "mia")
    stranger = await hub.person("sam")
    assert [each.name for each in await hub.organizations.members(mia, "acme", "", 10)] == ["mia", "olga"]
    assert [each.name for each in await hub.organizations.members(mia, "acme", "mia", 1)] == ["olga"]
    with pytest.raises(Forbidden):
        await hub.organizations.members(stranger, "acme", "", 10)


async def test_only_owners_and_administrators_change_what_is_in_it(hub: Hub) -> None:
    owner, (mia,) = await acme(hub, "mia")
    await hub.teams.create(owner, "acme", "backend", "", HERE)
    for refused in (mia, await hub.person("sam"), by_token(owner)):
        for attempt in (
            hub.organizations.set_member(refused, "acme", "sam", "member", HERE),
            hub.organizations.remove_member(refused, "acme", "olga", HERE),
            hub.organizations.delete(refused, "acme", HERE),
            hub.teams.create(refused, "acme", "other", "", HERE),
            hub.teams.delete(refused, "acme", "backend", HERE),
            hub.teams.add_member(refused, "acme", "backend", "mia", HERE),
            hub.robots.create(refused, "acme", "ci", "", None, HERE),
            hub.robots.list(refused, "acme", "", 10),
            hub.grants.set_on_namespace(refused, "acme", "person", "sam", "read", HERE),
        ):
            with pytest.raises(Forbidden):
                await attempt
    root = await hub.person("root", administrator=True)
    await hub.teams.create(root, "acme", "other", "", HERE)


async def test_a_renamed_team_keeps_its_members_and_grants_and_a_new_one_of_its_name_has_none(hub: Hub) -> None:
    owner, (mia,) = await acme(hub, "mia")
    await hub.organizations.change(owner, "acme", Settings(member_role="none"), HERE)
    await hub.repository(owner, "acme/app", "private")
    await hub.teams.create(owner, "acme", "backend", "", HERE)
    await hub.teams.add_member(owner, "acme", "backend", "mia", HERE)
    await hub.grants.set_on_repository(owner, "acme/app", "team", "backend", "read", HERE)
    await hub.teams.change(owner, "acme", "backend", "platform", None, HERE)
    await hub.teams.create(owner, "acme", "backend", "", HERE)
    assert await hub.teams.members(owner, "acme", "platform", "", 10) == ["mia"]
    assert await hub.teams.members(owner, "acme", "backend", "", 10) == []
    assert await hub.may_pull(mia, "acme/app")
    await hub.teams.delete(owner, "acme", "platform", HERE)
    assert not await hub.may_pull(mia, "acme/app")


async def test_only_members_enter_teams(hub: Hub) -> None:
    owner, _ = await acme(hub)
    await hub.person("sam")
    await hub.teams.create(owner, "acme", "backend", "", HERE)
    with pytest.raises(NotThere, match="no member"):
        await hub.teams.add_member(owner, "acme", "backend", "sam", HERE)


@pytest.mark.parametrize("name", ["", "Back", "a b", "x" * 41, "a--b", "a+b"])
async def test_names_of_teams_and_robots_are_names(hub: Hub, name: str) -> None:
    owner, _ = await acme(hub)
    with pytest.raises(Invalid):
        await hub.teams.create(owner, "acme", name, "", HERE)
    with pytest.raises(Invalid):
        await hub.robots.create(owner, "acme", name, "", None, HERE)


async def test_a_robot_has_one_token_which_is_stored_as_a_hash(hub: Hub) -> None:
    owner, _ = await acme(hub)
    robot, first = await hub.robots.create(owner, "acme", "ci", "builds", 30, HERE)
    assert re.fullmatch("entb_[A-Za-z0-9]{55}", first)
    assert robot.name == "acme+ci"
    assert robot.token_created_at is not None
    assert robot.token_expires_at is not None
    assert round((robot.token_expires_at - robot.token_created_at) / 86_400_000_000) == 30
    _, second = await hub.robots.rotate(owner, "acme", "ci", None, HERE)
    rows = await hub.engine.read("SELECT lookup, hash, revoked_at, expires_at FROM credentials ORDER BY id")
    assert [row[0] for row in rows] == [first[:17], second[:17]]
    assert not {first, second} & {row[1] for row in rows}
    assert [row[2] is None for row in rows] == [False, True]
    assert rows[1][3] is None
    assert [each.name for each in await hub.robots.list(owner, "acme", "", 10)] == ["acme+ci"]
    await hub.robots.revoke(owner, "acme", "ci", HERE)
    assert (await hub.robots.get(owner, "acme", "ci")).token_created_at is None


async def test_a_robot_that_is_made_again_inherits_nothing(hub: Hub) -> None:
    owner, _ = await acme(hub)
    await hub.repository(owner, "acme/app", "private")
    old = await hub.robot(owner, "acme", "ci")
    assert not await hub.may_pull(old, "acme/app")
    await hub.grants.set_on_repository(owner, "acme/app", "robot", "acme+ci", "read", HERE)
    assert await hub.may_pull(old, "acme/app")
    await hub.robots.delete(owner, "acme", "ci", HERE)
    new = await hub.robot(owner, "acme", "ci")
    assert new.account_id != old.account_id
    assert not await hub.may_pull(new, "acme/app")
    assert not await hub.may_pull(old, "acme/app")


async def test_no_secret_is_among_the_changes(hub: Hub) -> None:
    owner, _ = await acme(hub)
    _, secret = await hub.robots.create(owner, "acme", "ci", "", None, HERE)
    rows = await hub.engine.read("SELECT kind, subject, old, new, reason, namespace_id FROM changes ORDER BY id")
    assert [row[0] for row in rows] == ["organization.create", "account.create", "credential.create"]
    assert not any(secret[5:17] in str(row) for row in rows)
    assert len({row[5] for row in rows}) == 1


async def test_what_is_not_there_is_said_alike_for_every_part(hub: Hub) -> None:
    owner, _ = await acme(hub)
    for attempt in (
        hub.organizations.get("nothing"),
        hub.organizations.get("olga"),
        hub.organizations.namespace("nothing"),
        hub.organizations.set_member(owner, "acme", "nobody", "member", HERE),
        hub.organizations.remove_member(owner, "acme", "nobody", HERE),
        hub.teams.get(owner, "acme", "nothing"),
        hub.teams.create(owner, "nothing", "team", "", HERE),
        hub.robots.get(owner, "acme", "nothing"),
    ):
        with pytest.raises(HubError) as refusal:
            await attempt
        assert isinstance(refusal.value, NotThere)
