"""Pulls counted in one memory-mapped file, shared by the workers of a node; a restart finds everything as it was.

A lock of a file beside it is held around each look and change: microseconds, and the kernel lets it go when its holder
is killed.
"""

import mmap
import os
import time
from collections.abc import Callable
from fcntl import LOCK_EX, LOCK_UN, flock
from hashlib import blake2b
from pathlib import Path

import structlog

from entrepot.access.pulls import PullLimit, Spent
from entrepot.counters.table import HASH, MAGIC, Full, Table, is_size, size_of
from entrepot.counters.window import bucket_at, refused

_REMEMBERED = 10_000  # places that a worker remembers
_FIRST = 4096  # slots of a new file: a megabyte
_log = structlog.get_logger()


class MappedCounter:
    """The port PullCounter. Its coroutines never wait, so that the fast door may use it."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time, slots: int = _FIRST) -> None:
        """`path` of the file, made when it is not there; `clock` gives seconds since 1970."""
        self._path = path
        self._clock = clock
        self._first = slots
        self._lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._places: dict[tuple[str, int], tuple[int, bytes]] = {}
        flock(self._lock, LOCK_EX)
        try:
            self._table = self._opened()
        finally:
            flock(self._lock, LOCK_UN)

    async def spend(self, subject: str, limit: PullLimit) -> Spent:
        """See the port."""
        now = self._clock()
        index = bucket_at(now, limit.window)
        flock(self._lock, LOCK_EX)
        try:
            place = self._place(subject, limit)
            if place is None:
                place = self._taken(subject, limit, index, now)
            used = self._table.used(place, index)
            if used >= limit.limit:
                return refused(self._table.ring(place), index, now, limit)
            self._table.count(place, index)
            return Spent(True, limit.limit - used - 1, 0)
        finally:
            flock(self._lock, LOCK_UN)

    async def look(self, subject: str, limit: PullLimit) -> Spent:
        """See the port."""
        now = self._clock()
        index = bucket_at(now, limit.window)
        flock(self._lock, LOCK_EX)
        try:
            place = self._place(subject, limit)
            used = 0 if place is None else self._table.used(place, index)
            if place is None or used < limit.limit:
                return Spent(True, limit.limit - used, 0)
            return refused(self._table.ring(place), index, now, limit)
        finally:
            flock(self._lock, LOCK_UN)

    def close(self) -> None:
        """Let go of the file."""
        self._table.close()
        os.close(self._lock)

    def _place(self, subject: str, limit: PullLimit) -> int | None:
        """Where a subject is; the lock is held. Where it was the last time, it mostly is still."""
        if self._table.moved:
            self._table.close()
            self._table = self._opened()
        known = self._places.get((subject, limit.window))
        if known is not None and self._table.is_at(*known):
            return known[0]
        key = _key(subject, limit)
        place = self._table.find(key)
        if place is not None:
            if len(self._places) >= _REMEMBERED:
                self._places.clear()
            self._places[subject, limit.window] = place, key
        return place

    def _taken(self, subject: str, limit: PullLimit, index: int, now: float) -> int:
        while True:
            try:
                return self._table.take(_key(subject, limit), limit.window, index, now)
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


def _key(subject: str, limit: PullLimit) -> bytes:
    """A hash of a subject and its window: with another window it is counted anew."""
    return blake2b(f"{subject} {limit.window}".encode(), digest_size=HASH).digest()


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
