"""Usage over SQLite and PostgreSQL: the reports, who used a limit, and what is pruned."""

import asyncio
import time

import pytest

from entrepot.database.usage import DatabaseUsage
from entrepot.hub.errors import Invalid
from entrepot.hub.tally import HOUR, tally
from entrepot.hub.usage import GROUPS, Usage, UsageQuery, UsageRow
from entrepot.registry.events import PullEvent
from tests.support.pulls import a_pull, alike
from tests.support.rows import Database, Rows

NOW = time.time_ns() // 1000
DAY = 24 * HOUR
TODAY = NOW // DAY * DAY
AGES = 365 * DAY


async def fill(rows: Rows, *events: PullEvent) -> DatabaseUsage:
    """A database in which these events are counted."""
    usage = DatabaseUsage(rows.engine)
    assert await usage.count(f"segment-{time.monotonic_ns()}", 0, 1, tally(alike(*events)))
    return usage


def around(*group: str, **values: object) -> UsageQuery:
    """A query of everything."""
    return UsageQuery(TODAY - 100 * DAY, TODAY + DAY, group, **values)  # type: ignore[arg-type]


async def rows_of(usage: DatabaseUsage, query: UsageQuery, page: int = 100) -> list[UsageRow]:
    """All rows of a report, page by page."""
    report = await Usage(usage).report(query, None, page)
    found = list(report.rows)
    while report.next is not None:
        report = await Usage(usage).report(query, report.next, page)
        assert 1 <= len(report.rows) <= page
        found += report.rows
    return found


async def an_account(rows: Rows, name: str, kind: str = "person", owner: int | None = None) -> int:
    """The id of a new account."""
    await rows.execute(
        "INSERT INTO accounts (kind, name, owner_id, created_at)"
        " VALUES (:kind, :name, CAST(:owner AS bigint), now_us())",
        kind=kind,
        name=name,
        owner=owner,
    )
    return int((await rows.engine.read("SELECT id FROM accounts WHERE name = :name", name=name))[0][0])


async def a_repository(rows: Rows, name: str, namespace: int | None = None) -> int:
    """The id of a new repository."""
    await rows.execute(
        "INSERT INTO repositories (name, namespace_id, created_at)"
        " VALUES (:name, CAST(:namespace AS bigint), now_us())",
        name=name,
        namespace=namespace,
    )
    return int((await rows.engine.read("SELECT id FROM repositories WHERE name = :name", name=name))[0][0])


async def test_a_report_says_who_pulled_what_when_how_often_and_from_where(rows: Rows) -> None:
    alice = await an_account(rows, "alice")
    app = await a_repository(rows, "alice/app")
    pull = a_pull(repository_id=app, account_id=alice, address="192.0.2.7", tag="v1", at=TODAY + 5, bytes=10)
    usage = await fill(rows, pull, pull._replace(at=TODAY + 9), pull._replace(kind="index", bytes=3))
    (row,) = await rows_of(usage, around("hour", "repository", "digest", "tag", "account", "address", "agent"))
    assert row == UsageRow(
        period=TODAY,
        repository_id=app,
        repository="alice/app",
        digest=pull.digest,
        tag="v1",
        account_id=alice,
        account="alice",
        address="192.0.2.7",
        agent="docker",
        pulls=2,
        requests=3,
        bytes=23,
        first_at=TODAY + 5,
        last_at=TODAY + 9,
    )


@pytest.mark.parametrize("word", GROUPS)
async def test_usage_is_grouped_by_each_word_alone(rows: Rows, word: str) -> None:
    usage = await fill(
        rows,
        a_pull(at=TODAY),
        a_pull(at=TODAY),
        a_pull(
            at=TODAY - 1, repository_id=2, digest="sha256:b", tag="", account_id=None, address="2001:db8::1", agent=""
        ),
    )
    found = await rows_of(usage, around(word))
    assert sorted(row.pulls for row in found) == [1, 2]
    assert sum(value is not None for value in found[0][:9]) in (1, 2)  # with a name, where there is one


async def test_pages_by_any_group_put_together_are_the_report(rows: Rows) -> None:
    usage = await fill(
        rows,
        *(
            a_pull(at=TODAY - hour * HOUR, repository_id=repository, tag=tag, account_id=account, agent=agent)
            for hour in range(3)
            for repository in (1, 2)
            for tag in ("", "B", "a")
            for account in (None, 7)
            for agent in ("", "docker/1", "Äpfel")
        ),
    )
    for group in (("hour",), ("day", "tag"), ("agent", "account"), ("hour", "repository", "tag", "account", "agent")):
        whole = await rows_of(usage, around(*group))
        assert await rows_of(usage, around(*group), page=1) == whole
        assert await rows_of(usage, around(*group), page=7) == whole
        assert sum(row.pulls for row in whole) == 108
        assert len({row[:9] for row in whole}) == len(whole)


