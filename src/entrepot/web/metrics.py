"""What `/metrics` shows, summed over a node's workers.

Each worker adds to its own row of one shared memory map, without locks; any worker reads all rows. A count in the
request costs tens of nanoseconds. Labels are closed sets, so there is a slot for each combination; never a
repository's name.
"""

import mmap
from bisect import bisect_left
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from entrepot.proxy.ledger import Count, Ledger, State

ROUTES = (
    "ping", "catalog", "tags", "uploads", "upload", "blobs", "manifests", "referrers", "operations", "token", "api",
    "search", "nodes", "other",
)  # fmt: skip
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "other")
STATUSES = (
    "200", "201", "202", "204", "206", "301", "304", "307", "400", "401", "403", "404", "405", "408", "409", "413",
    "414", "416", "429", "431", "500", "502", "503", "504", "507", "other",
)  # fmt: skip
BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)  # seconds

_ROUTE = {name: index for index, name in enumerate(ROUTES)}
_METHOD = {name: index for index, name in enumerate(METHODS)}
_STATUS = {int(name): index for index, name in enumerate(STATUSES[:-1])}
_REQUESTS = len(ROUTES) * len(METHODS) * len(STATUSES)
_HISTOGRAM = len(BUCKETS) + 2  # one more for +Inf, one for the sum
_DURATIONS = _REQUESTS
_SENT = _DURATIONS + len(ROUTES) * _HISTOGRAM
_RECEIVED = _SENT + len(ROUTES)
TOKENS_ISSUED, PULLS_LOST, REDIS_AWAY, BLOBS_DAMAGED, BLOBS_MISSING = range(5)
"""What is told by `add` and `tell`."""

_TOLD = _RECEIVED + len(ROUTES)
_SLOTS = _TOLD + 5


class Metrics:
    """The shared rows. Made before the workers are forked; each then takes its row by `use`."""

    def __init__(self, workers: int, ledger: Ledger | None = None) -> None:
        """`ledger`: what is told of upstreams."""
        self._map = mmap.mmap(-1, workers * _SLOTS * 8)
        self._all = memoryview(self._map).cast("d")
        self._workers = workers
        self._ledger = ledger
        self._row = self._all[:_SLOTS]

    def use(self, worker: int) -> None:
        """Count for this worker from now on."""
        self._row = self._all[worker * _SLOTS : (worker + 1) * _SLOTS]

    def count(self, route: str, method: str, status: int, seconds: float, sent: int, received: int) -> None:
        """One request, answered; `sent` and `received` are bytes of bodies."""
        row = self._row
        place = _ROUTE[route]
        code = _STATUS.get(status, len(STATUSES) - 1)
        verb = _METHOD.get(method, len(METHODS) - 1)
        row[(place * len(METHODS) + verb) * len(STATUSES) + code] += 1
        first = _DURATIONS + place * _HISTOGRAM
        row[first + bisect_left(BUCKETS, seconds)] += 1
        row[first + _HISTOGRAM - 1] += seconds
        row[_SENT + place] += sent
        row[_RECEIVED + place] += received

    def add(self, what: int) -> None:
        """One more of TOKENS_ISSUED."""
        self._row[_TOLD + what] += 1

    def tell(self, what: int, value: float) -> None:
        """How many PULLS_LOST this worker has, or whether it is without Redis (REDIS_AWAY: 0 or 1).

        BLOBS_DAMAGED and BLOBS_MISSING are of the whole installation, whoever tells them.
        """
        self._row[_TOLD + what] = value

    def exposition(self) -> bytes:
        """The text format that Prometheus reads."""
        registry = CollectorRegistry()
        registry.register(_Sums([self._sum(slot) for slot in range(_SLOTS)]))
        registry.register(_Damage(self._most(BLOBS_DAMAGED), self._most(BLOBS_MISSING)))
        registry.register(_Upstreams(self._ledger.state() if self._ledger is not None else []))
        return generate_latest(registry)

    def _sum(self, slot: int) -> float:
        return float(sum(self._all[worker * _SLOTS + slot] for worker in range(self._workers)))

    def _most(self, what: int) -> float:
        return max(self._all[worker * _SLOTS + _TOLD + what] for worker in range(self._workers))


