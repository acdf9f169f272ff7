"""Counting pulls, whichever counter: exact for all who count at once."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from uuid import uuid4

import pytest

from entrepot.access.pulls import PullCounter, PullLimit
from entrepot.counters.mapped import MappedCounter
from entrepot.counters.redis import RedisCounter
from tests.support.redis import RedisServer

HUNDRED = PullLimit(100, 21600)
Another = Callable[[], PullCounter]


@pytest.fixture(params=["mapped", "redis"])
async def another(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Another]:
    """Makes counters that count together."""
    made: list[MappedCounter | RedisCounter] = []

    def make() -> PullCounter:
        mapped = MappedCounter(tmp_path / "pulls.counts")
        made.append(mapped)
        if request.param == "mapped":
            return mapped
        made.append(RedisCounter(request.getfixturevalue("redis_url"), mapped, 2))
        return made[-1]

    yield make
    for counter in reversed(made):
        if isinstance(counter, RedisCounter):
            assert not counter.away
            await counter.close()
        else:
            counter.close()


@pytest.fixture
def subject() -> str:
    return f"account:{uuid4().int}"


async def test_of_many_at_once_exactly_as_many_are_allowed_as_the_limit_says(another: Another, subject: str) -> None:
    one, other = another(), another()
    spent = await asyncio.gather(*((one, other)[number % 2].spend(subject, HUNDRED) for number in range(250)))
    assert sum(each.allowed for each in spent) == 100
    assert sorted(each.remaining for each in spent if each.allowed) == list(range(100))
    assert all(0 < each.retry_after <= HUNDRED.window for each in spent if not each.allowed)


async def test_to_look_counts_nothing_and_shows_what_another_has_counted(another: Another, subject: str) -> None:
    one, other = another(), another()
    assert (await one.look(subject, HUNDRED)).remaining == 100
    await one.spend(subject, HUNDRED)
    found = await other.look(subject, HUNDRED)
    assert (found.allowed, found.remaining, found.retry_after) == (True, 99, 0)


async def test_a_pull_is_free_again_when_the_window_has_passed(another: Another, subject: str) -> None:
    counter, short = another(), PullLimit(1, 1)
    assert (await counter.spend(subject, short)).allowed
    async with asyncio.timeout(20):
        while not (await counter.look(subject, short)).allowed:
            await asyncio.sleep(0.05)


def test_of_many_processes_one_of_them_killed_none_goes_over_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "pulls.counts"
    MappedCounter(path).close()
    read, write = os.pipe()
    children = []
    for _ in range(6):
        child = os.fork()
        if child == 0:
            counter = MappedCounter(path)
            for _ in range(2000):
                spent = asyncio.run(counter.spend("account:1", PullLimit(4000, 21600)))
                os.write(write, b"y" if spent.allowed else b"n")
            os._exit(0)
        children.append(child)
    told = os.read(read, 100)
    os.kill(children[0], signal.SIGKILL)
    os.close(write)
    while part := os.read(read, 65536):
        told += part
    for child in children:
        os.waitpid(child, 0)
    allowed = told.count(b"y")
    # Whoever was killed may have counted a pull that it could not tell any more, in the sum and in the bucket.
    assert 3998 <= allowed <= 4000


async def test_pulls_that_were_taken_ahead_are_given_back_and_the_limit_is_exact(tmp_path: Path) -> None:
    limit = PullLimit(6000, 21600)
    counters = [MappedCounter(tmp_path / "pulls.counts") for _ in range(3)]
    allowed = 0
    for number in range(1500):
        allowed += (await counters[number % 2].spend("account:1", limit)).allowed
    for counter in counters[:2]:
        assert await counter.give_back() == 0  # it was used a moment ago
        assert await counter.give_back() == 1
    assert (await counters[2].look("account:1", limit)).remaining == 4500
    while (await counters[allowed % 3].spend("account:1", limit)).allowed:
        allowed += 1
    for counter in counters:
        counter.close()
    last = MappedCounter(tmp_path / "pulls.counts")
    while (await last.spend("account:1", limit)).allowed:
        allowed += 1
    assert allowed == 6000


async def test_while_redis_is_away_each_node_allows_its_share_and_then_they_count_together_again(
    tmp_path: Path,
) -> None:
    with RedisServer(tmp_path) as server:
        nodes = [RedisCounter(server.url, MappedCounter(tmp_path / f"node-{number}"), 2) for number in range(2)]
        assert (await nodes[0].spend("account:1", HUNDRED)).remaining == 99
        server.stop()
        for node in nodes:
            spent = [await node.spend("account:1", HUNDRED) for _ in range(60)]
            assert sum(each.allowed for each in spent) == 50
            assert node.away
        server.start()
        async with asyncio.timeout(20):
            while (await nodes[0].look("account:1", HUNDRED)).remaining != 100:
                await asyncio.sleep(0.05)
        assert not nodes[0].away
        for node in nodes:
            await node.close()
