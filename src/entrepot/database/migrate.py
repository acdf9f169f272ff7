"""Bring a database up to this version of the program.

Alembic is loaded only when there is something to do, so that an ordinary start stays fast.
"""

import asyncio
from pathlib import Path
from typing import Any

import asyncpg
import pysqlite3
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, create_engine, event, pool
from sqlalchemy.ext.asyncio import create_async_engine

from entrepot.database.sqlite import now_us

_SCRIPTS = Path(__file__).with_name("migrations")


def migrate_sqlite(path: Path, to: str = "head") -> None:
    """Migrate an SQLite file, making it when it is not there; all of it or, when it is cut off, nothing."""
    engine = create_engine(f"sqlite:///{path}", module=pysqlite3, poolclass=pool.NullPool)
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    with engine.begin() as connection:
        _upgrade(connection, to)
    engine.dispose()


def migrate_postgres(url: str, to: str = "head") -> None:
    """Migrate a PostgreSQL database; an advisory lock makes nodes that start together take turns."""
    asyncio.run(_migrate_postgres(url, to))


async def _migrate_postgres(url: str, to: str) -> None:
    async def connect() -> Any:
        """By the driver's own reading of the URL, as the server connects: SQLAlchemy reads some parts otherwise."""
        return await asyncpg.connect(url)

    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect, poolclass=pool.NullPool)
    async with engine.begin() as connection:
        await connection.exec_driver_sql("SELECT pg_advisory_xact_lock(4905273162)")
        await connection.run_sync(_upgrade, to)
    await engine.dispose()


def _prepare(connection: Any, record: object) -> None:
    """Left to itself the driver begins no transaction for DDL, and a migration could be cut in half."""
    connection.isolation_level = None
    connection.execute("PRAGMA journal_mode = WAL")
    connection.create_function("now_us", 0, now_us)


def _begin(connection: Connection) -> None:
    """At once for writing, so that servers that start together take turns."""
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _upgrade(connection: Connection, to: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS))
    attributes: dict[str, Any] = config.attributes
    attributes["connection"] = connection
    command.upgrade(config, to)