async def test_a_report_is_of_the_repositories_that_are_asked_for_and_no_other(rows: Rows) -> None:
    alice, bob = await an_account(rows, "alice"), await an_account(rows, "bob")
    ids = [await a_repository(rows, name, owner) for name, owner in (("alice/a", alice), ("alice/b", alice))]
    theirs = await a_repository(rows, "bob/secret", bob)
    usage = await fill(rows, *(a_pull(repository_id=repository) for repository in (*ids, theirs)))

    async def seen(**bounds: object) -> list[str | None]:
        return [row.repository for row in await rows_of(usage, around("repository", **bounds))]

    assert await seen() == ["alice/a", "alice/b", "bob/secret"]
    assert await seen(namespace_id=alice) == ["alice/a", "alice/b"]
    assert await seen(repository_ids=frozenset({ids[1]})) == ["alice/b"]
    assert await seen(repository_ids=frozenset({ids[1], theirs}), namespace_id=alice) == ["alice/b"]
    assert await seen(repository_ids=frozenset()) == []


async def test_a_report_can_be_of_one_account_or_address_or_network(rows: Rows) -> None:
    usage = await fill(
        rows,
        a_pull(account_id=7, address="192.0.2.1"),
        a_pull(account_id=None, address="192.0.2.1"),
        a_pull(account_id=None, address="2001:db8:0:1::5"),
        a_pull(account_id=None, address="2001:db8:0:1:ffff::1"),
    )

    async def pulls(**bounds: object) -> int:
        return sum(row.pulls for row in await rows_of(usage, around("address", **bounds)))

    assert await pulls(account_id=7) == 1
    assert await pulls(account_id=0) == 3
    assert await pulls(address="192.0.2.1") == 2
    assert await pulls(address="192.0.2.1", account_id=0) == 1
    assert await pulls(address="2001:db8:0:1::5") == 1
    assert await pulls(address="2001:db8:0:1::") == 2
    assert await pulls(address="192.0.2.%") == 0


async def test_a_report_is_of_whole_hours(rows: Rows) -> None:
    usage = await fill(rows, *(a_pull(at=TODAY + minutes * 60_000_000) for minutes in (59, 60, 119, 120)))
    query = UsageQuery(TODAY + HOUR + 30 * 60_000_000, TODAY + HOUR + 31 * 60_000_000, ("hour",))
    report = await Usage(usage).report(query, None, 10)
    assert (report.since, report.until) == (TODAY + HOUR, TODAY + 2 * HOUR)
    assert [(row.period, row.pulls) for row in report.rows] == [(TODAY + HOUR, 2)]


@pytest.mark.parametrize(
    "cursor", ["", "x", "é", "AAAA", "WzEsMl0", "WyJhIl0", "W251bGxd", "WzFlOTldCg", "WzExMTExMTExMTExMTExMTExMTExMV0"]
)
async def test_a_cursor_of_something_else_is_invalid(rows: Rows, cursor: str) -> None:
    with pytest.raises(Invalid, match="cursor"):
        await Usage(DatabaseUsage(rows.engine)).report(around("repository"), cursor, 10)


@pytest.mark.parametrize(
    "query",
    [
        around(),
        around("moon"),
        around("hour", "day"),
        around("day", repository_ids=frozenset(range(101))),
        around("day", address="a\0"),
        UsageQuery(TODAY, TODAY, ("day",)),
        UsageQuery(-AGES, TODAY, ("day",)),
        UsageQuery(0, 2**70, ("day",)),
    ],
)
async def test_a_query_that_cannot_be_answered_is_invalid(rows: Rows, query: UsageQuery) -> None:
    with pytest.raises(Invalid):
        await Usage(DatabaseUsage(rows.engine)).report(query, None, 10)


async def test_who_used_an_organizations_limit_are_its_robots(rows: Rows) -> None:
    acme = await an_account(rows, "acme", "organization")
    robot = await an_account(rows, "acme+ci", "robot", acme)
    other = await an_account(rows, "bob")
    usage = await fill(
        rows,
        *(a_pull(account_id=robot, credential_id=3, address="192.0.2.1", at=NOW - at) for at in range(3)),
        a_pull(account_id=robot, credential_id=3, address="192.0.2.2", at=NOW),
        a_pull(account_id=robot, credential_id=3, kind="index", address="192.0.2.2", at=NOW),
        a_pull(account_id=robot, at=NOW - 8 * HOUR),
        a_pull(account_id=other, at=NOW),
        a_pull(account_id=None, at=NOW),
    )
    found = await Usage(usage).top_of_account(acme, 6 * 3600, 10)
    assert [(each.account, each.credential_id, each.address, each.pulls) for each in found] == [
        ("acme+ci", 3, "192.0.2.1", 3),
        ("acme+ci", 3, "192.0.2.2", 1),
    ]
    assert found[0].last_at == NOW
    assert len(await Usage(usage).top_of_account(acme, 6 * 3600, 1)) == 1


