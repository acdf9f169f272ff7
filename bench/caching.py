"""`python -m bench.caching`: many clients pull one image at once through a cache, from an origin behind a slow link.

The origin sends 25 MB/s in all, 20 ms after each request, and counts. Clients are curl, three layers at a time each.
The caches are Entrepot, docker-registry and distribution as pull-through caches of the same origin; the last two fetch
for each client anew, so they get fewer clients, or a run would take minutes.
"""

import argparse
import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from threading import Thread
from typing import NamedTuple

from bench import wire
from bench.content import OCI_MANIFEST, Blob, digest_of
from tests.support.tools import search_path

RATE = 25_000_000  # bytes a second, of all connections together
LATENCY = 0.02  # seconds before an answer's head
LAYERS, LAYER_BYTES = 5, 21_000_000
CLIENTS, FEWER = 50, 8
_CHUNK = 32 * 1024
_AHEAD = 0.1  # seconds


class Pulled(NamedTuple):
    """What a run of clients took: seconds to the last one's end and to the first byte of a layer."""

    seconds: float
    first_byte: float
    asked: int  # of the digest that was asked for most often
    sent: int  # bytes


class Origin:
    """A registry behind the link."""

    def __init__(self) -> None:
        blobs = [os.urandom(LAYER_BYTES) for _ in range(LAYERS)] + [b'{"architecture":"amd64","os":"linux"}']
        self.blobs = {digest_of(blob): blob for blob in blobs}
        *layers, config = [
            {"mediaType": "application/octet-stream", "digest": digest, "size": len(blob)}
            for digest, blob in self.blobs.items()
        ]
        document = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers}
        self.manifest = json.dumps(document).encode()
        self.layers = list(self.blobs)[:LAYERS]
        self.asked: Counter[str] = Counter()
        self.sent = 0
        self._free = 0.0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def start(self) -> None:
        """Serve in a thread until the program ends."""
        Thread(target=lambda: asyncio.run(self._serve()), daemon=True).start()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._connected, sock=self._listener)
        await server.serve_forever()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # As all registries do; asyncio does so by itself only where the listener says that its protocol is TCP.
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                method, target = head.decode("latin-1").split(" ", 2)[:2]
                await asyncio.sleep(LATENCY)
                await self._answer(writer, method, target.partition("?")[0])
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def _answer(self, writer: asyncio.StreamWriter, method: str, target: str) -> None:
        reference = target.rpartition("/")[2]
        body, kind = b"{}", "application/json"
        if "/manifests/" in target:
            body, kind = self.manifest, OCI_MANIFEST
            reference = digest_of(body)
        elif "/blobs/" in target:
            body, kind = self.blobs[reference], "application/octet-stream"
        if method == "GET" and target != "/v2/":
            self.asked[reference] += 1
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        writer.write(f"{head}Docker-Content-Digest: {reference}\r\n\r\n".encode())
        for start in range(0, len(body) if method == "GET" else 0, _CHUNK):
            chunk = body[start : start + _CHUNK]
            now = time.monotonic()
            self._free = max(self._free, now) + len(chunk) / RATE
            await asyncio.sleep(self._free - now)
            writer.write(chunk)
            self.sent += len(chunk)
            await writer.drain()
        await writer.drain()


def pull(base: str, origin: Origin, clients: int) -> Pulled:
    """So many clients pull the manifest by its tag, and then all layers.

    The first begins a little before the others, so that the time of its first byte is not that of starting fifty
    programs; all of them come while the layers are arriving.
    """
    origin.asked.clear()
    origin.sent = 0
    began = time.monotonic()
    with ThreadPoolExecutor(clients) as threads:
        first = threads.submit(_pull_one, base, origin.layers)
        time.sleep(_AHEAD)
        others = [threads.submit(_pull_one, base, origin.layers) for _ in range(clients - 1)]
        for other in others:
            other.result()
        first_byte = first.result()
    most = max((origin.asked[digest] for digest in origin.layers), default=0)
    return Pulled(time.monotonic() - began, first_byte, most, origin.sent)


def _pull_one(base: str, layers: list[str]) -> float:
    """One client, by curl; the seconds until the first byte of a layer came."""
    began = time.monotonic()
    curl = ["curl", "--silent", "--show-error", "--fail"]
    manifest = ["-o", "/dev/null", "-H", f"Accept: {OCI_MANIFEST}", f"{base}/manifests/v1"]
    subprocess.run([*curl, *manifest], check=True)
    before = time.monotonic() - began
    parallel = ["--parallel", "--parallel-immediate", "--parallel-max", "3", "--write-out"]
    targets = [part for digest in layers for part in ("-o", "/dev/null", f"{base}/blobs/{digest}")]
    command = [*curl, *parallel, "%{time_starttransfer} %{size_download}\n", *targets]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    rows = [line.split() for line in done.stdout.splitlines()]
    assert [size for _, size in rows] == [str(LAYER_BYTES)] * LAYERS, done.stdout
    return before + min(float(start) for start, _ in rows)


Cache = Callable[[Origin, Path], AbstractContextManager[str]]
"""Starts a cache of the origin with its data in a directory; gives the base of the image's URLs."""


