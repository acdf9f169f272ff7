"""Servers that a whole test run shares, however many processes pytest-xdist spreads it over."""

import fcntl
import os
import random
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.tools import missing_tools


def require_tools(*programs: str) -> None:
    """Leave the test out when this machine lacks one of these programs (of install-tools); in CI that is a failure."""
    lacking = {tool: how for tool, how in missing_tools().items() if tool in programs}
    if lacking:
        listed = "; ".join(f"{tool} (get it: {how})" for tool, how in lacking.items())
        leave_out = pytest.fail if os.environ.get("CI") else pytest.skip
        leave_out(f"missing on this machine: {listed}")


def run_directory(factory: pytest.TempPathFactory) -> Path:
    """A directory that all processes of this test run share."""
    directory = factory.getbasetemp()
    return directory.parent if os.environ.get("PYTEST_XDIST_WORKER") else directory


@contextmanager
def one_for_all(state: Path, start: Callable[[], str], stop: Callable[[], None]) -> Iterator[str]:
    """Yields what `start` returned in whichever process came first; the last one to leave stops the server.

    `state`: a file that all processes of the run can write; it counts who uses the server.
    """
    with _locked(state):
        users, told = _read(state)
        if users == 0:
            told = start()
        _write(state, users + 1, told)
    try:
        yield told
    finally:
        with _locked(state):
            users, told = _read(state)
            _write(state, users - 1, told)
            if users == 1:
                stop()


def free_ports(count: int) -> int:
    """The first of `count` TCP ports in a row that are free on the loopback right now."""
    while True:
        sockets: list[socket.socket] = []
        try:
            first = random.randrange(20000, 30000)  # below what the kernel hands out to clients meanwhile
            for more in range(count):
                sockets.append(_bound(first + more))
        except (OSError, OverflowError):
            continue
        else:
            return first
        finally:
            for made in sockets:
                made.close()


def _bound(port: int) -> socket.socket:
    made = socket.socket()
    try:
        made.bind(("127.0.0.1", port))
    except BaseException:
        made.close()
        raise
    return made


@contextmanager
def _locked(state: Path) -> Iterator[None]:
    with state.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _read(state: Path) -> tuple[int, str]:
    if not state.exists():
        return 0, ""
    users, _, told = state.read_text().partition("\n")
    return int(users), told


def _write(state: Path, users: int, told: str) -> None:
    state.write_text(f"{users}\n{told}")