_COUNTED = {
    Count.LOOKS: ("entrepot_upstream_looks", "HEADs by which tags were looked at, which upstreams do not count."),
    Count.PULLS: ("entrepot_upstream_pulls", "GETs of manifests, which upstreams count."),
    Count.BLOBS: ("entrepot_upstream_blobs", "GETs of blobs."),
    Count.FAILURES: ("entrepot_upstream_failures", "Answers that did not come, or by 5xx."),
    Count.SAVED_PULLS: (
        "entrepot_upstream_saved_pulls",
        "GETs of manifests that were answered from what is stored, as it was fresh or had not moved.",
    ),
    Count.SAVED_BYTES: ("entrepot_upstream_saved_bytes", "Bytes of blobs that were answered from what is stored."),
    Count.STALE: ("entrepot_upstream_stale", "Manifests that were answered although the upstream could not be asked."),
    Count.DENIED: ("entrepot_upstream_denied", "Manifests that were answered although the upstream refuses them."),
    Count.FROM_NODES: ("entrepot_upstream_from_nodes", "Blobs that were read from another node while it fetched them."),
}


class _Upstreams(Collector):
    def __init__(self, states: list[State]) -> None:
        self._states = states

    def collect(self) -> Iterator[Metric]:
        labels = ("upstream", "credential")
        for what, (name, text) in _COUNTED.items():
            family = CounterMetricFamily(name, text, labels=labels)
            for state in self._states:
                family.add_metric((state.alias, state.credential), state.counts[what])
            yield family
        limit = GaugeMetricFamily("entrepot_upstream_limit", "Pulls that an upstream allows.", labels=labels)
        left = GaugeMetricFamily("entrepot_upstream_remaining", "Pulls that an upstream has left.", labels=labels)
        scarce = GaugeMetricFamily(
            "entrepot_upstream_scarce",
            "1 while what is left at an upstream is kept for what is not stored, 0 otherwise.",
            labels=labels,
        )
        for state in self._states:
            scarce.add_metric((state.alias, state.credential), float(state.scarce))
            if state.limit is not None and state.remaining is not None:
                limit.add_metric((state.alias, state.credential), state.limit)
                left.add_metric((state.alias, state.credential), state.remaining)
        yield limit
        yield left
        yield scarce


class _Damage(Collector):
    def __init__(self, damaged: float, missing: float) -> None:
        self._damaged = damaged
        self._missing = missing

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("entrepot_blobs_damaged", "Blobs whose bytes are not theirs.", value=self._damaged)
        yield GaugeMetricFamily("entrepot_blobs_missing", "Blobs whose bytes are gone.", value=self._missing)


class _Sums(Collector):
    def __init__(self, sums: list[float]) -> None:
        self._sums = sums

    def collect(self) -> Iterator[Metric]:
        yield self._requests()
        yield self._durations()
        yield self._bytes("entrepot_http_sent_bytes", "Bytes of answers' bodies.", _SENT)
        yield self._bytes("entrepot_http_received_bytes", "Bytes of requests' bodies.", _RECEIVED)
        yield CounterMetricFamily(
            "entrepot_tokens_issued", "Access tokens issued.", value=self._sums[_TOLD + TOKENS_ISSUED]
        )
        yield CounterMetricFamily(
            "entrepot_pull_events_lost",
            "Pulls that could not be written down, so that usage lacks them.",
            value=self._sums[_TOLD + PULLS_LOST],
        )
        yield GaugeMetricFamily(
            "entrepot_workers_without_redis",
            "Workers that count pulls for their own node, as Redis does not answer.",
            value=self._sums[_TOLD + REDIS_AWAY],
        )

    def _requests(self) -> Metric:
        family = CounterMetricFamily(
            "entrepot_http_requests", "Requests, by what they asked for.", labels=("route", "method", "status")
        )
        slot = 0
        for route in ROUTES:
            for method in METHODS:
                for status in STATUSES:
                    if self._sums[slot]:
                        family.add_metric((route, method, status), self._sums[slot])
                    slot += 1
        return family

    def _durations(self) -> Metric:
        family = HistogramMetricFamily(
            "entrepot_http_request_duration_seconds", "Time from the request's head to its answer.", labels=("route",)
        )
        for place, route in enumerate(ROUTES):
            first = _DURATIONS + place * _HISTOGRAM
            counts = self._sums[first : first + len(BUCKETS) + 1]
            if not any(counts):
                continue
            buckets: list[tuple[str, float]] = []
            total = 0.0
            for bound, count in zip([*map(str, BUCKETS), "+Inf"], counts, strict=True):
                total += count
                buckets.append((bound, total))
            family.add_metric((route,), buckets, self._sums[first + _HISTOGRAM - 1])
        return family

    def _bytes(self, name: str, text: str, first: int) -> Metric:
        family = CounterMetricFamily(name, text, labels=("route",))
        for place, route in enumerate(ROUTES):
            family.add_metric((route,), self._sums[first + place])
        return family
