"""A database with the program's tables: SQLite's and PostgreSQL's, for the contracts that both keep."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from entrepot.database.migrate import migrate_postgres, migrate_sqlite
from entrepot.database.postgres import PostgresEngine
from entrepot.database.sqlite import SqliteEngine
from tests.support.rows import Database, Rows


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file as a first start makes it; tests copy it."""
    path = tmp_path_factory.mktemp("migrated") / "entrepot.db"
    migrate_sqlite(path)
    return path


@pytest.fixture
def sqlite_tables(migrated_file: Path, tmp_path: Path) -> Database:
    """An SQLite database."""
    path = tmp_path / "entrepot.db"
    shutil.copy(migrated_file, path)
    return Database(lambda: SqliteEngine(path, tmp_path / "entrepot.lock"))


@pytest.fixture
def postgres_tables(postgres_url: str) -> Database:
    """A PostgreSQL database."""
    migrate_postgres(postgres_url)
    return Database(lambda: PostgresEngine(postgres_url, connections=4))


@pytest.fixture(params=["sqlite", "postgres"])
def tables(request: pytest.FixtureRequest) -> Database:
    """A database of each kind."""
    database: Database = request.getfixturevalue(f"{request.param}_tables")
    return database


@pytest.fixture
async def database(tables: Database) -> AsyncIterator[Database]:
    """A database of each kind; its engines are closed after the test."""
    yield tables
    await tables.close()


@pytest.fixture
async def sqlite(sqlite_tables: Database) -> AsyncIterator[Database]:
    """Only SQLite, for what PostgreSQL does not do."""
    yield sqlite_tables
    await sqlite_tables.close()


@pytest.fixture
async def postgres(postgres_tables: Database) -> AsyncIterator[Database]:
    """Only PostgreSQL, for what SQLite does not do."""
    yield postgres_tables
    await postgres_tables.close()


@pytest.fixture
def rows(database: Database) -> Rows:
    """One worker's view of a database of each kind."""
    return database.connect()