@contextmanager
def _running(command: list[str], url: str, environment: dict[str, str], log: Path) -> Iterator[None]:
    """A server until the block ends, once `url` answers."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=os.environ | {"PATH": search_path()} | environment, stdout=output, stderr=output
        )
    try:
        ready = ["curl", "--silent", "--fail", "-o", "/dev/null", "--retry", "60", "--retry-all-errors"]
        subprocess.run([*ready, "--retry-delay", "1", url], check=True)
        yield
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def entrepot(origin: Origin, directory: Path) -> Iterator[str]:
    """Entrepot with two workers; gives the base of the image's URLs."""
    address = _free_address()
    command = [sys.executable, "-m", "entrepot", "serve", "--open", "--workers", "2", "--listen", address]
    upstreams = json.dumps({"origin.example": {"url": origin.url}})
    environment = {"ENTREPOT_UPSTREAMS": upstreams, "ENTREPOT_LOG__ACCESS": "false"}
    command += ["--data-dir", str(directory / "data")]
    with _running(command, f"http://{address}/v2/", environment, directory / "log"):
        yield f"http://{address}/v2/origin.example/bench/image"


@contextmanager
def other(program: str, origin: Origin, directory: Path) -> Iterator[str]:
    """docker-registry (2.8.2) or registry (distribution v3) as a pull-through cache."""
    address = _free_address()
    (directory / "config.yml").write_text(
        f"version: 0.1\nlog: {{level: error}}\nhttp: {{addr: {address}}}\n"
        f"storage: {{filesystem: {{rootdirectory: {directory / 'data'}}}}}\nproxy: {{remoteurl: {origin.url}}}\n"
    )
    command = [program, "serve", str(directory / "config.yml")]
    with _running(command, f"http://{address}/v2/", {"OTEL_TRACES_EXPORTER": "none"}, directory / "log"):
        yield f"http://{address}/v2/bench/image"


def _free_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"127.0.0.1:{free.getsockname()[1]}"


def main() -> int:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--without-others", action="store_true", help="Entrepot and the direct client only")
    options = parser.parse_args()
    origin = Origin()
    origin.start()
    image = sum(map(len, origin.blobs.values()))
    print(f"one image of {image / 1e6:.0f} MB in {LAYERS} layers over a link of {RATE / 1e6:.0f} MB/s")
    print("| round | who | clients | last done | ÷ direct | first layer byte | ÷ direct | bytes ÷ image | most asked |")
    print("|---|---|---|---|---|---|---|---|---|")
    for number in range(1, options.rounds + 1):
        direct = pull(f"{origin.url}/v2/bench/image", origin, 1)
        _print(number, "direct", 1, direct, direct, image)
        for name, cache, clients in _caches(options.without_others):
            directory = Path(tempfile.mkdtemp(dir="/var/tmp"))
            try:
                with cache(origin, directory) as base:
                    _wake(base)
                    _print(number, name, clients, pull(base, origin, clients), direct, image)
                    if name == "entrepot":
                        _print(number, "entrepot, warm", clients, pull(base, origin, clients), direct, image)
                        hosted = _push(base, origin)
                        _print(number, "entrepot, hosted", clients, pull(hosted, origin, clients), direct, image)
            finally:
                shutil.rmtree(directory)
    return 0


def _push(base: str, origin: Origin) -> str:
    """Push the same image to a repository of the registry's own; the base of its URLs."""
    host, _, _ = base.partition("/v2/")
    with wire.Connection(wire.Endpoint(int(host.rpartition(":")[2]))) as connection:
        for digest, content in origin.blobs.items():
            wire.push_small(connection, "bench/hosted", Blob(content, digest))
        wire.push_manifest(connection, "bench/hosted", "v1", origin.manifest)
    return f"{host}/v2/bench/hosted"


def _wake(base: str) -> None:
    """The image is to be cold, not the program: each worker has fetched something before, of another repository.

    They come at once, as what comes one after the other may all be answered by the same worker.
    """

    def fetch(number: int) -> None:
        other = ["curl", "--silent", "-o", "/dev/null", f"{base}-{number}/manifests/v1"]
        subprocess.run(other, check=True)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(fetch, range(16)))


def _caches(alone: bool) -> list[tuple[str, Cache, int]]:
    found: list[tuple[str, Cache, int]] = [("entrepot", entrepot, CLIENTS)]
    for name, program in () if alone else (("docker-registry", "docker-registry"), ("distribution", "registry")):
        if shutil.which(program, path=search_path()) is None:
            print(f"left out: {name}, as {program} is missing (get it: tests/support/install-tools all)")
            continue
        found.append((name, partial(other, program), FEWER))
    return found


def _print(number: int, who: str, clients: int, pulled: Pulled, direct: Pulled, image: int) -> None:
    cells = [
        str(number), who, str(clients), f"{pulled.seconds:.2f} s", f"{pulled.seconds / direct.seconds:.2f}×",
        f"{pulled.first_byte:.3f} s", f"{pulled.first_byte / direct.first_byte:.2f}×", f"{pulled.sent / image:.2f}",
        str(pulled.asked),
    ]  # fmt: skip
    print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
