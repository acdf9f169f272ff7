"""The way of a pull event from the log to the rows, over SQLite and PostgreSQL: exactly once, whatever dies when."""

import asyncio
import os
import random
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from entrepot.database.usage import DatabaseUsage
from entrepot.hub.tally import HOUR, Tally, TallyRows
from entrepot.jobs.usage import PullCounting
from entrepot.registry.events import Part, PullEvent, PullSegments, Segments
from entrepot.storage.pull_events import PullLog, SegmentFiles
from tests.support.pulls import a_pull
from tests.support.rows import Database, Rows

_SEED = int(os.environ.get("ENTREPOT_CRASH_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
_PART = 300  # bytes: two events or so, so that a segment has several parts
_TOTALS = (
    "SELECT hour, repository_id, digest, tag, kind, account_id, credential_id, address, SUM(requests), SUM(bytes)"
    " FROM usage_hours GROUP BY hour, repository_id, digest, tag, kind, account_id, credential_id, address"
)


class Killed(BaseException):
    """The process ends here."""


class Steps:
    """Counts the steps of a run; ends it before or after one of them."""

    def __init__(self, last: int | None = None, *, before: bool = False) -> None:
        self.taken = 0
        self._last = last
        self._before = before

    def begin(self) -> None:
        """A step begins."""
        if self._before and self.taken == self._last:
            raise Killed

    def end(self) -> None:
        """A step has done its work, and nobody has heard of it yet."""
        self.taken += 1
        if not self._before and self.taken - 1 == self._last:
            raise Killed


class MortalSegments:
    """The port PullSegments, up to a step."""

    def __init__(self, segments: PullSegments, steps: Steps) -> None:
        self._segments = segments
        self._steps = steps

    def turn(self) -> AbstractContextManager[bool]:
        """The lock of a dead process is free."""
        return self._segments.turn()

    def present(self) -> AbstractContextManager[None]:
        """As the port."""
        return self._segments.present()

    def alone(self) -> AbstractContextManager[bool]:
        """As the port."""
        return self._segments.alone()

    def node(self) -> str:
        """As the port."""
        return self._segments.node()

    def look(self) -> Segments:
        """As the port."""
        return self._segments.look()

    def read(self, segment: str, position: int, *, growing: bool = False) -> Part:
        """As the port."""
        return self._segments.read(segment, position, growing=growing)

    def remove(self, segments: Sequence[str]) -> None:
        """As the port."""
        self._steps.begin()
        self._segments.remove(segments)
        self._steps.end()


class MortalRows:
    """The port TallyRows, up to a step."""

    def __init__(self, rows: TallyRows, steps: Steps) -> None:
        self._rows = rows
        self._steps = steps

    async def position(self, segment: str) -> int:
        """As the port."""
        return await self._rows.position(segment)

    async def count(self, segment: str, position: int, end: int, tally: Tally) -> bool:
        """As the port."""
        self._steps.begin()
        done = await self._rows.count(segment, position, end, tally)
        self._steps.end()
        return done

    async def forget(self, segments: Sequence[str]) -> None:
        """As the port."""
        self._steps.begin()
        await self._rows.forget(segments)
        self._steps.end()

    async def appear(self, node: str) -> None:
        """As the port."""
        await self._rows.appear(node)

    async def leave(self, node: str) -> bool:
        """As the port."""
        self._steps.begin()
        left = await self._rows.leave(node)
        self._steps.end()
        return left

    async def ask(self, node: str) -> dict[str, int]:
        """As the port."""
        return await self._rows.ask(node)

    async def asked(self, node: str) -> tuple[int, int]:
        """As the port."""
        return await self._rows.asked(node)

    async def silent(self, asked: dict[str, int]) -> list[str]:
        """As the port."""
        return await self._rows.silent(asked)

    async def complete(self, node: str, until: int, asked: int) -> None:
        """As the port."""
        self._steps.begin()
        await self._rows.complete(node, until, asked)
        self._steps.end()

    async def prune(self, age: int, limit: int) -> int:
        """As the port."""
        return await self._rows.prune(age, limit)


def counting(rows: Rows, data: Path, steps: Steps | None = None) -> PullCounting:
    """The job of one worker."""
    steps = steps or Steps()
    return PullCounting(MortalSegments(SegmentFiles(data, _PART), steps), MortalRows(DatabaseUsage(rows.engine), steps))


def some_pulls(chance: random.Random, number: int) -> list[PullEvent]:
    """Random events with much in common."""
    return [
        a_pull(
            at=chance.randrange(500_000 * HOUR, 500_002 * HOUR),
            repository_id=chance.randrange(1, 4),
            digest=f"sha256:{chance.randrange(2)}",
            tag=chance.choice(["", "latest", "v1"]),
            kind=chance.choice(["image", "image", "index", "referrer"]),
            account_id=chance.choice([None, 1, 2]),
            credential_id=chance.choice([None, 3]),
            address=chance.choice(["192.0.2.1", "2001:db8::1"]),
            bytes=chance.randrange(5000),
        )
        for _ in range(number)
    ]


async def left_behind(data: Path, events: Sequence[PullEvent], segments: int = 3) -> None:
    """These events in finished segments."""
    for number in range(segments):
        log = PullLog(data)
        for event in events[number::segments]:
            log.append(event)
        await log.close()


def expected(events: Sequence[PullEvent]) -> dict[tuple[object, ...], tuple[int, int]]:
    """What must be in the rows, counted here in the plainest way."""
    numbers: Counter[tuple[object, ...]] = Counter()
    sizes: Counter[tuple[object, ...]] = Counter()
    for event in events:
        hour = event.at - event.at % HOUR
        account, credential = event.account_id or 0, event.credential_id or 0
        key = (hour, event.repository_id, event.digest, event.tag, event.kind, account, credential, event.address)
        numbers[key] += 1
        sizes[key] += event.bytes
    return {key: (number, sizes[key]) for key, number in numbers.items()}


async def counted(rows: Rows) -> dict[tuple[object, ...], tuple[int, int]]:
    """What is in the rows."""
    return {tuple(row[:8]): (int(row[8]), int(row[9])) for row in await rows.engine.read(_TOTALS)}


async def all_is_counted_once(rows: Rows, events: Sequence[PullEvent]) -> None:
    """In the hours, and in the totals."""
    assert await counted(rows) == expected(events)
    totals: dict[int, int] = dict(await rows.engine.read("SELECT repository_id, pull_count FROM usage_repositories"))
    pulls = Counter(event.repository_id for event in events if event.kind == "image")
    assert totals == {event.repository_id: pulls[event.repository_id] for event in events}
    last = {(event.repository_id, event.digest): 0 for event in events}
    for event in events:
        key = event.repository_id, event.digest
        last[key] = max(last[key], event.at)
    found = await rows.engine.read("SELECT repository_id, digest, last_pulled_at FROM usage_manifests")
    assert {(repository, digest): at for repository, digest, at in found} == last


async def test_every_event_is_counted_once_and_its_segment_goes(rows: Rows, tmp_path: Path) -> None:
    events = some_pulls(random.Random(_SEED), 50)
    await left_behind(tmp_path, events)
    assert await counting(rows, tmp_path).roll_up() == 50
    assert await counting(rows, tmp_path).roll_up() == 0
    await all_is_counted_once(rows, events)
    assert [path.name for path in (tmp_path / "pulls").iterdir()] == ["node"]
    assert await rows.engine.read("SELECT id FROM usage_segments") == []


async def test_a_crash_at_any_step_counts_nothing_twice_and_loses_nothing(rows: Rows, tmp_path: Path) -> None:
    """Before and after each step in turn; what was left behind is counted by the next run, with new events."""
    print(f"ENTREPOT_CRASH_SEED={_SEED} repeats the choices of this run")
    chance = random.Random(_SEED)
    events: list[PullEvent] = []
    kills = 0
    for before in (True, False):
        step, died = 0, True
        while died:
            more = some_pulls(chance, 12)
            events += more
            data = tmp_path / f"{before}-{step}"
            await left_behind(data, more, segments=2)
            died = await _dies(counting(rows, data, Steps(step, before=before)).roll_up)
            kills += died
            await counting(rows, data).roll_up()
            assert await counted(rows) == expected(events)
            step += 1
    assert kills >= 18
    await all_is_counted_once(rows, events)


async def test_several_crashes_on_the_way_through_one_backlog_count_nothing_twice(rows: Rows, tmp_path: Path) -> None:
    print(f"ENTREPOT_CRASH_SEED={_SEED} repeats the choices of this run")
    chance = random.Random(_SEED)
    events = some_pulls(chance, 60)
    await left_behind(tmp_path, events, segments=4)
    kills = 0
    while await _dies(counting(rows, tmp_path, Steps(chance.randrange(4), before=chance.random() < 0.3)).roll_up):
        kills += 1
        assert kills < 1000  # some of them got on
    await all_is_counted_once(rows, events)


async def test_what_is_still_written_is_counted_once_too(rows: Rows, tmp_path: Path) -> None:
    usage = DatabaseUsage(rows.engine)
    log = PullLog(tmp_path)
    events = some_pulls(random.Random(_SEED), 30)
    for number in range(3):
        for event in events[number::3]:
            log.append(event)
        assert await counting(rows, tmp_path).roll_up() == 10
        assert 0 < await usage.complete_until() < a_pull().at
    await log.close()
    assert await counting(rows, tmp_path).roll_up() == 0
    await all_is_counted_once(rows, events)
    assert await rows.engine.read("SELECT id FROM usage_segments") == []


async def test_every_node_counts_what_it_has_when_one_asks(database: Database, tmp_path: Path) -> None:
    jobs = [counting(database.connect(), tmp_path / str(number)) for number in range(3)]
    for each in jobs:
        await each.appear()
        assert await each.answer() == 0  # nobody has asked
    logs = [PullLog(tmp_path / str(number)) for number in range(3)]
    events = some_pulls(random.Random(_SEED), 30)
    for number, event in enumerate(events):
        logs[number % 3].append(event)
    asking = asyncio.create_task(jobs[0].everywhere())
    for each in jobs[1:]:
        while not await each.answer():  # until it was asked
            await asyncio.sleep(0)
    assert await asking == []
    await all_is_counted_once(database.connect(), events)
    for log in logs:
        await log.close()


async def test_who_does_not_count_is_named_until_it_does_or_leaves_or_is_forgotten(
    database: Database, tmp_path: Path
) -> None:
    rows = database.connect()
    jobs = [PullCounting(SegmentFiles(tmp_path / name), DatabaseUsage(rows.engine), patience=0) for name in "abc"]
    names = [SegmentFiles(tmp_path / name).node() for name in "abc"]
    for each in jobs:
        await each.appear()
    await left_behind(tmp_path / "b", [a_pull()])
    assert sorted(await jobs[0].everywhere()) == sorted(names[1:])
    assert await jobs[1].answer() == 1
    assert sorted(await jobs[0].everywhere()) == sorted(names[1:])  # it was asked again
    with SegmentFiles(tmp_path / "b").present():
        await jobs[1].leave()  # another process of it goes on
    assert sorted(await jobs[0].everywhere()) == sorted(names[1:])
    await left_behind(tmp_path / "b", [a_pull()])
    await jobs[1].leave()
    assert await jobs[0].everywhere() == names[2:]
    assert sum(row[0] for row in await rows.engine.read("SELECT requests FROM usage_hours")) == 2
    assert await DatabaseUsage(rows.engine).leave(names[2])
    assert not await DatabaseUsage(rows.engine).leave(names[2])
    assert await jobs[0].everywhere() == []


async def test_a_crash_on_the_way_is_no_answer(rows: Rows, tmp_path: Path) -> None:
    """Neither to what was asked before it, nor while stopping."""
    asking = PullCounting(SegmentFiles(tmp_path / "a"), DatabaseUsage(rows.engine), patience=0)
    name = SegmentFiles(tmp_path / "b").node()
    await counting(rows, tmp_path / "b").appear()
    for work in ("answer", "leave"):
        await left_behind(tmp_path / "b", some_pulls(random.Random(_SEED), 6), segments=2)
        step = 0
        while True:
            assert await asking.everywhere() == [name]
            if not await _dies(getattr(counting(rows, tmp_path / "b", Steps(step, before=True)), work)):
                break
            step += 1
        assert step >= 2
    assert await asking.everywhere() == []


async def test_who_has_no_turn_counts_nothing(rows: Rows, tmp_path: Path) -> None:
    events = some_pulls(random.Random(_SEED), 5)
    await left_behind(tmp_path, events)
    with SegmentFiles(tmp_path).turn():
        assert await counting(rows, tmp_path).roll_up() == 0
    assert await counting(rows, tmp_path).roll_up() == 5


async def test_nodes_share_the_rows(database: Database, tmp_path: Path) -> None:
    events = some_pulls(random.Random(_SEED), 30)
    for number in range(3):
        await left_behind(tmp_path / str(number), events[number::3])
        await counting(database.connect(), tmp_path / str(number)).roll_up()
    rows = database.connect()
    await all_is_counted_once(rows, events)
    assert len(await rows.engine.read("SELECT id FROM usage_nodes")) == 3


async def test_a_torn_record_is_skipped_and_the_others_are_counted(rows: Rows, tmp_path: Path) -> None:
    events = some_pulls(random.Random(_SEED), 10)
    await left_behind(tmp_path, events, segments=1)
    (path,) = (tmp_path / "pulls").glob("*")
    path.write_bytes(path.read_bytes()[:-3])
    assert await counting(rows, tmp_path).roll_up() == 9
    await all_is_counted_once(rows, events[:-1])


async def test_pruning_goes_on_until_nothing_is_old(rows: Rows, tmp_path: Path) -> None:
    old = [a_pull(at=a_pull().at - 100 * 24 * HOUR, tag=str(number)) for number in range(520)]
    await left_behind(tmp_path, [*old, a_pull()])
    job = counting(rows, tmp_path)
    assert await job.roll_up() == 521
    assert await job.prune() == 520
    assert await job.prune() == 0
    assert len(await counted(rows)) == 1


async def _dies(run: Callable[[], object]) -> bool:
    try:
        await run()  # type: ignore[misc]
    except Killed:
        return True
    return False
