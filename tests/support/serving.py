"""`entrepot serve` as a real process of this machine, and a client of it that checks what every answer promises."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from tests.support.wire import SECONDS, Answer, Connection, Headers, pairs_of, whole

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"

_UNFORESEEN = ('"exception":', "Traceback (most recent call last)", "ASGI callable returned")  # of a server's log
_READY = r"entrepot: ready on (https?://\S+)(?: and, as a mirror of \S+, on (https?://\S+))?\n"
_CODE = re.compile(r"[A-Z_]+")
Descriptor = dict[str, Any]


def digest_of(content: bytes, algorithm: str = "sha256") -> str:
    """The digest of `content`."""
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"


def descriptor(content: bytes, media_type: str, **more: Any) -> Descriptor:
    """A descriptor of `content`."""
    return {"mediaType": media_type, "digest": digest_of(content), "size": len(content), **more}


def fresh_name() -> str:
    """A repository that no other test uses."""
    return f"test/{uuid4().hex[:16]}"


class Registry:
    """A client of one server: a connection a request, or one that is kept where a test asks for it."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname
        assert parts.port
        self.address = (parts.hostname, parts.port)
        self.asks_from: Callable[[], str] | None = None
        """Says the address that a proxy before the server would say, where it trusts one."""

    def connect(self) -> Connection:
        """A new connection."""
        return Connection(self.address)

    def request(self, method: str, target: str, headers: Headers = (), body: bytes | None = None) -> Answer:
        """One request on its own connection; the answer keeps what every answer promises."""
        pairs = pairs_of(headers)
        if self.asks_from and all(header.lower() != "x-forwarded-for" for header, _ in pairs):
            pairs.append(("X-Forwarded-For", self.asks_from()))
        with self.connect() as connection:
            answer = connection.ask(whole(method, target, pairs, body), method)
        check_promises(answer, method, target)
        return answer

    def get(self, target: str, headers: Headers = ()) -> Answer:
        """GET."""
        return self.request("GET", target, headers)

    def head(self, target: str, headers: Headers = ()) -> Answer:
        """HEAD."""
        return self.request("HEAD", target, headers)

    def delete(self, target: str) -> Answer:
        """DELETE."""
        return self.request("DELETE", target)

    def open_upload(self, name: str, query: str = "") -> str:
        """POST; returns the Location of the session."""
        answer = self.request("POST", f"/v2/{name}/blobs/uploads/{query}", body=b"")
        assert answer.status == 202, answer
        return answer["location"]

    def push_blob(self, name: str, content: bytes, algorithm: str = "sha256") -> str:
        """POST, then PUT with the whole; returns the digest."""
        digest = digest_of(content, algorithm)
        answer = self.request("PUT", f"{self.open_upload(name)}?digest={digest}", body=content)
        assert answer.status == 201, answer
        return digest

    def put_manifest(self, name: str, reference: str, content: bytes, media_type: str = OCI_MANIFEST) -> Answer:
        """PUT a manifest."""
        return self.request("PUT", f"/v2/{name}/manifests/{reference}", {"Content-Type": media_type}, content)

    def push_image(self, name: str, reference: str, **more: Any) -> bytes:
        """Push an image of one layer, unlike any other; returns its manifest's bytes."""
        config, layer = json.dumps({"made": uuid4().hex}).encode(), uuid4().bytes
        for content in (config, layer):
            self.push_blob(name, content)
        manifest = an_image(config, layer, **more)
        answer = self.put_manifest(name, reference, manifest)
        assert answer.status == 201, answer
        return manifest

    def push_artifact(self, name: str, **more: Any) -> Descriptor:
        """Push an artifact without layers by its digest; returns the descriptor of its manifest."""
        self.push_blob(name, b"{}")
        document = {"config": descriptor(b"{}", OCI_EMPTY), "layers": [], "artifactType": "application/x.test", **more}
        content = a_manifest({key: value for key, value in document.items() if value is not None})
        answer = self.put_manifest(name, digest_of(content), content)
        assert answer.status == 201, answer
        return descriptor(content, OCI_MANIFEST)


def a_manifest(document: Mapping[str, Any], media_type: str = OCI_MANIFEST) -> bytes:
    """A manifest's bytes, with its schema version and media type."""
    return json.dumps({"schemaVersion": 2, "mediaType": media_type, **document}).encode()


