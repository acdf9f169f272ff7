"""PostgreSQL, for several nodes. READ COMMITTED; rules and conditional updates make races impossible."""

import asyncio
import re
import time
from collections.abc import Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import lru_cache
from typing import Any, TypeVar

import asyncpg

from entrepot.database.engine import Conflict, Row, Work
from entrepot.registry.errors import StorageError, StorageFull

T = TypeVar("T")
_NAME = re.compile(r"(?<!:):([a-z_][a-z0-9_]*)")
_ATTEMPTS = 8
_CONNECT_SECONDS = 10
_STATEMENT_SECONDS = 60


@lru_cache(maxsize=512)
def positional(statement: str) -> tuple[str, tuple[str, ...]]:
    """The statement with `$1`… instead of `:name`, and the names in that order."""
    names: list[str] = []

    def number(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in names:
            names.append(name)
        return f"${names.index(name) + 1}"

    return _NAME.sub(number, statement), tuple(names)


class PostgresEngine:
    """A pool of connections; one is held only while statements run, never while bytes flow."""

    def __init__(self, url: str, connections: int = 10) -> None:
        self._url = url
        self._connections = connections
        self._pool: asyncpg.Pool | None = None
        self._opening = asyncio.Lock()

    async def read(self, statement: str, **values: object) -> list[Row]:
        """See Engine."""
        text, names = positional(statement)
        with _errors():
            async with self._connection() as connection:
                rows = await connection.fetch(text, *[values[name] for name in names])
                return [tuple(row) for row in rows]

    async def scan(self, statement: str, **values: object) -> list[Row]:
        """See Engine."""
        return await self.read(statement, **values)

    async def write(self, work: Work[T], *, durable: bool) -> T:
        """See Engine."""
        begin = f"BEGIN; SET LOCAL synchronous_commit TO {'on' if durable else 'off'}"
        for attempt in range(_ATTEMPTS):
            try:
                with _errors():
                    return await self._once(work, begin)
            except Conflict:
                if attempt == _ATTEMPTS - 1:
                    raise
            except (asyncpg.SerializationError, asyncpg.DeadlockDetectedError):
                continue
        raise StorageError("the database is too busy with other changes of the same rows: try again")

    def changed(self) -> None:
        """See Engine: notifications come late, so nothing that can change is cached."""

    def now(self) -> int:
        """See Engine."""
        return time.time_ns() // 1000

    async def overwrite(self) -> None:
        """See Engine: the server's files and its log are out of reach."""

    def overwritten(self) -> bool:
        """See Engine."""
        return True

    async def close(self) -> None:
        """See Engine."""
        if self._pool is not None:
            await self._pool.close()

    async def _once(self, work: Work[T], begin: str) -> T:
        async with self._connection() as connection:
            await connection.execute(begin)
            try:
                result = await work(_PostgresTransaction(connection))
                await connection.execute("COMMIT")
            except BaseException:
                if not connection.is_closed():
                    await connection.execute("ROLLBACK")
                raise
            return result

    @asynccontextmanager
    async def _connection(self) -> Any:
        if self._pool is None:
            async with asyncio.timeout(_CONNECT_SECONDS):  # the wait for those who try before us counts too
                await self._open()
        assert self._pool is not None
        async with self._pool.acquire(timeout=_CONNECT_SECONDS) as connection:
            yield connection

    async def _open(self) -> None:
        async with self._opening:
            if self._pool is None:
                self._pool = await asyncpg.create_pool(
                    self._url,
                    min_size=1,
                    max_size=self._connections,
                    timeout=_CONNECT_SECONDS,
                    command_timeout=_STATEMENT_SECONDS,
                )


class _PostgresTransaction:
    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def all(self, statement: str, **values: object) -> list[Row]:
        text, names = positional(statement)
        return [tuple(row) for row in await self._connection.fetch(text, *[values[name] for name in names])]

    async def one(self, statement: str, **values: object) -> Row | None:
        text, names = positional(statement)
        row = await self._connection.fetchrow(text, *[values[name] for name in names])
        return None if row is None else tuple(row)

    async def run(self, statement: str, **values: object) -> int:
        text, names = positional(statement)
        status: str = await self._connection.execute(text, *[values[name] for name in names])
        return int(status.rpartition(" ")[2])


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except (asyncpg.SerializationError, asyncpg.DeadlockDetectedError):
        raise
    except asyncpg.IntegrityConstraintViolationError as error:
        raise Conflict(str(error)) from error
    except asyncpg.DiskFullError as error:
        raise StorageFull("no space is left for the database") from error
    except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError) as error:
        raise StorageError(f"the database cannot be used: {type(error).__name__}") from error
