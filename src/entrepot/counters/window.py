"""A moving window as a ring of buckets: when a pull is forgotten, and when the next one is free.

A window of W seconds has 60 buckets of W/60 seconds. What was counted in a bucket is forgotten when the bucket has left
the window, which is between 59/60 W and W after it.
"""

import math

from entrepot.access.pulls import PullLimit, Spent

BUCKETS = 60
Ring = memoryview | list[int]
"""A count for each bucket, at the place of its index modulo BUCKETS."""


def bucket_at(now: float, window: int) -> int:
    """The index of the bucket of a time; `now` in seconds since 1970, `window` in seconds."""
    return int(now * BUCKETS / window)


def bounds(index: int, window: int) -> tuple[float, float]:
    """The first time of a bucket, and the first that is no longer in it; in seconds since 1970."""
    return index * window / BUCKETS, (index + 1) * window / BUCKETS


def advance(ring: Ring, newest: int, index: int) -> None:
    """Empty the buckets that lie between the newest one that was counted in and `index`, and so have left the window.

    A clock that went back is believed: what was counted is then as old as it was when it was last looked at, so that
    nothing is given back early and nobody waits for longer than one window.
    """
    if index - newest >= BUCKETS:
        for place in range(BUCKETS):
            ring[place] = 0
    elif index > newest:
        for passed in range(newest + 1, index + 1):
            ring[passed % BUCKETS] = 0
    elif index < newest:
        before = list(ring)
        for age in range(BUCKETS):
            ring[(index - age) % BUCKETS] = before[(newest - age) % BUCKETS]


def refused(ring: Ring, newest: int, now: float, limit: PullLimit) -> Spent:
    """Nothing is left, and when something is: as soon as enough of the oldest buckets have left the window."""
    over = sum(ring) - limit.limit  # more than 0 for a limit that was lowered
    for age in range(BUCKETS - 1, -1, -1):
        over -= ring[(newest - age) % BUCKETS]
        if over < 0:
            free = (newest - age + BUCKETS) * limit.window / BUCKETS
            return Spent(False, 0, max(1, math.ceil(free - now)))
    return Spent(False, 0, limit.window)
