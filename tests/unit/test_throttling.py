"""Guessing is slowed down by exact rules, and nobody is locked out by another."""

import asyncio
from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.access.throttling import (
    ADDRESS_LIMIT,
    NAME_LIMIT,
    PAIR_LIMIT,
    WINDOW,
    Throttling,
    subject_address,
)
from tests.support.throttles import MemoryThrottles

HOME, AWAY = "192.0.2.1", "198.51.100.7"
KEY = b"k" * 32


@pytest.fixture
def rows() -> MemoryThrottles:
    """Nothing has failed yet."""
    return MemoryThrottles()


@pytest.fixture
def throttling(rows: MemoryThrottles) -> Throttling:
    """The rules."""
    return Throttling(rows, KEY)


async def fail(throttling: Throttling, times: int, name: str, address: str, *, known: bool = False) -> None:
    """Fail so often, each time plainly."""
    for _ in range(times):
        assert await throttling.check(name, address, known=known) is None
        await throttling.failed(name, address, known=known)


async def test_the_eleventh_failure_of_a_pair_is_not_looked_at(throttling: Throttling) -> None:
    await fail(throttling, PAIR_LIMIT, "alice", HOME)
    assert await throttling.check("alice", HOME, known=False) == WINDOW
    assert await throttling.check("ALICE", HOME, known=True) == WINDOW
    assert await throttling.check("alice", AWAY, known=False) is None
    assert await throttling.check("bob", HOME, known=False) is None


async def test_the_thirty_first_failure_of_an_address_is_not_looked_at_whatever_the_name(
    throttling: Throttling,
) -> None:
    for number in range(ADDRESS_LIMIT):
        await fail(throttling, 1, f"name{number}", HOME)
    assert await throttling.check("alice", HOME, known=True) == WINDOW
    assert await throttling.check("alice", AWAY, known=False) is None


async def test_a_right_password_clears_the_pair_but_not_the_address(throttling: Throttling) -> None:
    for _ in range(3):
        await fail(throttling, PAIR_LIMIT, "alice", HOME)
        await throttling.succeeded("Alice", HOME)
    assert await throttling.check("alice", HOME, known=True) == WINDOW


async def test_a_crowd_of_strangers_cannot_lock_an_account_out_where_it_has_been_before(
    throttling: Throttling,
) -> None:
    for number in range(NAME_LIMIT):
        await fail(throttling, 1, "admin", f"203.0.113.{number}")
    assert await throttling.check("admin", AWAY, known=False) == WINDOW
    assert await throttling.check("admin", HOME, known=True) is None
    await fail(throttling, PAIR_LIMIT, "admin", HOME, known=True)


async def test_mistypings_where_the_account_has_been_before_do_not_count_against_strangers(
    throttling: Throttling,
) -> None:
    for number in range(NAME_LIMIT):
        await fail(throttling, 1, "alice", f"203.0.113.{number}", known=True)
    assert await throttling.check("alice", AWAY, known=False) is None


async def test_retry_after_is_when_the_window_ends(throttling: Throttling, rows: MemoryThrottles) -> None:
    await fail(throttling, 1, "alice", HOME)
    rows.later(100.5)
    await fail(throttling, PAIR_LIMIT - 1, "alice", HOME)
    seconds = await throttling.check("alice", HOME, known=False)
    assert seconds == 200  # 199.5 are left
    rows.later(seconds - 1)
    assert await throttling.check("alice", HOME, known=False) == 1
    rows.later(1)
    assert await throttling.check("alice", HOME, known=False) is None
    await fail(throttling, PAIR_LIMIT, "alice", HOME)


async def test_of_two_limits_the_later_end_is_told(throttling: Throttling, rows: MemoryThrottles) -> None:
    for number in range(ADDRESS_LIMIT - PAIR_LIMIT):
        await fail(throttling, 1, f"name{number}", HOME)
    rows.later(60)
    await fail(throttling, PAIR_LIMIT, "alice", HOME)
    assert await throttling.check("bob", HOME, known=False) == WINDOW - 60
    assert await throttling.check("alice", HOME, known=False) == WINDOW


async def test_what_is_throttled_and_what_succeeds_at_once_writes_nothing(
    throttling: Throttling, rows: MemoryThrottles
) -> None:
    await throttling.succeeded("alice", HOME)
    assert rows.writes == 0
    await fail(throttling, PAIR_LIMIT, "alice", HOME)
    assert rows.writes == PAIR_LIMIT
    assert await throttling.check("alice", HOME, known=False) is not None
    assert rows.writes == PAIR_LIMIT


