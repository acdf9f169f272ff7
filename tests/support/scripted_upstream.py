"""A registry that does as it is told: what an upstream of the cache may do wrong, at every phase of a pull."""

import hashlib
import json
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.support.serving import OCI_MANIFEST, an_image, digest_of

USER, PASSWORD = "bot", "the upstream's password"


@dataclass
class Script:
    """What the upstream has and how it behaves. `faults` says what to do in a phase: token, head, manifest or blob.

    A fault is a status, or one of: `close` (no answer), `silent` (no answer until `resume`), `short` (the body breaks
    off in its middle), `wrong` (other bytes of the same length), `more` (a longer body than the manifest says).
    """

    manifests: dict[str, bytes] = field(default_factory=dict)  # by tag and digest
    blobs: dict[str, bytes] = field(default_factory=dict)
    faults: dict[str, int | str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)  # of every answer about a manifest
    token: str = ""  # the one that is asked for; empty for none
    blobs_at: str = ""  # the origin that blobs are redirected to
    ranges: bool = True
    asked: Counter[tuple[str, str]] = field(default_factory=Counter)
    ranges_asked: list[str] = field(default_factory=list)
    authorizations: list[tuple[str, str]] = field(default_factory=list)  # (path, header) in order
    resume: threading.Event = field(default_factory=threading.Event)
    held: int | None = None  # after so many bytes of a blob, wait for `resume`

    def push(self, tag: str, *layers: bytes) -> bytes:
        """An image; its manifest."""
        config = json.dumps({"layers": [hashlib.sha256(layer).hexdigest() for layer in layers]}).encode()
        manifest = an_image(config, *layers)
        self.manifests |= {tag: manifest, digest_of(manifest): manifest}
        self.blobs |= {digest_of(content): content for content in (config, *layers)}
        return manifest


@dataclass
class Upstream:
    """A running server and its script."""

    url: str
    script: Script


@contextmanager
def scripted_upstream() -> Iterator[Upstream]:
    """A server on a free port of the loopback."""
    script = Script()

    class Handler(_Handler):
        of = script

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield Upstream(f"http://127.0.0.1:{server.server_port}", script)
        finally:
            script.resume.set()
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    of: Script
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, *args: Any) -> None:
        """Say nothing."""

    def _answer(self) -> None:
        path = self.path.partition("?")[0]
        self.of.asked[self.command, path] += 1
        self.of.authorizations.append((path, self.headers.get("Authorization", "")))
        kind = path.split("/")[-2] if path.startswith("/v2/") else "token"
        phase = "head" if self.command == "HEAD" and kind == "manifests" else kind.removesuffix("s")
        fault = self.of.faults.get(phase)
        if isinstance(fault, int):
            text = json.dumps({"errors": [{"code": "X", "message": f"scripted {fault}"}]}).encode()
            return self._send(fault, text, self.of.headers)
        if fault == "close":
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return None
        if fault == "silent":
            self.of.resume.wait(60)
        if kind == "token":
            return self._send(200, json.dumps({"token": self.of.token, "expires_in": 300}).encode(), {})
        if self.of.token and self.headers.get("Authorization") != f"Bearer {self.of.token}":
            realm = f"http://{self.headers['Host']}/token"
            return self._send(401, b"{}", {"WWW-Authenticate": f'Bearer realm="{realm}",service="scripted"'})
        return self._content(kind, path.rpartition("/")[2], fault)

    def _content(self, kind: str, reference: str, fault: object) -> None:
        found = (self.of.manifests if kind == "manifests" else self.of.blobs).get(reference)
        if found is None:
            return self._send(404, b'{"errors":[{"code":"UNKNOWN","message":"it is not there"}]}', {})
        if kind == "blobs" and self.of.blobs_at and self.command == "GET":
            return self._send(307, b"", {"Location": f"{self.of.blobs_at}{self.path}"})
        headers = {"Docker-Content-Digest": digest_of(found), **(self.of.headers if kind == "manifests" else {})}
        headers |= {"Content-Type": OCI_MANIFEST if kind == "manifests" else "application/octet-stream"}
        status, start = 200, 0
        wanted = self.headers.get("Range", "")
        if wanted and self.of.ranges:
            self.of.ranges_asked.append(wanted)
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            status, headers["Content-Range"] = 206, f"bytes {start}-{len(found) - 1}/{len(found)}"
        if fault == "wrong":
            found = bytes(len(found))
        elif fault == "more":
            found += b"more"
        return self._send(
            status, found[start:], headers, short=fault == "short", held=self.of.held if kind == "blobs" else None
        )

    def _send(
        self, status: int, body: bytes, headers: dict[str, str], *, short: bool = False, held: int | None = None
    ) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        try:
            if held is not None:
                self.wfile.write(body[:held])
                self.wfile.flush()
                self.of.resume.wait(60)
                body = body[held:]
            self.wfile.write(body[: len(body) // 2] if short else body)
        except OSError:
            self.close_connection = True
        if short:
            self.close_connection = True
