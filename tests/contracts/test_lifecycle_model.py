"""The invariant of docs/lifecycle.md, by a model that explores interleavings and crashes: 100,000 steps.

No manifest that was acknowledged and not deleted ever misses a byte; everything deleted is gone after undo, grace and
quarantine. A failure names its seed: the same seed takes the same steps.
"""

import shutil
import tempfile
from pathlib import Path

import pytest

from entrepot.database.migrate import migrate_postgres
from entrepot.database.postgres import PostgresEngine
from entrepot.database.sqlite import SqliteEngine
from tests.support.clock import postgres_clock, sqlite_clock
from tests.support.lifecycle_model import Model
from tests.support.rows import Database

_MEMORY = Path("/dev/shm")


@pytest.mark.parametrize("seed", range(18))
async def test_5000_steps_on_sqlite(seed: int, migrated_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = sqlite_clock(monkeypatch)
    with tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None) as directory:
        path = Path(directory) / "entrepot.db"
        shutil.copy(migrated_file, path)
        database = Database(lambda: SqliteEngine(path, path.with_suffix(".lock")))
        try:
            await Model(database, clock, seed).run(5000)
        finally:
            await database.close()


@pytest.fixture
def postgres_without_sync(postgres_url: str) -> Database:
    """A migrated database whose commits do not wait for the disk."""
    migrate_postgres(postgres_url)
    return Database(lambda: PostgresEngine(postgres_url, connections=4))


@pytest.mark.parametrize("seed", range(100, 104))
async def test_2500_steps_on_postgresql(seed: int, postgres_without_sync: Database) -> None:
    clock = await postgres_clock(postgres_without_sync)
    try:
        await Model(postgres_without_sync, clock, seed).run(2500)
    finally:
        await postgres_without_sync.close()
