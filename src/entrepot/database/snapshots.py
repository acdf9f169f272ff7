"""All rows of a database at one moment, out of either engine into a file and back into either.

What belongs to a running server only is left out: open uploads, the trash, its nodes, and which store the bytes are in.
"""

import asyncio
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

import asyncpg

from entrepot.database.engine import Engine, Transaction
from entrepot.database.migrate import migrate_postgres, migrate_sqlite
from entrepot.database.sqlite import connect
from entrepot.database.uploads import DatabaseUploads
from entrepot.database.version import newest
from entrepot.registry.errors import StorageError
from entrepot.registry.identity import new_upload_id
from entrepot.registry.snapshots import Row, Sequencer, SnapshotFile, SnapshotWriter, Table

LEFT_OUT = frozenset(
    {
        "alembic_version",
        "backups",
        "leases",
        "orphans",
        "scrub",
        "store",
        "trash",
        "upload_bodies",
        "uploads",
        "usage_nodes",
    }
)
"""Tables that no snapshot has."""

_BATCH = 1000  # rows at a time
_HOLD = "UPDATE lifecycle SET removals_held_until = now_us() + CAST(:length AS bigint) WHERE id = 1"
_LAPSED = "DELETE FROM backups WHERE until <= now_us() OR until > now_us() + 3600000000"  # the clock has gone back
_IN_THE_WAY = "SELECT 1 FROM backups WHERE name <> :name AND (alone = 1 OR CAST(:alone AS bigint) = 1) LIMIT 1"
_RUNS = (
    "INSERT INTO backups (name, until, alone) VALUES (:name, now_us() + CAST(:length AS bigint), :alone)"
    " ON CONFLICT (name) DO UPDATE SET until = excluded.until, alone = excluded.alone"
)
_ENDS = "DELETE FROM backups WHERE name = :name"
_NAMES = "SELECT 1 FROM blobs WHERE key = :key AND state <> 'removing'"
_VERSION = "SELECT version_num FROM alembic_version"
_SQLITE_TABLES = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"
_POSTGRES_TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema() ORDER BY tablename"
_FOREIGN_KEYS = (
    "SELECT conrelid::regclass::text, quote_ident(conname), pg_get_constraintdef(oid) FROM pg_constraint"
    " WHERE contype = 'f' AND connamespace = current_schema()::regnamespace"
)


class Snapshots(Protocol):
    """One kind of database, whole."""

    def write(self, to: Path) -> None:
        """Write all rows into a file; outside of an event loop."""
        ...

    def is_empty(self) -> bool:
        """Whether it has nothing that could be lost; outside of an event loop."""
        ...

    def fill(self, snapshot: SnapshotFile, store: str) -> None:
        """Make the tables and their rows, whole or not at all; outside of an event loop."""
        ...


