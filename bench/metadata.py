"""The rows about a registry that has grown: starting, and listing, with 100,000 manifests and 200,000 tags stored."""

import json
import time
from collections.abc import Sequence

import pysqlite3 as sqlite

from bench import processes, wire
from bench.content import OCI_MANIFEST, digest_of
from bench.rows import Load, Measurement, percentile
from bench.servers import Server

_REPOSITORIES = 1000
_LARGE_SHARE = 0.5  # of all manifests, in the first repository; the others share the rest
_LARGE_REPOSITORY = "grown/r0000"
_STARTS = 5
_REQUESTS = 500
_ADDRESS = "127.0.0.1"  # who pushed

Rows = list[tuple[object, ...]]


def start_up(server: Server, load: Load) -> Measurement:
    """Starts on the grown database, each until GET /v2/ is answered; the slowest as p99."""
    _grow(server, load.scale.manifests)
    times = []
    for _ in range(_STARTS):
        server.stop()
        times.append(server.start().start_seconds)
    return Measurement(p99=percentile(times, 0.99), pss=processes.pss_bytes(server.pids()))


def tags_list(server: Server, load: Load) -> Measurement:
    """Pages of 100 tags, from anywhere in the largest repository."""
    _grow(server, load.scale.manifests)
    tags = round(2 * load.scale.manifests * _LARGE_SHARE)
    after = [f"&last=t{number:06}" for number in range(0, tags - 200, tags // 20)]
    return _pages(server, f"/v2/{_LARGE_REPOSITORY}/tags/list?n=100", ["", *after])


def catalog(server: Server, load: Load) -> Measurement:
    """Pages of 100 repositories, from anywhere among them."""
    _grow(server, load.scale.manifests)
    after = [f"&last=grown/r{number:04}" for number in range(0, _REPOSITORIES - 200, _REPOSITORIES // 20)]
    return _pages(server, "/v2/_catalog?n=100", ["", *after])


def _pages(server: Server, target: str, positions: Sequence[str]) -> Measurement:
    """One request after another over one connection; what the client adds to the time is in it (some 50 µs)."""
    times = []
    with wire.Connection(server.endpoint) as connection:
        requests = [connection.head(b"GET", f"{target}{position}".encode()) for position in positions]
        cpu = processes.cpu_seconds(server.pids())
        for number in range(_REQUESTS):
            began = time.perf_counter()
            answer = connection.exchange(requests[number % len(requests)], 200)
            times.append(time.perf_counter() - began)
            if answer.length < 500:
                raise wire.WireError(f"{target}: {answer.length} bytes cannot be a page of 100 names")
        cpu = processes.cpu_seconds(server.pids()) - cpu
    pss = processes.pss_bytes(server.pids())
    return Measurement(len(times) / sum(times), percentile(times, 0.99), cpu / len(times), pss)


def _grow(server: Server, manifests: int) -> None:
    """Fill the server's database behind its back: twice as many tags as `manifests`, in one transaction."""
    database = sqlite.connect(str(server.directory / "data" / "entrepot.db"), isolation_level=None)
    database.execute("BEGIN IMMEDIATE")
    tables = _grown_rows(manifests, time.time_ns() // 1000)
    for table, (columns, rows) in tables.items():
        marks = ", ".join("?" for _ in columns.split(","))
        database.executemany(f"INSERT INTO {table} ({columns}) VALUES ({marks})", rows)
    database.execute("COMMIT")
    database.close()


def _grown_rows(manifests: int, now: int) -> dict[str, tuple[str, Rows]]:
    """Table → its columns and rows, as the product's own transactions would leave them (no blobs: none is asked)."""
    repositories: Rows = [(number, f"grown/r{number - 1:04}", now) for number in range(1, _REPOSITORIES + 1)]
    stored: Rows = []
    references: Rows = []
    tags: Rows = []
    changes: Rows = []
    for number in range(1, manifests + 1):
        repository = 1 if number <= manifests * _LARGE_SHARE else 2 + number % (_REPOSITORIES - 1)
        layer = digest_of(number.to_bytes(8, "big"))
        content = json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": [{"digest": layer}]}).encode()
        digest = digest_of(content)
        stored.append((number, repository, digest, OCI_MANIFEST, len(content), now, content))
        references.append((number, layer, "layer"))
        changes.append((now, _ADDRESS, "manifest.push", repository, None, digest))
        for tag in (f"t{2 * number:06}", f"t{2 * number + 1:06}"):
            tags.append((repository, tag, number, now))
            changes.append((now, _ADDRESS, "tag.move", repository, tag, digest))
    return {
        "repositories": ("id, name, created_at", repositories),
        "manifests": ("id, repository_id, digest, media_type, size, pushed_at, content", stored),
        "manifest_references": ("manifest_id, digest, kind", references),
        "tags": ("repository_id, name, manifest_id, moved_at", tags),
        "changes": ("at, address, kind, repository_id, tag, new", changes),
    }
