"""Search, by the use-case over SQLite and PostgreSQL: what is found, in which order, and what is not."""

import pytest

from entrepot.access.actor import Actor
from entrepot.database.engine import Transaction
from entrepot.database.search import DatabaseSearch
from entrepot.database.upstreams import DatabaseUpstreams
from entrepot.hub.errors import Invalid
from entrepot.hub.repositories import Description
from tests.support.hub_rows import HERE, NOBODY, Hub, by_token, hub_over
from tests.support.rows import Database


@pytest.fixture
def hub(database: Database) -> Hub:
    """One worker's hub, over a database of each kind."""
    return hub_over(database.engine())


async def library(hub: Hub) -> Actor:
    """The organization `library` and its administrator."""
    root = await hub.person("root", administrator=True)
    await hub.organizations.create(root, "lib", "", HERE)
    rename = "UPDATE accounts SET name = 'library' WHERE name = 'lib'"

    async def run(transaction: Transaction) -> None:
        await transaction.run(rename)

    await hub.engine.write(run, durable=False)
    return root


async def found(hub: Hub, query: str, actor: Actor = NOBODY) -> list[str]:
    """The names that a query finds, in their order."""
    return [each.name for each in await hub.search.find(actor, query, 0, 100)]


async def test_names_come_before_beginnings_words_and_descriptions(hub: Hub) -> None:
    root, olga = await library(hub), await hub.person("olga")
    await hub.repository(olga, "olga/website", about="behind Nginx")
    await hub.repository(olga, "olga/my-nginx")
    await hub.repository(olga, "olga/nginx-unit")
    await hub.repository(olga, "olga/nginx")
    await hub.repository(root, "library/nginx")
    assert await found(hub, "nginx") == [
        "library/nginx",
        "olga/nginx",
        "olga/nginx-unit",
        "olga/my-nginx",
        "olga/website",
    ]
    assert await found(hub, "olga/nginx") == ["olga/nginx", "olga/nginx-unit", "olga/my-nginx", "olga/website"]


async def test_among_equals_the_more_starred_come_first(hub: Hub) -> None:
    people = [await hub.person(f"person-{number}") for number in range(3)]
    for person in people:
        await hub.repository(person, f"{person.name}/app")
    for person in people[:2]:
        await hub.repositories.set_star(person, "person-1/app", True)
    await hub.repositories.set_star(people[0], "person-2/app", True)
    assert await found(hub, "app") == ["person-1/app", "person-2/app", "person-0/app"]


@pytest.mark.parametrize(
    ("query", "hit"),
    [
        ("app", True),
        ("APP", True),
        ("appl", True),
        ("plication", False),
        ("payments", True),
        ("app pay", True),
        ("app nothing", False),
        ("olga/application", True),
        ("größe", True),
        ("%", False),
        ("app*", True),
        ("", False),
        ("' OR 1=1", False),
        ("\U0010ffff", False),
    ],
)
async def test_every_term_begins_a_word_of_name_or_description(hub: Hub, query: str, hit: bool) -> None:
    olga = await hub.person("olga")
    await hub.repository(olga, "olga/application", about="Payments, in jeder Größe")
    assert await found(hub, query) == (["olga/application"] if hit else [])


async def test_private_and_internal_ones_are_found_by_those_who_may_read_them(hub: Hub) -> None:
    olga, sam = await hub.person("olga"), await hub.person("sam")
    root = await hub.person("root", administrator=True)
    secret = await hub.repository(olga, "olga/app-secret", "private")
    await hub.repository(olga, "olga/app-internal", "internal")
    assert await found(hub, "app") == []
    assert await found(hub, "olga/app-secret") == []
    assert await found(hub, "app", sam) == ["olga/app-internal"]
    assert await found(hub, "app", olga) == await found(hub, "app", root) == ["olga/app-internal", "olga/app-secret"]
    bound = by_token(olga, repositories=frozenset({secret}))
    assert await found(hub, "app", bound) == ["olga/app-secret"]
    await hub.grants.set_on_repository(olga, "olga/app-secret", "person", "sam", "read", HERE)
    assert await found(hub, "app", sam) == ["olga/app-internal", "olga/app-secret"]


