"""The rows about memory: large transfers in parallel, and clients that stop reading."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from bench import processes, wire
from bench.content import MIB, LargeBlob
from bench.rows import Load, Measurement, percentile
from bench.servers import REPOSITORY, Server

PARALLEL = 8
STALLED_CLIENTS = 200
_STALL_SECONDS = 3.0  # long enough for every socket buffer, and whatever a server queues behind it, to fill
_PARALLEL_REPOSITORY = "bench/parallel"


def parallel_pushes_and_pulls(server: Server, load: Load) -> Measurement:
    """Eight blobs of 1 GiB pushed at once, then pulled at once; the peak PSS of both, the rate of all in MiB/s."""
    blobs = [load.block.large_blob(load.scale.parallel_size) for _ in range(PARALLEL)]
    cpu = processes.cpu_seconds(server.pids())
    with processes.peak_pss(server.pids) as peak:
        times = _in_parallel(server, blobs, lambda at, blob: wire.push_large(at, _PARALLEL_REPOSITORY, blob))
        times += _in_parallel(server, blobs, _pull)
    cpu = processes.cpu_seconds(server.pids()) - cpu
    moved = 2 * PARALLEL * load.scale.parallel_size
    elapsed = max(times[:PARALLEL]) + max(times[PARALLEL:])
    return Measurement(moved / elapsed / MIB, percentile(times, 0.99), cpu / len(times), peak.value)


def _pull(connection: wire.Connection, blob: LargeBlob) -> None:
    wire.pull_blob(connection, _PARALLEL_REPOSITORY, blob.digest)


def _in_parallel(
    server: Server, blobs: list[LargeBlob], transfer: Callable[[wire.Connection, LargeBlob], None]
) -> list[float]:
    """Run one transfer a blob at once, each over its own connection; the seconds each took."""

    def timed(blob: LargeBlob) -> float:
        began = time.perf_counter()
        with wire.Connection(server.endpoint) as connection:
            transfer(connection, blob)
        return time.perf_counter() - began

    with ThreadPoolExecutor(len(blobs)) as pool:
        return list(pool.map(timed, blobs))


def clients_that_stop_reading(server: Server, load: Load) -> Measurement:
    """The growth of PSS while 200 clients ask for the large blob and read nothing of it."""
    server.seed(load.seed)
    with wire.Connection(server.endpoint) as connection:
        wire.pull_blob(connection, REPOSITORY, load.seed.large.digest)
    before = processes.pss_bytes(server.pids())
    with ExitStack() as stalled, processes.peak_pss(server.pids) as peak:
        for _ in range(STALLED_CLIENTS):
            client = stalled.enter_context(wire.Connection(server.endpoint))
            client.send(client.head(b"GET", f"/v2/{REPOSITORY}/blobs/{load.seed.large.digest}".encode()))
        time.sleep(_STALL_SECONDS)
    return Measurement(pss=peak.value - before)
