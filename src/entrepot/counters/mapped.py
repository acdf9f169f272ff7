"""Pulls counted in one memory-mapped file, shared by the workers of a node; a restart finds everything as it was.

A lock of a file beside it is held around each look and change: microseconds, and the kernel lets it go when its holder
is killed. For a subject that has thousands left a worker takes a few pulls ahead, so that it needs the lock seldom;
what nobody asks for within a second or two it gives back. With fewer left each pull is counted by itself: a limit is
never passed, and what a kill takes along is at most a few of thousands.
"""

import mmap
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from fcntl import LOCK_EX, LOCK_UN, flock
from hashlib import blake2b
from pathlib import Path

import structlog

from entrepot.access.pulls import PullLimit, Spent
from entrepot.counters.table import HASH, MAGIC, Full, Table, is_size, size_of
from entrepot.counters.window import bounds, bucket_at, refused

_REMEMBERED = 10_000  # places that a worker remembers
_LEASE = 32  # pulls that are taken ahead
_PLENTY = 4096  # pulls that must be left for that
_FIRST = 4096  # slots of a new file: a megabyte
_log = structlog.get_logger()


@dataclass(slots=True)
class _Lease:
    """Pulls that were counted ahead, in the bucket `index` of a limit, which is the one of the times from `since` to
    before `until`; `remaining` is what is left with them."""

    limit: PullLimit
    index: int
    since: float
    until: float
    left: int
    remaining: int
    idle: bool = False


class MappedCounter:
    """The port PullCounter. Its coroutines never wait, so that the fast door may use it."""

    waits = False

    def __init__(self, path: Path, clock: Callable[[], float] = time.time, slots: int = _FIRST) -> None:
        """`path` of the file, made when it is not there; `clock` gives seconds since 1970."""
        self._path = path
        self._clock = clock
        self._first = slots
        self._lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._places: dict[tuple[str, int], tuple[int, bytes]] = {}
        self._leases: dict[str, _Lease] = {}
        flock(self._lock, LOCK_EX)
        try:
            self._table = self._opened()
        finally:
            flock(self._lock, LOCK_UN)

    def spend_ahead(self, subject: str, limit: PullLimit) -> int | None:
        """See the port."""
        lease = self._leases.get(subject)
        if lease is None or not lease.left or not lease.since <= self._clock() < lease.until:
            return None
        if lease.limit is not limit and lease.limit != limit:
            return None
        lease.left -= 1
        lease.remaining -= 1
        lease.idle = False
        return lease.remaining

    async def spend(self, subject: str, limit: PullLimit) -> Spent:
        """See the port."""
        ahead = self.spend_ahead(subject, limit)
        if ahead is not None:
            return Spent(True, ahead, 0)
        if subject in self._leases:
            self._end_lease(subject)
        now = self._clock()
        index = bucket_at(now, limit.window)
        flock(self._lock, LOCK_EX)
        try:
            place = self._place(subject, limit.window)
            if place is None:
                place = self._taken(subject, limit, index, now)
            used = self._table.used(place, index)
            if used >= limit.limit:
                return refused(self._table.ring(place), index, now, limit)
            remaining = limit.limit - used
            taken = _LEASE if remaining >= _PLENTY else 1
            self._table.count(place, index, taken)
        finally:
            flock(self._lock, LOCK_UN)
        if taken > 1:
            since, until = bounds(index, limit.window)
            self._leases[subject] = _Lease(limit, index, since, until, taken - 1, remaining - 1)
        return Spent(True, remaining - 1, 0)

    async def look(self, subject: str, limit: PullLimit) -> Spent:
        """See the port."""
        now = self._clock()
        index = bucket_at(now, limit.window)
        lease = self._leases.get(subject)
        flock(self._lock, LOCK_EX)
        try:
            place = self._place(subject, limit.window)
            used = 0 if place is None else self._table.used(place, index)
            if lease is not None and lease.limit.window == limit.window and lease.index == index:
                used -= lease.left
            if place is None or used < limit.limit:
                return Spent(True, limit.limit - used, 0)
            return refused(self._table.ring(place), index, now, limit)
        finally:
            flock(self._lock, LOCK_UN)

    async def give_back(self) -> int:
        """Give back what was taken ahead and not asked for since the last call; returns how many subjects' that was."""
        idle = [subject for subject, lease in self._leases.items() if lease.idle]
        for subject in idle:
            self._end_lease(subject)
        for lease in self._leases.values():
            lease.idle = True
        return len(idle)

    def close(self) -> None:
        """Give back what was taken ahead, and let go of the file."""
        for subject in list(self._leases):
            self._end_lease(subject)
        self._table.close()
        os.close(self._lock)

    def _end_lease(self, subject: str) -> None:
        lease = self._leases.pop(subject)
        if not lease.left:
            return
        flock(self._lock, LOCK_EX)
        try:
            place = self._place(subject, lease.limit.window)
            if place is not None:
                self._table.give_back(place, lease.index, lease.left)
        finally:
            flock(self._lock, LOCK_UN)

    def _place(self, subject: str, window: int) -> int | None:
        """Where a subject is; the lock is held. Where it was the last time, it mostly is still."""
        if self._table.moved:
            self._table.close()
            self._table = self._opened()
        known = self._places.get((subject, window))
        if known is not None and self._table.is_at(*known):
            return known[0]
        key = _key(subject, window)
        place = self._table.find(key)
        if place is not None:
            if len(self._places) >= _REMEMBERED:
                self._places.clear()
            self._places[subject, window] = place, key
        return place

    def _taken(self, subject: str, limit: PullLimit, index: int, now: float) -> int:
        while True:
            try:
                return self._table.take(_key(subject, limit.window), limit.window, index, now)
            except Full:
                self._grow(now)

    def _opened(self) -> Table:
        """The table of the file that stands at the path."""
        if not _is_a_table(self._path):
            if self._path.exists():
                _log.warning("the file of pull counts is damaged, counting starts anew", path=str(self._path))
            fresh = self._path.with_suffix(".new")
            _made(fresh, self._first).close()
            os.replace(fresh, self._path)
        table = _mapped(self._path)
        table.moved = False  # else whoever was about to replace it was killed before
        return table

    def _grow(self, now: float) -> None:
        """Move what still counts to a larger file. Who has the old one mapped sees in it that it was replaced."""
        slots, old = self._table.slots * 2, self._table
        self._places.clear()
        fresh = self._path.with_suffix(".new")
        while True:
            table = _made(fresh, slots)
            try:
                for slot in old.living(now):
                    table.put(slot)
                break
            except Full:
                table.close()
                slots *= 2
        old.moved = True
        os.replace(fresh, self._path)
        self._table = table
        old.close()


def _key(subject: str, window: int) -> bytes:
    """A hash of a subject and its window: with another window it is counted anew."""
    return blake2b(f"{subject} {window}".encode(), digest_size=HASH).digest()


def _is_a_table(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return is_size(os.fstat(file.fileno()).st_size) and file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def _made(path: Path, slots: int) -> Table:
    """A new table. All its bytes are on the disk: writing into a hole of a map, on a full disk, would kill a worker."""
    with path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, size_of(slots))
        file.write(MAGIC)
    return _mapped(path)


def _mapped(path: Path) -> Table:
    with path.open("r+b") as file:
        return Table(mmap.mmap(file.fileno(), 0))
