"""A database that starts empty and is migrated to the versions that a test names."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg
import pysqlite3

from entrepot.database.engine import Engine
from entrepot.database.migrate import migrate_postgres, migrate_sqlite
from entrepot.database.postgres import PostgresEngine
from entrepot.database.sqlite import SqliteEngine
from entrepot.database.version import postgres_is_current, sqlite_is_current


class OldDatabase(ABC):
    """One of either kind."""

    @abstractmethod
    def migrate_now(self, to: str) -> None:
        """Migrate to a version; outside of an event loop."""

    @abstractmethod
    def is_current_now(self) -> bool:
        """What the program thinks of it before it starts; outside of an event loop."""

    @abstractmethod
    def engine(self) -> Engine:
        """An engine; whoever asks closes it."""

    @abstractmethod
    def started_as(self) -> tuple[str, str]:
        """Its kind, `sqlite` or `postgres`, and where it is, for another process."""

    @abstractmethod
    async def tables(self) -> set[str]:
        """The names of its tables."""

    async def migrate(self, to: str) -> None:
        """Migrate to a version, `head` for this program's."""
        await asyncio.to_thread(self.migrate_now, to)

    async def is_current(self) -> bool:
        """What the program thinks of it before it starts."""
        return await asyncio.to_thread(self.is_current_now)

    async def use(self, work: Callable[[Engine], Awaitable[None]]) -> None:
        """Do something with an engine."""
        engine = self.engine()
        try:
            await work(engine)
        finally:
            await engine.close()

    async def say_version(self, version: str) -> None:
        """Claim another version than it has."""

        async def claim(engine: Engine) -> None:
            async def update(transaction: Any) -> None:
                await transaction.run("UPDATE alembic_version SET version_num = :version", version=version)

            await engine.write(update, durable=True)

        await self.use(claim)


class OldSqlite(OldDatabase):
    """A file that is not there yet."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def migrate_now(self, to: str) -> None:
        """By the program's own way."""
        migrate_sqlite(self.path, to)

    def is_current_now(self) -> bool:
        """By the program's own way."""
        return sqlite_is_current(self.path)

    def engine(self) -> Engine:
        """With its lock file beside it."""
        return SqliteEngine(self.path, self.path.with_suffix(".lock"))

    def started_as(self) -> tuple[str, str]:
        """The path."""
        return "sqlite", str(self.path)

    async def tables(self) -> set[str]:
        """From its schema table."""
        connection = pysqlite3.connect(str(self.path))
        try:
            return {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        finally:
            connection.close()


class OldPostgres(OldDatabase):
    """An empty database of a running server."""

    def __init__(self, url: str) -> None:
        self.url = url

    def migrate_now(self, to: str) -> None:
        """By the program's own way."""
        migrate_postgres(self.url, to)

    def is_current_now(self) -> bool:
        """By the program's own way."""
        return postgres_is_current(self.url)

    def engine(self) -> Engine:
        """One of few connections."""
        return PostgresEngine(self.url, connections=2)

    def started_as(self) -> tuple[str, str]:
        """The URL."""
        return "postgres", self.url

    async def tables(self) -> set[str]:
        """From its catalogue."""
        connection = await asyncpg.connect(self.url)
        try:
            rows = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
            return {row[0] for row in rows}
        finally:
            await connection.close()
