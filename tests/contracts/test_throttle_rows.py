"""The port ThrottleRows, over SQLite and PostgreSQL: failures that all workers count together, and known addresses."""

import asyncio

import pytest

from entrepot.access.throttling import PAIR_LIMIT, WINDOW, Throttling
from entrepot.database.throttles import DatabaseThrottles
from tests.support.rows import Database, HeldEngine, Rows

HOME = "192.0.2.1"
DAY = 24 * 60 * 60


@pytest.fixture
def throttles(rows: Rows) -> DatabaseThrottles:
    """One worker's view."""
    return DatabaseThrottles(rows.engine)


async def numbers(throttles: DatabaseThrottles, *keys: str) -> dict[str, int]:
    """What these keys have counted."""
    return {each.key: each.number for each in await throttles.failures(keys, WINDOW)}


async def pass_time(rows: Rows, seconds: int) -> None:
    """Everything happened so much earlier."""
    await rows.execute("UPDATE throttles SET since = since - :past", past=seconds * 1_000_000)
    await rows.execute("UPDATE known_addresses SET seen_at = seen_at - :past", past=seconds * 1_000_000)


async def an_account(rows: Rows) -> int:
    """The id of a new account."""
    await rows.execute("INSERT INTO accounts (kind, name, created_at) VALUES ('person', 'alice', now_us())")
    return int((await rows.engine.read("SELECT id FROM accounts WHERE name = 'alice'"))[0][0])


async def test_each_key_counts_for_itself(throttles: DatabaseThrottles) -> None:
    await throttles.count_failure(["a", "b", "c"], WINDOW)
    await throttles.count_failure(["b", "a"], WINDOW)
    await throttles.count_failure(["a"], WINDOW)
    assert await numbers(throttles, "a", "b", "c") == {"a": 3, "b": 2, "c": 1}
    assert await numbers(throttles, "a", "d") == {"a": 3}
    assert await numbers(throttles, "d") == {}


async def test_a_window_lasts_five_minutes_from_its_first_failure(throttles: DatabaseThrottles, rows: Rows) -> None:
    await throttles.count_failure(["a"], WINDOW)
    await pass_time(rows, WINDOW - 60)
    await throttles.count_failure(["a"], WINDOW)
    ((_, number, left),) = await throttles.failures(["a"], WINDOW)
    assert number == 2
    assert 0 < left <= 60 * 1_000_000
    await pass_time(rows, 60)
    assert await throttles.failures(["a"], WINDOW) == []


async def test_the_first_failure_after_a_window_begins_another(throttles: DatabaseThrottles, rows: Rows) -> None:
    for _ in range(3):
        await throttles.count_failure(["a"], WINDOW)
    await pass_time(rows, WINDOW)
    await throttles.count_failure(["a"], WINDOW)
    await pass_time(rows, 60)
    ((_, number, left),) = await throttles.failures(["a"], WINDOW)
    assert number == 1
    assert left > (WINDOW - 120) * 1_000_000


