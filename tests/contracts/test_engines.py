"""What every engine promises (database/engine.py), over SQLite and PostgreSQL."""

import asyncio
import threading

import pytest

from entrepot.database.engine import Conflict, Engine, Transaction
from entrepot.database.postgres import PostgresEngine
from entrepot.database.sqlite import connect
from entrepot.registry.errors import StorageError
from tests.support.rows import Database

INSERT = "INSERT INTO repositories (name, created_at) VALUES (:name, now_us())"
NAMES = "SELECT name FROM repositories ORDER BY name"


@pytest.fixture
def engine(database: Database) -> Engine:
    return database.engine()


async def insert(engine: Engine, name: str, error: Exception | None = None) -> None:
    """A repository of this name; or nothing but this error."""

    async def work(transaction: Transaction) -> None:
        assert await transaction.run(INSERT, name=name) == 1
        if error is not None:
            raise error

    await engine.write(work, durable=False)


async def test_a_scan_reads_what_is_committed_and_fails_as_a_read_does(engine: Engine) -> None:
    await insert(engine, "a")
    assert await engine.scan(NAMES) == await engine.read(NAMES) == [("a",)]
    assert await engine.scan("SELECT name FROM repositories WHERE name = :name", name="b") == []
    with pytest.raises(StorageError):
        await engine.scan("SELECT name FROM no_such_table")


async def test_nobody_waits_for_a_scan(sqlite: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where reads are answered on the event loop, a scan that takes long holds up no read and no write."""
    engine, let_go = sqlite.engine(), threading.Event()
    await insert(engine, "a")
    with monkeypatch.context() as patched:
        patched.setattr(
            "entrepot.database.sqlite.connect", lambda *where, **how: let_go.wait() and connect(*where, **how)
        )
        scan = asyncio.create_task(engine.scan(NAMES))
        await insert(engine, "b")
        assert await engine.read(NAMES) == [("a",), ("b",)]
        assert not scan.done()
        let_go.set()
        assert await scan == [("a",), ("b",)]


async def test_a_transaction_returns_what_its_work_returns(engine: Engine) -> None:
    async def work(transaction: Transaction) -> tuple[object, ...]:
        await transaction.run(INSERT, name="a")
        await transaction.run(INSERT, name="b")
        rows = await transaction.all(NAMES)
        nothing = await transaction.one("SELECT name FROM repositories WHERE name = :name", name="c")
        changed = await transaction.run("UPDATE repositories SET created_at = 0")
        return rows, await transaction.one(NAMES), nothing, changed

    assert await engine.write(work, durable=True) == ([("a",), ("b",)], ("a",), None, 2)
    assert await engine.read(NAMES) == [("a",), ("b",)]


async def test_work_that_fails_leaves_nothing_and_its_error_goes_on(engine: Engine) -> None:
    with pytest.raises(ZeroDivisionError):
        await insert(engine, "a", ZeroDivisionError())
    assert await engine.read(NAMES) == []


async def test_a_name_that_is_taken_is_a_conflict(engine: Engine) -> None:
    await insert(engine, "a")
    with pytest.raises(Conflict):
        await insert(engine, "a")
    assert await engine.read(NAMES) == [("a",)]


async def test_a_reference_to_what_is_not_there_is_a_conflict(engine: Engine) -> None:
    async def work(transaction: Transaction) -> None:
        await transaction.run("INSERT INTO links (repository_id, blob_id, created_at) VALUES (1, 1, 0)")

    with pytest.raises(Conflict):
        await engine.write(work, durable=False)


async def test_what_the_database_cannot_do_is_a_storage_error(engine: Engine) -> None:
    async def work(transaction: Transaction) -> None:
        await transaction.run("UPDATE no_such_table SET a = 1")

    with pytest.raises(StorageError):
        await engine.read("SELECT a FROM no_such_table")
    with pytest.raises(StorageError):
        await engine.write(work, durable=False)
    await insert(engine, "still-works")


async def test_the_clock_is_in_microseconds_and_moves_within_a_transaction(engine: Engine) -> None:
    async def work(transaction: Transaction) -> list[int]:
        return [row[0] for _ in range(3) for row in await transaction.all("SELECT now_us()")]

    times = await engine.write(work, durable=False)
    assert times == sorted(times)
    assert 1_500_000_000_000_000 < times[0] < 5_000_000_000_000_000


async def test_a_write_whose_caller_has_gone_harms_no_other(engine: Engine) -> None:
    gone = asyncio.create_task(insert(engine, "gone"))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.gather(*(insert(engine, f"stays-{number}") for number in range(10)))
    with pytest.raises(asyncio.CancelledError):
        await gone
    names = [name for (name,) in await engine.read(NAMES)]
    assert [name for name in names if name != "gone"] == sorted(f"stays-{number}" for number in range(10))


async def test_postgresql_tries_a_conflict_again(postgres: Database) -> None:
    engine = postgres.engine()
    attempts: list[int] = []

    async def work(transaction: Transaction) -> str:
        attempts.append(1)
        await transaction.run(INSERT, name="a")
        if len(attempts) < 3:
            raise Conflict("somebody was there first")
        return "done"

    assert await engine.write(work, durable=True) == "done"
    assert len(attempts) == 3
    assert await engine.read(NAMES) == [("a",)]


async def test_two_postgresql_transactions_that_wait_for_each_other_both_end_well(postgres: Database) -> None:
    engines = [postgres.engine(), postgres.engine()]
    for name in ("a", "b"):
        await insert(engines[0], name)
    both_have_one = asyncio.Barrier(2)
    attempts: list[str] = []

    async def update(engine: Engine, first: str, second: str) -> None:
        async def work(transaction: Transaction) -> None:
            attempts.append(first)
            touch = "UPDATE repositories SET created_at = created_at + 1 WHERE name = :name"
            await transaction.run(touch, name=first)
            if len(attempts) <= 2:
                await both_have_one.wait()
            await transaction.run(touch, name=second)

        await engine.write(work, durable=False)

    before = await engines[0].read("SELECT sum(created_at) FROM repositories")
    await asyncio.gather(update(engines[0], "a", "b"), update(engines[1], "b", "a"))
    assert len(attempts) == 3
    assert (await engines[0].read("SELECT sum(created_at) FROM repositories"))[0][0] == before[0][0] + 4


async def test_postgresql_that_does_not_answer_is_a_storage_error() -> None:
    engine = PostgresEngine("postgresql://nobody@127.0.0.1:1/nothing")
    with pytest.raises(StorageError):
        await engine.read("SELECT 1")
    with pytest.raises(StorageError):
        await insert(engine, "a")
    await engine.close()


async def test_postgresql_that_ended_all_connections_is_connected_to_again(postgres: Database) -> None:
    engine, other = postgres.engine(), postgres.engine()
    await insert(engine, "a")
    await other.read(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    try:
        await insert(engine, "b")
    except StorageError:  # the news had not come yet
        await insert(engine, "b")
    assert await engine.read(NAMES) == [("a",), ("b",)]
