"""Repositories as people see them, their plans and stars, by the use-cases over SQLite and PostgreSQL."""

import asyncio
from dataclasses import replace

import pytest

from entrepot.access.actor import Role
from entrepot.access.caller import caller_of
from entrepot.access.decision import Action
from entrepot.database.engine import Transaction
from entrepot.database.hub_repositories import DatabaseHubRepositories
from entrepot.hub.errors import Forbidden, HubError, Invalid, LimitReached, NotThere, Taken
from entrepot.hub.organizations import Settings
from entrepot.hub.plans import Plan
from entrepot.hub.repositories import Description
from entrepot.registry.garbage import Ages, Collector
from tests.support.hub_rows import HERE, NOBODY, Hub, by_token, hub_over
from tests.support.rows import Database, Rows, a_blob, a_claimed_key, a_manifest, an_upload, push, tagged, trash

ABSENT = "there is no repository {!r}, or none that you may see"


@pytest.fixture
def hub(database: Database) -> Hub:
    """One worker's hub, over a database of each kind."""
    return hub_over(database.engine())


async def version_of(hub: Hub, identity: int) -> int:
    """The version of the rights that were handed out for a repository."""
    rows = await hub.engine.read("SELECT rights_version FROM repositories WHERE id = :id", id=identity)
    return int(rows[0][0])


async def test_a_repository_begins_as_its_namespace_says(hub: Hub) -> None:
    olga = await hub.person("olga")
    about = Description("An application", "# Application")
    made = await hub.repositories.create(olga, "olga/app", None, about, HERE)
    assert (made.name, made.visibility, made.description, made.stars) == ("olga/app", "public", "An application", 0)
    assert await hub.repositories.readme(NOBODY, "olga/app") == "# Application"
    await hub.organizations.change(olga, "olga", Settings(default_visibility="internal"), HERE)
    assert (await hub.repositories.create(olga, "olga/other", None, Description(), HERE)).visibility == "internal"


@pytest.mark.parametrize("name", ["olga/App", "olga/", "olga//app", "/app", "~1"])
async def test_a_name_that_is_none_is_refused(hub: Hub, name: str) -> None:
    olga = await hub.person("olga")
    with pytest.raises(Invalid):
        await hub.repositories.create(olga, name, None, Description(), HERE)


async def test_who_may_not_create_learns_nothing_of_what_is_there(hub: Hub) -> None:
    olga, sam = await hub.person("olga"), await hub.person("sam")
    await hub.repository(olga, "olga/secret", "private")
    reasons = set()
    for actor in (sam, NOBODY):
        for name in ("olga/secret", "olga/nothing"):
            with pytest.raises(Forbidden) as refusal:
                await hub.repositories.create(actor, name, None, Description(), HERE)
            reasons.add((actor.name, refusal.value.message.replace(name, "")))
    assert len(reasons) == 2
    with pytest.raises(Taken):
        await hub.repositories.create(olga, "olga/secret", None, Description(), HERE)


async def test_of_two_who_create_one_name_one_does(database: Database) -> None:
    one, other = hub_over(database.engine()), hub_over(database.engine())
    olga = await one.person("olga")
    made = await asyncio.gather(
        *(hub.repositories.create(olga, "olga/app", None, Description(), HERE) for hub in (one, other)),
        return_exceptions=True,
    )
    assert sorted(type(each).__name__ for each in made) == ["Repository", "Taken"]


