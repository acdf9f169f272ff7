"""The HTTP/1.1 connection: uvicorn's httptools protocol, with what a registry needs beneath it.

- hot GETs and HEADs are answered in one write, before any task is made (`fast_door.py`);
- files go out by sendfile(2), so a client that does not read costs no memory;
- a head and a small body go out in one write;
- a TLS hello, an endless head, a head that never ends and bad framing get an answer that says what is wrong.
"""

import asyncio
import json
from typing import Any, ClassVar

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from entrepot.web.app import SENDFILE, V2_HEADERS
from entrepot.web.fast_door import FastDoor, Hit
from entrepot.web.file_sender import FileSender
from entrepot.web.inbox import Inbox
from entrepot.web.observer import Observer
from entrepot.web.outbox import Outbox

_MAX_HEAD = 64 * 1024  # bytes of request line and headers; clients send tokens of some KiB
_LONG = 64 * 1024  # bytes of a body that are worth a new parser
_LINGER_SECONDS = 2.0  # that a client has to read its refusal before the connection is torn down
_MAX_DRAIN = 64 * 1024 * 1024  # bytes of a body that is read only so that the client sees our refusal
_WATCH_SECONDS = 15.0
_HEAD_LOOKS = 4  # looks in a row that may find the same unfinished head: a minute
_HEAD_TOO_LARGE = f"the request's head is over {_MAX_HEAD} bytes"
_TLS_HELLO = (b"\x16\x03", b"\x80")  # a TLS record, or an SSLv2-style hello
_TLS_ON_PLAIN = "Client sent an HTTPS request to an HTTP server: use http://, or give this registry a certificate"


class _Nobody:
    """Stands where an event is expected that nobody waits for."""

    def set(self) -> None:
        """Nothing to wake."""


class _HotCycle:
    """Stands where a cycle is expected while and after the fast door answers."""

    message_event = _Nobody()

    def __init__(self, *, response_complete: bool) -> None:
        self.response_complete = response_complete
        self.disconnected = False
        self.keep_alive = True
        self.body = b""
        self.more_body = False


_ANSWERED: Any = _HotCycle(response_complete=True)