class SqliteSnapshots:
    """A file."""

    def __init__(self, path: Path, sync_directory: Callable[[str], None]) -> None:
        """`sync_directory` makes what a directory holds durable."""
        self._path = path
        self._sync_directory = sync_directory

    def write(self, to: Path) -> None:
        """See Snapshots: a reading transaction sees one moment, and nobody waits for it."""
        with closing(connect(self._path, read_only=True)) as connection:
            connection.execute("BEGIN")
            ((version,),) = connection.execute(_VERSION)
            tables = [name for (name,) in connection.execute(_SQLITE_TABLES) if name not in LEFT_OUT]
            with SnapshotWriter(to, version) as writer:
                for table in tables:
                    columns = [
                        (name, kind) for _, name, kind, *_ in connection.execute(f'PRAGMA table_info("{table}")')
                    ]
                    # SQLite would let a text stand where bytes belong.
                    wanted = [f'CAST("{name}" AS BLOB)' if kind == "BLOB" else f'"{name}"' for name, kind in columns]
                    writer.table(table, [name for name, _ in columns])
                    for row in connection.execute(f'SELECT {", ".join(wanted)} FROM "{table}"'):  # noqa: S608
                        writer.row(row)
                for table, last in connection.execute("SELECT name, seq FROM sqlite_sequence ORDER BY name"):
                    if table not in LEFT_OUT:
                        writer.sequence(table, last)

    def is_empty(self) -> bool:
        """See Snapshots."""
        return not self._path.exists()

    def fill(self, snapshot: SnapshotFile, store: str) -> None:
        """See Snapshots: made under another name, which is changed when all is there."""
        fresh = self._path.with_name(f"{self._path.name}.restoring")
        for leftover in (fresh, *(fresh.with_name(fresh.name + end) for end in ("-wal", "-shm", "-journal"))):
            leftover.unlink(missing_ok=True)
        migrate_sqlite(fresh, snapshot.schema)
        with closing(connect(fresh)) as connection:
            connection.execute("PRAGMA foreign_keys = OFF")
            connection.execute("BEGIN IMMEDIATE")
            tables = [name for (name,) in connection.execute(_SQLITE_TABLES) if name not in LEFT_OUT]
            for table in tables:
                connection.execute(f'DELETE FROM "{table}"')  # noqa: S608
            connection.execute("DELETE FROM sqlite_sequence")
            for entry in _batches(snapshot, store):
                if isinstance(entry, Sequencer):
                    connection.execute(
                        "UPDATE sqlite_sequence SET seq = :last WHERE name = :name AND seq < :last",
                        {"last": entry.last, "name": entry.table},
                    )
                    connection.execute(
                        "INSERT INTO sqlite_sequence (name, seq) SELECT :name, :last WHERE NOT EXISTS"
                        " (SELECT 1 FROM sqlite_sequence WHERE name = :name)",
                        {"last": entry.last, "name": entry.table},
                    )
                    continue
                table, rows = entry
                columns = ", ".join(f'"{column}"' for column in table.columns)
                places = ", ".join("?" for _ in table.columns)
                connection.executemany(f'INSERT INTO "{table.name}" ({columns}) VALUES ({places})', rows)  # noqa: S608
            if connection.execute("PRAGMA foreign_key_check").fetchone():
                raise StorageError("the snapshot's rows do not fit together: it is damaged")
            connection.execute("COMMIT")
        migrate_sqlite(fresh)
        with closing(connect(fresh)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        os.rename(fresh, self._path)
        self._sync_directory(str(self._path.parent))


class PostgresSnapshots:
    """A database at a server."""

    def __init__(self, url: str) -> None:
        self._url = url

    def write(self, to: Path) -> None:
        """See Snapshots: REPEATABLE READ sees one moment, and nobody waits for it."""
        asyncio.run(self._write(to))

    def is_empty(self) -> bool:
        """See Snapshots."""
        return asyncio.run(self._is_empty())

    def fill(self, snapshot: SnapshotFile, store: str) -> None:
        """See Snapshots: one transaction."""
        migrate_postgres(self._url, snapshot.schema)
        asyncio.run(self._fill(snapshot, store))
        migrate_postgres(self._url)

    async def _write(self, to: Path) -> None:
        connection = await _connected(self._url)
        try:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                with SnapshotWriter(to, await connection.fetchval(_VERSION)) as writer:
                    for table in await self._tables(connection):
                        statement = await connection.prepare(f'SELECT * FROM "{table}"')  # noqa: S608
                        writer.table(table, [each.name for each in statement.get_attributes()])
                        async for record in statement.cursor(prefetch=_BATCH):
                            writer.row(tuple(record))
                    for table, sequence in await self._sequences(connection):
                        last, used = await connection.fetchrow(f"SELECT last_value, is_called FROM {sequence}")  # noqa: S608
                        if used:
                            writer.sequence(table, last)
        finally:
            await connection.close()

    async def _is_empty(self) -> bool:
        connection = await _connected(self._url)
        try:
            tables = [name for (name,) in await connection.fetch(_POSTGRES_TABLES)]
            for table in ("accounts", "repositories", "changes"):
                if table in tables and await connection.fetchval(f"SELECT 1 FROM {table} LIMIT 1"):  # noqa: S608
                    return False
            return True
        finally:
            await connection.close()

    async def _fill(self, snapshot: SnapshotFile, store: str) -> None:
        connection = await _connected(self._url)
        try:
            async with connection.transaction():
                keys = await connection.fetch(_FOREIGN_KEYS)
                for table, name, _ in keys:
                    await connection.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
                tables = ", ".join(f'"{table}"' for table in await self._tables(connection))
                await connection.execute(f"TRUNCATE {tables}")
                given: dict[str, int] = {}
                for entry in _batches(snapshot, store):
                    if isinstance(entry, Sequencer):
                        given[entry.table] = entry.last
                        continue
                    table, rows = entry
                    await connection.copy_records_to_table(table.name, records=rows, columns=table.columns)
                for name, sequence in await self._sequences(connection):
                    largest = await connection.fetchval(f'SELECT COALESCE(MAX(id), 0) FROM "{name}"')  # noqa: S608
                    if last := max(largest, given.get(name, 0)):
                        await connection.execute("SELECT setval($1, $2)", sequence, last)
                for table, name, definition in keys:
                    await connection.execute(f"ALTER TABLE {table} ADD CONSTRAINT {name} {definition}")
        except asyncpg.IntegrityConstraintViolationError as error:
            raise StorageError(f"the snapshot's rows do not fit together: it is damaged ({error})") from None
        finally:
            await connection.close()

    async def _tables(self, connection: Any) -> list[str]:
        return [name for (name,) in await connection.fetch(_POSTGRES_TABLES) if name not in LEFT_OUT]

    async def _sequences(self, connection: Any) -> list[tuple[str, str]]:
        """The sequence that gives a table its ids, by table."""
        found = await connection.fetch(
            "SELECT table_name, pg_get_serial_sequence(quote_ident(table_name), 'id') FROM information_schema.columns"
            " WHERE table_schema = current_schema() AND column_name = 'id'"
        )
        return [(table, sequence) for table, sequence in found if sequence and table not in LEFT_OUT]


class BackedUpRows:
    """The port BackupRows."""

    def __init__(self, engine: Engine, snapshots: Snapshots) -> None:
        self._engine = engine
        self._snapshots = snapshots

    async def hold(self, name: str, seconds: int, *, alone: bool) -> bool:
        """See the port. All backups meet at the row of `lifecycle`, which each changes first."""
        values = {"name": name, "alone": int(alone)}

        async def hold(transaction: Transaction) -> bool:
            await transaction.run(_HOLD, length=seconds * 1_000_000)
            await transaction.run(_LAPSED)
            if await transaction.one(_IN_THE_WAY, **values) is not None:
                return False
            await transaction.run(_RUNS, length=seconds * 1_000_000, **values)
            return True

        return await self._engine.write(hold, durable=True)

    async def end(self, name: str) -> None:
        """See the port."""

        async def end(transaction: Transaction) -> None:
            await transaction.run(_ENDS, name=name)

        await self._engine.write(end, durable=False)

    async def registry(self, store: str) -> str:
        """See the port."""
        return (await DatabaseUploads(self._engine).store_identity(store, new_upload_id())).partition(" ")[0]

    async def snapshot(self, to: Path) -> None:
        """See the port."""
        await asyncio.to_thread(self._snapshots.write, to)

    async def names(self, key: str) -> bool:
        """See the port."""
        return bool(await self._engine.read(_NAMES, key=key))


class FilledRows:
    """The port RestoredRows."""

    def __init__(self, engine: Callable[[], Engine], snapshots: Snapshots) -> None:
        """`engine` opens the database once it is there."""
        self._engine = engine
        self._snapshots = snapshots

    async def is_empty(self) -> bool:
        """See the port."""
        return await asyncio.to_thread(self._snapshots.is_empty)

    async def fill(self, snapshot: Path, store: str) -> None:
        """See the port."""
        file = SnapshotFile(snapshot)
        if not file.schema.isdigit() or file.schema > newest():
            raise StorageError(
                f"the snapshot has version {file.schema}, this program knows {newest()}: use the newer program"
            )
        await asyncio.to_thread(self._snapshots.fill, file, store)

    async def identity(self, store: str) -> str:
        """See the port."""
        engine = self._engine()
        try:
            return await DatabaseUploads(engine).store_identity(store, new_upload_id())
        finally:
            await engine.close()


async def _connected(url: str) -> Any:
    try:
        return await asyncpg.connect(url, timeout=10)
    except (OSError, TimeoutError, asyncpg.PostgresError) as error:
        raise StorageError(f"PostgreSQL does not answer: {error}") from None


def _batches(snapshot: SnapshotFile, store: str) -> Iterator[Sequencer | tuple[Table, list[Row]]]:
    """Rows, some at a time; blobs are in this store now."""
    table = Table("", ())
    rows: list[Row] = []
    for entry in snapshot.entries():
        if isinstance(entry, Table | Sequencer):
            if rows:
                yield table, rows
            rows = []
            if isinstance(entry, Sequencer):
                yield entry
            else:
                table = entry
            continue
        rows.append(_moved(table, entry, store) if table.name == "blobs" else entry)
        if len(rows) == _BATCH:
            yield table, rows
            rows = []
    if rows:
        yield table, rows


def _moved(table: Table, row: Sequence[Any], store: str) -> Row:
    place = table.columns.index("store")
    return (*row[:place], store, *row[place + 1 :])
