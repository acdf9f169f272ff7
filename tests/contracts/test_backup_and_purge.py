"""A purge that meets a backup: what leaked goes at once, and no snapshot has an image with a hole."""

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from entrepot.database.engine import Transaction
from entrepot.database.postgres import PostgresEngine
from entrepot.database.snapshots import BackedUpRows, PostgresSnapshots, Snapshots, SqliteSnapshots
from entrepot.registry.backups import Backup
from entrepot.registry.errors import StorageError
from entrepot.storage.directories import sync_directory
from entrepot.storage.filesystem import FileStore
from entrepot.storage.places import DirectoryPlace
from tests.support.rows import Database

CONTENT = b"a secret"
KEY = "01a2071ee2767c47bff638c8386a91b8-5f3a90c2d1"
BLOB = "INSERT INTO blobs (digest, size, store, key, created_at) VALUES (:digest, 8, 'filesystem', :key, 1)"


class _PurgedMeanwhile(DirectoryPlace):
    """While the place is asked for the first blob, a purge takes its row and its bytes."""

    def __init__(self, directory: Path, database: Database, store: FileStore) -> None:
        super().__init__(directory)
        self._database = database
        self._store = store

    async def has(self, key: str, size: int) -> bool:
        """As the port, after the purge."""

        async def purge(transaction: Transaction) -> None:
            await transaction.run("DELETE FROM blobs WHERE key = :key", key=key)

        await self._database.engine().write(purge, durable=True)
        await self._store.delete(key)
        return await super().has(key, size)


async def _chunks() -> AsyncIterator[bytes]:
    yield CONTENT


async def test_a_backup_that_a_purge_meets_keeps_no_snapshot_and_says_to_run_it_again(
    tmp_path: Path, database: Database, request: pytest.FixtureRequest
) -> None:
    engine = database.engine()
    snapshots: Snapshots = SqliteSnapshots(tmp_path / "entrepot.db", sync_directory)
    if isinstance(engine, PostgresEngine):
        snapshots = PostgresSnapshots(request.getfixturevalue("postgres_url"))
    store = FileStore(tmp_path / "data")
    await store.start()
    await store.write(KEY, _chunks(), ())

    async def add(transaction: Transaction) -> None:
        await transaction.run(BLOB, digest=f"sha256:{hashlib.sha256(CONTENT).hexdigest()}", key=KEY)

    await engine.write(add, durable=True)
    rows = BackedUpRows(engine, snapshots)
    place = _PurgedMeanwhile(tmp_path / "place", database, store)
    with pytest.raises(StorageError, match="purged while the backup ran"):
        await Backup(rows, store, place).run("20261129T160000Z-aaaaaa", tmp_path, lambda size: lambda done: None)
    assert await place.snapshots() == []
    report = await Backup(rows, store, place).run("20261129T160001Z-aaaaaa", tmp_path, lambda size: lambda done: None)
    assert (report.blobs, report.wrong) == (0, [])
    assert await place.snapshots() == ["20261129T160001Z-aaaaaa"]
    await store.close()
