"""The fast door: hot pulls, answered in the call that reads their head.

It calls the same doors as the ordinary way (`v2/manifests.py`, `v2/blobs.py`) and drives their coroutines by hand: with
SQLite a look-up never waits. Whatever it does not know (conditions, ranges, errors) goes the ordinary way.
"""

import os
from collections.abc import Callable, Coroutine, Sequence
from typing import NamedTuple

from entrepot.registry.errors import RegistryError
from entrepot.registry.purging import Download, Downloads
from entrepot.web.app import V2_HEADERS
from entrepot.web.guard import Guard
from entrepot.web.message import Answer
from entrepot.web.observer import Observer
from entrepot.web.v2.blobs import BlobDoor
from entrepot.web.v2.manifests import ManifestDoor
from entrepot.web.v2.naming import Mirror
from entrepot.web.v2.parse import digest_from
from entrepot.web.v2.visit import Gate, Refused, Visit

_AT_ONCE = 128 * 1024  # bytes: what is larger goes out by sendfile
_KNOWN = frozenset(
    {b"host", b"user-agent", b"accept", b"accept-encoding", b"connection", b"accept-language", b"authorization"}
)
_FIXED = b"".join(b"%b: %b\r\n" % header for header in V2_HEADERS)


class Hit(NamedTuple):
    """An answer: what follows the status line and the server's own headers, and a file to send after it.

    `report` is called with whether the file was sent; what has no file is reported already. `running`, called with what
    stops the file, makes it a download that a purge may cut.
    """

    parts: Sequence[bytes]
    file: tuple[str, int, int] | None
    report: Callable[[bool], None]
    running: Callable[[Callable[[], object]], Download]


class _Bare:
    """A request without conditions."""

    __slots__ = ("agent", "method")

    def __init__(self, method: str, agent: bytes) -> None:
        self.method = method
        self.agent = agent

    def header(self, name: bytes) -> str | None:
        """Only who it is."""
        return self.agent.decode("latin-1") if name == b"user-agent" else None


class FastDoor:
    """Answers manifests and small blobs of a store that never waits."""

    def __init__(
        self,
        gate: Gate,
        manifests: ManifestDoor,
        blobs: BlobDoor,
        guard: Guard,
        observer: Observer,
        mirror: Mirror | None,
        downloads: Downloads,
    ) -> None:
        """`mirror`: what comes by its port is left to the ordinary door, unless every port is its."""
        self._mirror_port = mirror.port if mirror is not None else None
        self._prefix = f"{mirror.upstream.alias}/" if mirror is not None and mirror.port is None else ""
        self._gate = gate
        self._manifests = manifests
        self._blobs = blobs
        self._guard = guard
        self._observer = observer
        self.downloads = downloads

    def answer(
        self,
        method: bytes,
        target: bytes,
        headers: Sequence[tuple[bytes, bytes]],
        client: tuple[str, int] | None,
        port: int,
    ) -> Hit | None:
        """A 200, or None: then the ordinary door answers. `port` is the one that the client has come to."""
        if port == self._mirror_port or not target.startswith(b"/v2/") or b"?" in target or b"%" in target:
            return None
        allowed, agent, authorization = self._read(headers)
        if not allowed:
            return None
        started = self._observer.now()
        visit = self._gate.remembered(authorization, client[0] if client else "")
        if visit is None:
            return None
        request = _Bare("GET" if method == b"GET" else "HEAD", agent)
        route, answer = self._find(request, target, visit)
        if answer is None or answer.status != 200 or (answer.stream and not answer.file):
            return None
        wanted = request.method == "GET"
        file = answer.file if wanted else None
        body = answer.body
        if file is not None and file[2] <= _AT_ONCE:
            content = _content(file)
            if content is None:
                return None
            body, file = content, None
        identity = self._observer.new_id()
        length = answer.content_length()

        def report(whole: bool) -> None:
            self._observer.answered(
                identity,
                client[0] if client else "",
                request.method,
                target.decode("latin-1"),
                agent.decode("latin-1"),
                route,
                200,
                length if whole and wanted else 0,
                0,
                started,
            )

        head = [b"%b: %b\r\n" % header for header in answer.headers]
        head.append(b"content-length: %d\r\n%bx-request-id: %b\r\n\r\n" % (length, _FIXED, identity.encode()))
        if file is None:
            if wanted:
                head.append(body)
            report(True)

        def running(stop: Callable[[], object]) -> Download:
            assert answer.blob is not None
            return Download(*answer.blob, client[0] if client else "", target.decode("latin-1"), stop)

        return Hit(head, file, report, running)

    def _read(self, headers: Sequence[tuple[bytes, bytes]]) -> tuple[bool, bytes, bytes | None]:
        """Whether the head says nothing that only the ordinary door understands; User-Agent; Authorization."""
        host = None
        agent = b""
        authorization = None
        for name, value in headers:
            if name not in _KNOWN:
                return False, agent, None
            if name == b"host":
                if host is not None:
                    return False, agent, None
                host = value.decode("latin-1")
            elif name == b"user-agent":
                agent = value
            elif name == b"authorization":
                if authorization is not None:
                    return False, agent, None
                authorization = value
        return host is not None and self._guard.host_refusal(host) is None, agent, authorization

    def _find(self, request: _Bare, target: bytes, visit: Visit) -> tuple[str, Answer | None]:
        try:
            path = target.decode("ascii")
            place, _, reference = path.rpartition("/")
            if place.endswith("/manifests"):
                name = self._prefix + place[4:-10]
                return "manifests", _now(self._manifests.get(request, name, reference, visit))
            if place.endswith("/blobs"):
                name = self._prefix + place[4:-6]
                return "blobs", _now(self._blobs.get(request, name, digest_from(reference), visit))
        except (RegistryError, Refused, UnicodeDecodeError):
            return "other", None
        return "other", None


def _now(work: Coroutine[None, None, Answer]) -> Answer | None:
    """The result of a coroutine that does not wait; None when it would have to."""
    try:
        work.send(None)
    except StopIteration as done:
        answer: Answer = done.value
        return answer
    work.close()
    return None


def _content(file: tuple[str, int, int]) -> bytes | None:
    path, offset, count = file
    if count > _AT_ONCE:
        return None
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        content = os.pread(descriptor, count, offset)
    finally:
        os.close(descriptor)
    return content if len(content) == count else None
