"""Grants, and that what is listed is what may be pulled, over SQLite and PostgreSQL."""

import asyncio
import random
import re
import secrets

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from entrepot.access.actor import Actor, Role
from entrepot.hub.errors import Forbidden, Invalid, NotThere
from entrepot.hub.organizations import MEMBER_ROLES, VISIBILITIES, Settings
from tests.support.hub_rows import HERE, NOBODY, Hub, by_token, hub_over
from tests.support.rows import Database


@pytest.fixture
def hub(database: Database) -> Hub:
    """One worker's hub, over a database of each kind."""
    return hub_over(database.engine())


async def acme(hub: Hub) -> Actor:
    """An organization with a private repository `acme/app`; its owner."""
    owner = await hub.person("olga")
    await hub.organizations.create(owner, "acme", "", HERE)
    await hub.organizations.change(owner, "acme", Settings(member_role="none"), HERE)
    await hub.repository(owner, "acme/app", "private")
    return owner


async def test_a_grant_gives_its_role_and_no_more_and_may_be_changed_and_taken(hub: Hub) -> None:
    owner, sam = await acme(hub), await hub.person("sam")
    assert not await hub.may_pull(sam, "acme/app")
    for role in ("read", "admin", "write"):
        given_role = await hub.grants.set_on_repository(owner, "acme/app", "person", "sam", role, HERE)
        assert (given_role.kind, given_role.name, given_role.role, given_role.everywhere) == (
            "person",
            "sam",
            role,
            False,
        )
        assert (await hub.repositories.role(sam, "acme/app")).word == role
    assert len(await hub.grants.of_repository(owner, "acme/app", 0, 10)) == 1
    await hub.grants.remove_from_repository(owner, "acme/app", "person", "sam", HERE)
    assert not await hub.may_pull(sam, "acme/app")
    with pytest.raises(NotThere):
        await hub.grants.remove_from_repository(owner, "acme/app", "person", "sam", HERE)
    rows = await hub.engine.read("SELECT kind, subject, old, new FROM changes WHERE kind LIKE 'grant.%' ORDER BY id")
    assert rows == [
        ("grant.set", "person sam on acme/app", None, "read"),
        ("grant.set", "person sam on acme/app", "read", "admin"),
        ("grant.set", "person sam on acme/app", "admin", "write"),
        ("grant.remove", "person sam on acme/app", "write", None),
    ]


async def test_a_grant_on_a_namespace_is_for_what_comes_too(hub: Hub) -> None:
    owner, sam = await acme(hub), await hub.person("sam")
    await hub.grants.set_on_namespace(owner, "acme", "person", "sam", "read", HERE)
    await hub.repository(owner, "acme/later", "private")
    assert [each.name for each in await hub.repositories.list(sam, "", 10)] == ["acme/app", "acme/later"]
    (grant,) = await hub.grants.of_repository(owner, "acme/later", 0, 10)
    assert (grant.name, grant.everywhere) == ("sam", True)
    assert await hub.grants.of_namespace(owner, "acme", 0, 10) == [grant]
    with pytest.raises(NotThere):
        await hub.grants.remove_from_repository(owner, "acme/later", "person", "sam", HERE)
    await hub.grants.remove_from_namespace(owner, "acme", "person", "sam", HERE)
    assert await hub.repositories.list(sam, "", 10) == []


async def test_it_is_told_who_has_access_and_why(hub: Hub) -> None:
    owner = await acme(hub)
    await hub.organizations.change(owner, "acme", Settings(member_role="write"), HERE)
    await hub.repositories.set_visibility(owner, "acme/app", "internal", HERE)
    found = [(each.kind, each.name, each.role) for each in await hub.grants.everybody(owner, "acme/app")]
    assert found == [("owners", "acme", "owner"), ("members", "acme", "write"), ("accounts", "", "read")]


async def test_grants_are_for_those_who_exist_and_teams_and_robots_of_the_same_organization(hub: Hub) -> None:
    owner = await acme(hub)
    await hub.organizations.create(owner, "other", "", HERE)
    await hub.teams.create(owner, "other", "backend", "", HERE)
    await hub.robot(owner, "other", "ci")
    for kind, name in (("person", "nobody"), ("person", "other"), ("team", "backend"), ("robot", "other+ci")):
        with pytest.raises(NotThere, match=re.escape(name)):
            await hub.grants.set_on_repository(owner, "acme/app", kind, name, "read", HERE)
    for kind, role in (("group", "read"), ("person", "owner")):
        with pytest.raises(Invalid):
            await hub.grants.set_on_repository(owner, "acme/app", kind, "olga", role, HERE)