async def test_failures_that_come_at_once_to_two_workers_are_all_counted(database: Database) -> None:
    workers = [DatabaseThrottles(database.engine()) for _ in range(2)]
    orders = (["a", "b", "c"], ["c", "b", "a"])
    await asyncio.gather(*[workers[each % 2].count_failure(orders[each // 2 % 2], WINDOW) for each in range(60)])
    assert await numbers(workers[0], "a", "b", "c") == {"a": 60, "b": 60, "c": 60}


async def test_failures_that_come_at_once_after_a_window_begin_one_together(database: Database, rows: Rows) -> None:
    workers = [DatabaseThrottles(database.engine()) for _ in range(2)]
    await workers[0].count_failure(["a"], WINDOW)
    await pass_time(rows, WINDOW)
    await asyncio.gather(*[workers[each % 2].count_failure(["a"], WINDOW) for each in range(20)])
    assert await numbers(workers[0], "a") == {"a": 20}


async def test_a_cleared_key_has_no_failures_and_counts_again(throttles: DatabaseThrottles) -> None:
    await throttles.count_failure(["a", "b"], WINDOW)
    await throttles.clear_failures("a")
    await throttles.clear_failures("never counted")
    assert await numbers(throttles, "a", "b") == {"b": 1}
    await throttles.count_failure(["a"], WINDOW)
    assert await numbers(throttles, "a") == {"a": 1}


async def test_what_one_worker_has_refused_another_throttles(database: Database) -> None:
    one, other = (Throttling(DatabaseThrottles(database.engine()), b"one key") for _ in range(2))
    for _ in range(PAIR_LIMIT):
        assert await other.check("alice", HOME, known=False) is None
        await one.failed("alice", HOME, known=False)
    seconds = await other.check("alice", HOME, known=False)
    assert seconds is not None
    assert WINDOW - 100 < seconds <= WINDOW
    await other.succeeded("alice", HOME)
    assert await one.check("alice", HOME, known=False) is None


async def test_no_row_shows_a_name(throttles: DatabaseThrottles, rows: Rows) -> None:
    await Throttling(throttles, b"one key").failed("hunter2", HOME, known=False)
    stored = await rows.engine.read("SELECT key FROM throttles")
    assert len(stored) == 3
    assert "hunter2" not in str(stored)


async def test_an_address_is_known_to_the_account_that_logged_in_from_it(
    throttles: DatabaseThrottles, rows: Rows
) -> None:
    account = await an_account(rows)
    assert not await throttles.known_address(account, HOME)
    await throttles.remember_address(account, HOME)
    assert await throttles.known_address(account, HOME)
    assert not await throttles.known_address(account, "198.51.100.7")
    assert not await throttles.known_address(account + 1, HOME)


async def test_an_address_is_written_again_only_after_a_day(throttles: DatabaseThrottles, rows: Rows) -> None:
    async def seen_at() -> int:
        return int((await rows.engine.read("SELECT seen_at FROM known_addresses"))[0][0])

    await throttles.remember_address(await an_account(rows), HOME)
    account = (await rows.engine.read("SELECT account_id FROM known_addresses"))[0][0]
    await pass_time(rows, DAY - 60)
    before = await seen_at()
    await throttles.remember_address(account, HOME)
    assert await seen_at() == before
    await pass_time(rows, 60)
    await throttles.remember_address(account, HOME)
    assert await seen_at() >= before + (DAY - 60) * 1_000_000
    assert await throttles.known_address(account, HOME)


async def test_first_logins_that_come_at_once_are_one_address(database: Database, rows: Rows) -> None:
    account = await an_account(rows)
    workers = [DatabaseThrottles(database.engine()) for _ in range(2)]
    await asyncio.gather(*[workers[each % 2].remember_address(account, HOME) for each in range(10)])
    assert len(await rows.engine.read("SELECT 1 FROM known_addresses")) == 1


async def test_pruning_removes_ended_windows_a_few_at_a_time_and_no_other(
    throttles: DatabaseThrottles, rows: Rows
) -> None:
    await throttles.count_failure(["a", "b", "c"], WINDOW)
    await pass_time(rows, WINDOW)
    await throttles.count_failure(["d"], WINDOW)
    assert [await throttles.prune(2) for _ in range(3)] == [2, 1, 0]
    assert await rows.engine.read("SELECT key FROM throttles") == [("d",)]


async def test_a_window_that_begins_while_the_last_one_is_pruned_stays(postgres: Database) -> None:
    rows = postgres.connect()
    await DatabaseThrottles(rows.engine).count_failure(["a"], WINDOW)
    await pass_time(rows, WINDOW)
    held = HeldEngine(postgres.engine())
    counting = asyncio.ensure_future(DatabaseThrottles(held).count_failure(["a"], WINDOW))
    await held.done_but_open.wait()
    pruning = asyncio.ensure_future(DatabaseThrottles(postgres.engine()).prune(10))
    waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    while not pruning.done() and not await rows.engine.read(waiting):
        await asyncio.sleep(0.01)
    held.let_go.set()
    await counting
    assert await pruning == 0
    assert await numbers(DatabaseThrottles(rows.engine), "a") == {"a": 1}


async def test_pruning_forgets_addresses_unseen_for_90_days(throttles: DatabaseThrottles, rows: Rows) -> None:
    account = await an_account(rows)
    await throttles.remember_address(account, HOME)
    await pass_time(rows, 89 * DAY)
    await throttles.remember_address(account, "198.51.100.7")
    assert await throttles.prune(10) == 0
    await pass_time(rows, DAY)
    assert await throttles.prune(10) == 1
    assert not await throttles.known_address(account, HOME)
    assert await throttles.known_address(account, "198.51.100.7")