async def test_private_answers_as_absent_whatever_is_asked(hub: Hub) -> None:
    olga, sam = await hub.person("olga"), await hub.person("sam")
    secret = await hub.repository(olga, "olga/secret", "private")
    elsewhere = await hub.repository(olga, "olga/other", "private")
    bound = by_token(olga, repositories=frozenset({elsewhere}))
    for actor in (sam, NOBODY, bound):
        assert [each.name for each in await hub.repositories.list(actor, "", 10)] == (
            ["olga/other"] if actor is bound else []
        )
        for name in ("olga/secret", "olga/nothing"):
            for attempt in (
                hub.repositories.get(actor, name),
                hub.repositories.readme(actor, name),
                hub.repositories.describe(actor, name, Description("x"), HERE),
                hub.repositories.set_visibility(actor, name, "public", HERE),
                hub.repositories.set_archived(actor, name, True, HERE),
                hub.repositories.rename(actor, name, "olga/public", HERE),
                hub.repositories.transfer(actor, name, "sam", HERE),
                hub.repositories.delete(actor, name, HERE),
                hub.repositories.set_star(actor, name, True),
                hub.repositories.starred(actor, name),
                hub.grants.of_repository(actor, name, 0, 10),
                hub.grants.everybody(actor, name),
                hub.grants.set_on_repository(actor, name, "person", "sam", "read", HERE),
                hub.grants.remove_from_repository(actor, name, "person", "sam", HERE),
            ):
                with pytest.raises(NotThere) as refusal:
                    await attempt
                assert refusal.value.message == ABSENT.format(name)
    assert await version_of(hub, secret) == 1


async def test_readers_change_nothing_writers_describe_and_administrators_do_the_rest(hub: Hub) -> None:
    olga = await hub.person("olga")
    await hub.repository(olga, "olga/app")
    people = {role: await hub.person(role) for role in ("read", "write", "admin")}
    for role in people:
        await hub.grants.set_on_repository(olga, "olga/app", "person", role, role, HERE)
    with pytest.raises(Forbidden):
        await hub.repositories.describe(people["read"], "olga/app", Description("x"), HERE)
    await hub.repositories.describe(people["write"], "olga/app", Description(readme="new"), HERE)
    with pytest.raises(Forbidden):
        await hub.repositories.set_visibility(people["write"], "olga/app", "private", HERE)
    await hub.repositories.set_visibility(people["admin"], "olga/app", "private", HERE)
    with pytest.raises(Forbidden):
        await hub.repositories.transfer(people["admin"], "olga/app", "admin", HERE)
    assert [await hub.repositories.role(people[role], "olga/app") for role in people] == [
        Role.READ,
        Role.WRITE,
        Role.ADMIN,
    ]


async def test_only_what_hides_a_repository_ends_rights_that_were_handed_out(hub: Hub) -> None:
    olga = await hub.person("olga")
    app = await hub.repository(olga, "olga/app")
    versions = []
    for visibility in ("internal", "private", "internal", "public", "private", "private"):
        await hub.repositories.set_visibility(olga, "olga/app", visibility, HERE)
        versions.append(await version_of(hub, app))
    assert versions == [2, 3, 3, 3, 4, 4]
    rows = await hub.engine.read("SELECT old, new FROM changes WHERE kind = 'repository.visibility' ORDER BY id")
    assert rows[0] == ("public", "internal")
    assert len(rows) == 5


async def test_an_archived_repository_is_only_read_until_it_is_in_use_again(hub: Hub) -> None:
    olga = await hub.person("olga")
    await hub.repository(olga, "olga/app")
    await hub.repositories.set_archived(olga, "olga/app", True, HERE)
    assert (await hub.repositories.get(NOBODY, "olga/app")).archived_at is not None
    assert not (await hub.rights.decide(olga, Action.PUSH, "olga/app")).allowed
    for attempt in (
        hub.repositories.describe(olga, "olga/app", Description("x"), HERE),
        hub.repositories.rename(olga, "olga/app", "olga/new", HERE),
    ):
        with pytest.raises(Forbidden, match="archived"):
            await attempt
    await hub.repositories.set_archived(olga, "olga/app", False, HERE)
    assert (await hub.rights.decide(olga, Action.PUSH, "olga/app")).allowed


async def test_the_old_name_of_a_renamed_repository_is_absent_and_stays_its_owners(hub: Hub) -> None:
    olga, mia = await hub.person("olga"), await hub.person("mia")
    await hub.organizations.create(olga, "acme", "", HERE)
    await hub.organizations.set_member(olga, "acme", "mia", "member", HERE)
    app = await hub.repository(olga, "acme/app")
    renamed = await hub.repositories.rename(olga, "acme/app", "acme/application", HERE)
    assert (renamed.id, renamed.name) == (app, "acme/application")
    assert await version_of(hub, app) == 2
    with pytest.raises(NotThere):
        await hub.repositories.get(olga, "acme/app")
    with pytest.raises(Forbidden, match="given up less than 30 days ago"):
        await hub.repositories.create(mia, "acme/app", None, Description(), HERE)
    mine = await hub.repository(mia, "acme/mine")
    with pytest.raises(Taken):
        await hub.repositories.rename(mia, "acme/mine", "acme/app", HERE)
    with pytest.raises(Taken):
        await hub.repositories.rename(mia, "acme/mine", "acme/application", HERE)
    assert await version_of(hub, mine) == 1
    assert (await hub.repositories.create(olga, "acme/app", None, Description(), HERE)).id != app
    changes = await hub.engine.read("SELECT old, new FROM changes WHERE kind = 'repository.rename'")
    assert changes == [("acme/app", "acme/application")]


