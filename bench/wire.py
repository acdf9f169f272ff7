"""A lean registry client over blocking sockets: the load must not eat the cores that it shares with the server."""

import json
import os
import re
import socket
import ssl
import struct
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NamedTuple, Self

from bench.content import MIB, OCI_MANIFEST, Blob, LargeBlob

_TIMEOUT = struct.pack("ll", 120, 0)  # a struct timeval: seconds without a byte before a run is given up
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_LOCATION = re.compile(rb"\r\nlocation: *(?:https?://[^/]+)?([^\r]+)", re.IGNORECASE)


class WireError(Exception):
    """The server answered something else than the benchmark needs."""


@dataclass(frozen=True)
class Endpoint:
    """Where a server listens, and whether it speaks TLS (its certificate is not checked)."""

    port: int
    tls: bool = False
    host: str = "127.0.0.1"

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.host}:{self.port}"


class Answer(NamedTuple):
    """A response whose body, of `length` bytes, was read and dropped."""

    status: int
    location: bytes
    length: int


class Connection:
    """One keep-alive connection; requests follow each other."""

    def __init__(self, endpoint: Endpoint, authorization: str = "") -> None:
        self._host = f"{endpoint.host}:{endpoint.port}".encode()
        self._who = f"Authorization: {authorization}\r\n".encode() if authorization else b""
        self._socket = socket.create_connection((endpoint.host, endpoint.port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # The kernel's timeouts: with Python's own, each call would cost a poll() more, and sendfile() would not block.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _TIMEOUT)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _TIMEOUT)
        self._plain = not endpoint.tls
        if endpoint.tls:
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            self._socket = context.wrap_socket(self._socket)
        self._scratch = memoryview(bytearray(MIB))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._socket.close()

    def head(self, method: bytes, target: bytes, extra: bytes = b"") -> bytes:
        """A request head; `extra` is whole header lines, each ended by CRLF."""
        return b"%b %b HTTP/1.1\r\nHost: %b\r\n%b%b\r\n" % (method, target, self._host, self._who, extra)

    def send(self, request: bytes) -> None:
        self._socket.sendall(request)

    def exchange(self, request: bytes, expected: int) -> Answer:
        """Send a whole request and read its whole answer; WireError when its status is not `expected`."""
        self._socket.sendall(request)
        return self.answer(expected, bodiless=request.startswith(b"HEAD"))

    def body(self, request: bytes, expected: int) -> Any:
        """Send a whole request and return its answer's JSON, which comes in one piece."""
        self._socket.sendall(request)
        head, _, content = self._receive().partition(b"\r\n\r\n")
        if int(head[9:12]) != expected:
            raise WireError(f"expected {expected}, got: {head[:2000].decode(errors='replace')}")
        return json.loads(content)

    def send_large(self, blob: LargeBlob) -> None:
        """Send a blob as a body: by sendfile, or over TLS from memory."""
        with memoryview(blob.block.view) as view:
            for length in blob.block.pieces(blob.head_size):
                if self._plain:
                    sent = 0
                    while sent < length:
                        sent += os.sendfile(self._socket.fileno(), blob.block.fd, sent, length - sent)
                else:
                    self._socket.sendall(view[:length])
        self._socket.sendall(blob.tail)

    def answer(self, expected: int, *, bodiless: bool = False) -> Answer:
        data = self._receive()
        while (end := data.find(b"\r\n\r\n")) < 0:
            data += self._receive()
        status = int(data[9:12])
        if status != expected:
            raise WireError(f"expected {expected}, got: {data[:2000].decode(errors='replace')}")
        head = data[:end]
        location = _LOCATION.search(head)
        length = _LENGTH.search(head)
        if length is None and not bodiless and status != 204:
            raise WireError(f"an answer without Content-Length: {head.decode(errors='replace')}")
        size = 0 if bodiless or length is None else int(length[1])
        self._drop(size - (len(data) - end - 4))
        return Answer(status, location[1] if location else b"", size)

    def _receive(self) -> bytes:
        if not (data := self._socket.recv(65536)):
            raise WireError("the server closed the connection before its answer was complete")
        return data

    def _drop(self, remaining: int) -> None:
        while remaining > 0:
            received = self._socket.recv_into(self._scratch, min(remaining, MIB))
            if not received:
                raise WireError("the server closed the connection in the middle of a body")
            remaining -= received


def _closing(location: bytes, digest: str) -> bytes:
    """The upload's URL with its closing parameter, as the specification's end-4b and end-6 have it."""
    return location + (b"&" if b"?" in location else b"?") + b"digest=" + digest.encode()


def _open_upload(connection: Connection, repository: str) -> bytes:
    target = f"/v2/{repository}/blobs/uploads/".encode()
    return connection.exchange(connection.head(b"POST", target, b"Content-Length: 0\r\n"), 202).location


def push_large(connection: Connection, repository: str, blob: LargeBlob) -> None:
    """POST, PATCH with the whole blob, PUT: what docker, skopeo and crane do."""
    location = _open_upload(connection, repository)
    octets = b"Content-Type: application/octet-stream\r\nContent-Length: %d\r\n" % blob.size
    connection.send(connection.head(b"PATCH", location, octets))
    connection.send_large(blob)
    location = connection.answer(202).location
    connection.exchange(connection.head(b"PUT", _closing(location, blob.digest), b"Content-Length: 0\r\n"), 201)


def push_small(connection: Connection, repository: str, blob: Blob) -> None:
    """HEAD (expected to miss), POST, PUT with the whole blob."""
    target = f"/v2/{repository}/blobs/{blob.digest}".encode()
    connection.exchange(connection.head(b"HEAD", target), 404)
    location = _open_upload(connection, repository)
    octets = b"Content-Type: application/octet-stream\r\nContent-Length: %d\r\n" % len(blob.content)
    connection.exchange(connection.head(b"PUT", _closing(location, blob.digest), octets) + blob.content, 201)


def push_manifest(connection: Connection, repository: str, tag: str, manifest: bytes) -> None:
    target = f"/v2/{repository}/manifests/{tag}".encode()
    kind = f"Content-Type: {OCI_MANIFEST}\r\nContent-Length: {len(manifest)}\r\n".encode()
    connection.exchange(connection.head(b"PUT", target, kind) + manifest, 201)


def pull_blob(connection: Connection, repository: str, digest: str) -> int:
    """GET a blob and drop it; its size in bytes."""
    return connection.exchange(connection.head(b"GET", f"/v2/{repository}/blobs/{digest}".encode()), 200).length
