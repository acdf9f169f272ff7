"""What is measured: a row of the table is one kind of load, what it yields, and the bounds it is held against."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from bench.content import GIB, MIB, Block
from bench.servers import Seed, Server

Measure = Literal["rate", "p99", "cpu", "pss"]


@dataclass(frozen=True)
class Measurement:
    """One reading: rate in the row's unit, p99 in s, CPU in s an operation, PSS in bytes; NaN = not read."""

    rate: float = math.nan
    p99: float = math.nan
    cpu: float = math.nan
    pss: float = math.nan


@dataclass(frozen=True)
class Target:
    """A bound on Entrepot's measure: on its ratio to a peer's, or, without a peer, on its own value."""

    measure: Measure
    bound: float
    peer: type[Server] | None = None

    @property
    def at_least(self) -> bool:
        """A rate must reach the bound; time and memory must stay under it."""
        return self.measure == "rate"

    def reached(self, value: float) -> bool:
        return value >= self.bound if self.at_least else value < self.bound


@dataclass(frozen=True)
class Scale:
    """How much load a row makes."""

    seconds: float = 2.0
    transfers: int = 3
    images: int = 1000
    parallel_size: int = GIB
    manifests: int = 100_000
    accounts: int = 1_000_000


QUICK = Scale(seconds=1.0, transfers=1, images=200, parallel_size=128 * MIB, manifests=10_000, accounts=20_000)


@dataclass(frozen=True)
class Load:
    """What the rows of one run share."""

    seed: Seed
    block: Block
    scale: Scale


@dataclass(frozen=True)
class Row:
    """`alone` rows are measured once, on a server of their own without a past; the others once a round, in turn."""

    key: str
    title: str
    unit: str
    measure: Callable[[Server, Load], Measurement]
    servers: tuple[type[Server], ...]
    targets: tuple[Target, ...] = ()
    alone: bool = False
    ours: type[Server] | None = None
    """Which server the targets are for, when it is not Entrepot as `make serve` starts it."""


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of the values do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
