"""The onion: read the request, guard it, answer it, send the answer, tell the observer.

Plain ASGI: no framework stands between a client and its bytes.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from contextlib import aclosing, suppress
from typing import Any, Protocol
from urllib.parse import urlsplit

import structlog

from entrepot.access.request_limits import RequestLimits
from entrepot.registry.errors import BodyInterrupted, RegistryError
from entrepot.registry.purging import Download, Downloads
from entrepot.web.guard import Guard
from entrepot.web.message import Answer, BadRequest, Headers, Receive, Request, Scope, Send
from entrepot.web.observer import Observer
from entrepot.web.operations import Operations
from entrepot.web.v2 import errors
from entrepot.web.v2.door import V2

V2_HEADERS: Headers = [
    (b"docker-distribution-api-version", b"registry/2.0"),
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; sandbox"),
]
CUT = "entrepot.cut"
"""Our ASGI extension: {"type": CUT, "at_once"} ends an answer short, and the connection with it; `at_once`, even what
is on its way is dropped."""
SENDFILE = "entrepot.sendfile"
"""Our ASGI extension: {"type": SENDFILE, "file"} ends an answer."""
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]
_API = b"/api/"
_OF_A_MIRROR = ("/v2", "/livez", "/readyz", "/metrics")
_NOT_V2 = frozenset({"operations", "search", "nodes"})
_log = structlog.get_logger()


class Door(Protocol):
    """Answers some paths; `route` is what the metrics call them."""

    route: str
    paths: frozenset[str]

    async def answer(self, request: Request, address: str) -> Answer:
        """One of the paths."""
        ...


class App:
    """The ASGI application of one worker."""

    def __init__(
        self,
        v2: V2,
        operations: Operations,
        others: Sequence[Door],
        api: ASGIApp | None,
        guard: Guard,
        observer: Observer,
        requests: RequestLimits,
        downloads: Downloads,
        *,
        nodes: Door | None,
        idle_timeout: float,
        public_url: str | None,
    ) -> None:
        """`others`: doors besides `/v2/`; `api` answers `/api/`; `nodes`: the door of other nodes, which has no limits.

        `idle_timeout`: seconds that a body may be silent.
        """
        self._v2 = v2
        self._others = {path: door for door in others for path in door.paths}
        self._api = api
        self._nodes = nodes
        self._operations = operations
        self._guard = guard
        self._observer = observer
        self._requests = requests
        self._downloads = downloads
        self._idle = idle_timeout
        self._base = public_url.rstrip("/") if public_url else None
        self._prefix = urlsplit(public_url).path.rstrip("/") if public_url else ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            return
        started = self._observer.now()
        identity = self._observer.new_id()
        counted = _Counted(receive)
        if self._api is not None and scope["raw_path"].startswith(_API) and not self._v2.at_mirror(_port(scope)):
            await self._pass_on(self._api, scope, counted, send, identity, started)
            return
        purges = self._downloads.seen
        route, answer, address = await self._answer(scope, counted, identity)
        if answer is None:
            return
        self._finish(answer, identity, is_v2=route not in _NOT_V2)
        sent = 0
        try:
            sent = await self._send(answer, scope, send, address, purges)
        except ConnectionResetError:
            return  # the client has gone, or the answer was cut
        except RegistryError as error:  # the head is sent: that it is not whole is all that can be said
            _log.warning("an answer broke off", id=identity, target=_target(scope), error=error.message)
            with suppress(ConnectionResetError):
                await send({"type": CUT, "at_once": False})
        finally:
            self._observer.answered(
                identity,
                address,
                scope["method"],
                _target(scope),
                _header(scope, b"user-agent") or "",
                route,
                answer.status,
                sent,
                counted.bytes,
                started,
            )

    async def _send(self, answer: Answer, scope: Scope, send: Send, address: str, purges: int) -> int:
        """Send an answer, which a purge may cut; the bytes of the body. `purges`: seen before it was allowed."""
        if answer.blob is None or scope["method"] == "HEAD":
            return await _send(answer, scope, send)
        task = asyncio.current_task()
        assert task is not None
        download = Download(*answer.blob, address, _target(scope), task.cancel)
        self._downloads.begin(download, purges)
        try:
            return await _send(answer, scope, send)
        except RegistryError:
            self._downloads.broke_off(download)
            raise
        except asyncio.CancelledError:
            if not download.cut:
                raise
            task.uncancel()
            await send({"type": CUT, "at_once": True})
            raise ConnectionResetError from None
        finally:
            self._downloads.end(download)

    async def _answer(self, scope: Scope, receive: "_Counted", identity: str) -> tuple[str, Answer | None, str]:
        peer = scope["client"][0] if scope.get("client") else ""
        address = self._guard.address(peer, scope["headers"])
        try:
            refusal = self._refusal(scope)
            if refusal is not None:
                return "other", errors.refusal(403, "DENIED", refusal, headers=[(b"connection", b"close")]), address
            request = Request(scope, receive, self._idle)
            if self._nodes is not None and request.path in self._nodes.paths:
                return self._nodes.route, await self._nodes.answer(request, address), address
            limited = self._requests.of_address(address)
            if limited is not None:
                return (
                    "other",
                    errors.refusal(429, "TOOMANYREQUESTS", limited.message, headers=limited.headers),
                    address,
                )
            if self._v2.at_mirror(request.port) and not request.path.startswith(_OF_A_MIRROR):
                return "other", errors.refusal(404, "UNSUPPORTED", "this is a mirror: it has nothing but /v2/"), address
            if request.path in self._operations.paths:
                return "operations", await self._operations.answer(request), address
            door = self._others.get(request.path)
            if door is not None:
                return door.route, await door.answer(request, address), address
            route, answer = await self._v2.answer(request, address)
            return route, answer, address
        except BadRequest as error:
            return "other", errors.refusal(400, "UNSUPPORTED", str(error), headers=[(b"connection", b"close")]), address
        except BodyInterrupted:
            return "other", None, address
        except Exception:
            _log.exception("request failed", id=identity, method=scope["method"], target=_target(scope))
            text = f"something went wrong here; the log has it under request id {identity}"
            return "other", errors.refusal(500, "UNKNOWN", text, headers=[(b"connection", b"close")]), address

    async def _pass_on(
        self, api: ASGIApp, scope: Scope, receive: "_Counted", send: Send, identity: str, started: float
    ) -> None:
        """Let the API answer; what every request gets, it gets as well."""
        peer = scope["client"][0] if scope.get("client") else ""
        address = self._guard.address(peer, scope["headers"])
        scope["entrepot.address"] = address
        sending = _Sent(send, identity)
        try:
            refusal = self._refusal(scope)
        except BadRequest as error:
            refusal = str(error)
        try:
            limited = self._requests.of_address(address)
            if refusal is None and limited is None:
                await api(scope, receive, sending)
            else:
                if refusal is not None:
                    answer = errors.refusal(403, "DENIED", refusal, headers=[(b"connection", b"close")])
                else:
                    assert limited is not None
                    answer = errors.refusal(429, "TOOMANYREQUESTS", limited.message, headers=limited.headers)
                answer.headers.append((b"content-length", b"%d" % len(answer.body)))
                await _send(answer, scope, sending)
        finally:
            agent = _header(scope, b"user-agent") or ""
            self._observer.answered(
                identity, address, scope["method"], _target(scope), agent, "api", sending.status, sending.bytes,
                receive.bytes, started,
            )  # fmt: skip

    def _refusal(self, scope: Scope) -> str | None:
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        if len(hosts) > 1 or (not hosts and scope["http_version"] == "1.1"):
            raise BadRequest("a request names its Host once (RFC 9112 §3.2)")
        codings = [value.lower() for name, value in scope["headers"] if name == b"transfer-encoding"]
        if codings and (codings != [b"chunked"] or scope["http_version"] == "1.0"):
            raise BadRequest("the only Transfer-Encoding is chunked, in HTTP/1.1 (RFC 9112 §6.1)")
        if self._v2.at_mirror(_port(scope)):
            return None  # what is public anyway may be read under any name
        host = hosts[0].decode("latin-1") if hosts else None
        origin = _header(scope, b"origin")
        return self._guard.host_refusal(host) or self._guard.origin_refusal(scope["method"], origin, host)

    def _finish(self, answer: Answer, identity: str, *, is_v2: bool) -> None:
        headers = answer.headers
        if self._base is not None:
            headers = [self._outside(name, value) for name, value in headers]
        if answer.status not in (204, 304):
            headers.append((b"content-length", str(answer.content_length()).encode()))
        if is_v2:
            headers.extend(V2_HEADERS)
        headers.append((b"x-request-id", identity.encode()))
        answer.headers = headers

    def _outside(self, name: bytes, value: bytes) -> tuple[bytes, bytes]:
        """Locations and links as they are seen from outside, by http.public_url."""
        if name == b"location" and value.startswith(b"/"):
            assert self._base is not None
            return name, self._base.encode() + value
        if name == b"link" and value.startswith(b"</"):
            return name, b"<" + self._prefix.encode() + value[1:]
        return name, value


class _Counted:
    """The request's body on its way in, counted."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.bytes = 0

    async def __call__(self) -> dict[str, object]:
        message = await self._receive()
        if message["type"] == "http.request":
            self.bytes += len(message.get("body", b""))
        return dict(message)


