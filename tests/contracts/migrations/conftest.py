"""A database before its first migration, of each kind."""

from pathlib import Path

import pytest

from tests.support.old_database import OldDatabase, OldPostgres, OldSqlite


@pytest.fixture(params=["sqlite", "postgres"])
def old_database(request: pytest.FixtureRequest, tmp_path: Path) -> OldDatabase:
    """An empty database of each kind."""
    if request.param == "sqlite":
        return OldSqlite(tmp_path / "entrepot.db")
    return OldPostgres(request.getfixturevalue("postgres_url"))