async def test_a_name_given_up_long_ago_is_free(hub: Hub) -> None:
    olga, mia = await hub.person("olga"), await hub.person("mia")
    await hub.organizations.create(olga, "acme", "", HERE)
    await hub.organizations.set_member(olga, "acme", "mia", "member", HERE)
    await hub.repository(olga, "acme/app")
    await hub.repositories.rename(olga, "acme/app", "acme/application", HERE)
    (until,) = (await hub.engine.read("SELECT until - now_us() FROM former_names"))[0]
    assert round(until / 86_400_000_000, 2) == 30

    async def later(transaction: Transaction) -> None:
        await transaction.run("UPDATE former_names SET until = now_us()")

    await hub.engine.write(later, durable=False)
    await hub.repository(mia, "acme/app")


async def test_a_transfer_needs_both_owners_and_ends_what_was_granted(hub: Hub) -> None:
    olga, sam = await hub.person("olga"), await hub.person("sam")
    app = await hub.repository(olga, "olga/tools/app", "private")
    await hub.organizations.create(olga, "acme", "", HERE)
    await hub.grants.set_on_repository(olga, "olga/tools/app", "person", "sam", "read", HERE)
    with pytest.raises(Forbidden):
        await hub.repositories.transfer(olga, "olga/tools/app", "sam", HERE)
    with pytest.raises(Forbidden):
        await hub.repositories.transfer(by_token(olga), "olga/tools/app", "acme", HERE)
    with pytest.raises(Invalid):
        await hub.repositories.transfer(olga, "olga/tools/app", "olga", HERE)
    moved = await hub.repositories.transfer(olga, "olga/tools/app", "acme", HERE)
    assert (moved.id, moved.name) == (app, "acme/tools/app")
    assert await version_of(hub, app) == 2
    assert not await hub.may_pull(sam, "acme/tools/app")
    assert [each.name for each in await hub.repositories.list(olga, "", 10, "acme")] == ["acme/tools/app"]
    assert await hub.repositories.list(olga, "", 10, "olga") == []
    root = await hub.person("root", administrator=True)
    assert (await hub.repositories.transfer(root, "acme/tools/app", "sam", HERE)).name == "sam/tools/app"
    assert await hub.may_pull(sam, "sam/tools/app")


async def test_a_deleted_repository_ends_with_what_is_in_it_and_its_name_is_another_ones(database: Database) -> None:
    hub, rows = hub_over(database.engine()), database.connect()
    olga = await hub.person("olga")
    app = await hub.repository(olga, "olga/app")
    await hub.grants.set_on_repository(olga, "olga/app", "person", "olga", "admin", HERE)
    await hub.repositories.set_star(olga, "olga/app", True)
    key = await filled(rows, "olga/app")
    digest = await tagged(rows, "v1", "olga/app")
    assert digest is not None
    await hub.repositories.delete(olga, "olga/app", HERE)
    assert await tagged(rows, "v1", "olga/app") is None
    assert await rows.manifests.find_manifest("olga/app", digest) is None
    assert key in await trash(rows)
    for table in ("uploads", "upload_bodies", "grants", "stars"):
        assert await hub.engine.read(f"SELECT 1 FROM {table}") == [], table
    gone = await hub.engine.read("SELECT name, deleted_name, rights_version FROM repositories WHERE id = :id", id=app)
    assert gone == [(f"~{app}", "olga/app", 2)]
    changes = await hub.engine.read("SELECT kind, tag, old FROM changes WHERE kind LIKE '%.delete' ORDER BY id")
    assert changes == [("repository.delete", None, "olga/app")]
    assert await hub.repository(olga, "olga/app") != app
    for _ in range(3):
        await Collector(rows.garbage, Ages(0, 0, 0)).collect()
    for table in ("tags", "manifests", "manifest_references", "links", "blobs"):
        assert await hub.engine.read(f"SELECT 1 FROM {table}") == [], table