async def test_a_name_is_stored_only_as_a_keyed_hash(rows: MemoryThrottles) -> None:
    await Throttling(rows, KEY).failed("hunter2", HOME, known=False)
    one = set(rows.counts)
    rows.counts.clear()
    await Throttling(rows, b"another key").failed("hunter2", HOME, known=False)
    assert "hunter2" not in str(one)
    assert one & set(rows.counts) == {f"address:{HOME}"}


async def test_a_name_may_be_anything_that_a_client_sends(throttling: Throttling) -> None:
    for name in ("", "\ud800", "x" * 100_000, f"alice:{HOME}"):
        await fail(throttling, 1, name, HOME)


async def test_an_account_is_known_where_it_has_logged_in(throttling: Throttling) -> None:
    await throttling.remember(1, "2001:db8:1:2::77")
    assert await throttling.known(1, "2001:db8:1:2:ffff::1")
    assert not await throttling.known(1, "2001:db8:1:3::77")
    assert not await throttling.known(2, "2001:db8:1:2::77")


async def test_neighbours_of_one_ipv6_network_count_together(throttling: Throttling) -> None:
    for number in range(PAIR_LIMIT):
        await fail(throttling, 1, "alice", f"2001:db8:1:2::{number:x}")
    assert await throttling.check("alice", "2001:db8:1:2:3:4:5:6", known=False) == WINDOW
    assert await throttling.check("alice", "2001:db8:1:3::1", known=False) is None


async def test_guesses_sent_at_once_take_turns_so_that_no_more_than_the_limit_are_looked_at(
    throttling: Throttling,
) -> None:
    looked_at = 0

    async def guess(number: int) -> None:
        nonlocal looked_at
        async with throttling.turn(f"2001:db8:1:2::{number:x}"):
            if await throttling.check("alice", f"2001:db8:1:2::{number:x}", known=False) is None:
                looked_at += 1
                await asyncio.sleep(0)  # others may come in between
                await throttling.failed("alice", f"2001:db8:1:2::{number:x}", known=False)

    await asyncio.gather(*[guess(number) for number in range(100)])
    assert looked_at == PAIR_LIMIT


async def test_another_address_does_not_wait_for_its_turn(throttling: Throttling) -> None:
    async with throttling.turn(HOME), throttling.turn(AWAY):
        waiting = asyncio.ensure_future(throttling.turn(HOME).__aenter__())
        await asyncio.sleep(0)
        assert not waiting.done()
        waiting.cancel()


@pytest.mark.parametrize(
    ("address", "subject"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::ffff:c000:201", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:0DB8:0001:0002::", "2001:db8:1:2::"),
        ("fe80::1%eth0", "fe80::"),
        ("::1", "::"),
        ("", ""),
        ("unix", "unix"),
        ("192.0.2.256", "192.0.2.256"),
    ],
)
def test_an_address_counts_as_its_subject(address: str, subject: str) -> None:
    assert subject_address(address) == subject
    assert subject_address(subject) == subject


NAMES, ADDRESSES = ("alice", "bob", "carol", "dave"), (HOME, AWAY)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(NAMES),
        st.sampled_from(ADDRESSES),
        st.integers(1, 12),  # so often
        st.sampled_from(["wrong", "wrong", "right"]),
        st.sampled_from([0, 1, 100, WINDOW - 1, WINDOW]),  # seconds before
    ),
    max_size=30,
)


@given(STEPS)
async def test_whatever_happens_ten_of_a_pair_and_thirty_of_an_address_are_plain_and_the_next_is_not(
    steps: list[tuple[str, str, int, str, int]],
) -> None:
    rows = MemoryThrottles()
    throttling = Throttling(rows, KEY)
    time = 0
    failed: dict[tuple[str, ...], list[int]] = defaultdict(list)  # when, in the present window

    def ends(*key: str) -> int:
        """How long until the window of this key ends; 0 when there is none."""
        return max(0, failed[key][0] + WINDOW - time) if failed[key] else 0

    for name, address, times, outcome, passed in steps:
        time += passed
        rows.later(passed)
        for key in [key for key in failed if not ends(*key)]:
            del failed[key]
        for _ in range(times):
            full = [
                ends(*key)
                for key, limit in (((name, address), PAIR_LIMIT), ((address,), ADDRESS_LIMIT))
                if len(failed[key]) == limit
            ]
            assert await throttling.check(name, address, known=True) == max(full, default=None)
            if full:
                continue
            if outcome == "right":
                failed[name, address].clear()
                await throttling.succeeded(name, address)
            else:
                failed[name, address].append(time)
                failed[address,].append(time)
                await throttling.failed(name, address, known=True)
