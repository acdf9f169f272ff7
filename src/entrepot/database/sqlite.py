"""SQLite, as the embedded default.

Reads run on the event loop: one look-up takes microseconds, a thread hop a hundred. Writes go to one thread, which
commits everything that waits as one group; the workers of a server take turns by a file lock around the transaction,
because SQLite's own busy handler lets one of them starve.
"""

import asyncio
import fcntl
import os
import queue
import threading
import time
from collections.abc import Awaitable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar

import pysqlite3 as sqlite

from entrepot.database.engine import Conflict, Row, Work
from entrepot.registry.errors import StorageError, StorageFull

T = TypeVar("T")
_GROUP = 128  # transactions committed together at most
_SCANS = 2  # at the same time; more wait
_TRIES, _BETWEEN = 10, 0.02  # to empty the log beside reads that take microseconds; seconds
_OLDEST = (3, 51, 3)  # the first without the WAL-reset bug (corruption with several writers)


def connect(path: Path, *, read_only: bool = False) -> Any:
    """A connection with the pragmas that every process must share."""
    if sqlite.sqlite_version_info < _OLDEST:
        raise StorageError(
            f"SQLite {sqlite.sqlite_version} can corrupt its WAL; {'.'.join(map(str, _OLDEST))} is needed"
        )
    connection = sqlite.connect(
        str(path), isolation_level=None, check_same_thread=False, cached_statements=256, timeout=10
    )
    connection.create_function("now_us", 0, now_us)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA cache_size = -16384")
    connection.execute("PRAGMA secure_delete = ON")  # what is deleted is overwritten: a purge means it
    if read_only:
        connection.execute("PRAGMA query_only = ON")
    return connection


class SqliteEngine:
    """One reading connection for the event loop, one writing thread, and a few for what takes long."""

    def __init__(self, path: Path, lock: Path) -> None:
        with _errors():
            self._reader = connect(path, read_only=True)
            self._writer = _Writer(path, lock)
        self._path = path
        self._lock = lock
        self._scans = ThreadPoolExecutor(_SCANS, "sqlite-scan")
        self._version_cursor = self._reader.cursor()
        self._data_version = 0

    async def read(self, statement: str, **values: object) -> list[Row]:
        """See Engine. Never waits."""
        with _errors():
            rows: list[Row] = self._reader.execute(statement, values).fetchall()
            return rows

    async def scan(self, statement: str, **values: object) -> list[Row]:
        """See Engine; on a thread and a connection of its own."""
        return await asyncio.get_running_loop().run_in_executor(self._scans, self._scan, statement, values)

    async def write(self, work: Work[T], *, durable: bool) -> T:
        """See Engine."""
        return await self._writer.submit(work, durable=durable)

    def changed(self) -> bool:
        """See Engine; by PRAGMA data_version, which every commit of another connection moves."""
        try:
            version = self._version_cursor.execute("PRAGMA data_version").fetchone()[0]
        except sqlite.Error as error:
            raise _translated(error) from error
        if version == self._data_version:
            return False
        self._data_version = version
        return True

    def now(self) -> int:
        """See Engine; it is the clock itself."""
        return now_us()

    async def overwrite(self) -> None:
        """See Engine: pages of deleted rows are zeroed already, but for their copies in the WAL."""
        for _ in range(_TRIES):
            if await asyncio.to_thread(self._truncate):
                break
            await asyncio.sleep(_BETWEEN)

    def overwritten(self) -> bool:
        """See Engine; for all workers, and after a restart: the file they lock has a byte while the WAL is to go."""
        with _errors():
            return self._lock.stat().st_size == 0

    async def close(self) -> None:
        """See Engine."""
        await asyncio.to_thread(self._writer.close)
        await asyncio.to_thread(self._scans.shutdown, cancel_futures=True)
        self._reader.close()

    def _scan(self, statement: str, values: dict[str, object]) -> list[Row]:
        with _errors(), closing(connect(self._path, read_only=True)) as connection:
            rows: list[Row] = connection.execute(statement, values).fetchall()
            return rows

    def _truncate(self) -> bool:
        """Empty the WAL, unless somebody reads what is older: waiting for them, SQLite would let nobody write."""
        with _errors(), closing(connect(self._path)) as connection, self._lock.open("a") as lock:
            connection.execute("PRAGMA busy_timeout = 0")
            with _turn(lock):
                os.ftruncate(lock.fileno(), 1)
                busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
                if not busy:
                    os.ftruncate(lock.fileno(), 0)
        return not busy