async def test_administrators_of_a_repository_give_it_to_others_and_writers_do_not(hub: Hub) -> None:
    owner = await acme(hub)
    sam, ada, max_ = [await hub.person(name) for name in ("sam", "ada", "max")]
    await hub.grants.set_on_repository(owner, "acme/app", "person", "ada", "admin", HERE)
    await hub.grants.set_on_repository(ada, "acme/app", "person", "sam", "write", HERE)
    with pytest.raises(Forbidden):
        await hub.grants.set_on_repository(sam, "acme/app", "person", "max", "read", HERE)
    with pytest.raises(Forbidden):
        await hub.grants.set_on_namespace(ada, "acme", "person", "max", "read", HERE)
    with pytest.raises(Forbidden):
        await hub.grants.set_on_repository(by_token(ada, Role.WRITE), "acme/app", "person", "max", "read", HERE)
    assert not await hub.may_pull(max_, "acme/app")


async def test_a_grant_that_is_given_twice_at_once_stands_once(database: Database) -> None:
    hubs = [hub_over(database.engine()) for _ in range(3)]
    owner = await acme(hubs[0])
    await hubs[0].person("sam")
    await asyncio.gather(
        *(hub.grants.set_on_repository(owner, "acme/app", "person", "sam", "read", HERE) for hub in hubs)
    )
    assert len(await hubs[0].grants.of_repository(owner, "acme/app", 0, 10)) == 1


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
async def test_what_is_listed_or_found_is_exactly_what_may_be_pulled(hub: Hub, seed: int) -> None:
    """Of a random world in a database that has other worlds in it too; every caller, page by page of any size."""
    world = await random_world(hub, random.Random(seed))
    rows = await hub.engine.read("SELECT name FROM repositories WHERE deleted_at IS NULL")
    for actor in world:
        may = {name for (name,) in rows if await hub.may_pull(actor, name)}
        listed: list[str] = []
        while page := await hub.rights.visible(actor, listed[-1] if listed else "", 7):
            listed += page
        assert listed == sorted(may)
        for namespace in {name.partition("/")[0] for (name,) in rows}:
            only = await hub.rights.visible(actor, "", 1000, only=namespace)
            assert only == [name for name in listed if name.startswith(f"{namespace}/")]
        found = {each.name for each in await hub.search.find(actor, "repository", 0, 1000)}
        assert found == may


async def random_world(hub: Hub, dice: random.Random) -> list[Actor]:
    """Two organizations, their teams, robots, grants and repositories; everybody who might ask."""
    mark = secrets.token_hex(4)
    people = [await hub.person(f"{mark}-{number}") for number in range(4)]
    robots, ids = [], []
    for number in range(2):
        organization = f"{mark}-org-{number}"
        owner, *others = dice.sample(people, 4)
        await hub.organizations.create(owner, organization, "", HERE)
        await hub.organizations.change(owner, organization, Settings(member_role=dice.choice(MEMBER_ROLES)), HERE)
        members = others[: dice.randrange(3)]
        await hub.teams.create(owner, organization, "team", "", HERE)
        for member in members:
            await hub.organizations.set_member(owner, organization, member.name, "member", HERE)
            if dice.random() < 0.6:
                await hub.teams.add_member(owner, organization, "team", member.name, HERE)
        robots.append(await hub.robot(owner, organization, "ci"))
        grantees = [("team", "team"), ("robot", f"{organization}+ci"), ("person", dice.choice(people).name)]
        for place in range(3):
            name = f"{organization}/repository-{place}"
            ids.append(await hub.repository(owner, name, dice.choice(VISIBILITIES)))
            for kind, grantee in grantees:
                if dice.random() < 0.3:
                    role = dice.choice(["read", "write", "admin"])
                    await hub.grants.set_on_repository(owner, name, kind, grantee, role, HERE)
        for kind, grantee in grantees:
            if dice.random() < 0.2:
                await hub.grants.set_on_namespace(owner, organization, kind, grantee, "read", HERE)
    for person in people:
        ids.append(await hub.repository(person, f"{person.name}/repository", dice.choice(VISIBILITIES)))
    root = await hub.person(f"{mark}-root", administrator=True)
    bound = frozenset(dice.sample(ids, 3))
    tokens = [by_token(dice.choice(people)), by_token(dice.choice(people), Role.READ, repositories=bound)]
    nothing = by_token(dice.choice(people), Role.NONE)
    return [NOBODY, *people, *robots, *tokens, nothing, root, by_token(root, Role.READ, repositories=bound)]
