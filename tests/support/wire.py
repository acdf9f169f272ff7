"""HTTP/1.1 byte by byte: what a test writes is what the server reads, and the answer is taken apart without mercy."""

import json
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

SECONDS = 20.0
"""How long a test waits for an answer; a server that needs longer hangs."""

Headers = Mapping[str, str] | Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Answer:
    """One answer: header names in lower case, as (name, value) in their order."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str | None:
        """The value of a header that comes at most once; None without one."""
        values = self.all(name)
        assert len(values) <= 1, f"{name} comes {len(values)} times"
        return values[0] if values else None

    def __getitem__(self, name: str) -> str:
        """The value of a header that must be there."""
        value = self.header(name)
        assert value is not None, f"no {name} in {self}"
        return value

    def all(self, name: str) -> list[str]:
        """Every value of a header."""
        return [value for key, value in self.headers if key == name.lower()]

    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The code of the one error in the specification's form."""
        return str(self._error()["code"])

    @property
    def message(self) -> str:
        """The sentence of that error."""
        return str(self._error()["message"])

    def _error(self) -> dict[str, Any]:
        assert self["content-type"] == "application/json", self
        errors = self.json()["errors"]
        assert len(errors) == 1
        error: dict[str, Any] = errors[0]
        assert set(error) <= {"code", "message", "detail"}
        return error


class Connection:
    """One TCP connection; answers are read in the order of the requests."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._socket = socket.create_connection(address, timeout=SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        self._file.close()
        self._socket.close()

    def send(self, data: bytes) -> None:
        """Write these bytes."""
        self._socket.sendall(data)

    def finish_sending(self) -> None:
        """Half-close: the server sees the end of what we send."""
        self._socket.shutdown(socket.SHUT_WR)

    def answer(self, method: str = "GET") -> Answer:
        """Read one answer to a request of this method; its body is exactly what its head announces."""
        line = self._file.readline()
        assert line.startswith(b"HTTP/1.1 "), line
        assert line.endswith(b"\r\n"), line
        status = int(line.split(b" ")[1])
        headers: list[tuple[str, str]] = []
        while (line := self._file.readline()) != b"\r\n":
            assert line.endswith(b"\r\n"), line
            name, _, value = line.decode("latin-1").partition(":")
            headers.append((name.lower(), value.strip()))
        known = dict(headers)
        assert "transfer-encoding" not in known, "our answers always tell their length"
        bodiless = method == "HEAD" or status in (100, 204, 304)
        if status not in (100, 204, 304):
            assert "content-length" in known, headers
        length = 0 if bodiless else int(known["content-length"])
        body = self._file.read(length)
        assert len(body) == length, "the connection ended inside the body"
        return Answer(status, tuple(headers), body)

    def ask(self, request: bytes, method: str = "GET") -> Answer:
        """Write a request, read its answer."""
        self.send(request)
        return self.answer(method)

    def rest(self) -> bytes:
        """All that comes until the server ends the connection."""
        try:
            return self._file.read()
        except ConnectionResetError:
            return b""

    def ended(self) -> bool:
        """Wait for the server's end of the connection; False when it sends more instead."""
        try:
            return self._file.read(1) == b""
        except ConnectionResetError:
            return True


def pairs_of(headers: Headers) -> list[tuple[str, str]]:
    """Headers in either form as a new list."""
    return list(headers.items()) if isinstance(headers, Mapping) else list(headers)


def head(method: str, target: str, headers: Headers = (), host: str = "localhost") -> bytes:
    """The head of a request; a Host header is added unless `headers` has one, or `host` is empty."""
    pairs = pairs_of(headers)
    if host and not any(name.lower() == "host" for name, _ in pairs):
        pairs.insert(0, ("Host", host))
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in pairs), "", ""]
    return "\r\n".join(lines).encode("latin-1")


def whole(method: str, target: str, headers: Headers = (), body: bytes | None = None) -> bytes:
    """A request with its body; Content-Length is added when there is one."""
    pairs = pairs_of(headers)
    if body is not None:
        pairs.append(("Content-Length", str(len(body))))
    return head(method, target, pairs) + (body or b"")


def chunked(*chunks: bytes) -> bytes:
    """A body in the chunked transfer coding."""
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks if chunk) + b"0\r\n\r\n"
