"""The rows that read: wrk for many small answers, one plain socket for one long stream."""

import re
import shutil
import subprocess
import time

from bench import processes, wire
from bench.content import MIB, OCI_MANIFEST
from bench.hub import EntrepotHub, basic
from bench.rows import Load, Measurement, percentile
from bench.servers import REPOSITORY, TAG, Server

CONNECTIONS = 32
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}
_P99 = re.compile(r"^\s+99%\s+([\d.]+)(us|ms|s|m)$", re.MULTILINE)
_REQUESTS = re.compile(r"^\s+(\d+) requests in", re.MULTILINE)
_RATE = re.compile(r"^Requests/sec:\s+([\d.]+)$", re.MULTILINE)
_FAILURES = re.compile(r"^\s*(Non-2xx or 3xx responses: .*|Socket errors: .*)$", re.MULTILINE)


class WrkError(Exception):
    """wrk counted failures, or said something that this module does not understand."""


def wrk_is_installed() -> bool:
    return shutil.which("wrk") is not None


def _wrk(server: Server, path: str, seconds: float, authorization: str) -> Measurement:
    options = ["-t1", f"-c{CONNECTIONS}", f"-d{max(1, round(seconds))}s", "--latency", "-H", f"Accept: {OCI_MANIFEST}"]
    if authorization:
        options += ["-H", f"Authorization: {authorization}"]
    pids = server.pids()
    cpu = processes.cpu_seconds(pids)
    url = server.endpoint.url + path
    said = subprocess.run(["wrk", *options, url], check=True, capture_output=True, text=True).stdout
    cpu = processes.cpu_seconds(pids) - cpu
    p99, requests, rate = _P99.search(said), _REQUESTS.search(said), _RATE.search(said)
    failed = _FAILURES.search(said)
    if failed or not (p99 and requests and rate):
        raise WrkError(f"{server.name}: {url}: {failed[1] if failed else said}")
    return Measurement(
        rate=float(rate[1]),
        p99=float(p99[1]) * _UNITS[p99[2]],
        cpu=cpu / int(requests[1]),
        pss=processes.pss_bytes(pids),
    )


def manifest_by_tag(server: Server, load: Load) -> Measurement:
    return _wrk(server, f"/v2/{REPOSITORY}/manifests/{TAG}", load.scale.seconds, server.authorization())


def small(server: Server, path: str, seconds: float) -> Measurement:
    """GETs of one small thing, for about so many seconds."""
    return _wrk(server, path, seconds, server.authorization())


def tokens(server: Server, load: Load) -> Measurement:
    """`GET /token` with a personal access token as the password."""
    assert isinstance(server, EntrepotHub)
    path = f"/token?service=bench&scope=repository:{REPOSITORY}:pull"
    return _wrk(server, path, load.scale.seconds, basic(server.personal_token()))


def blob_of_4_kib(server: Server, load: Load) -> Measurement:
    return _wrk(server, f"/v2/{REPOSITORY}/blobs/{load.seed.small.digest}", load.scale.seconds, "")


def blob_of_1_mib(server: Server, load: Load) -> Measurement:
    return _wrk(server, f"/v2/{REPOSITORY}/blobs/{load.seed.medium.digest}", load.scale.seconds, "")


def one_stream(server: Server, load: Load) -> Measurement:
    """The large blob again and again over one connection for the row's seconds; rate in MiB/s."""
    times: list[float] = []
    with wire.Connection(server.endpoint) as connection:
        wire.pull_blob(connection, REPOSITORY, load.seed.large.digest)  # warms the page cache
        pids = server.pids()
        cpu = processes.cpu_seconds(pids)
        while sum(times) < load.scale.seconds or len(times) < load.scale.transfers:
            began = time.perf_counter()
            wire.pull_blob(connection, REPOSITORY, load.seed.large.digest)
            times.append(time.perf_counter() - began)
        cpu = processes.cpu_seconds(pids) - cpu
    return Measurement(
        rate=load.seed.large.size * len(times) / sum(times) / MIB,
        p99=percentile(times, 0.99),
        cpu=cpu / len(times),
        pss=processes.pss_bytes(pids),
    )