async def filled(rows: Rows, repository: str) -> str:
    """Push an image there and begin an upload; the key of its body."""
    blob = await a_blob(rows, repository)
    await push(rows, a_manifest(required=(blob,)), "v1", repository=repository)
    return await a_claimed_key(rows, await an_upload(rows, repository))


async def test_what_was_decided_on_an_older_state_changes_nothing(hub: Hub) -> None:
    olga = await hub.person("olga")
    await hub.repository(olga, "olga/app")
    stale = caller_of(olga, HERE, Action.DELETE, await hub.rights.decide(olga, Action.DELETE, "olga/app"))
    await hub.repositories.set_visibility(olga, "olga/app", "private", HERE)
    rows = DatabaseHubRepositories(hub.engine)
    for attempt in (rows.delete(stale), rows.set_visibility("public", stale), rows.describe(Description("x"), stale)):
        with pytest.raises(Taken, match="changed by somebody else"):
            await attempt
    assert (await hub.repositories.get(olga, "olga/app")).visibility == "private"


async def test_a_second_private_repository_on_free_is_refused_by_the_name_of_the_first(hub: Hub) -> None:
    olga, root = await hub.person("olga"), await hub.person("root", administrator=True)
    await hub.plans.give(root, "olga", "free", HERE)
    await hub.repository(olga, "olga/secret", "private")
    await hub.repository(olga, "olga/open")
    with pytest.raises(LimitReached, match="olga/secret"):
        await hub.repositories.create(olga, "olga/other", "private", Description(), HERE)
    with pytest.raises(LimitReached, match="olga/secret"):
        await hub.repositories.set_visibility(olga, "olga/open", "private", HERE)
    assert (await hub.repositories.get(olga, "olga/open")).visibility == "public"
    with pytest.raises(NotThere):
        await hub.repositories.get(olga, "olga/other")
    await hub.repositories.set_visibility(olga, "olga/secret", "public", HERE)
    await hub.repositories.set_visibility(olga, "olga/open", "private", HERE)


async def test_the_name_of_a_private_repository_is_told_to_nobody_who_may_not_read_it(hub: Hub) -> None:
    olga, mia = await hub.person("olga"), await hub.person("mia")
    root = await hub.person("root", administrator=True)
    await hub.organizations.create(olga, "acme", "", HERE)
    await hub.organizations.change(olga, "acme", Settings(member_role="none"), HERE)
    await hub.organizations.set_member(olga, "acme", "mia", "member", HERE)
    await hub.plans.give(root, "acme", "free", HERE)
    await hub.repository(olga, "acme/secret", "private")
    with pytest.raises(LimitReached) as refusal:
        await hub.repositories.create(mia, "acme/other", "private", Description(), HERE)
    assert refusal.value.message == ("the plan free allows 1 private repository; make one public, or take another plan")


async def test_a_private_repository_is_not_transferred_beyond_the_plan(hub: Hub) -> None:
    olga, root = await hub.person("olga"), await hub.person("root", administrator=True)
    await hub.organizations.create(olga, "acme", "", HERE)
    await hub.plans.give(root, "acme", "free", HERE)
    await hub.repository(olga, "acme/one", "private")
    await hub.repository(olga, "olga/two", "private")
    with pytest.raises(LimitReached, match="acme/one"):
        await hub.repositories.transfer(olga, "olga/two", "acme", HERE)


async def test_two_private_repositories_at_once_do_not_exceed_the_plan(database: Database) -> None:
    hubs = [hub_over(database.engine()) for _ in range(4)]
    olga, root = await hubs[0].person("olga"), await hubs[0].person("root", administrator=True)
    await hubs[0].plans.give(root, "olga", "free", HERE)
    await hubs[0].repository(olga, "olga/open")
    made = await asyncio.gather(
        hubs[0].repositories.set_visibility(olga, "olga/open", "private", HERE),
        *(
            hub.repositories.create(olga, f"olga/secret-{number}", "private", Description(), HERE)
            for number, hub in enumerate(hubs[1:])
        ),
        return_exceptions=True,
    )
    refused = [each for each in made if isinstance(each, BaseException)]
    assert [type(each) for each in refused] == [LimitReached] * 3


