"""A registry that does as it is told: what an upstream of the cache may do wrong, at every phase of a pull."""

import contextlib
import hashlib
import json
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, parse_qsl

from tests.support.serving import OCI_INDEX, OCI_MANIFEST, an_image, digest_of

_BYTES = "application/octet-stream"
USER, PASSWORD = "bot", "the upstream's password"
IDENTITY = "an identity token + more"


@dataclass
class Script:
    """What the upstream has and how it behaves. `faults` says what to do in a phase: token, token-post, head, manifest,
    blob-head, blob, referrer or tag; of one repository only, when its path stands behind the phase and a space.

    A fault is a status, or one of: `close` (no answer), `silent` (no answer until `resume`), `stall` (half of the body,
    and no more until `resume`), `short` (the body breaks off in its middle), `wrong` (other bytes of the same length),
    `more` (a longer body than the manifest says). `quirks` are habits of known registries: `no-head` (405 for the HEAD
    of a manifest), `blob-head-401`, `no-digest` (no Docker-Content-Digest), `odd-digest` (one
    that is none), `html` (errors as a page), `basic` (Basic
    instead of tokens), `access-token` (the token's other name), `accept` (404 to those who do not accept an index),
    `no-length` (bodies in chunks, and a HEAD without a length), `charset` (behind every type), `token-each` (a token
    service for each first component of a name, which knows no other), `identity` (tokens by POST, for IDENTITY alone),
    `filters` (of referrers, by the type that is asked for), `endless` (the last page of referrers has a next one).
    """

    manifests: dict[str, bytes] = field(default_factory=dict)  # by tag and digest
    blobs: dict[str, bytes] = field(default_factory=dict)
    referrers: dict[str, bytes] = field(default_factory=dict)  # by the digest of their subject
    lists: dict[str, bytes] = field(default_factory=dict)  # of tags, by repository
    pages: list[bytes] = field(default_factory=list)  # of referrers, whatever their subject
    link: str = '<{path}?page={number}&x=a+b%2Bc>; rel="next"'
    queries: list[str] = field(default_factory=list)  # that came for referrers
    faults: dict[str, int | str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)  # of every answer about a manifest
    types: dict[str, str] = field(default_factory=dict)  # of manifests that are no images, by digest
    quirks: set[str] = field(default_factory=set)
    token: str = ""  # the one that is asked for; empty for none
    scope: str = ""  # that the challenge names
    realm: str = ""  # of the challenge, when it is not here
    challenge: str = 'Bearer realm="{realm}",service="scripted"'
    token_at: str = ""  # the origin that those who want a token are redirected to
    lifetime: int = 300  # seconds that a token says it has
    blobs_at: str = ""  # the origin that blobs are redirected to
    manifests_at: str = ""  # and manifests
    ranges: bool = True
    asked: Counter[tuple[str, str]] = field(default_factory=Counter)
    ranges_asked: list[str] = field(default_factory=list)
    authorizations: list[tuple[str, str]] = field(default_factory=list)  # (path, header) in order
    scopes: list[str] = field(default_factory=list)  # that tokens were asked for
    forms: list[dict[str, str]] = field(default_factory=list)  # that were posted for tokens
    resume: threading.Event = field(default_factory=threading.Event)
    held: int | None = None  # after so many bytes of a blob, wait for `resume`

    def reset(self) -> None:
        """Be as at first: another test begins."""
        vars(self).update(vars(Script()))

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
def scripted_upstream(tls: ssl.SSLContext | None = None) -> Iterator[Upstream]:
    """A server on a free port of the loopback, which speaks TLS when it has a context for that."""
    script = Script()

    class Handler(_Handler):
        of = script

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        scheme = "http"
        if tls is not None:
            scheme, server.socket = "https", tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield Upstream(f"{scheme}://127.0.0.1:{server.server_port}", script)
        finally:
            script.resume.set()
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    of: Script
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        posted = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.of.forms.append(dict(parse_qsl(posted)))
        self._answer()

    def log_message(self, *args: Any) -> None:
        """Say nothing."""

    def _answer(self) -> None:
        path = self.path.partition("?")[0]
        self.of.asked[self.command, path] += 1
        self.of.authorizations.append((path, self.headers.get("Authorization", "")))
        kind = path.split("/")[-2] if path.startswith("/v2/") else "token"
        fault = self._fault(kind, path)
        if isinstance(fault, int):
            return self._refuse(fault, f"scripted {fault}", self.of.headers)
        if fault == "close":
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return None
        if fault == "silent":
            self.of.resume.wait(60)
        if kind == "token":
            return self._token(path, fault)
        challenge = self._challenge(path)
        if challenge:
            return self._send(401, b"{}", {"WWW-Authenticate": challenge})
        return self._content(kind, path.rpartition("/")[2], fault)

    def _token(self, path: str, fault: object) -> None:
        scopes = parse_qs(self.path.partition("?")[2]).get("scope", [])
        self.of.scopes.extend(scopes)
        if self.of.token_at:
            return self._send(307, b"", {"Location": f"{self.of.token_at}{self.path}"})
        posted = self.command == "POST"
        if "identity" in self.of.quirks and not (posted and self.of.forms[-1].get("refresh_token") == IDENTITY):
            return self._refuse(400 if posted else 401, "invalid_grant", {})
        if "token-each" in self.of.quirks and not scopes[0].startswith(f"repository:{path.split('/')[1]}/"):
            return self._refuse(401, "of another repository", {})
        key = "access_token" if "access-token" in self.of.quirks or posted else "token"
        body = json.dumps({key: self.of.token, "expires_in": self.of.lifetime}).encode()
        held = len(body) // 2 if fault == "stall" else None
        return self._send(200, bytes(len(body)) if fault == "wrong" else body, {}, short=fault == "short", held=held)

    def _fault(self, kind: str, path: str) -> int | str | None:
        phase = kind.removesuffix("s")
        if self.command == "POST":
            phase = "token-post"
        if self.command == "HEAD":
            phase = "head" if phase == "manifest" else f"{phase}-head"
        scope = parse_qs(self.path.partition("?")[2]).get("scope", [":"])[0]
        repository = path.removeprefix("/v2/").rpartition("/")[0].rpartition("/")[0] or scope.split(":")[1]
        of_one = self.of.faults.get(f"{phase} {repository}")
        return self.of.faults.get(phase) if of_one is None else of_one

    def _challenge(self, path: str) -> str:
        """What to ask for; empty when what was sent will do."""
        sent = self.headers.get("Authorization", "")
        if "basic" in self.of.quirks:
            return "" if sent.startswith("Basic ") else 'Basic realm="scripted"'
        if not self.of.token or sent == f"Bearer {self.of.token}":
            return ""
        scheme = "https" if isinstance(self.connection, ssl.SSLSocket) else "http"
        below = f"/{path.split('/')[2]}" if "token-each" in self.of.quirks else ""
        challenge = self.of.challenge.format(realm=self.of.realm or f"{scheme}://{self.headers['Host']}{below}/token")
        return f'{challenge},scope="{self.of.scope}"' if self.of.scope else challenge

    def _refuse(self, status: int, message: str, headers: dict[str, str]) -> None:
        text = json.dumps({"errors": [{"code": "X", "message": message}]})
        if "html" in self.of.quirks:
            text = f"<html><title>{message}</title></html>"
        self._send(status, text.encode(), headers)

    def _page(self) -> None:
        """A page of referrers."""
        path, _, query = self.path.partition("?")
        self.of.queries.append(query)
        asked = parse_qs(query)
        number = int(asked.get("page", ["0"])[0])
        page, headers = json.loads(self.of.pages[min(number, len(self.of.pages) - 1)]), {"Content-Type": OCI_INDEX}
        if "filters" in self.of.quirks and "artifactType" in asked:
            headers["OCI-Filters-Applied"] = "artifactType"
            page["manifests"] = [each for each in page["manifests"] if each["artifactType"] in asked["artifactType"]]
        if number + 1 < len(self.of.pages) or "endless" in self.of.quirks:
            headers["Link"] = self.of.link.format(path=path, number=number + 1)
        self._send(200, json.dumps(page).encode(), headers)

    def _content(self, kind: str, reference: str, fault: object) -> None:
        if kind == "referrers" and self.of.pages:
            return self._page()
        if kind == "tags":
            reference = self.path.removeprefix("/v2/").partition("/tags/")[0]
        found = {
            "manifests": self.of.manifests,
            "blobs": self.of.blobs,
            "referrers": self.of.referrers,
            "tags": self.of.lists,
        }[kind].get(reference)
        if found is None:
            return self._refuse(404, "it is not there", {})
        if kind == "manifests" and "accept" in self.of.quirks and OCI_INDEX not in self.headers.get("Accept", ""):
            return self._refuse(404, "OCI index found, but Accept header does not support OCI indexes", {})
        if self.command == "HEAD" and f"{kind[:-1]}-head-401" in self.of.quirks:
            return self._send(401, b"", {})
        if self.command == "HEAD" and kind == "manifests" and "no-head" in self.of.quirks:
            return self._send(405, b"", {})
        if kind == "blobs" and self.of.blobs_at and self.command == "GET":
            return self._send(307, b"", {"Location": f"{self.of.blobs_at}{self.path}"})
        if kind == "manifests" and self.of.manifests_at:
            return self._send(307, b"", {"Location": f"{self.of.manifests_at}{self.path}"})
        headers = self._headers(kind, found, fault)
        status, start = 200, 0
        wanted = self.headers.get("Range", "")
        if wanted and self.of.ranges:
            self.of.ranges_asked.append(wanted)
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            said = f"{start}-{len(found) - 1}" if start < len(found) else "*"
            status, headers["Content-Range"] = 416 if said == "*" else 206, f"bytes {said}/{len(found)}"
        if fault == "wrong":
            found = bytes(len(found))
        elif fault == "more":
            found += b"more"
        held = len(found) // 2 if fault == "stall" else self.of.held if kind == "blobs" else None
        return self._send(status, found[start:], headers, short=fault == "short", held=held)

    def _headers(self, kind: str, found: bytes, fault: object) -> dict[str, str]:
        digest = digest_of(b"another" if self.command == "HEAD" and fault == "wrong" else found)
        media_type = self.of.types.get(digest_of(found), OCI_MANIFEST if kind == "manifests" else _BYTES)
        headers = {"Docker-Content-Digest": digest, "Content-Type": media_type}
        if "charset" in self.of.quirks:
            headers["Content-Type"] += "; charset=utf-8"
        if "odd-digest" in self.of.quirks:
            headers["Docker-Content-Digest"] = "sha256:../../../token?x=y"
        if "no-digest" in self.of.quirks:
            del headers["Docker-Content-Digest"]
        return {**headers, **(self.of.headers if kind == "manifests" else {})}

    def _send(
        self, status: int, body: bytes, headers: dict[str, str], *, short: bool = False, held: int | None = None
    ) -> None:
        self.send_response(status)
        chunked = "no-length" in self.of.quirks and status in (200, 206)
        length = {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": str(len(body))}
        for name, value in {**length, **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        parts = [body[: len(body) // 2]] if short else [body] if held is None else [body[:held], body[held:]]
        try:
            for number, part in enumerate(parts):
                if number:
                    self.of.resume.wait(60)
                self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part) if chunked and part else part)
            if chunked and not short:
                self.wfile.write(b"0\r\n\r\n")
        except OSError:
            self.close_connection = True
        if short:
            self.close_connection = True


@dataclass
class Proxy:
    """A proxy, and the tunnels that were asked of it: (HOST:PORT, Proxy-Authorization)."""

    url: str
    tunnels: list[tuple[str, str]]


@contextmanager
def scripted_proxy(port: int) -> Iterator[Proxy]:
    """A proxy whose tunnels all lead to this port of the loopback, whatever host they are for."""
    tunnels: list[tuple[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_CONNECT(self) -> None:
            tunnels.append((self.path, self.headers.get("Proxy-Authorization", "")))
            with socket.create_connection(("127.0.0.1", port)) as there:
                self.send_response(200)
                self.end_headers()
                back = threading.Thread(target=_pump, args=(there, self.connection))
                back.start()
                _pump(self.connection, there)
                back.join()
            self.close_connection = True

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield Proxy(f"http://127.0.0.1:{server.server_port}", tunnels)
        finally:
            server.shutdown()
            thread.join()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
