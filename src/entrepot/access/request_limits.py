"""Limits on requests of any kind, against abuse: so many a minute, of an address or an account.

Each worker counts for itself, in memory, and approximately: the minute before counts by the share of it that lies in
the last sixty seconds. These are not pull limits, which are exact and have headers of their own.
"""

import math
import time
from collections.abc import Callable
from typing import NamedTuple

from entrepot.access.throttling import subject_address

WINDOW = 60
"""Seconds."""

_MOST = 100_000  # subjects that are counted at once; then all are forgotten


class TooMany(NamedTuple):
    """A request over the limit, and in how many seconds there is room again."""

    limit: int
    seconds: int

    @property
    def message(self) -> str:
        """A sentence for people."""
        return f"more than {self.limit} requests a minute: go on in {self.seconds} seconds"

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """As Docker Hub's API has them (protocol.md §4.4)."""
        return [
            (b"x-ratelimit-limit", b"%d" % self.limit),
            (b"x-ratelimit-remaining", b"0"),
            (b"x-ratelimit-reset", b"%d" % self.seconds),
            (b"retry-after", b"%d" % self.seconds),
        ]


class RequestLimits:
    """Counts requests; None for a limit counts nothing."""

    def __init__(self, address: int | None, account: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        """Requests a minute; `clock` counts seconds and never goes back."""
        self._address = address
        self._account = account
        self._clock = clock
        self._counts: dict[str, tuple[int, int, int]] = {}  # minute, requests in it, requests in the one before

    @property
    def any(self) -> bool:
        """Whether anything is limited."""
        return self._address is not None or self._account is not None

    def of_address(self, address: str) -> TooMany | None:
        """Count a request from an address; of IPv6, its /64."""
        return None if self._address is None else self._count(f"address:{subject_address(address)}", self._address)

    def of_account(self, account_id: int | None) -> TooMany | None:
        """Count a request of an account; nobody in particular is not limited by this."""
        if self._account is None or account_id is None:
            return None
        return self._count(f"account:{account_id}", self._account)

    def _count(self, subject: str, limit: int) -> TooMany | None:
        now = self._clock()
        minute = int(now // WINDOW)
        last, current, before = self._counts.get(subject, (minute, 0, 0))
        if last != minute:
            current, before = 0, current if last == minute - 1 else 0
        passed = now % WINDOW
        if before * (1 - passed / WINDOW) + current >= limit:
            self._counts[subject] = (minute, current, before)
            return TooMany(limit, max(1, math.ceil(WINDOW - passed)))
        if len(self._counts) >= _MOST and subject not in self._counts:
            self._counts.clear()
        self._counts[subject] = (minute, current + 1, before)
        return None