async def test_what_changes_is_found_by_what_it_is_now(hub: Hub) -> None:
    olga = await hub.person("olga")
    await hub.organizations.create(olga, "acme", "", HERE)
    await hub.repository(olga, "olga/alpha", about="first")
    await hub.repositories.describe(olga, "olga/alpha", Description("second"), HERE)
    assert (await found(hub, "first"), await found(hub, "second")) == ([], ["olga/alpha"])
    await hub.repositories.rename(olga, "olga/alpha", "olga/beta", HERE)
    assert (await found(hub, "alpha"), await found(hub, "beta")) == ([], ["olga/beta"])
    await hub.repositories.set_visibility(olga, "olga/beta", "private", HERE)
    assert (await found(hub, "beta"), await found(hub, "beta", olga)) == ([], ["olga/beta"])
    await hub.repositories.transfer(olga, "olga/beta", "acme", HERE)
    assert await found(hub, "beta", olga) == ["acme/beta"]
    await hub.repositories.delete(olga, "acme/beta", HERE)
    assert await found(hub, "beta", olga) == []
    assert await hub.engine.read("SELECT 1 FROM search_words") == []


async def test_of_thousands_that_match_the_most_starred_and_the_exact_one_are_found(hub: Hub) -> None:
    root, olga = await library(hub), await hub.person("olga")
    for number in range(400):
        await hub.repository(olga, f"olga/app-{number:03}", about="tool")
    await hub.repository(root, "library/tool")
    await hub.repositories.set_star(olga, "olga/app-399", True)
    assert (await found(hub, "tool"))[:2] == ["library/tool", "olga/app-399"]
    assert await found(hub, "app 398") == ["olga/app-398"]
    assert await found(hub, "tool 398") == ["olga/app-398"]


async def test_pages_follow_each_other(hub: Hub) -> None:
    olga = await hub.person("olga")
    for number in range(5):
        await hub.repository(olga, f"olga/app-{number}")
    pages = [[each.name for each in await hub.search.find(NOBODY, "app", start, 2)] for start in (0, 2, 4, 6)]
    assert [len(page) for page in pages] == [2, 2, 1, 0]
    assert [name for page in pages for name in page] == sorted(f"olga/app-{number}" for number in range(5))


async def test_filters_stand_among_the_terms(hub: Hub) -> None:
    root, olga = await library(hub), await hub.person("olga")
    await hub.repository(root, "library/app")
    await hub.repository(olga, "olga/app")
    await hub.repositories.set_star(olga, "olga/app", True)
    assert await found(hub, "app is-official:true") == ["library/app"]
    assert await found(hub, "is-official=false app") == ["olga/app"]
    assert await found(hub, "app stars:1") == ["olga/app"]
    assert await found(hub, "app is-automated:true") == []


async def test_a_query_has_a_length(hub: Hub) -> None:
    with pytest.raises(Invalid):
        await found(hub, "x" * 201)


async def test_what_was_there_before_the_index_is_put_into_it(database: Database) -> None:
    hub, rows = hub_over(database.engine()), database.connect()
    olga = await hub.person("olga")
    await hub.repository(olga, "olga/app")
    await rows.execute("DELETE FROM search_words")
    assert await found(hub, "app") == []
    search = DatabaseSearch(hub.engine)
    assert await search.index_missing() == 1
    assert await search.index_missing() == 0
    assert await found(hub, "app") == ["olga/app"]


async def test_repositories_of_upstreams_are_in_no_namespace_and_not_in_the_index(database: Database) -> None:
    hub = hub_over(database.engine())
    olga = await hub.person("olga")
    await DatabaseUpstreams(hub.engine).ensure("docker.io/library/app", "docker.io")
    await hub.repository(olga, "olga/app")
    await database.connect().execute("DELETE FROM search_words")
    assert await DatabaseSearch(hub.engine).index_missing() == 1
    assert await found(hub, "app") == ["olga/app"]