async def test_who_used_an_addresss_limit_are_those_without_an_account_in_its_network(rows: Rows) -> None:
    usage = await fill(
        rows,
        a_pull(account_id=None, credential_id=None, address="2001:db8::1", at=NOW),
        a_pull(account_id=None, credential_id=None, address="2001:db8::2", at=NOW),
        a_pull(account_id=7, address="2001:db8::2", at=NOW),
        a_pull(account_id=None, credential_id=None, address="2001:db8:0:1::", at=NOW),
    )
    found = await Usage(usage).top_of_address("2001:db8::", 3600, 10)
    assert [(each.account_id, each.account, each.address, each.pulls) for each in found] == [
        (0, "", "2001:db8::1", 1),
        (0, "", "2001:db8::2", 1),
    ]


async def test_a_report_is_complete_until_the_slowest_node_that_still_lives(rows: Rows) -> None:
    usage = DatabaseUsage(rows.engine)
    assert await usage.complete_until() == 0
    await usage.complete("gone", NOW - 2 * DAY, 0)
    await usage.complete("slow", NOW - HOUR, 0)
    await usage.complete("quick", NOW - 5, 0)
    assert await usage.complete_until() == NOW - HOUR
    await usage.complete("slow", NOW, 0)
    assert (await Usage(usage).report(around("day"), None, 1)).complete_until == NOW - 5


async def test_old_hours_are_pruned_step_by_step_and_totals_stay(rows: Rows) -> None:
    old = [a_pull(at=NOW - 3 * DAY - number * HOUR) for number in range(5)]
    usage = await fill(rows, *old, a_pull(at=NOW))
    assert [await usage.prune(2 * DAY, 3) for _ in range(3)] == [3, 2, 0]
    assert sum(row.requests for row in await rows_of(usage, around("hour"))) == 1
    totals = await rows.engine.read("SELECT repository_id, pull_count, last_pulled_at FROM usage_repositories")
    assert totals == [(1, 6, NOW)]


async def test_when_a_manifest_was_pulled_last_is_remembered_while_it_is_there(rows: Rows) -> None:
    repository = await a_repository(rows, "library/hello")
    await rows.execute(
        "INSERT INTO manifests (repository_id, digest, media_type, size, pushed_at, content)"
        " VALUES (:repository, :digest, 'text/plain', 1, 1, :content)",
        repository=repository,
        digest="sha256:there",
        content=b"x",
    )
    old = NOW - 100 * DAY
    usage = await fill(
        rows,
        a_pull(repository_id=repository, digest="sha256:there", at=old),
        a_pull(repository_id=repository, digest="sha256:there", at=old - 5),
        a_pull(repository_id=repository, digest="sha256:gone", at=old),
        a_pull(repository_id=repository, digest="sha256:gone-lately", at=NOW),
    )
    while await usage.prune(90 * DAY, 100):
        pass
    found = await rows.engine.read("SELECT digest, last_pulled_at FROM usage_manifests ORDER BY digest")
    assert found == [("sha256:gone-lately", NOW), ("sha256:there", old)]


async def test_a_part_of_a_segment_is_counted_once(rows: Rows) -> None:
    usage, counted = DatabaseUsage(rows.engine), tally(alike(a_pull()))
    assert await usage.position("s") == 0
    assert not await usage.count("s", 10, 20, counted)
    assert await usage.count("s", 0, 10, counted)
    assert not await usage.count("s", 0, 10, counted)
    assert not await usage.count("s", 0, 20, counted)
    assert await usage.count("s", 10, 20, counted)
    assert await usage.position("s") == 20
    assert sum(row.requests for row in await rows_of(usage, around("hour"))) == 2


async def test_nodes_that_count_the_same_rows_at_once_lose_nothing(database: Database) -> None:
    nodes = [DatabaseUsage(database.engine()) for _ in range(3)]
    events = [a_pull(repository_id=repository, at=TODAY) for repository in range(10)]

    async def count(usage: DatabaseUsage, name: str) -> None:
        for number in range(5):
            assert await usage.count(f"{name}-{number}", 0, 1, tally(alike(*(events[::-1] if number % 2 else events))))

    await asyncio.gather(*(count(usage, str(number)) for number, usage in enumerate(nodes)))
    assert {row.requests for row in await rows_of(nodes[0], around("repository"))} == {15}


async def test_two_that_count_the_same_part_at_once_count_it_once(database: Database) -> None:
    nodes = [DatabaseUsage(database.engine()) for _ in range(4)]
    for number in range(5):
        done = await asyncio.gather(*(usage.count(str(number), 0, 1, tally(alike(a_pull()))) for usage in nodes))
        assert sorted(done) == [False, False, False, True]
    assert sum(row.requests for row in await rows_of(nodes[0], around("day"))) == 5
