"""What an upstream still gives: pulls that are left, when it must be left alone, and whether it is there at all."""

import random
import re
import time
from collections.abc import Callable, Mapping

from entrepot.proxy.ledger import Page

_COUNT = re.compile(r"\s*(\d{1,12})\s*(?:;\s*w=(\d{1,9}))?")
_WAIT = 30.0  # seconds that an upstream is left alone which says 429 and not for how long
_LEAST_WAIT = 1.0  # GHCR's Retry-After of 35 µs is not meant (protocol.md §4.5)
_FAILURES = 3  # in a row, after which an upstream is taken for down
_PROBE = 1.0  # seconds between two requests to one that is down


class Budget:
    """Pulls of one credential, as the upstream counts them; what one worker hears, all know."""

    def __init__(self, page: Page, clock: Callable[[], float] = time.monotonic) -> None:
        self._page = page
        self._clock = clock
        self._warned = False

    def heard(self, headers: Mapping[str, str]) -> None:
        """Read `ratelimit-limit`, `ratelimit-remaining` and `docker-ratelimit-source` (protocol.md §4.2)."""
        self._page.counted_for(headers.get("docker-ratelimit-source", "").strip())
        limit = _COUNT.match(headers.get("ratelimit-limit", ""))
        remaining = _COUNT.match(headers.get("ratelimit-remaining", ""))
        window = limit[2] if limit else None
        self._page.hear(
            int(limit[1]) if limit else None, int(remaining[1]) if remaining else None, int(window) if window else None
        )

    def exhausted(self, retry_after: float | None) -> None:
        """It has said 429: leave it alone for as long as it says, and a little longer, so that not all come at once."""
        wait = max(_LEAST_WAIT, _WAIT if retry_after is None else retry_after)
        self._page.leave_alone(self._clock() + wait * random.uniform(1.0, 1.1))  # noqa: S311 - jitter
        if self._page.limit is not None:
            self._page.hear(None, 0, None)

    @property
    def wait(self) -> float:
        """Seconds that the upstream must still be left alone."""
        return max(0.0, self._page.until - self._clock())

    @property
    def scarce(self) -> bool:
        """Whether what is left is for what is not stored here."""
        return bool(self.wait) or self._page.scarce

    def became_scarce(self) -> bool:
        """True once each time that it has become scarce, for whoever tells people."""
        before, self._warned = self._warned, self.scarce
        return self._warned and not before


class Breaker:
    """Opens when an upstream fails (transport, 5xx) several times in a row; then it is asked once a second, by
    whichever worker comes first."""

    def __init__(self, page: Page, clock: Callable[[], float] = time.monotonic) -> None:
        self._page = page
        self._clock = clock

    @property
    def open(self) -> bool:
        """Whether the upstream is taken for down."""
        return self._page.failures >= _FAILURES

    def lets_through(self) -> bool:
        """Whether the upstream may be asked now."""
        if not self.open:
            return True
        now = self._clock()
        if now - self._page.probed < _PROBE:
            return False
        self._page.fails(self._page.failures, now)
        return True

    def failed(self) -> None:
        """It did not answer, or by 5xx."""
        self._page.fails(self._page.failures + 1, self._clock())

    def worked(self) -> None:
        """It answered, whatever it said."""
        if self._page.failures:
            self._page.fails(0, 0.0)
