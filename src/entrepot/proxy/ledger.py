"""What a node's workers know together about each upstream: its budget, and what was asked for and what was not.

One anonymous memory map, made before the workers are forked. Counts are each worker's own and summed when they are
read; the budget is whatever was heard last, by whichever worker.
"""

import mmap
import time
from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple


class Count(IntEnum):
    """What is counted."""

    LOOKS = 0
    """HEADs of tags."""
    PULLS = 1
    """GETs of manifests, which upstreams count."""
    BLOBS = 2
    """GETs of blobs."""
    FAILURES = 3
    """Answers that did not come, or by 5xx."""
    SAVED_PULLS = 4
    """Manifests that were answered from what is stored."""
    SAVED_BYTES = 5
    """Bytes of blobs that were answered from what is stored."""
    STALE = 6
    """Manifests that were answered although the upstream could not be asked."""


class _Cell(IntEnum):
    LIMIT = 0
    REMAINING = 1
    WINDOW = 2
    UNTIL = 3


_UNKNOWN = -1.0


class Page:
    """One upstream's part of the ledger, as one worker writes it."""

    def __init__(self, cells: "memoryview[float]", rows: "Sequence[memoryview[float]]", worker: int) -> None:
        self._cells = cells
        self._rows = rows
        self._row = rows[worker]

    def add(self, what: Count, more: float = 1) -> None:
        """Count."""
        self._row[what] += more

    def total(self, what: Count) -> float:
        """The count of all workers of this node."""
        return float(sum(row[what] for row in self._rows))

    @property
    def limit(self) -> int | None:
        """Pulls that the upstream allows in its window; None while it has not said."""
        return _whole(self._cells[_Cell.LIMIT])

    @property
    def remaining(self) -> int | None:
        """Pulls that are left, as it has said last."""
        return _whole(self._cells[_Cell.REMAINING])

    @property
    def window(self) -> int | None:
        """The window in seconds."""
        return _whole(self._cells[_Cell.WINDOW])

    @property
    def until(self) -> float:
        """The monotonic time before which the upstream is left alone."""
        return float(self._cells[_Cell.UNTIL])

    def hear(self, limit: int | None, remaining: int | None, window: int | None) -> None:
        """What an answer has said of the budget; None for what it has not."""
        for cell, value in ((_Cell.LIMIT, limit), (_Cell.REMAINING, remaining), (_Cell.WINDOW, window)):
            if value is not None:
                self._cells[cell] = value

    def leave_alone(self, until: float) -> None:
        """Until this monotonic time."""
        self._cells[_Cell.UNTIL] = until


class Ledger:
    """The pages of all upstreams."""

    def __init__(self, aliases: Sequence[str], workers: int) -> None:
        self._aliases = list(aliases)
        self._workers = workers
        self._worker = 0
        size = len(_Cell) + workers * len(Count)
        self._map = mmap.mmap(-1, max(1, len(self._aliases)) * size * 8)
        everything = memoryview(self._map).cast("d")
        self._parts = {alias: everything[at * size : (at + 1) * size] for at, alias in enumerate(self._aliases)}
        for part in self._parts.values():
            part[_Cell.LIMIT] = part[_Cell.REMAINING] = part[_Cell.WINDOW] = _UNKNOWN

    def use(self, worker: int) -> None:
        """Count for this worker from now on."""
        self._worker = worker

    def page(self, alias: str) -> Page:
        """The page of an upstream."""
        part = self._parts[alias]
        rows = [part[len(_Cell) + at * len(Count) :][: len(Count)] for at in range(self._workers)]
        return Page(part[: len(_Cell)], rows, self._worker)

    def state(self) -> list["State"]:
        """Every upstream as it stands now."""
        pages = [(alias, self.page(alias)) for alias in self._aliases]
        now = time.monotonic()
        return [
            State(
                alias,
                page.limit,
                page.remaining,
                page.window,
                max(0.0, page.until - now),
                {what: page.total(what) for what in Count},
            )
            for alias, page in pages
        ]


class State(NamedTuple):
    """An upstream: its budget, the seconds that it is left alone, and the counts."""

    alias: str
    limit: int | None
    remaining: int | None
    window: int | None
    wait: float
    counts: dict[Count, float]


def _whole(value: float) -> int | None:
    return None if value < 0 else int(value)
