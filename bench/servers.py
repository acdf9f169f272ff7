"""The servers that are compared: how each is started, what it is filled with, what it costs, what it syncs."""

import os
import pwd
import shutil
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

from bench import processes, wire
from bench.content import OCI_MANIFEST, Blob, Image, LargeBlob

REPOSITORY = "bench/seed"
TAG = "latest"
CHECKOUT = Path(__file__).resolve().parents[1]
_READY_TIMEOUT = 60.0
_STOP_TIMEOUT = 20.0


@dataclass(frozen=True)
class Seed:
    """What every server holds before the first GET: an image whose manifest is asked for by tag, and one large blob."""

    image: Image
    small: Blob
    medium: Blob
    large: LargeBlob


class ServerError(Exception):
    """A server is missing, did not start or did not stop."""


def _environment() -> dict[str, str]:
    """This process's environment without what could set a registry otherwise than its adapter does."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("ENTREPOT_", "REGISTRY_"))}


class Server(ABC):
    """One server process tree with its data in a directory of its own."""

    key: str  # for the command line
    name: str  # for the table
    syncs: str  # before a 201; of the peers as strace shows it
    command_name: str
    install: str  # how to get it

    def __init__(self, directory: Path, port: int) -> None:
        self.directory = directory
        self.port = port
        self.start_seconds = 0.0
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None

    @classmethod
    def find(cls) -> Path | None:
        """The program to run, or None where it is not installed."""
        found = shutil.which(cls.command_name)
        return Path(found) if found else None

    @abstractmethod
    def command(self) -> list[str]:
        """The command line; writes the configuration files that it names."""

    def environment(self) -> Mapping[str, str]:
        return {}

    @property
    def endpoint(self) -> wire.Endpoint:
        return wire.Endpoint(self.port)

    def start(self) -> Self:
        """Start it and wait until it answers; `start_seconds` is how long that took."""
        self.directory.mkdir(parents=True, exist_ok=True)
        command = self.command()
        self._log = (self.directory / "log").open("wb")
        began = time.perf_counter()
        self._process = subprocess.Popen(
            command,
            env={**_environment(), **self.environment()},
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        while not self.is_ready():
            if self._process.poll() is not None or time.perf_counter() - began > _READY_TIMEOUT:
                last = (self.directory / "log").read_text(errors="replace").strip().splitlines()[-1:]
                self.stop()
                raise ServerError(f"{self.name} did not start: {''.join(last) or 'it said nothing'}")
            time.sleep(0.005)
        self.start_seconds = time.perf_counter() - began
        return self

    def authorization(self) -> str:
        """What requests that pull say of who they are; empty where nobody is asked."""
        return ""

    def push_authorization(self) -> str:
        """The same of requests that push."""
        return ""

    def is_ready(self) -> bool:
        """Whether it answers requests."""
        try:
            with wire.Connection(self.endpoint) as connection:
                connection.exchange(connection.head(b"GET", b"/v2/"), 200)
        except (OSError, wire.WireError):
            return False
        return True

    def stop(self) -> None:
        """End every process of the server; the data stays."""
        if self._process is not None:
            group = self._process.pid  # its own session, so nobody else is in the group
            self._process.terminate()
            try:
                self._process.wait(_STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                os.killpg(group, signal.SIGKILL)
                self._process.wait()
            self._process = None
        if self._log is not None:
            self._log.close()

    def pids(self) -> list[int]:
        return processes.tree(self._process.pid) if self._process else []

    def seed(self, seed: Seed) -> None:
        with wire.Connection(self.endpoint, self.push_authorization()) as connection:
            for blob in (*seed.image.blobs, seed.small, seed.medium):
                wire.push_small(connection, REPOSITORY, blob)
            wire.push_large(connection, REPOSITORY, seed.large)
            wire.push_manifest(connection, REPOSITORY, TAG, seed.image.manifest)


class DockerRegistry(Server):
    key = "docker-registry"
    name = "docker-registry 2.8.2"
    syncs = "each file (twice), no directory, so not a blob's final name"
    command_name = "docker-registry"
    install = "apt-get install docker-registry"

    def command(self) -> list[str]:
        configuration = self.directory / "config.yml"
        configuration.write_text(
            "version: 0.1\n"
            "log: {level: error, accesslog: {disabled: true}}\n"
            "storage:\n"
            "  cache: {blobdescriptor: inmemory}\n"
            f"  filesystem: {{rootdirectory: {self.directory}/data}}\n"
            "  delete: {enabled: true}\n"
            f"http: {{addr: '127.0.0.1:{self.port}'}}\n"
        )
        return [str(self.find()), "serve", str(configuration)]


class Distribution(DockerRegistry):
    key = "distribution"
    name = "distribution 3.1.2"
    syncs = "each file, and the directories of small ones, but not a blob's final name"
    command_name = "registry"
    install = "tests/support/install-tools go"

    @classmethod
    def find(cls) -> Path | None:
        # Not from PATH: go-containerregistry has a program of the same name.
        places = [CHECKOUT / ".tools", *(Path(named) for named in [os.environ.get("ENTREPOT_TOOLS")] if named)]
        candidates = (place / "bin" / cls.command_name for place in places)
        return next((path for path in candidates if path.is_file()), None)

    def environment(self) -> Mapping[str, str]:
        return {"OTEL_TRACES_EXPORTER": "none"}


class Nginx(Server):
    key = "nginx"
    name = "nginx"
    syncs = "serves files only"
    command_name = "nginx"
    install = "apt-get install nginx-light"

    def command(self) -> list[str]:
        here = self.directory
        (here / "root" / "v2").mkdir(parents=True, exist_ok=True)
        (here / "root" / "v2" / "index.html").write_text("{}")
        user = f"user {pwd.getpwuid(0).pw_name};\n" if os.geteuid() == 0 else ""
        scratch = "".join(f"  {kind}_temp_path {here}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi"))
        scratch += "".join(f"  {kind}_temp_path {here}/{kind};\n" for kind in ("uwsgi", "scgi"))
        configuration = here / "nginx.conf"
        configuration.write_text(
            f"{user}worker_processes 1;\ndaemon off;\npid {here}/pid;\nerror_log {here}/error.log;\n"
            "events { worker_connections 1024; }\n"
            "http {\n"
            f"{scratch}"
            "  access_log off;\n  sendfile on;\n  tcp_nopush on;\n  keepalive_requests 1000000000;\n"
            "  default_type application/octet-stream;\n"
            f"  server {{ listen 127.0.0.1:{self.port}; root {here}/root;\n"
            f"    location ~ /manifests/ {{ default_type {OCI_MANIFEST}; }} }}\n"
            "}\n"
        )
        return [str(self.find()), "-p", str(here), "-c", str(configuration), "-e", f"{here}/error.log"]

    def seed(self, seed: Seed) -> None:
        repository = self.directory / "root" / "v2" / REPOSITORY
        (repository / "blobs").mkdir(parents=True)
        (repository / "manifests").mkdir()
        for blob in (*seed.image.blobs, seed.small, seed.medium):
            (repository / "blobs" / blob.digest).write_bytes(blob.content)
        with (repository / "blobs" / seed.large.digest).open("wb") as out, memoryview(seed.large.block.view) as view:
            for length in seed.large.block.pieces(seed.large.head_size):
                out.write(view[:length])
            out.write(seed.large.tail)
        (repository / "manifests" / TAG).write_bytes(seed.image.manifest)