class Protocol(HttpToolsProtocol):
    """One connection."""

    fast_door: ClassVar[FastDoor | None] = None
    observer: ClassVar[Observer]
    """Both are set by the worker before it listens."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._head = 0  # bytes of the head that is being received
        self._in_head = True
        self._fresh = True
        self._deaf = False  # nothing more is read: what would come cannot be trusted, or was refused
        self._drained = 0
        self._left = 0  # bytes of a body of announced length that have not come yet
        self._past_parser = False
        self._heard = 0.0  # the loop's time of the last byte
        self._heads_seen = 0
        self._watch: asyncio.TimerHandle | None = None
        self._defaults: tuple[object, bytes] = (None, b"")
        self._sender: FileSender | None = None
        self._inbox: Inbox
        self.url = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is here. One timer a connection watches it; no request starts or stops a timer."""
        super().connection_made(transport)  # type: ignore[arg-type]
        self._heard = self.loop.time()
        self._watch = self.loop.call_later(_WATCH_SECONDS, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        if self._watch is not None:
            self._watch.cancel()
        if self._sender is not None:
            self._sender.close()
            self._sender = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes of any part of a request."""
        if self._deaf:
            return
        self._heard = self.loop.time()
        if self._fresh:
            self._fresh = False
            if data.startswith(_TLS_HELLO) and self.scheme == "http":
                self._refuse(400, "UNSUPPORTED", _TLS_ON_PLAIN)
                return
        if self._in_head:
            self._head += len(data)
        self._unset_keepalive_if_required()
        if self._past_parser or (self._left >= _LONG and not self._in_head):
            data = self._pass(data)
            if not data:
                return
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            # No other protocol is spoken here, which the client learns from an ordinary answer (RFC 9110 §7.8).
            if self._left:
                self._pass(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            # Framing that cannot be trusted (RFC 9112 §6.3).
            self._refuse(400, "UNSUPPORTED", f"the request is not valid HTTP/1.1: {error}")
        if self._in_head and self._head > _MAX_HEAD:
            self._refuse(431, "UNSUPPORTED", _HEAD_TOO_LARGE)

    def _pass(self, data: bytes) -> bytes:
        """Take a long body past the parser, which would copy it; returns what follows the body."""
        self._past_parser = True
        body, rest = (data, b"") if len(data) <= self._left else (data[: self._left], data[self._left :])
        self.on_body(body)
        if not self._left:
            self._past_parser = False
            self.parser = httptools.HttpRequestParser(self)  # the other still waits for the body
            self.on_message_complete()
        return rest

    def on_message_begin(self) -> None:
        """A new request. Its scope is made only when the ordinary door needs one."""
        self.url = b""
        self.headers = []
        self.expect_100_continue = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of the head; one of the trailers says nothing that we want to know (RFC 9110 §6.5.1)."""
        if not self._in_head:
            self._head += len(name) + len(value)
            if self._head > _MAX_HEAD:
                self._refuse(431, "UNSUPPORTED", _HEAD_TOO_LARGE)
            return
        name = name.lower()
        if name == b"content-length":
            self._left = int(value)  # the parser has seen that it is a number
        elif name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The head is whole: answer at once, or start a task."""
        if self._deaf:
            return
        self._in_head = False
        self._heads_seen = 0
        if self._head > _MAX_HEAD and self._head_size() > _MAX_HEAD:
            self._refuse(431, "UNSUPPORTED", _HEAD_TOO_LARGE)
            return
        self._head = 0
        if self.parser.should_upgrade() and any(name == b"transfer-encoding" for name, _ in self.headers):
            self._refuse(400, "UNSUPPORTED", "Upgrade cannot come with a chunked body: announce its length")
            return
        if self._answered_at_once():
            return
        url, headers, expect = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.headers, self.expect_100_continue = url, headers, expect
        self.scope["headers"] = headers
        self.scope["extensions"] = {} if self.scheme == "https" else {SENDFILE: {}}
        try:
            super().on_headers_complete()
            self._equip(self.cycle)
        except (UnicodeDecodeError, httptools.HttpParserInvalidURLError):
            self._refuse(400, "UNSUPPORTED", "the request's target is not a path")

    def on_body(self, body: bytes) -> None:
        """A piece of the body; after the answer it is thrown away, within limits."""
        self._left -= len(body)
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or self._deaf:
            return
        if cycle.response_complete:
            self._drained += len(body)
            if self._drained > _MAX_DRAIN:
                self.transport.close()
            return
        self._inbox.put(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        if self._left and self.parser.should_upgrade():
            return  # to the parser all that follows is another protocol, to us it is the body
        self._in_head = True
        self._head = 0
        self._left = 0
        self._drained = 0
        if self.cycle is not None and not self._deaf:
            super().on_message_complete()

    def _equip(self, cycle: RequestResponseCycle) -> None:
        """Our own doors for the handler, which does not run yet."""
        self._inbox = Inbox(cycle, self.flow)
        cycle.receive = self._inbox.receive  # type: ignore[method-assign]
        cycle.send = Outbox(cycle, self._get_file_sender, self._linger).send  # type: ignore[method-assign]

    def _answered_at_once(self) -> bool:
        door = self.fast_door
        if (
            door is None
            or self.flow.write_paused
            or self.pipeline
            or (self.cycle is not None and not self.cycle.response_complete)
            or not self.parser.should_keep_alive()
            or self.parser.get_http_version() != "1.1"
        ):
            return False
        method = self.parser.get_method()
        if method not in (b"GET", b"HEAD"):
            return False
        hit = door.answer(method, self.url, self.headers, self.client, self.server[1] or 0 if self.server else 0)
        if hit is None or (hit.file is not None and self.scheme == "https"):
            return False
        headers = self.server_state.default_headers
        if self._defaults[0] is not headers:
            self._defaults = (headers, STATUS_LINE[200] + b"".join(b"%b: %b\r\n" % header for header in headers))
        head = b"".join((self._defaults[1], *hit.parts))
        self.server_state.total_requests += 1
        if hit.file is None:
            self.cycle = _ANSWERED
            self.transport.write(head)
            return True
        return self._send_hot_file(head, hit)

    def _send_hot_file(self, head: bytes, hit: Hit) -> bool:
        cycle: Any = _HotCycle(response_complete=False)
        assert hit.file is not None
        assert self.fast_door is not None
        downloads, sender = self.fast_door.downloads, self._get_file_sender()
        download = hit.running(sender.stop)

        def done(sent: bool) -> None:
            downloads.end(download)
            hit.report(sent)
            cycle.response_complete = True
            if not sent:
                self.transport.abort()
            elif cycle.keep_alive:
                self.on_response_complete()
            else:
                self.transport.close()

        before, self.cycle = self.cycle, cycle
        try:
            downloads.begin(download, downloads.seen)
            sender.send(head, hit.file, done)
        except OSError:
            downloads.end(download)
            self.cycle = before
            return False
        return True

    def _get_file_sender(self) -> FileSender:
        """What sends files over this connection."""
        if self._sender is None:
            self._sender = FileSender(self.loop, self.transport)
        return self._sender

    def _head_size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _refuse(self, status: int, code: str, message: str) -> None:
        """Answer here, and read nothing more. Behind a request that still waits for its answer only the end comes."""
        if self._deaf or self.transport.is_closing():
            return
        self._deaf = True
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and not cycle.response_complete:
            if not cycle.more_body:
                cycle.keep_alive = False
                return
            cycle.disconnected = True
            cycle.message_event.set()
        observer, identity = self.observer, self.observer.new_id()
        body = json.dumps({"errors": [{"code": code, "message": message}]}, separators=(",", ":")).encode() + b"\n"
        known = b"".join(b"%b: %b\r\n" % header for header in (*self.server_state.default_headers, *V2_HEADERS))
        head = b"content-type: application/json\r\ncontent-length: %d\r\nx-request-id: %b\r\nconnection: close\r\n\r\n"
        self.transport.write(STATUS_LINE[status] + known + head % (len(body), identity.encode()) + body)
        address = self.client[0] if self.client else ""
        target = self.url.decode("latin-1")
        observer.answered(identity, address, "", target, "", "other", status, len(body), 0, observer.now())
        self._linger()

    def _linger(self) -> None:
        """Close so that the client can read its answer: closing over unread bytes would reset it (RFC 9112 §9.6)."""
        self._deaf = True
        if not self.transport.can_write_eof():
            self.transport.close()
        elif not self.transport.is_closing():
            self.transport.write_eof()
            self.loop.call_later(_LINGER_SECONDS, self.transport.close)

    def on_response_complete(self) -> None:
        """An answer of the ordinary door is out."""
        super().on_response_complete()
        self._unset_keepalive_if_required()  # `_look` watches

    def _look(self) -> None:
        """Close a connection that is silent between requests, and one whose head does not come to its end."""
        silent = self.loop.time() - self._heard
        between = self._in_head and not self._head and (self.cycle is None or self.cycle.response_complete)
        if between and silent >= self.timeout_keep_alive and not self.transport.is_closing():
            self.transport.close()
        elif self._in_head and self._head and not self.transport.is_closing():
            self._heads_seen += 1
            if self._heads_seen > _HEAD_LOOKS:
                self._refuse(408, "UNSUPPORTED", "the request's head did not come to its end in time")
        else:
            self._heads_seen = 0
        self._watch = self.loop.call_later(_WATCH_SECONDS, self._look)
