"""The window of pull limits, against a list of the times of all pulls."""

from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entrepot.access.pulls import PullLimit, Spent
from entrepot.counters.mapped import MappedCounter
from entrepot.counters.table import size_of

HOURS = PullLimit(limit=5, window=6 * 3600)


class Clock:
    """Says what it is told."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pulls.counts"


async def spend(
    counter: MappedCounter, times: int, limit: PullLimit = HOURS, subject: str = "account:1"
) -> list[Spent]:
    return [await counter.spend(subject, limit) for _ in range(times)]


async def test_as_many_are_allowed_as_the_limit_says_and_no_more(path: Path, clock: Clock) -> None:
    spent = await spend(MappedCounter(path, clock), 7)
    assert [each.allowed for each in spent] == [True] * 5 + [False] * 2
    assert [each.remaining for each in spent] == [4, 3, 2, 1, 0, 0, 0]


async def test_to_look_counts_nothing(path: Path, clock: Clock) -> None:
    counter = MappedCounter(path, clock)
    for _ in range(10):
        assert await counter.look("account:1", HOURS) == Spent(True, 5, 0)
    await spend(counter, 2)
    assert await counter.look("account:1", HOURS) == Spent(True, 3, 0)
    assert await counter.look("account:2", HOURS) == Spent(True, 5, 0)


async def test_after_retry_after_exactly_the_next_pull_is_free(path: Path, clock: Clock) -> None:
    counter = MappedCounter(path, clock)
    await spend(counter, 1)
    clock.now += 1000
    *_, refused = await spend(counter, 5)
    assert not refused.allowed
    clock.now += refused.retry_after - 1
    assert not (await spend(counter, 1))[0].allowed
    clock.now += 1
    assert [each.allowed for each in await spend(counter, 2)] == [True, False]


@settings(deadline=None)
@given(
    st.lists(st.floats(0, 9000), min_size=1, max_size=60),
    st.integers(1, 8),
    st.sampled_from([60, 61, 3600, 21600]),
)
def test_no_window_ever_has_more_than_the_limit_and_what_left_it_is_free(
    tmp_path_factory: pytest.TempPathFactory, pauses: list[float], most: int, window: int
) -> None:
    clock, limit = Clock(), PullLimit(most, window)
    counter = MappedCounter(tmp_path_factory.mktemp("counts") / "pulls.counts", clock)
    allowed: list[float] = []
    for pause in pauses:
        clock.now += pause
        surely_free = sum(time > clock.now - window for time in allowed) < most
        surely_full = sum(time > clock.now - window * 59 / 60 for time in allowed) >= most
        spent = now(counter, limit)
        assert spent.allowed or not surely_free
        assert not (spent.allowed and surely_full)
        if spent.allowed:
            allowed.append(clock.now)
    counter.close()


def now(counter: MappedCounter, limit: PullLimit) -> Spent:
    """One pull; the coroutine does not wait."""
    try:
        counter.spend("account:1", limit).send(None)
    except StopIteration as done:
        spent: Spent = done.value
        return spent
    raise AssertionError("it waits")


async def test_a_clock_that_goes_back_gives_nothing_back_and_locks_nobody_out_for_longer_than_a_window(
    path: Path, clock: Clock
) -> None:
    counter = MappedCounter(path, clock)
    await spend(counter, 5)
    clock.now -= 400 * 86400
    (refused,) = await spend(counter, 1)
    assert not refused.allowed
    assert refused.retry_after <= HOURS.window
    clock.now += HOURS.window
    assert (await spend(counter, 1))[0].allowed


async def test_another_window_counts_anew_and_a_lower_limit_counts_what_was_before(path: Path, clock: Clock) -> None:
    counter = MappedCounter(path, clock)
    await spend(counter, 5)
    assert (await counter.look("account:1", PullLimit(5, 60))).remaining == 5
    lower = await counter.look("account:1", PullLimit(2, HOURS.window))
    assert (lower.allowed, lower.remaining) == (False, 0)


async def test_a_restart_finds_what_was_counted(path: Path, clock: Clock) -> None:
    first = MappedCounter(path, clock)
    await spend(first, 3)
    first.close()
    assert (await MappedCounter(path, clock).look("account:1", HOURS)).remaining == 2


@pytest.mark.parametrize("content", [b"", b"nothing of ours", b"x" * size_of(4096)])
async def test_a_damaged_file_is_replaced(path: Path, clock: Clock, content: bytes) -> None:
    path.write_bytes(content)
    assert (await spend(MappedCounter(path, clock), 1))[0].remaining == 4


async def test_a_full_table_grows_and_its_other_users_notice(path: Path, clock: Clock) -> None:
    one, other = (MappedCounter(path, clock, slots=64) for _ in range(2))
    subjects = [f"address:{uuid4()}" for _ in range(500)]
    for number, subject in enumerate(subjects):
        await spend(one if number % 2 else other, 1, subject=subject)
    assert path.stat().st_size > size_of(64)
    for subject in subjects:
        assert (await one.look(subject, HOURS)).remaining == 4
        assert (await other.look(subject, HOURS)).remaining == 4


async def test_places_whose_window_is_over_are_used_again(path: Path, clock: Clock) -> None:
    counter = MappedCounter(path, clock, slots=64)
    for _ in range(20):
        for _ in range(50):
            await spend(counter, 1, subject=f"address:{uuid4()}")
        clock.now += HOURS.window * 2
    assert path.stat().st_size == size_of(64)


async def test_whoever_was_killed_while_replacing_the_file_leaves_the_old_one(path: Path, clock: Clock) -> None:
    counter = MappedCounter(path, clock)
    await spend(counter, 3)
    counter._table.moved = True  # killed before the new file took its place
    assert (await counter.look("account:1", HOURS)).remaining == 2
    assert (await spend(counter, 1))[0].remaining == 1