def an_image(config: bytes, *layers: bytes, **more: Any) -> bytes:
    """An image manifest of this content."""
    return a_manifest(
        {
            "config": descriptor(config, OCI_CONFIG),
            "layers": [descriptor(layer, OCI_LAYER) for layer in layers],
            **more,
        }
    )


def check_promises(answer: Answer, method: str, target: str) -> None:
    """What holds for every answer: never a 5xx, an id, errors in the specification's form, headers of `/v2/`."""
    assert answer.status < 500, answer
    assert answer["x-request-id"]
    assert answer.header("content-encoding") is None
    if not target.startswith("/v2"):
        return
    assert answer["docker-distribution-api-version"] == "registry/2.0"
    assert answer["x-content-type-options"] == "nosniff"
    assert answer["content-security-policy"] == "default-src 'none'; sandbox"
    if answer.status >= 400 and method != "HEAD":
        assert _CODE.fullmatch(answer.code)
        assert answer.message
    if answer.status == 405:
        assert method not in answer["allow"].split(", ")


class Server(Registry):
    """A running server with its data directory, its log and its processes."""

    def __init__(self, process: subprocess.Popen[str], url: str, mirror_url: str, data: Path, log: Path) -> None:
        super().__init__(url)
        self.mirror_url = mirror_url
        self.process = process
        self.url = url
        self.data = data
        self.log_file = log

    def workers(self) -> list[int]:
        """The process ids of the workers."""
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def descriptors(self) -> int:
        """How many file descriptors the workers have open."""
        return sum(len(os.listdir(f"/proc/{worker}/fd")) for worker in self.workers())

    def blob_files(self) -> list[Path]:
        """Every file below the data directory's blobs."""
        return [path for path in (self.data / "blobs").rglob("*") if path.is_file()]

    def log(self) -> list[dict[str, Any]]:
        """The lines logged so far; with `log.format: json` every one is JSON."""
        whole_lines = self.log_file.read_text().rpartition("\n")[0]
        return [json.loads(line) for line in whole_lines.splitlines()]

    def logged(self, identity: str) -> dict[str, Any]:
        """The line of the request with this id; it is written some moments after the answer."""
        while True:
            for line in self.log():
                if line.get("id") == identity:
                    return line

    def stop(self) -> int:
        """SIGTERM; returns the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


@contextmanager
def serving(directory: Path, *, accounts: bool = False, **settings: str) -> Iterator[Server]:
    """A server, open unless it has `accounts`; `settings` are keys with `__` for the dot. Two workers by default.

    Whatever is done to it, it must never log an error that it did not foresee.
    """
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("ENTREPOT_", "REGISTRY_"))}
    environment |= {f"ENTREPOT_{key.upper()}": value for key, value in settings.items()}
    workers = settings.get("workers", "2")
    directory.mkdir(parents=True, exist_ok=True)
    data, log = directory / "data", directory / "log"
    command = [sys.executable, "-m", "entrepot", "serve", "--workers", workers, "--data-dir", str(data)]
    if not accounts:
        command += ["--open"]
    if "http__listen" not in settings:
        command += ["--listen", "127.0.0.1:0"]
    with log.open("w") as output:
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=output, text=True)
    try:
        urls = _ready(process)
        assert urls, f"not ready:\n{log.read_text()}"
        yield Server(process, *urls, data, log)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert process.stdout
        process.stdout.close()
    broken = [line for line in log.read_text().splitlines() if any(sign in line for sign in _UNFORESEEN)]
    assert not broken, "\n".join(broken[:5])


def _ready(process: subprocess.Popen[str]) -> tuple[str, str] | None:
    """The URLs of the one line that the server prints, its own and its mirror's; None when it says nothing."""
    lines: list[str] = []
    assert process.stdout
    reader = threading.Thread(target=lambda: lines.append(process.stdout.readline() if process.stdout else ""))
    reader.start()
    reader.join(SECONDS * 3)
    if reader.is_alive():
        process.kill()
        reader.join()
    match = re.fullmatch(_READY, lines[0])
    return (match[1], match[2] or "") if match else None
