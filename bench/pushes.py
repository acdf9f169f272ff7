"""The rows that write. Everything is made and hashed before the clock starts, and the disk is settled."""

import itertools
import os
import random
import time
from concurrent.futures import ThreadPoolExecutor

from bench import processes, wire
from bench.content import MIB, Image, small_image
from bench.rows import Load, Measurement, percentile
from bench.servers import Server

CLIENTS = 16
LARGE = 200 * MIB
_run_numbers = itertools.count()


def large_blob(server: Server, load: Load) -> Measurement:
    """POST, PATCH, PUT of a new blob of 200 MiB, one after another over one connection; rate in MiB/s."""
    times: list[float] = []
    pids = server.pids()
    cpu = 0.0
    with wire.Connection(server.endpoint) as connection:
        for _ in range(load.scale.transfers):
            blob = load.block.large_blob(LARGE)
            os.sync()
            used = processes.cpu_seconds(pids)
            began = time.perf_counter()
            wire.push_large(connection, "bench/large", blob)
            times.append(time.perf_counter() - began)
            cpu += processes.cpu_seconds(pids) - used
    return Measurement(
        rate=LARGE / MIB / percentile(times, 0.5),
        p99=percentile(times, 0.99),
        cpu=cpu / len(times),
        pss=processes.pss_bytes(pids),
    )


def small_images(server: Server, load: Load) -> Measurement:
    """New small images from 16 clients, each over its own connection into its own repository; rate in images/s."""
    run = next(_run_numbers)
    source = random.Random(f"{run} {time.time()}")
    images = [small_image(source) for _ in range(load.scale.images)]
    os.sync()
    pids = server.pids()
    cpu = processes.cpu_seconds(pids)
    began = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as pool:
        clients = [pool.submit(_push_images, server, f"bench/r{run}c{n}", images[n::CLIENTS]) for n in range(CLIENTS)]
        times = [seconds for client in clients for seconds in client.result()]
    elapsed = time.perf_counter() - began
    cpu = processes.cpu_seconds(pids) - cpu
    return Measurement(
        rate=len(times) / elapsed,
        p99=percentile(times, 0.99),
        cpu=cpu / len(times),
        pss=processes.pss_bytes(pids),
    )


def _push_images(server: Server, repository: str, images: list[Image]) -> list[float]:
    """Push one client's images in order; the seconds that each took."""
    times = []
    with wire.Connection(server.endpoint) as connection:
        for number, image in enumerate(images):
            began = time.perf_counter()
            for blob in image.blobs:
                wire.push_small(connection, repository, blob)
            wire.push_manifest(connection, repository, f"v{number}", image.manifest)
            times.append(time.perf_counter() - began)
    return times
