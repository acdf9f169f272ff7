"""`python -m bench.collecting`: the collection of a thousand blobs out of two million, beside pulls; what was, and how
long a large repository takes to delete. On SQLite and files, and on PostgreSQL and S3.
"""

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from bench import processes, pulls, wire
from bench.content import MIB, digest_of, random_blob, small_image
from bench.entrepot import Entrepot, EntrepotS3
from bench.grown import REPOSITORIES, Beside, grow
from bench.rows import Scale
from bench.servers import REPOSITORY, TAG, Server
from entrepot.database.cache import ReadCache
from entrepot.database.engine import Engine
from entrepot.database.history import DatabaseHistory
from entrepot.database.manifests import DatabaseManifests

_PORT = 15900
_GARBAGE = 1000
_PHASE = "10"  # seconds: the server's own collector then looks each second
_LOOKS = 2000
_CLIENTS = 16
_DUE = (
    "UPDATE lifecycle SET elapsed = 1000000000000000 WHERE id = 1",
    "UPDATE links SET loose_since = 1, sighted = 0 WHERE loose_since IS NOT NULL",
    "UPDATE blobs SET state = 'quarantined', since = 1, sighted = 0 WHERE state = 'loose'",
)
_LEFT = "SELECT (SELECT COUNT(*) FROM blobs WHERE state <> 'held') + (SELECT COUNT(*) FROM trash)"


def _settings() -> dict[str, str]:
    return {f"ENTREPOT_LIFECYCLE__{phase}": _PHASE for phase in ("UNDO", "GRACE", "QUARANTINE")}


class _OnSqlite(Entrepot):
    def environment(self) -> dict[str, str]:
        return {**super().environment(), **_settings()}


class _OnPostgres(EntrepotS3):
    def environment(self) -> dict[str, str]:
        return {**super().environment(), **_settings()}


@contextmanager
def _running(kind: type[Server], port: int, where: Path) -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="entrepot-bench-", dir=where) as directory:
        os.chmod(directory, 0o711)  # PostgreSQL, under its own user, passes through
        server = kind(Path(directory) / "server", port)
        try:
            yield server.start()
        finally:
            server.stop()


def _litter(server: Server, beside: Beside, count: int, source: random.Random) -> None:
    """So many blobs with their bytes that nothing names, and whose time is over."""
    blobs = [random_blob(200, source) for _ in range(count)]

    def push(number: int) -> None:
        with wire.Connection(server.endpoint) as connection:
            for blob in blobs[number::_CLIENTS]:
                wire.push_small(connection, f"litter/c{number}", blob)

    with ThreadPoolExecutor(_CLIENTS) as pool:
        list(pool.map(push, range(_CLIENTS)))
    beside.run(*_DUE)


def _gc(server: Server, *words: str) -> None:
    command = [str(Entrepot.find()), "gc", *words]
    where = {"ENTREPOT_DATA_DIR": str(server.directory / "data"), "ENTREPOT_OPEN": "true"}
    subprocess.run(command, env={**os.environ, **server.environment(), **where}, check=True, stdout=subprocess.DEVNULL)


def _by_hand(server: Server, beside: Beside, count: int, source: random.Random) -> float:
    """Seconds that `entrepot gc` takes from its start to its end, while the server runs."""
    _gc(server, "pause")
    _litter(server, beside, count, source)
    began = time.perf_counter()
    _gc(server)
    took = time.perf_counter() - began
    left = beside.run(_LEFT)[0][0]
    assert left == 0, f"{left} are left"
    _gc(server, "resume")
    return took


def _pulls(server: Server, seconds: float) -> float:
    """p99 of manifest GETs by tag, in seconds."""
    return pulls.small(server, f"/v2/{REPOSITORY}/manifests/{TAG}", seconds).p99


def _beside_pulls(
    server: Server, beside: Beside, count: int, seconds: float, rounds: int
) -> list[tuple[float, float, int]]:
    """p99 without and with a collection by the server's own job, in turn, and the server's memory after both."""
    source = random.Random(1)
    pairs = []
    for number in range(rounds):
        _gc(server, "pause")
        _litter(server, beside, count, source)
        if number % 2:
            _gc(server, "resume")
            having = _pulls(server, seconds)
            _until_gone(beside)
            without = _pulls(server, seconds)
        else:
            without = _pulls(server, seconds)
            _gc(server, "resume")
            having = _pulls(server, seconds)
            _until_gone(beside)
        pairs.append((without, having, processes.pss_bytes(server.pids())))
    return pairs


def _until_gone(beside: Beside) -> None:
    end = time.perf_counter() + 60
    while beside.run(_LEFT)[0][0]:
        assert time.perf_counter() < end, "the server's own job does not collect"
        time.sleep(0.5)