class _SqliteTransaction:
    """A transaction whose coroutines never suspend: the writing thread drives them by hand."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def all(self, statement: str, **values: object) -> list[Row]:
        rows: list[Row] = self._connection.execute(statement, values).fetchall()
        return rows

    async def one(self, statement: str, **values: object) -> Row | None:
        rows = self._connection.execute(statement, values).fetchall()
        return rows[0] if rows else None

    async def run(self, statement: str, **values: object) -> int:
        count: int = self._connection.execute(statement, values).rowcount
        return count


class _Pending:
    """A transaction that waits to be run."""

    __slots__ = ("done", "durable", "loop", "work")

    def __init__(self, work: Work[Any], durable: bool, loop: asyncio.AbstractEventLoop) -> None:
        self.work = work
        self.durable = durable
        self.loop = loop
        self.done: asyncio.Future[Any] = loop.create_future()


Outcome = tuple[_Pending, Any, BaseException | None]


class _Writer:
    """The writing thread."""

    def __init__(self, path: Path, lock: Path) -> None:
        self._path = path
        self._lock = lock.open("a")
        self._queue: queue.SimpleQueue[_Pending | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._synchronous = "FULL"

    async def submit(self, work: Work[T], *, durable: bool) -> T:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="sqlite-writer", daemon=True)
            self._thread.start()
        pending = _Pending(work, durable, asyncio.get_running_loop())
        self._queue.put(pending)
        result: T = await pending.done
        return result

    def close(self) -> None:
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
        self._lock.close()

    def _run(self) -> None:
        connection = None
        more = True
        while more and (first := self._queue.get()) is not None:
            group = [first]
            try:
                with _turn(self._lock):
                    more = self._drain(group)
                    if connection is None:
                        connection = connect(self._path)
                    outcomes = self._commit(connection, group)
            except BaseException as error:
                outcomes = [(pending, None, _translated(error)) for pending in group]
            _deliver(outcomes)
        if connection is not None:
            connection.close()

    def _drain(self, group: list[_Pending]) -> bool:
        while len(group) < _GROUP:
            try:
                pending = self._queue.get_nowait()
            except queue.Empty:
                return True
            if pending is None:
                return False
            group.append(pending)
        return True

    def _commit(self, connection: Any, group: list[_Pending]) -> list[Outcome]:
        """Run a group in one transaction, each member in a savepoint of its own."""
        synchronous = "FULL" if any(pending.durable for pending in group) else "NORMAL"
        if synchronous != self._synchronous:
            connection.execute(f"PRAGMA synchronous = {synchronous}")
            self._synchronous = synchronous
        outcomes: list[Outcome] = []
        transaction = _SqliteTransaction(connection)
        connection.execute("BEGIN IMMEDIATE")
        try:
            for pending in group:
                connection.execute("SAVEPOINT member")
                try:
                    outcomes.append((pending, _drive(pending.work(transaction)), None))
                except BaseException as error:
                    if not connection.in_transaction:
                        raise
                    connection.execute("ROLLBACK TO member")
                    outcomes.append((pending, None, _translated(error)))
                connection.execute("RELEASE member")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return outcomes


@contextmanager
def _turn(lock: IO[str]) -> Iterator[None]:
    """While no other worker writes, nor this one by another opening of the file."""
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(lock, fcntl.LOCK_UN)


def _drive(work: Awaitable[T]) -> T:
    """The result of a coroutine that awaits nothing but its transaction."""
    steps = work.__await__()
    try:
        next(steps)
    except StopIteration as done:
        result: T = done.value
        return result
    raise RuntimeError("a transaction may wait for nothing but its statements")


def _deliver(outcomes: list[Outcome]) -> None:
    for loop in {pending.loop for pending, _, _ in outcomes}:
        mine = [outcome for outcome in outcomes if outcome[0].loop is loop]
        try:
            loop.call_soon_threadsafe(_resolve, mine)
        except RuntimeError:
            continue  # that loop has ended; nobody waits any more


def _resolve(outcomes: list[Outcome]) -> None:
    for pending, result, error in outcomes:
        if pending.done.done():
            continue
        if error is None:
            pending.done.set_result(result)
        else:
            pending.done.set_exception(error)


def now_us() -> int:
    """The database's clock, which SQLite itself has only in milliseconds."""
    return time.time_ns() // 1000


def _translated(error: BaseException) -> BaseException:
    if isinstance(error, sqlite.IntegrityError):
        return Conflict(str(error))
    if isinstance(error, sqlite.Error):
        if "full" in str(error):
            return StorageFull("no space is left for the database: free some, or give the registry a larger disk")
        return StorageError(f"the database cannot be used: {error}")
    if isinstance(error, OSError):
        return StorageError(f"the database cannot be used: {error.strerror}")
    return error


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except (sqlite.Error, OSError) as error:
        raise _translated(error) from error
