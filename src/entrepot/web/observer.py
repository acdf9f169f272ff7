"""What every door tells of an answered request: to the metrics and to the access log."""

import itertools
import os
import time

from entrepot.web.access_log import AccessLog
from entrepot.web.metrics import Metrics


class Observer:
    """Counts and logs requests; hands out their ids."""

    def __init__(self, metrics: Metrics, log: AccessLog | None) -> None:
        self._metrics = metrics
        self._log = log
        self._prefix = os.urandom(4).hex()
        self._numbers = itertools.count(1)

    def new_id(self) -> str:
        """An id that no other request of this installation has, short enough to read out."""
        return f"{self._prefix}-{next(self._numbers):x}"

    @staticmethod
    def now() -> float:
        """The clock of `started`, in seconds."""
        return time.perf_counter()

    def answered(
        self,
        request: str,
        address: str,
        method: str,
        target: str,
        agent: str,
        route: str,
        status: int,
        sent: int,
        received: int,
        started: float,
    ) -> None:
        """One request is over; `sent` and `received` are bytes of bodies."""
        seconds = time.perf_counter() - started
        self._metrics.count(route, method, status, seconds, sent, received)
        if self._log is not None and (route != "operations" or status >= 400):  # probes that find all well say nothing
            self._log.line(request, address, method, target, status, sent, seconds, agent)

    def exposition(self) -> bytes:
        """The text of `/metrics`."""
        return self._metrics.exposition()