def _looks(beside: Beside, manifests: int) -> dict[str, float]:
    """Medians of one look-up by tag, as of a time, and of a tag's history, each beside the other, in seconds."""

    async def look(engine: Engine) -> list[float]:
        found: dict[str, list[float]] = {"tag": [], "at": [], "history": []}
        history = DatabaseHistory(engine)
        source = random.Random(2)
        for _ in range(_LOOKS):
            number = source.randrange(1, manifests + 1)
            name, tag = f"grown/r{1 + number % REPOSITORIES}", f"t{number}"
            rows = DatabaseManifests(engine, ReadCache(engine))  # nothing is remembered from one look to the next
            for key in source.sample(sorted(found), 3):
                began = time.perf_counter()
                if key == "tag":
                    assert await rows.find_manifest(name, tag)
                elif key == "at":
                    past = await history.past(name, tag, 1500)
                    assert past is not None
                    assert past.manifest is not None
                else:
                    assert len(await history.moves(name, tag, 2**62, 50)) == 2
                found[key].append(time.perf_counter() - began)
        return [statistics.median(found[key]) for key in ("tag", "at", "history")]

    return dict(zip(("tag", "at", "history"), beside.measured(look), strict=True))


def _delete_repository(server: Server, beside: Beside, tags: int) -> float:
    """Seconds until the answer to the DELETE of a repository of so many tags."""
    name = "large/repository"
    image = small_image(random.Random(3))
    with wire.Connection(server.endpoint) as connection:
        for blob in image.blobs:
            wire.push_small(connection, name, blob)
        wire.push_manifest(connection, name, TAG, image.manifest)
    beside.run(
        f"INSERT INTO tags (repository_id, name, manifest_id, moved_at) WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL"
        f" SELECT n + 1 FROM s WHERE n < {tags}) SELECT m.repository_id, 't' || n, m.id, now_us() FROM s, manifests m"
        f" WHERE m.digest = '{digest_of(image.manifest)}'"
    )
    url = f"{server.endpoint.url}/api/v1/repositories/{name}"
    for _ in range(8):  # an open registry loads its API when a worker is first asked for it
        urllib.request.urlopen(url).close()
    request = urllib.request.Request(url, method="DELETE")
    began = time.perf_counter()
    urllib.request.urlopen(request).close()
    return time.perf_counter() - began


def _measure(kind: type[Server], port: int, options: argparse.Namespace) -> None:
    manifests, garbage = (10_000, 100) if options.quick else (1_000_000, _GARBAGE)
    seconds, rounds = (1.0, 1) if options.quick else (Scale.seconds * 2, options.rounds)
    with _running(kind, port, options.directory) as server:
        beside = Beside(server)
        name = "SQLite and files" if beside.kind == "sqlite" else "PostgreSQL and S3"
        began = time.perf_counter()
        grow(beside, manifests)
        with wire.Connection(server.endpoint) as connection:
            image = small_image(random.Random(0))
            for blob in image.blobs:
                wire.push_small(connection, REPOSITORY, blob)
            wire.push_manifest(connection, REPOSITORY, TAG, image.manifest)
        _say(f"{name}: {manifests} manifests, {2 * manifests} blobs in {time.perf_counter() - began:.0f} s")
        took = [_by_hand(server, beside, garbage, random.Random(seed)) for seed in range(10, 10 + min(3, rounds))]
        words = f"{min(took):.2f} to {max(took):.2f} s"
        _row(name, f"`entrepot gc` of {garbage} due blobs", words, "< 10 s", max(took) < 10)
        pairs = _beside_pulls(server, beside, garbage, seconds, rounds)
        without, having = (statistics.median(pair[place] for pair in pairs) for place in (0, 1))
        ratio = statistics.median(pair[1] / pair[0] for pair in pairs)
        reached = ratio <= 1.25 or having - without <= 0.001
        words = f"{without * 1000:.2f} ms without, {having * 1000:.2f} ms with: {ratio:.2f}× (median of {len(pairs)})"
        _row(name, "p99 of manifest GETs beside a collection", words, "≤ 1.25× or + 1 ms", reached)
        half = pairs[len(pairs) // 2 :]  # connections, and what they have prepared, are all there by then
        grown = half[-1][2] - half[0][2]
        words = f"{grown / MIB:+.1f} MiB through the last {len(half) - 1} of {len(pairs)} collections"
        _row(name, "the server's memory", words, "flat (< 4 MiB)", grown < 4 * MIB)
        looked = _looks(beside, manifests)
        for key, what in (("at", "`?at=` look-up"), ("history", "history look-up")):
            times = looked[key] / looked["tag"]
            _row(name, what, f"{looked[key] * 1e6:.0f} µs: {times:.2f}× that of a tag", "≤ 1.5×", times <= 1.5)
        gone = _delete_repository(server, beside, 1000 if options.quick else 10_000)
        _row(name, "DELETE of a repository of 10,000 tags", f"{gone:.3f} s", "< 1 s", gone < 1)


def _row(*cells: object) -> None:
    *words, reached = cells
    print("| " + " | ".join([*map(str, words), "yes" if reached else "NO"]) + " |", flush=True)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.collecting", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a hundredth of the rows, one round: does it run")
    parser.add_argument("--rounds", type=int, default=7, metavar="N", help="pairs of p99 [7]")
    parser.add_argument("--without-shared", action="store_true", help="leave out PostgreSQL and S3")
    parser.add_argument("--directory", type=Path, default=Path("/var/tmp"), help="the disk to measure on [/var/tmp]")
    options = parser.parse_args()
    print("| on | what | measured | target | reached |\n|---|---|---|---|---|", flush=True)
    _measure(_OnSqlite, _PORT, options)
    if options.without_shared or EntrepotS3.find() is None:
        _say(f"left out: PostgreSQL and S3 (get them: {EntrepotS3.install})")
    else:
        _measure(_OnPostgres, _PORT + 10, options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
