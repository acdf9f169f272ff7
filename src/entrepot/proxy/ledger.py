"""What a node's workers know together about each credential at an upstream: its budget, what was asked for, and what
was not.

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
    """GETs of manifests that were answered from what is stored, as it was fresh or had not moved."""
    SAVED_BYTES = 5
    """Bytes of blobs that were answered from what is stored."""
    STALE = 6
    """Manifests that were answered although the upstream could not be asked."""
    DENIED = 7
    """Manifests that were answered although the upstream refuses them by now (`stale_if_denied`)."""
    FROM_NODES = 8
    """Blobs that were read from another node while it fetched them."""


class _Cell(IntEnum):
    LIMIT = 0
    REMAINING = 1
    WINDOW = 2
    UNTIL = 3
    FAILURES = 4
    PROBED = 5
    SPENT = 6


_UNKNOWN = -1.0
_RESERVE = 0.1  # of the limit: what is left below that is for what is not here yet
_SOURCE = 8  # cells, for up to 64 ASCII characters: an address, or an account's id
_SPENT = 64  # times at which pulls were spent that are kept: of more, the first to come back is not known


class Page:
    """What is known of one credential at an upstream, as one worker writes it."""

    def __init__(
        self,
        cells: "memoryview[float]",
        spent: "memoryview[float]",
        source: "memoryview[float]",
        rows: "Sequence[memoryview[float]]",
        worker: int,
    ) -> None:
        self._cells = cells
        self._spent = spent
        self._source = source.cast("B")
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

    @property
    def scarce(self) -> bool:
        """Whether so little is left that it is for what is not stored here."""
        limit, remaining = self.limit, self.remaining
        return limit is not None and remaining is not None and remaining <= limit * _RESERVE

    @property
    def next_at(self) -> float | None:
        """When the next pull comes back, in seconds since 1970: the window is a moving one. As far as it is known: by
        what was seen to be spent, the last 64 times; None when nothing was."""
        window, now = self.window, time.time()
        ends = [spent + window for spent in self._spent if spent + window > now] if window is not None else []
        return min(ends, default=None)

    @property
    def failures(self) -> int:
        """Failures of the upstream in a row."""
        return int(self._cells[_Cell.FAILURES])

    @property
    def probed(self) -> float:
        """The monotonic time of the last request to an upstream that fails."""
        return float(self._cells[_Cell.PROBED])

    def fails(self, failures: int, probed: float) -> None:
        """The failures in a row, and when it was asked last."""
        self._cells[_Cell.FAILURES], self._cells[_Cell.PROBED] = failures, probed

    def hear(self, limit: int | None, remaining: int | None, window: int | None) -> None:
        """What an answer has said of the budget; None for what it has not."""
        before = self.limit if self.remaining is None else self.remaining
        before = limit if before is None else before
        if remaining is not None and before is not None and remaining < before:
            place = int(self._cells[_Cell.SPENT])
            self._spent[place % _SPENT] = time.time()
            self._cells[_Cell.SPENT] = place + 1
        for cell, value in ((_Cell.LIMIT, limit), (_Cell.REMAINING, remaining), (_Cell.WINDOW, window)):
            if value is not None:
                self._cells[cell] = value

    @property
    def source(self) -> str:
        """Whom the upstream counts these pulls for, as it has said last; empty while it has not."""
        return bytes(self._source).rstrip(b"\0").decode("ascii", "replace")

    def counted_for(self, source: str) -> None:
        """An answer has said this; what is no address and no id is not kept."""
        if 0 < len(source) <= len(self._source) and source.isascii() and source.isprintable():
            self._source[:] = source.encode().ljust(len(self._source), b"\0")

    def leave_alone(self, until: float) -> None:
        """Until this monotonic time."""
        self._cells[_Cell.UNTIL] = until


class Ledger:
    """The pages of all credentials of all upstreams."""

    def __init__(self, names: Sequence[tuple[str, str]], workers: int) -> None:
        """`names`: of each upstream its alias and the name of each credential."""
        self._names = list(names)
        self._workers = workers
        self.worker = 0
        size = len(_Cell) + _SPENT + _SOURCE + workers * len(Count)
        self._map = mmap.mmap(-1, max(1, len(self._names)) * size * 8)
        everything = memoryview(self._map).cast("d")
        self._parts = {name: everything[at * size : (at + 1) * size] for at, name in enumerate(self._names)}
        for part in self._parts.values():
            part[_Cell.LIMIT] = part[_Cell.REMAINING] = part[_Cell.WINDOW] = _UNKNOWN

    def use(self, worker: int) -> None:
        """Count for this worker from now on."""
        self.worker = worker

    def page(self, alias: str, credential: str) -> Page:
        """The page of a credential."""
        part = self._parts[alias, credential]
        cells, rest = part[: len(_Cell)], part[len(_Cell) :]
        spent, source, counts = rest[:_SPENT], rest[_SPENT:][:_SOURCE], rest[_SPENT + _SOURCE :]
        rows = [counts[at * len(Count) :][: len(Count)] for at in range(self._workers)]
        return Page(cells, spent, source, rows, self.worker)

    def state(self) -> list["State"]:
        """Every credential as it stands now."""
        now = time.monotonic()
        found = []
        for alias, credential in self._names:
            page = self.page(alias, credential)
            wait, counts = max(0.0, page.until - now), {what: page.total(what) for what in Count}
            budget = (page.limit, page.remaining, page.window, page.next_at)
            found.append(State(alias, credential, page.source, *budget, wait, page.scarce or wait > 0, counts))
        return found


class State(NamedTuple):
    """A credential at an upstream: whom its pulls are counted for, its budget, when a pull comes back (seconds since
    1970), the seconds that it is left alone, whether what is left is kept for what is not stored, and the counts."""

    alias: str
    credential: str
    source: str
    limit: int | None
    remaining: int | None
    window: int | None
    next_at: float | None
    wait: float
    scarce: bool
    counts: dict[Count, float]


def _whole(value: float) -> int | None:
    return None if value < 0 else int(value)
