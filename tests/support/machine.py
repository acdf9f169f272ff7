"""A machine of its own for real clients and servers, inside this one: processes, mounts and, if wanted, network apart.

Container tools write to /etc, /run and /var/lib whatever one tells them (lock files, caches of which registry has which
blob, shims' sockets). Here each of these is a directory that belongs to the test and disappears with it, so that two
runs side by side, or one run after another, never see each other, and the machine that runs the tests stays clean.
"""

import contextlib
import ctypes
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

from tests.support.tools import search_path

COMMAND_SECONDS = 300  # a client that needs longer hangs
START_SECONDS = 60  # a server that is not ready by then will not be
STOP_SECONDS = 30
_CLONE_NEWNET = 0x40000000  # of sched.h

_INIT = r"""
set -e
cp -a /etc "$1/etc" 2>/dev/null || true
mount --bind "$1/etc" /etc
mount --bind "$1/run" /run
mount --bind "$1/var-lib" /var/lib
if [ -n "$2" ]; then
    ip link set lo up
    ip address add "$2/32" dev lo
fi
echo machine is up
sleep infinity & wait  # the shell is process 1 here and reaps what others leave
"""


class CommandFailedError(AssertionError):
    """A command exited with another status than expected; the message holds what it printed."""


class Process:
    """A program in the background, of which one line of output says that it is ready; its output goes to a log file."""

    def __init__(self, argv: Sequence[str], environment: Mapping[str, str], log: Path, ready: str) -> None:
        """Start `argv` and return as soon as a line of its output matches the pattern `ready`, found in `self.ready`.

        Raises CommandFailedError, with the log, when the program ends or START_SECONDS pass before that.
        """
        self.log = log
        self._popen = subprocess.Popen(
            argv,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._pattern = re.compile(ready)
        self._matches: list[re.Match[str]] = []
        self._settled = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if not self._settled.wait(START_SECONDS) or not self._matches:
            self.kill()
            raise CommandFailedError(f"not ready: {' '.join(argv)}\n{log.read_text(errors='replace')[-4000:]}")
        self.ready = self._matches[0]

    def _read(self) -> None:
        assert self._popen.stdout is not None
        with self._popen.stdout as output, self.log.open("wb") as log:
            for line in output:
                log.write(line)
                log.flush()
                if not self._matches and (found := self._pattern.search(line.decode(errors="replace"))):
                    self._matches.append(found)
                    self._settled.set()
        self._settled.set()

    def children(self) -> list[int]:
        """The process ids, seen from outside, of the children of the program that was started."""
        pid = self._popen.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def _signal_children(self, number: signal.Signals) -> None:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it ended meanwhile
            for child in self.children():
                os.kill(child, number)

    def stop(self) -> None:
        """SIGTERM to the program that nsenter runs (it forwards none itself), then wait; SIGKILL after STOP_SECONDS."""
        if self._popen.poll() is None:
            self._signal_children(signal.SIGTERM)
            try:
                self._popen.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        """SIGKILL to the program's children first, so that what waits for them ends by itself, then to it."""
        if self._popen.poll() is None:
            self._signal_children(signal.SIGKILL)
            try:
                self._popen.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._popen.kill()
                self._popen.wait()


class Machine:
    """Namespaces for mounts and processes (and network), with /etc copied and /run, /var/lib and HOME empty.

    Everything that runs in it dies with it, even when this process is killed. It needs root; without, a user namespace
    does for the clients that need no privileges of the outside (no engine).
    """

    def __init__(self, address: str = "") -> None:
        """With an `address` (IPv4) the machine has its own network with just that address and the loopback's."""
        self.directory = Path(tempfile.mkdtemp(prefix="entrepot-e2e-"))
        for name in ("run", "var-lib", "home", "tmp", "logs"):
            (self.directory / name).mkdir()
        self.environment = {
            "HOME": str(self.directory / "home"),
            "LANG": "C.UTF-8",
            "PATH": search_path(),
            "TMPDIR": str(self.directory / "tmp"),
        }
        self._address = address
        self._processes: list[Process] = []

    def __enter__(self) -> Self:
        kinds = ["--mount", "--pid", *(["--net"] if self._address else [])]
        users = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        # If this process dies, unshare is killed with it, and with unshare process 1 of the machine and so all of it.
        argv = ["setpriv", "--pdeathsig", "KILL", "unshare", *users, *kinds, "--fork", "--kill-child", "--mount-proc"]
        argv += ["bash", "-c", _INIT, "machine", str(self.directory), self._address]
        try:
            self._init = Process(argv, self.environment, self._log("machine"), "machine is up")
        except BaseException:
            shutil.rmtree(self.directory, ignore_errors=True)
            raise
        (first,) = self._init.children()
        entered = ["--user", "--preserve-credentials"] if users else []
        self._enter = ["nsenter", "--target", str(first), *entered, *kinds, f"--wdns={self.directory / 'home'}", "--"]
        return self

    def __exit__(self, *_: object) -> None:
        try:
            for process in reversed(self._processes):
                process.stop()
        finally:
            self._init.kill()
            shutil.rmtree(self.directory)

    def _log(self, name: str) -> Path:
        return self.directory / "logs" / f"{name}.log"

    def path(self, inside: str) -> Path:
        """Where the file that the machine calls `inside` (under /etc, /run, /var/lib) is for this process."""
        for name, mounted in (("etc", "/etc/"), ("run", "/run/"), ("var-lib", "/var/lib/")):
            if inside.startswith(mounted):
                return self.directory / name / inside.removeprefix(mounted)
        return Path(inside)

    def new_directory(self, name: str) -> Path:
        """An empty directory with the same path inside and outside, removed with the machine."""
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.directory / "tmp"))

    def start(self, name: str, *argv: str | Path, ready: str, environment: Mapping[str, str] | None = None) -> Process:
        """Run a server until the machine goes; returns when a line of its output matches `ready`."""
        command = [*self._enter, *map(str, argv)]
        process = Process(command, {**self.environment, **(environment or {})}, self._log(name), ready)
        self._processes.append(process)
        return process

    def listen(self, port: int, address: str = "127.0.0.1") -> socket.socket:
        """A socket of this process that listens on an address of a machine with its own network; only for root."""
        (first,) = self._init.children()
        with ThreadPoolExecutor(1) as thread:  # the thread leaves this process's network, and ends there
            return thread.submit(_listen_in, f"/proc/{first}/ns/net", address, port).result()

    def run(
        self,
        *argv: str | Path,
        status: int | None = 0,
        stdin: bytes = b"",
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
    ) -> str:
        """Run a command to its end and return what it printed (standard output and error together).

        Raises CommandFailedError unless it exits with `status` (None: with any but 0).
        """
        __tracebackhide__ = True  # the failing command says more than this code
        enter = self._enter if directory is None else [*self._enter[:-2], f"--wdns={directory}", "--"]
        done = subprocess.run(
            [*enter, *map(str, argv)],
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**self.environment, **(environment or {})},
            timeout=COMMAND_SECONDS,
            check=False,
        )
        output = done.stdout.decode(errors="replace")
        if done.returncode != status if status is not None else done.returncode == 0:
            expected = "a failure" if status is None else str(status)
            command = " ".join(map(str, argv))
            raise CommandFailedError(f"{command}\nexit status {done.returncode}, expected {expected}:\n{output}")
        return output


def _listen_in(network: str, address: str, port: int) -> socket.socket:
    """Listen in another network namespace, for which the thread that calls this leaves its own (setns(2))."""
    library = ctypes.CDLL(None, use_errno=True)
    with open(network) as namespace:
        if library.setns(namespace.fileno(), _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "the machine's network cannot be entered")
    return socket.create_server((address, port), backlog=200)
