"""Clocks that a test sets: the database's, and the monotonic one of whoever collects."""

import time
from collections.abc import Awaitable, Callable

import pytest

from entrepot.database.engine import Engine, Transaction
from entrepot.database.postgres import PostgresEngine
from tests.support.rows import Database

_SHIFTED = (
    "CREATE TABLE test_clock (shift bigint)",
    "INSERT INTO test_clock VALUES (0)",
    "CREATE OR REPLACE FUNCTION now_us() RETURNS bigint LANGUAGE sql VOLATILE AS $$ SELECT"
    " (EXTRACT(EPOCH FROM clock_timestamp()) * 1000000)::bigint + shift FROM test_clock $$",
)


class Clock:
    """Both begin with the real time; they run, and go on by what a test says."""

    def __init__(self, shift: Callable[[int], Awaitable[None]]) -> None:
        self._shift = shift
        self._passed = 0.0

    def monotonic(self) -> float:
        """In seconds."""
        return time.monotonic() + self._passed

    @property
    def passed(self) -> float:
        """Seconds that a test has let pass."""
        return self._passed

    async def wait(self, seconds: float) -> None:
        """Let time pass for everybody."""
        self._passed += seconds
        await self.jump(seconds)

    async def jump(self, seconds: float) -> None:
        """Set the database's clock forward, or back; no time passes."""
        await self._shift(int(seconds * 1_000_000))


def sqlite_clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of every SQLite connection that this process opens from now on."""
    shift = [0]
    monkeypatch.setattr("entrepot.database.sqlite.now_us", lambda: time.time_ns() // 1000 + shift[0])

    async def move(by: int) -> None:
        shift[0] += by

    return Clock(move)


async def postgres_clock(database: Database) -> Clock:
    """The clock of a PostgreSQL database."""
    engine = database.engine()
    for statement in _SHIFTED:
        await _run(engine, statement)

    async def move(by: int) -> None:
        await _run(engine, f"UPDATE test_clock SET shift = shift + {by}")

    return Clock(move)


async def clock_of(database: Database, monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of a database of either kind."""
    clock = sqlite_clock(monkeypatch)
    return await postgres_clock(database) if isinstance(database.engine(), PostgresEngine) else clock


async def _run(engine: Engine, statement: str) -> None:
    async def run(transaction: Transaction) -> None:
        await transaction.all(statement)

    await engine.write(run, durable=False)
