"""What a server costs: its processes, their CPU time and their memory, read from /proc (Linux only)."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")


def _stat_fields(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third (state) on; empty when the process is gone. Source: proc(5)."""
    try:
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def tree(root: int) -> list[int]:
    """`root` and all its living descendants, as process ids."""
    children: dict[int, list[int]] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit() and (fields := _stat_fields(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [root]
    for pid in found:
        found.extend(children.get(pid, ()))
    return found


def cpu_seconds(pids: list[int]) -> float:
    """User and system time that these processes have used so far, in seconds, to a clock tick (10 ms) each."""
    used = (_stat_fields(pid) for pid in pids)
    return sum(int(fields[11]) + int(fields[12]) for fields in used if fields) / _TICKS_PER_SECOND


def pss_bytes(pids: list[int]) -> int:
    """Their proportional set size in bytes: shared pages are counted once, divided among those who share them."""
    total = 0
    for pid in pids:
        try:
            rollup = (_PROC / str(pid) / "smaps_rollup").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        total += next((int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")), 0)
    return total * 1024


class Peak:
    """The largest value seen so far, in the unit of what was sampled."""

    def __init__(self, first: int) -> None:
        self.value = first


@contextmanager
def peak_pss(pids: Callable[[], list[int]], interval: float = 0.1) -> Iterator[Peak]:
    """Sample the memory of `pids()` every `interval` seconds while the block runs, and at its end."""
    peak = Peak(pss_bytes(pids()))
    stop = threading.Event()

    def sample() -> None:
        while not stop.wait(interval):
            peak.value = max(peak.value, pss_bytes(pids()))

    sampler = threading.Thread(target=sample, name="pss-sampler", daemon=True)
    sampler.start()
    try:
        yield peak
    finally:
        stop.set()
        sampler.join()
        peak.value = max(peak.value, pss_bytes(pids()))
