"""Rows out of either database and into either, so that nothing is lost and nothing else is there."""

import asyncio
import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from entrepot.database.engine import Engine, Transaction
from entrepot.database.snapshots import LEFT_OUT, BackedUpRows, PostgresSnapshots, Snapshots, SqliteSnapshots
from entrepot.database.uploads import DatabaseUploads
from entrepot.database.version import newest
from entrepot.registry.errors import StorageError
from entrepot.registry.snapshots import Row, Sequencer, SnapshotFile, SnapshotWriter, Table
from entrepot.storage.directories import sync_directory
from tests.contracts.migrations import (
    test_from_0002,
    test_from_0003,
    test_from_0005,
    test_from_0006,
    test_from_0007,
)
from tests.support.old_database import OldDatabase, OldPostgres, OldSqlite
from tests.support.postgres import new_database

FILLS = {
    "0002": test_from_0002.fill,
    "0003": test_from_0003.fill,
    "0005": test_from_0005.fill,
    "0006": test_from_0006.fill,
    "0007": test_from_0007.fill,
}
"""What fills the tables that a version brought."""

Empty = Callable[[str], OldDatabase]


@pytest.fixture
def empty(tmp_path: Path, postgres_server: str) -> Iterator[Empty]:
    """Makes a database of a kind, before its first migration."""
    numbers = itertools.count()
    with ExitStack() as stack:

        def make(kind: str) -> OldDatabase:
            if kind == "sqlite":
                return OldSqlite(tmp_path / f"{next(numbers)}.db")
            return OldPostgres(stack.enter_context(new_database(postgres_server)))

        yield make


def snapshots_of(database: OldDatabase) -> Snapshots:
    """What takes and fills a database."""
    if isinstance(database, OldSqlite):
        return SqliteSnapshots(database.path, sync_directory)
    assert isinstance(database, OldPostgres)
    return PostgresSnapshots(database.url)


def content(path: Path) -> tuple[dict[str, list[Row]], dict[str, int]]:
    """The rows of each table, sorted, and the last ids that tables have given."""
    found: dict[str, list[Row]] = {}
    last: dict[str, int] = {}
    rows: list[Row] = []
    columns: list[int] = []
    for entry in SnapshotFile(path).entries():
        if isinstance(entry, Sequencer):
            last[entry.table] = entry.last
        elif isinstance(entry, Table):
            columns = sorted(range(len(entry.columns)), key=entry.columns.__getitem__)
            found[f"{entry.name} {sorted(entry.columns)}"] = rows = []
        else:
            rows.append(tuple(entry[place] for place in columns))
    for each in found.values():
        each.sort(key=repr)
    return found, last


@pytest.mark.parametrize("version", FILLS)
@pytest.mark.parametrize(("source", "target"), [("sqlite", "postgres"), ("postgres", "sqlite")])
async def test_rows_are_the_same_out_of_one_kind_into_the_other(
    tmp_path: Path, empty: Empty, version: str, source: str, target: str
) -> None:
    old, new = empty(source), empty(target)
    await old.migrate(version)
    await old.use(FILLS[version])
    await old.migrate("head")
    await asyncio.to_thread(snapshots_of(old).write, tmp_path / "first")
    assert await asyncio.to_thread(snapshots_of(new).is_empty)
    await asyncio.to_thread(snapshots_of(new).fill, SnapshotFile(tmp_path / "first"), "filesystem")
    assert not await asyncio.to_thread(snapshots_of(new).is_empty)
    await asyncio.to_thread(snapshots_of(new).write, tmp_path / "second")
    (before, last), (after, next_last) = content(tmp_path / "first"), content(tmp_path / "second")
    assert after == before
    assert all(next_last[table] >= given for table, given in last.items())
    assert {name.split()[0] for name in before} == await old.tables() - LEFT_OUT - {"sqlite_sequence"}


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_a_snapshot_of_an_older_version_is_restored_and_migrated(tmp_path: Path, empty: Empty, kind: str) -> None:
    old, new = empty(kind), empty(kind)
    await old.migrate("0006")
    await old.use(test_from_0006.fill)
    await asyncio.to_thread(snapshots_of(old).write, tmp_path / "snapshot")
    await asyncio.to_thread(snapshots_of(new).fill, SnapshotFile(tmp_path / "snapshot"), "filesystem")
    assert await new.is_current()
    await new.use(test_from_0006.it_is_known)


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_rows_that_do_not_fit_together_are_refused_and_nothing_is_filled(
    tmp_path: Path, empty: Empty, kind: str
) -> None:
    with SnapshotWriter(tmp_path / "snapshot", newest()) as writer:
        writer.table("links", ["repository_id", "blob_id", "created_at"])
        writer.row((9, 3, 1))
    new = empty(kind)
    with pytest.raises(StorageError):
        await asyncio.to_thread(snapshots_of(new).fill, SnapshotFile(tmp_path / "snapshot"), "filesystem")
    assert await asyncio.to_thread(snapshots_of(new).is_empty)


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_bytes_wait_in_the_trash_while_a_backup_holds_them(empty: Empty, kind: str) -> None:
    database = empty(kind)
    await database.migrate("head")

    async def hold(engine: Engine) -> None:
        async def trash(transaction: Transaction) -> None:
            await transaction.run("INSERT INTO trash (store, key) VALUES ('filesystem', 'k')")

        await engine.write(trash, durable=True)
        uploads, rows = DatabaseUploads(engine), BackedUpRows(engine, snapshots_of(database))
        assert await uploads.trashed(10) == [("filesystem", "k")]
        assert await rows.hold("a", 3600, alone=False)
        assert await uploads.trashed(10) == []
        assert await rows.hold("a", 0, alone=False)
        assert await uploads.trashed(10) == [("filesystem", "k")]
        assert await rows.hold("a", 365 * 86400, alone=False)  # as when the clock has gone back by a year since
        assert await uploads.trashed(10) == [("filesystem", "k")]

    await database.use(hold)


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_a_backup_that_removes_older_ones_runs_alone(empty: Empty, kind: str) -> None:
    database = empty(kind)
    await database.migrate("head")

    async def run(engine: Engine) -> None:
        rows = BackedUpRows(engine, snapshots_of(database))
        assert await rows.hold("one", 60, alone=False)
        assert await rows.hold("two", 60, alone=False)
        assert not await rows.hold("removes", 60, alone=True)
        await rows.end("one")
        assert not await rows.hold("removes", 60, alone=True)
        assert await rows.hold("two", 0, alone=False)  # it was killed, and its time is over
        assert await rows.hold("removes", 60, alone=True)
        assert await rows.hold("removes", 60, alone=True)
        assert not await rows.hold("one", 60, alone=False)
        assert await rows.hold("removes", 365 * 86400, alone=True)  # as it looks when the clock has gone back since
        assert await rows.hold("one", 60, alone=False)

    await database.use(run)
