"""The one table: medians and spread of every row and server, ratios round by round, targets beside them."""

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence

from bench.content import MIB
from bench.entrepot import Entrepot
from bench.rows import Measure, Measurement, Row, Target
from bench.servers import Server

Results = Mapping[tuple[str, type[Server]], Sequence[Measurement]]
"""The readings of each row's key and server, one a round, in the order of the rounds."""

_HEADINGS = ("row", "server", "rate", "p99", "CPU/op", "PSS", "entrepot's rate ÷ its", "p99 ÷ its", "target")
_NAMES: Mapping[Measure, str] = {"rate": "rate", "p99": "p99", "cpu": "CPU", "pss": "PSS"}


def render(rows: Iterable[Row], results: Results) -> str:
    """A Markdown table, its columns padded so that it reads as plain text too."""
    lines = [_HEADINGS, *(line for row in rows for line in _row_lines(row, results))]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEADINGS))]
    padded = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([padded[0], rule, *padded[1:]])


def summary(row: Row, reading: Measurement) -> str:
    """One reading in one line."""
    shown = {
        "": "" if math.isnan(reading.rate) else f"{reading.rate:,.0f}{row.unit}",
        "p99 ": "" if math.isnan(reading.p99) else _seconds(reading.p99),
        "CPU/op ": "" if math.isnan(reading.cpu) else _seconds(reading.cpu),
        "PSS ": _mebibytes(reading.pss),
    }
    return ", ".join(f"{name}{value}" for name, value in shown.items() if value)


def legend(servers: Iterable[type[Server]], processors: int, kernel: str, seconds: float) -> str:
    """What the table's reader must know besides."""
    synced = "; ".join(f"{server.name}: {server.syncs}" for server in servers)
    return (
        "\nMedian of the rounds (smallest–largest); ratios are taken round by round. bench/README.md says more."
        f"\nSynced before a 201: {synced}."
        f"\nMachine: {processors} processors shared with the load, Linux {kernel}; {seconds:.0f} s in all."
    )


def _row_lines(row: Row, results: Results) -> Iterable[tuple[str, ...]]:
    our_kind = row.ours or Entrepot
    ours = results.get((row.key, our_kind), ())
    title = row.title
    for server in row.servers:
        if theirs := results.get((row.key, server)):
            is_peer = server is not our_kind and bool(ours)
            yield (
                title,
                server.name,
                _spread([reading.rate for reading in theirs], lambda value: f"{value:,.0f}", row.unit),
                _spread([reading.p99 for reading in theirs], _seconds),
                _spread([reading.cpu for reading in theirs], _seconds),
                _spread([reading.pss for reading in theirs], _mebibytes),
                _ratio_cell(ratios("rate", ours, theirs)) if is_peer else "",
                _ratio_cell(ratios("p99", ours, theirs)) if is_peer else "",
                ", ".join(
                    _verdict(target, ours, theirs)
                    for target in row.targets
                    if (target.peer or our_kind) is server and ours
                ),
            )
            title = ""


def ratios(measure: Measure, ours: Sequence[Measurement], theirs: Sequence[Measurement]) -> list[float]:
    """Ours divided by theirs, round by round; pairs that were not both read are left out."""
    pairs = ((getattr(our, measure), getattr(their, measure)) for our, their in zip(ours, theirs, strict=False))
    return [our / their for our, their in pairs if their and not math.isnan(our / their)]


def _verdict(target: Target, ours: Sequence[Measurement], theirs: Sequence[Measurement]) -> str:
    if target.peer is None:
        values = [getattr(reading, target.measure) for reading in ours]
        bound = _own_bound(target)
    else:
        values = ratios(target.measure, ours, theirs)
        bound = f"{target.bound:.2g}×"
    if not values:
        return ""
    verdict = "reached" if target.reached(statistics.median(values)) else "NOT REACHED"
    return f"{_NAMES[target.measure]} {'≥' if target.at_least else '<'} {bound} {verdict}"


def _own_bound(target: Target) -> str:
    if target.measure in ("p99", "cpu"):
        return _seconds(target.bound)
    return _mebibytes(target.bound) if target.measure == "pss" else f"{target.bound:,.0f}/s"


def _ratio_cell(values: list[float]) -> str:
    return _spread(values, lambda value: f"{value:.2f}" if value < 10 else f"{value:.1f}", "×")


def _spread(values: Sequence[float], show: Callable[[float], str], unit: str = "") -> str:
    """The median, with the smallest and the largest where there are several; empty where nothing was read."""
    values = [value for value in values if not math.isnan(value)]
    if not values:
        return ""
    median = show(statistics.median(values)) + unit
    return median if len(values) == 1 else f"{median} ({show(min(values))}–{show(max(values))})"


def _seconds(value: float) -> str:
    if value < 0.001:
        return f"{value * 1e6:.0f} µs"
    if value < 1:
        return f"{value * 1e3:.3g} ms"
    return f"{value:.2f} s"


def _mebibytes(value: float) -> str:
    return f"{value / MIB:.0f} MiB"
