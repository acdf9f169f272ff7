"""Bring a database up to this version of the program.

Alembic is loaded only when there is something to do, so that an ordinary start stays fast.
"""

import asyncio
from pathlib import Path
from typing import Any

import pysqlite3
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, create_engine, pool
from sqlalchemy.ext.asyncio import create_async_engine

_SCRIPTS = Path(__file__).with_name("migrations")


def migrate_sqlite(path: Path, to: str = "head") -> None:
    """Migrate an SQLite file, making it when it is not there."""
    engine = create_engine(f"sqlite:///{path}", module=pysqlite3, poolclass=pool.NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql("PRAGMA journal_mode = WAL")
        _upgrade(connection, to)
    engine.dispose()


def migrate_postgres(url: str, to: str = "head") -> None:
    """Migrate a PostgreSQL database; an advisory lock makes nodes that start together take turns."""
    asyncio.run(_migrate_postgres(url, to))


async def _migrate_postgres(url: str, to: str) -> None:
    scheme, _, rest = url.partition("://")
    engine = create_async_engine(
        f"{scheme.replace('postgresql', 'postgresql+asyncpg')}://{rest}", poolclass=pool.NullPool
    )
    async with engine.begin() as connection:
        await connection.exec_driver_sql("SELECT pg_advisory_xact_lock(4905273162)")
        await connection.run_sync(_upgrade, to)
    await engine.dispose()


def _upgrade(connection: Connection, to: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS))
    attributes: dict[str, Any] = config.attributes
    attributes["connection"] = connection
    command.upgrade(config, to)
