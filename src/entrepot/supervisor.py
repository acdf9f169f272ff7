"""The parent process: forks the workers, prints one line when all of them listen, replaces one that dies, and stops
them gracefully."""

import gc
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

_log = structlog.get_logger()
_SHORT_LIFE = 5.0  # seconds: a worker that dies younger is replaced only after a pause
_GRACE = 40.0  # seconds for the workers to finish what is in flight


@dataclass(frozen=True, slots=True)
class Lifeline:
    """A worker's two pipes: it writes `ready` once; `parent` ends when the parent dies."""

    ready: int
    parent: int

    def announce(self) -> None:
        """Tell the parent that this worker listens."""
        os.write(self.ready, b"r")


Listeners = Sequence[socket.socket]
"""What one worker listens on: the registry's address, and the mirror's when it has one of its own."""

Work = Callable[[int, Listeners, Lifeline], None]


def supervise(listeners: Sequence[Listeners], work: Work, address: str) -> int:
    """Run one worker for each of `listeners` until SIGTERM or SIGINT; returns the exit status."""
    return _Supervisor(listeners, work, address).run()


class _Supervisor:
    def __init__(self, listeners: Sequence[Listeners], work: Work, address: str) -> None:
        self._listeners = list(listeners)
        self._work = work
        self._address = address
        self._workers: dict[int, tuple[int, float]] = {}
        self._stopping = False
        self._ready_read, self._ready_write = os.pipe()
        self._alive_read, self._alive_write = os.pipe()
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_write, False)

    def run(self) -> int:
        gc.collect()
        gc.freeze()
        signal.set_wakeup_fd(self._wake_write)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, self._note)
        for index in range(len(self._listeners)):
            self._start(index)
        if not self._wait_until_ready():
            self._stop()
            return 0 if self._stopping else 1
        print(f"entrepot: ready on {self._address}", flush=True)  # noqa: T201 - the promised line
        while not self._stopping:
            self._pause(None)
            self._replace()
        return self._stop()

    def _note(self, number: int, frame: object) -> None:
        if number != signal.SIGCHLD:
            self._stopping = True

    def _start(self, index: int) -> None:
        child = os.fork()
        if child:
            self._workers[child] = (index, time.monotonic())
            return
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            # Until the worker listens, nothing is in flight: a stop simply ends it, also one that came since the fork.
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            if self._stopping:
                os._exit(0)
            os.close(self._alive_write)
            for other, listeners in enumerate(self._listeners):
                if other != index:
                    _close(listeners)
            self._work(index, self._listeners[index], Lifeline(self._ready_write, self._alive_read))
            status = 0
        except BaseException:
            _log.exception("worker failed", worker=index)
        finally:
            sys.stderr.flush()
            os._exit(status)

    def _wait_until_ready(self) -> bool:
        waiting = len(self._listeners)
        while waiting and not self._stopping:
            readable, _, _ = select.select([self._ready_read, self._wake_read], [], [])
            if self._ready_read in readable:
                waiting -= len(os.read(self._ready_read, 64))
            if self._wake_read in readable:
                os.read(self._wake_read, 64)
                if os.waitpid(-1, os.WNOHANG)[0]:
                    return False
        return not self._stopping

    def _pause(self, seconds: float | None) -> None:
        readable, _, _ = select.select([self._wake_read], [], [], seconds)
        if readable:
            os.read(self._wake_read, 64)

    def _replace(self) -> None:
        while not self._stopping:
            try:
                child, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not child:
                return
            index, born = self._workers.pop(child)
            _log.error("worker died, starting another", worker=index, status=os.waitstatus_to_exitcode(status))
            if time.monotonic() - born < _SHORT_LIFE:
                self._pause(1)
            if not self._stopping:
                self._start(index)

    def _stop(self) -> int:
        """Close our copies of the sockets, ask every worker to finish, and wait for them, within limits."""
        for listeners in self._listeners:
            _close(listeners)
        for child in self._workers:
            _kill(child, signal.SIGTERM)
        end = time.monotonic() + _GRACE
        while self._workers and time.monotonic() < end:
            try:
                child, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if child:
                self._workers.pop(child, None)
            else:
                self._pause(min(1.0, max(0.0, end - time.monotonic())))
        for child in self._workers:
            _kill(child, signal.SIGKILL)
        return 0


def _close(listeners: Listeners) -> None:
    for listener in listeners:
        listener.close()


def _kill(child: int, number: signal.Signals) -> None:
    try:
        os.kill(child, number)
    except ProcessLookupError:
        return
