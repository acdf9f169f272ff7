"""Garbage collection that never stops the world (docs/lifecycle.md draws the states and says what is promised).

A collector only ever looks at what is loose or deleted, in small steps, each a transaction of its own that decides on
what it finds at that moment. Correctness rests on those transactions alone; the lease saves work.

Each phase ends when two clocks agree that it has: the database's, and the time that collectors have run, which never
passes faster than a monotonic clock. Something is sighted when a collector first sees it in a phase; a clock that
jumps shortens nothing.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple, Protocol
from uuid import uuid4

STEP = 50  # rows that one transaction changes: pulls and pushes come in between
_LONGEST_ROUND = 60.0  # seconds
_SHORTEST_ROUND = 0.2
_ROUNDS = 3  # that a lease lasts: a round may come a fifth late, and the next one too
_SHORTEST_LEASE = 60.0  # seconds
_RENEW = 20  # seconds

Rest = Callable[[float], Awaitable[None]]
"""Waits after so many seconds of work in the background, so that requests beside it hardly notice."""


class Ages(NamedTuple):
    """How long the phases are, in seconds (`lifecycle.*`)."""

    undo: float
    grace: float
    quarantine: float

    def of(self, phase: "Phase") -> float:
        """How long something stays before this phase's move."""
        match phase:
            case Phase.REPOSITORIES | Phase.MANIFESTS:
                return self.undo
            case Phase.LINKS:
                return self.grace + self.quarantine
            case Phase.LOOSE:
                return self.grace
            case Phase.QUARANTINED:
                return self.quarantine
            case Phase.REMOVING:
                return 0


def rhythm(ages: Ages) -> float:
    """Seconds between two rounds of a collector: a tenth of the shortest phase, at most a minute."""
    return max(_SHORTEST_ROUND, min(_LONGEST_ROUND, min(ages) / 10))


class Phase(Enum):
    """What a collector moves on, in this order; the values are how a report calls what was done."""

    REPOSITORIES = "deleted repositories emptied"
    MANIFESTS = "deleted manifests forgotten"
    LINKS = "links ended"
    LOOSE = "loose blobs quarantined"
    QUARANTINED = "quarantined blobs withdrawn"
    REMOVING = "blobs removed"


class Garbage(NamedTuple):
    """Something that a collection would end: `due` in microseconds since 1970 is when its last phase can end at the
    earliest."""

    digest: str
    state: str
    size: int
    since: int
    due: int
    reason: str


class Turn(NamedTuple):
    """The lease of a collector: how long collectors have run in all, in microseconds, and whether it is paused."""

    elapsed: int
    paused: bool


class GarbageRows(Protocol):
    """What a collector needs of the database. Ages and times are microseconds; each method is one transaction."""

    async def take_turn(self, owner: str, passed: int, lease: int) -> Turn | None:
        """Take or renew the lease; None while another collector has it.

        What has passed since this owner's last turn is added to the elapsed time, at most as much as by the database's
        clock.
        """
        ...

    async def elapsed(self) -> int:
        """How long collectors have run in all."""
        ...

    async def sight(self, phase: Phase, elapsed: int, limit: int) -> int:
        """Note that these were seen in their phase; returns how many were new."""
        ...

    async def move(self, phase: Phase, age: int, elapsed: int, limit: int) -> int:
        """Move on up to `limit` that have been sighted, and in their phase, for this long; returns how many."""
        ...

    async def garbage(self, ages: tuple[int, int, int], after: str, limit: int) -> list[Garbage]:
        """What is deleted, is named only by what is, or is loose, by digest; more than `limit` only of the last one."""
        ...

    async def set_paused(self, paused: bool) -> bool:
        """Stop all collectors from now on, or let them go on; whether that changed anything."""
        ...


@dataclass
class Collected:
    """What a collection has done."""

    counts: dict[Phase, int] = field(default_factory=dict)

    def add(self, phase: Phase, count: int) -> None:
        """One step more."""
        if count:
            self.counts[phase] = self.counts.get(phase, 0) + count

    @property
    def total(self) -> int:
        """How many moves."""
        return sum(self.counts.values())


class Collector:
    """Collects in small steps."""

    def __init__(
        self, rows: GarbageRows, ages: Ages, clock: Callable[[], float] = time.monotonic, rest: Rest | None = None
    ) -> None:
        """`clock`: monotonic, in seconds; `rest`: between the steps of the job.

        The lease outlasts the pause between two rounds: when another collector takes over, the time since the last turn
        is counted by nobody.
        """
        self._rows = rows
        self._ages = ages
        self._lease = _us(max(_SHORTEST_LEASE, _ROUNDS * rhythm(ages)))
        self._clock = clock
        self._rest = rest
        self._owner = uuid4().hex
        self._last: float | None = None

    async def run(self) -> Collected:
        """As a job: only while it has the lease and nobody has paused it."""
        collected = Collected()
        turn = await self._take_turn()
        if turn is None:
            return collected
        began = renewed = self._clock()
        async for phase, count in self.steps(turn.elapsed):
            collected.add(phase, count)
            if self._rest is not None:
                await self._rest(self._clock() - began)
            began = self._clock()
            if began - renewed > _RENEW:
                renewed = began
                if await self._take_turn() is None:
                    break
        return collected

    async def _take_turn(self) -> Turn | None:
        now = self._clock()
        passed = 0 if self._last is None else now - self._last
        turn = await self._rows.take_turn(self._owner, _us(passed), self._lease)
        self._last = None if turn is None else now
        return None if turn is None or turn.paused else turn

    async def collect(self) -> Collected:
        """Everything that is due now, whoever has the lease: several at once do no harm."""
        collected = Collected()
        async for phase, count in self.steps():
            collected.add(phase, count)
        return collected

    async def steps(self, elapsed: int | None = None) -> AsyncIterator[tuple[Phase, int]]:
        """The same, step by step: after each it can be left."""
        at = await self._rows.elapsed() if elapsed is None else elapsed
        for phase in Phase:
            if phase is not Phase.REMOVING:
                while await self._rows.sight(phase, at, STEP) == STEP:
                    yield phase, 0
            while True:
                count = await self._rows.move(phase, _us(self._ages.of(phase)), at, STEP)
                yield phase, count
                if count < STEP:
                    break

    async def garbage(self) -> AsyncIterator[Garbage]:
        """What is on its way out, and why; changes nothing."""
        after = ""
        ages = (_us(self._ages.undo), _us(self._ages.grace), _us(self._ages.quarantine))
        while found := await self._rows.garbage(ages, after, 500):
            for each in found:
                yield each
            after = found[-1].digest

    async def set_paused(self, paused: bool) -> bool:
        """Pause every collector of this database, or let them go on."""
        return await self._rows.set_paused(paused)


def _us(seconds: float) -> int:
    return int(seconds * 1_000_000)
