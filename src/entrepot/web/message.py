"""Requests and answers as the doors of this server see them: thin values over ASGI."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import unquote_to_bytes

from entrepot.registry.errors import BodyInterrupted

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]


class BadRequest(Exception):
    """The request cannot be read; the message says what is wrong."""


@dataclass(slots=True)
class Answer:
    """A whole answer. `file` is the stream as (path, first byte, length), for a transport that sends files.

    `blob` is the repository's id and the digest of what is streamed: a purge of it cuts the answer.
    """

    status: int
    headers: Headers = field(default_factory=list)
    body: bytes = b""
    stream: AsyncGenerator[bytes, None] | None = None
    file: tuple[str, int, int] | None = None
    length: int | None = None
    blob: tuple[int, str] | None = None

    def content_length(self) -> int:
        """What Content-Length says: of the whole, for HEAD too."""
        if self.length is not None:
            return self.length
        return self.file[2] if self.file is not None else len(self.body)


class Conditions(Protocol):
    """What a pull looks at besides its path."""

    method: str

    def header(self, name: bytes) -> str | None:
        """The value of a header (name in lower case)."""
        ...


class Request:
    """One request: its parsed target, headers and body."""

    __slots__ = ("_idle", "_receive", "client", "headers", "id", "method", "path", "port", "query", "scheme", "scope")

    def __init__(self, scope: Scope, receive: Receive, idle: float) -> None:
        """`idle`: seconds that a body may be silent."""
        self.scope = scope
        self.method: str = scope["method"]
        self.path = _decode(scope["raw_path"], "path")
        self.headers: Headers = scope["headers"]
        self.query = Query(scope["query_string"])
        self.client: str = scope["client"][0] if scope.get("client") else ""
        self.scheme: str = scope["scheme"]
        self.port: int = scope["server"][1] if scope.get("server") else 0
        self.id: str = ""
        self._receive = receive
        self._idle = idle

    def header(self, name: bytes) -> str | None:
        """The value of a header (name in lower case), several joined by a comma (RFC 9110 §5.3)."""
        values = [value for key, value in self.headers if key == name]
        return b", ".join(values).decode("latin-1").strip() if values else None

    def content_length(self) -> int | None:
        """The announced size of the body in bytes; None when it is chunked; 0 when there is none."""
        length = self.header(b"content-length")
        if length is not None:
            if not length.isascii() or not length.isdigit():
                raise BadRequest("Content-Length must be a number of bytes, given once")
            return int(length)
        return None if self.header(b"transfer-encoding") else 0

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes. BodyInterrupted when the client goes away or sends nothing for the idle time."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._idle) as watch:
                while True:
                    message = await self._receive()
                    if message["type"] == "http.disconnect":
                        raise BodyInterrupted(timed_out=False)
                    body: bytes = message.get("body", b"")
                    more: bool = message.get("more_body", False)
                    watch.reschedule(None)
                    if body:
                        yield body
                    if not more:
                        return
                    watch.reschedule(loop.time() + self._idle)
        except TimeoutError:
            raise BodyInterrupted(timed_out=True) from None


class Query:
    """Query parameters: decoded once; one that comes twice with different values is refused where one is wanted."""

    __slots__ = ("_pairs",)

    def __init__(self, raw: bytes) -> None:
        self._pairs: list[tuple[str, str]] = []
        for part in raw.split(b"&") if raw else ():
            key, _, value = part.partition(b"=")
            if part:
                self._pairs.append((_decode(key, "query", plus=True), _decode(value, "query", plus=True)))

    def one(self, name: str) -> str | None:
        """The value, None when it is absent; BadRequest when it comes with two values."""
        values = {value for key, value in self._pairs if key == name}
        if len(values) > 1:
            raise BadRequest(f"the parameter {name} comes twice with different values")
        return values.pop() if values else None

    def all(self, name: str) -> list[str]:
        """Every value, in order."""
        return [value for key, value in self._pairs if key == name]

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self._pairs)


def _decode(raw: bytes, where: str, *, plus: bool = False) -> str:
    """Percent-decode once, never twice; control characters and broken UTF-8 are refused."""
    data = raw.replace(b"+", b" ") if plus else raw
    if b"%" in data:
        data = unquote_to_bytes(data)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise BadRequest(f"the {where} is not UTF-8") from None
    if not text.isprintable():
        raise BadRequest(f"the {where} has control characters")
    return text