class _Sent:
    """The API's answer on its way out, counted."""

    def __init__(self, send: Send, identity: str) -> None:
        self._send = send
        self._identity = identity.encode()
        self.status = 500
        self.bytes = 0

    async def __call__(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message["headers"], (b"x-request-id", self._identity)]
        else:
            self.bytes += len(message.get("body", b""))
        await self._send(message)


async def _send(answer: Answer, scope: Scope, send: Send) -> int:
    """Send an answer; returns the bytes of the body."""
    await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
    if scope["method"] == "HEAD" or (answer.stream is None and answer.file is None):
        body = b"" if scope["method"] == "HEAD" else answer.body
        await send({"type": "http.response.body", "body": body})
        return len(body)
    if answer.file is not None and SENDFILE in scope.get("extensions", ()):
        await send({"type": SENDFILE, "file": answer.file})
        return answer.file[2]
    assert answer.stream is not None
    sent = 0
    async with aclosing(answer.stream) as chunks:
        async for chunk in chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            sent += len(chunk)
    await send({"type": "http.response.body", "body": b""})
    return sent


def _header(scope: Scope, wanted: bytes) -> str | None:
    for name, value in scope["headers"]:
        if name == wanted:
            text: str = value.decode("latin-1")
            return text
    return None


def _port(scope: Scope) -> int:
    server = scope.get("server")
    return server[1] if server else 0


def _target(scope: Scope) -> str:
    query = scope["query_string"]
    target: bytes = scope["raw_path"] + (b"?" + query if query else b"")
    return target.decode("latin-1")
