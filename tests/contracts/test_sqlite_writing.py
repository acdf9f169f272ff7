"""SQLite's one writing thread: many transactions, one commit, and none harms another."""

import asyncio
import fcntl
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO

import pytest

from entrepot.database.engine import Conflict, Engine, Transaction
from entrepot.database.sqlite import SqliteEngine, connect
from entrepot.jobs.overwriting import Overwriting
from entrepot.registry.errors import StorageError, StorageFull
from tests.support.rows import Database

INSERT = "INSERT INTO repositories (name, created_at) VALUES (:name, now_us())"
SECRET = "what-is-to-be-purged"


@pytest.fixture
def engine(sqlite: Database) -> Engine:
    return sqlite.engine()


@contextmanager
def other_workers_turn(tmp_path: Path) -> Iterator[None]:
    """As if another worker were writing: whatever is written meanwhile waits, and then commits as one group."""
    with (tmp_path / "entrepot.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
        fcntl.flock(lock, fcntl.LOCK_UN)


async def in_one_group(tmp_path: Path, *writes: Awaitable[object]) -> list[object]:
    """What each of these writes returned or raised."""
    with other_workers_turn(tmp_path):
        tasks = [asyncio.ensure_future(write) for write in writes]
        await asyncio.sleep(0)  # each task has handed its transaction over when it first waits
        assert not any(task.done() for task in tasks)
    return await asyncio.gather(*tasks, return_exceptions=True)


async def insert(engine: Engine, *names: str) -> str:
    async def work(transaction: Transaction) -> str:
        for name in names:
            await transaction.run(INSERT, name=name)
        return names[-1]

    return await engine.write(work, durable=True)


async def delete(engine: Engine, name: str) -> None:
    async def work(transaction: Transaction) -> None:
        await transaction.run("DELETE FROM repositories WHERE name = :name", name=name)

    await engine.write(work, durable=True)


async def fail_after_insert(engine: Engine, name: str) -> None:
    async def work(transaction: Transaction) -> None:
        await transaction.run(INSERT, name=name)
        raise ZeroDivisionError

    await engine.write(work, durable=False)


async def wait_inside(engine: Engine, name: str) -> None:
    async def work(transaction: Transaction) -> None:
        await transaction.run(INSERT, name=name)
        await asyncio.sleep(0)

    await engine.write(work, durable=False)


async def names(engine: Engine) -> list[str]:
    return [name for (name,) in await engine.read("SELECT name FROM repositories ORDER BY id")]


async def test_a_member_that_fails_takes_only_itself_out_of_its_group(engine: Engine, tmp_path: Path) -> None:
    outcomes = await in_one_group(
        tmp_path,
        insert(engine, "first"),
        insert(engine, "taken-back", "first"),
        fail_after_insert(engine, "raised"),
        wait_inside(engine, "waited"),
        insert(engine, "last"),
    )
    assert [type(outcome) for outcome in outcomes] == [str, Conflict, ZeroDivisionError, RuntimeError, str]
    assert await names(engine) == ["first", "last"]


async def test_the_members_of_a_group_see_those_before_them(engine: Engine, tmp_path: Path) -> None:
    outcomes = await in_one_group(tmp_path, insert(engine, "a"), insert(engine, "a"), insert(engine, "b"))
    assert [type(outcome) for outcome in outcomes] == [str, Conflict, str]


async def test_what_waits_is_committed_as_one(engine: Engine, sqlite: Database, tmp_path: Path) -> None:
    """Another worker, asked again and again, never sees a part of the group."""
    other = sqlite.engine()
    seen: set[int] = set()

    async def look() -> AsyncIterator[None]:
        while len(seen) < 2:
            seen.add(len(await names(other)))
            yield
            await asyncio.sleep(0)

    looking = asyncio.create_task(_exhaust(look()))
    await in_one_group(tmp_path, *(insert(engine, f"n{number}") for number in range(100)))
    await looking
    assert seen == {0, 100}


async def test_what_was_purged_leaves_the_log_when_those_who_read_it_have_ended(
    sqlite: Database, tmp_path: Path
) -> None:
    """And nobody waits meanwhile: a writer goes on. What is still to be done is known to other workers, and later."""
    engine, files = sqlite.engine(), [tmp_path / name for name in ("entrepot.db", "entrepot.db-wal")]
    await insert(engine, SECRET)
    with closing(connect(tmp_path / "entrepot.db", read_only=True)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT name FROM repositories").fetchall()
        await delete(engine, SECRET)
        await engine.overwrite()
        assert not engine.overwritten()
        await insert(engine, "meanwhile")
        assert any(SECRET.encode() in file.read_bytes() for file in files)
        other = sqlite.engine()
        assert not other.overwritten()
        job = Overwriting(other)
        assert await job.run() == 0
        reader.execute("COMMIT")
    assert await job.run() == 1
    assert engine.overwritten()
    assert not any(SECRET.encode() in file.read_bytes() for file in files)
    assert await job.run() == 0, "there is nothing to do"


async def test_a_worker_that_starts_overwrites_what_a_crash_has_left(sqlite: Database, tmp_path: Path) -> None:
    engine = sqlite.engine()
    await insert(engine, SECRET)
    await delete(engine, SECRET)
    assert engine.overwritten(), "nobody has come to say that it is to be done"
    assert await Overwriting(sqlite.engine()).run() == 1
    assert SECRET.encode() not in (tmp_path / "entrepot.db-wal").read_bytes()


async def test_the_log_is_emptied_between_two_writes(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside the write of another worker it would fail."""
    loop, waits, lock = asyncio.get_running_loop(), asyncio.Event(), fcntl.flock

    def flock(file: IO[str], operation: int) -> None:
        loop.call_soon_threadsafe(waits.set)
        lock(file, operation)

    with other_workers_turn(tmp_path), monkeypatch.context() as patched:
        patched.setattr("entrepot.database.sqlite.fcntl.flock", flock)
        overwriting = asyncio.create_task(engine.overwrite())
        waiting = asyncio.create_task(waits.wait())
        await asyncio.wait((overwriting, waiting), return_when=asyncio.FIRST_COMPLETED)
        assert not overwriting.done()
    await overwriting
    assert engine.overwritten()


async def _exhaust(steps: AsyncIterator[None]) -> None:
    async for _ in steps:
        pass


async def test_workers_take_turns_and_lose_no_write(sqlite: Database) -> None:
    engines = [sqlite.engine() for _ in range(4)]
    writes = [insert(engine, f"{place}-{number}") for place, engine in enumerate(engines) for number in range(50)]
    await asyncio.gather(*writes)
    assert len(await names(engines[0])) == 200


async def test_closing_finishes_what_is_being_written(sqlite: Database) -> None:
    engine, other = sqlite.make_engine(), sqlite.engine()
    writing = asyncio.create_task(insert(engine, "a"))
    await asyncio.sleep(0)
    await engine.close()
    assert await writing == "a"
    assert await names(other) == ["a"]


async def test_a_database_without_space_says_so_and_keeps_what_it_confirmed(engine: Engine, tmp_path: Path) -> None:
    await _limit_pages(engine, 60)
    await insert(engine, "before")
    outcomes = await in_one_group(
        tmp_path, insert(engine, "small"), insert(engine, "x" * 1_000_000), insert(engine, "after")
    )
    assert isinstance(outcomes[1], StorageFull)
    confirmed = [outcome for outcome in outcomes if isinstance(outcome, str)]
    assert await names(engine) == ["before", *confirmed]
    await _limit_pages(engine, 1_000_000)
    await insert(engine, "with-space-again")
    assert await names(engine) == ["before", *confirmed, "with-space-again"]


async def _limit_pages(engine: Engine, pages: int) -> None:
    async def work(transaction: Transaction) -> None:
        await transaction.all(f"PRAGMA max_page_count = {pages}")

    await engine.write(work, durable=False)


async def test_a_directory_where_nothing_can_be_opened_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        SqliteEngine(tmp_path / "missing" / "entrepot.db", tmp_path / "entrepot.lock")
    (tmp_path / "entrepot.lock").mkdir()
    with pytest.raises(StorageError):
        SqliteEngine(tmp_path / "entrepot.db", tmp_path / "entrepot.lock")
