"""Turns of several collectors, over SQLite and PostgreSQL: one works at a time, and the time that passes is counted."""

from collections.abc import AsyncIterator
from itertools import accumulate
from random import Random

import pytest

from entrepot.registry.garbage import STEP, Ages, Collector, Turn, rhythm
from tests.support.clock import Clock, clock_of
from tests.support.rows import DAY, Database, Rows, a_blob

AGES = Ages(undo=14 * DAY, grace=DAY, quarantine=DAY)
HOUR = 3600


class Collectors:
    """A database, its clocks, and as many collectors as one asks for."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self.clock = clock
        self.rows = database.connect()

    def one(self) -> Collector:
        """Another worker's."""
        return Collector(self._database.connect().garbage, AGES, self.clock.monotonic)


async def states(rows: Rows) -> list[str]:
    """Those of all blobs."""
    return [str(state) for (state,) in await rows.engine.read("SELECT state FROM blobs ORDER BY id")]


@pytest.fixture
async def collectors(tables: Database, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Collectors]:
    """An empty database of each kind."""
    clock = await clock_of(tables, monkeypatch)
    yield Collectors(tables, clock)
    await tables.close()


async def test_one_collector_works_at_a_time_and_another_goes_on_when_it_is_gone(collectors: Collectors) -> None:
    await a_blob(collectors.rows)
    await collectors.one().run()
    second = collectors.one()
    assert (await second.run()).total == 0
    for _ in range(30):
        await collectors.clock.wait(HOUR)
        await second.run()
    assert await states(collectors.rows) == ["quarantined"]


async def test_collectors_that_come_early_and_late_lose_no_time_to_each_other(collectors: Collectors) -> None:
    many = [collectors.one() for _ in range(3)]
    random = Random(0)
    rounds = sorted(
        (at, number)
        for number in range(len(many))
        for at in accumulate(rhythm(AGES) * random.uniform(0.8, 1.2) for _ in range(80))
        if at < HOUR
    )
    now = 0.0
    for at, number in rounds:
        await collectors.clock.wait(at - now)
        await many[number].run()
        now = at
    unseen = 2 * 1.2 * rhythm(AGES)  # before the first round, and after the last one of whoever has the lease
    assert await collectors.rows.garbage.elapsed() >= (now - unseen) * 1_000_000


async def test_a_long_collection_keeps_its_lease_and_stops_when_it_is_paused(collectors: Collectors) -> None:
    for _ in range(2 * STEP + 1):
        await a_blob(collectors.rows)
    others: list[Turn | None] = []

    async def rest(_: float) -> None:
        await collectors.clock.wait(30)
        others.append(await collectors.rows.garbage.take_turn("other", 0, 180_000_000))
        if await collectors.rows.engine.read("SELECT 1 FROM blobs WHERE state = 'quarantined'"):
            await slow.set_paused(True)

    slow = Collector(collectors.rows.garbage, AGES, collectors.clock.monotonic, rest)
    for _ in range(30):
        await collectors.clock.wait(HOUR)
        await slow.run()
    assert set(others) == {None}
    assert await collectors.rows.engine.read("SELECT COUNT(*) FROM blobs WHERE state = 'quarantined'") == [(STEP,)]