async def test_plans_are_made_and_ended_by_administrators(hub: Hub) -> None:
    root, olga = await hub.person("root", administrator=True), await hub.person("olga")
    plan = Plan("startup", 5, 10 * 2**30, 1000)
    await hub.plans.create(root, plan, HERE)
    with pytest.raises(Taken):
        await hub.plans.create(root, plan, HERE)
    await hub.plans.change(root, replace(plan, pulls=None), HERE)
    assert [each.name for each in await hub.plans.list("", 10)] == ["free", "pro", "startup", "team", "unlimited"]
    assert (await hub.plans.list("pro", 1))[0].pulls is None
    await hub.plans.give(root, "olga", "startup", HERE)
    assert (await hub.organizations.namespace("olga")).plan == "startup"
    with pytest.raises(Taken, match="olga has the plan"):
        await hub.plans.delete(root, "startup", HERE)
    await hub.plans.give(root, "olga", "free", HERE)
    await hub.plans.delete(root, "startup", HERE)
    for refused, attempt in (
        (Forbidden, hub.plans.delete(root, "free", HERE)),
        (Forbidden, hub.plans.create(olga, plan, HERE)),
        (Forbidden, hub.plans.give(by_token(root), "olga", "pro", HERE)),
        (NotThere, hub.plans.give(root, "olga", "startup", HERE)),
        (NotThere, hub.plans.give(root, "nobody", "pro", HERE)),
        (NotThere, hub.plans.change(root, plan, HERE)),
        (NotThere, hub.plans.delete(root, "startup", HERE)),
        (Invalid, hub.plans.change(root, Plan("free", None, None, -2), HERE)),
    ):
        with pytest.raises(HubError) as refusal:
            await attempt
        assert type(refusal.value) is refused


async def test_everybody_has_one_star_for_a_repository(hub: Hub) -> None:
    olga, sam = await hub.person("olga"), await hub.person("sam")
    await hub.repository(olga, "olga/app")
    for actor in (olga, sam, sam):
        await hub.repositories.set_star(actor, "olga/app", True)
    assert (await hub.repositories.get(NOBODY, "olga/app")).stars == 2
    assert await hub.repositories.starred(sam, "olga/app")
    for _ in range(2):
        await hub.repositories.set_star(sam, "olga/app", False)
    assert (await hub.repositories.get(NOBODY, "olga/app")).stars == 1
    assert not await hub.repositories.starred(sam, "olga/app")
    assert not await hub.repositories.starred(NOBODY, "olga/app")
    with pytest.raises(Forbidden, match="log in"):
        await hub.repositories.set_star(NOBODY, "olga/app", True)


async def test_stars_given_at_once_are_all_counted(database: Database) -> None:
    hubs = [hub_over(database.engine()) for _ in range(2)]
    people = [await hubs[0].person(f"person-{number}") for number in range(6)]
    await hubs[0].repository(people[0], "person-0/app")
    await asyncio.gather(
        *(hubs[n % 2].repositories.set_star(each, "person-0/app", True) for n, each in enumerate(people * 2))
    )
    assert (await hubs[0].repositories.get(NOBODY, "person-0/app")).stars == 6


async def test_lists_go_on_after_a_name_and_hold_what_may_be_read(hub: Hub) -> None:
    olga = await hub.person("olga")
    for number in range(5):
        await hub.repository(olga, f"olga/app-{number}", "private" if number % 2 else "public")
    names = [each.name for each in await hub.repositories.list(NOBODY, "", 2)]
    assert names == ["olga/app-0", "olga/app-2"]
    assert [each.name for each in await hub.repositories.list(NOBODY, names[-1], 2)] == ["olga/app-4"]
    assert len(await hub.repositories.list(olga, "", 10, "olga")) == 5
    assert await hub.repositories.list(olga, "", 10, "nobody") == []
