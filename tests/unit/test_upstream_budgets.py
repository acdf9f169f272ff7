"""What is known of an upstream's budget, and whether it is there, by clocks that the test sets."""

from typing import cast

import pytest

from entrepot.client.answers import retry_after
from entrepot.client.errors import (
    RemoteCrowded,
    RemoteDenied,
    RemoteError,
    RemoteFailed,
    RemoteSilent,
    RemoteUnusable,
)
from entrepot.client.remote import Listing
from entrepot.proxy.budget import Breaker, Budget
from entrepot.proxy.ledger import Ledger, Page
from entrepot.proxy.ports import Registry
from entrepot.proxy.sources import Source
from entrepot.proxy.upstream import Upstream

WINDOW = 21600


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger() -> Ledger:
    return Ledger([("hub.example", "team-a"), ("hub.example", "")], 2)


@pytest.fixture
def page(ledger: Ledger, monkeypatch: pytest.MonkeyPatch, clock: Clock) -> Page:
    monkeypatch.setattr("time.time", clock)
    return ledger.page("hub.example", "")


def said(left: int) -> dict[str, str]:
    return {"ratelimit-limit": f"200;w={WINDOW}", "ratelimit-remaining": f"{left};w={WINDOW}"}


def test_a_budget_is_a_credentials_own_and_all_workers_know_it(ledger: Ledger, clock: Clock) -> None:
    Budget(ledger.page("hub.example", "team-a"), clock).heard(said(37))
    ledger.use(1)
    known = ledger.page("hub.example", "team-a")
    assert (known.limit, known.remaining, known.window) == (200, 37, WINDOW)
    assert ledger.page("hub.example", "").remaining is None


def test_whom_pulls_are_counted_for_is_what_was_said_last_if_it_can_be_that(ledger: Ledger, clock: Clock) -> None:
    budget, found = Budget(ledger.page("hub.example", ""), clock), []
    for source in ("192.0.2.1", "f47ac10b-58cc-4372-a567-0e02b2c3d479", "", "x" * 65, "é", "a\0b", "192.0.2.77"):
        budget.heard({"docker-ratelimit-source": source})
        found.append(ledger.page("hub.example", "").source)
    account = "f47ac10b-58cc-4372-a567-0e02b2c3d479"
    assert found == ["192.0.2.1", *[account] * 5, "192.0.2.77"]


def test_what_is_left_is_scarce_below_a_tenth(page: Page, clock: Clock) -> None:
    budget = Budget(page, clock)
    assert not budget.scarce, "nothing is known"
    budget.heard(said(21))
    assert not budget.scarce
    assert not budget.became_scarce()
    budget.heard(said(20))
    assert [budget.became_scarce() for _ in range(3)] == [True, False, False], "it is told once"
    budget.heard(said(190))
    assert not budget.became_scarce()
    budget.heard(said(1))
    assert budget.became_scarce(), "and again"


def test_the_next_pull_comes_back_a_window_after_the_first_that_was_spent(page: Page, clock: Clock) -> None:
    budget, first = Budget(page, lambda: 0.0), clock.now
    found = []
    for seconds, left in ((0, 200), (0, 199), (60, 199), (0, 198), (WINDOW - 60, 199), (60, 200)):
        clock.now += seconds
        budget.heard(said(left))
        found.append(page.next_at)
    assert found == [None, *[first + WINDOW] * 3, first + 60 + WINDOW, None]


@pytest.mark.parametrize(
    ("said", "least", "most"),
    [(None, 30, 33), (35e-6, 1, 1.1), (0, 1, 1.1), (120, 120, 132), (6 * 3600, 21600, 23760)],
)
def test_one_who_has_had_enough_is_left_alone_a_little_longer_than_he_says(
    page: Page, clock: Clock, said: float | None, least: float, most: float
) -> None:
    budget = Budget(page, clock)
    waits = set()
    for _ in range(20):
        budget.exhausted(said)
        waits.add(budget.wait)
    assert all(least <= wait <= most for wait in waits)
    assert len(waits) > 1, "so that not all come back at once"
    assert budget.scarce
    clock.now += most
    assert not budget.wait


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        (None, None),
        ("12", 12),
        ("35µs", 35e-6),
        ("1.5s", 1.5),
        ("20ms", 0.02),
        ("99999999", 6 * 3600),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("soon", None),
        ("-3", None),
    ],
)
def test_a_wait_is_read_whatever_way_it_is_written(written: str | None, seconds: float | None) -> None:
    assert retry_after(written) == seconds


def test_the_breaker_opens_after_three_failures_in_a_row_and_lets_one_through_a_second(
    ledger: Ledger, clock: Clock
) -> None:
    breaker = Breaker(ledger.page("hub.example", ""), clock)
    for _ in range(2):
        breaker.failed()
        breaker.failed()
        assert breaker.lets_through()
        breaker.worked()
    for _ in range(3):
        breaker.failed()
    ledger.use(1)
    other = Breaker(ledger.page("hub.example", ""), clock)
    assert other.open, "every worker knows"
    assert not other.lets_through()
    clock.now += 1
    assert [breaker.lets_through(), other.lets_through(), breaker.lets_through()] == [True, False, False]
    other.failed()
    clock.now += 0.9
    assert not breaker.lets_through()
    clock.now += 0.2
    assert breaker.lets_through()
    breaker.worked()
    assert [other.lets_through() for _ in range(3)] == [True] * 3


class Failing:
    """The port Registry: every list fails in the way that is set."""

    def __init__(self) -> None:
        self.error: RemoteError = RemoteSilent("it does not answer")

    async def listing(self, repository: str, path: str) -> Listing:
        """See the port."""
        raise self.error


def a_source(registry: Failing, page: Page, clock: Clock) -> Source:
    upstream = Upstream("hub.example", "https://hub.example")
    return Source(upstream, 0, lambda *_: cast(Registry, registry), page, page, clock)


@pytest.mark.parametrize(
    ("error", "opens"),
    [
        (RemoteFailed("it says 503"), True),
        (RemoteSilent("it does not answer"), True),
        (RemoteUnusable("it says 400"), False),
        (RemoteDenied("it says 403", forbidden=True), False),
        (RemoteCrowded("too many requests to it are under way here"), False),
    ],
    ids=lambda each: type(each).__name__,
)
async def test_the_breaker_opens_for_what_the_upstream_does_not_answer_and_for_nothing_else(
    page: Page, clock: Clock, error: RemoteError, opens: bool
) -> None:
    registry = Failing()
    source = a_source(registry, page, clock)
    registry.error = error
    for _ in range(3):
        with pytest.raises(type(error)):
            await source.listing("library/app", "tags/list")
    assert source.breaker.open is opens


async def test_a_crowd_here_does_not_close_the_breaker(page: Page, clock: Clock) -> None:
    registry = Failing()
    source = a_source(registry, page, clock)
    for _ in range(3):
        with pytest.raises(RemoteSilent):
            await source.listing("library/app", "tags/list")
    clock.now += 2
    registry.error = RemoteCrowded("too many requests to it are under way here")
    with pytest.raises(RemoteCrowded):
        await source.listing("library/app", "tags/list")
    assert source.breaker.open
