"""Pull events in segment files: each worker appends to one of its own, a job counts what is finished and removes it.

A segment is mapped into memory, and a record is copied into it: what was copied survives the process. A segment ends
after a minute or 16 MiB. Its writer holds a flock on it as long as it may write: whoever gets the lock
knows that the segment is finished, whether its worker has gone on to another one, or has been killed. What is in it
can be read, and counted, before that.

A record is a line break and a JSON array of ASCII. The line break comes first, so that a record that was cut off (the
disk was full, or the power went) spoils no other; that it was cut off shows, as no beginning of an array is one.
"""

import asyncio
import contextlib
import fcntl
import json
import mmap
import os
import re
import secrets
import socket
import time
from collections.abc import Iterator, Sequence
from json.encoder import encode_basestring_ascii as _quoted
from pathlib import Path
from typing import Any

import structlog

from entrepot.registry.errors import StorageError
from entrepot.registry.events import Alike, Part, PullEvent, Segments
from entrepot.storage import layout
from entrepot.storage.directories import make_directory, sync_directory
from entrepot.storage.locks import try_lock

AGENT_MAX = 200  # characters that are kept; clients' own are shorter, Docker's is about 150
SEGMENT_SECONDS = 60.0
SEGMENT_BYTES = 16 * 1024 * 1024
_ADDRESS_MAX = 64  # characters: an IPv6 address with a zone has less
_SYNC_SECONDS = 0.9  # and what the sync takes: a second (design.md §4)
PART_BYTES = 128 * 1024  # about 500 events: what one transaction counts
_STEP = 256 * 1024  # bytes by which a segment grows
_SUFFIX = ".events"
_TYPES = [int, str, str, str, int, int, str, str, int, int]
_LARGEST = 2**63 - 1  # what a row holds
_SURELY_SMALL = 19  # digits: with less a number is below _LARGEST
_NO_NAME = re.compile(r"[^a-z0-9-]+")
_MACHINE_MAX = 40  # characters

_log = structlog.get_logger()


class PullLog:
    """The port PullEvents: a worker's own segments. For one event loop; `keep` must run beside it."""

    def __init__(self, data: Path, seconds: float = SEGMENT_SECONDS, size: int = SEGMENT_BYTES) -> None:
        """A segment ends after `seconds` or `size` bytes, whichever comes first."""
        self.lost = 0
        self._directory = layout.pulls_directory(data)
        self._seconds = seconds
        self._size = size
        self._descriptor = -1
        self._map: mmap.mmap | None = None
        self._at = 0  # bytes of the segment that are written
        self._room = 0  # bytes of the segment that there are
        self._ends = 0.0
        self._unsynced = False
        self._new = False
        self._finished: list[int] = []

    def append(self, event: PullEvent) -> None:
        """See the port."""
        self.append_again(encode_head(event), event.at)

    def prepare(self, event: PullEvent) -> bytes:
        """See the port."""
        return encode_head(event)

    def append_again(self, prepared: bytes, at: int) -> None:
        """See the port."""
        record = b"\n[%b,%d]" % (prepared, at)
        end = self._at + len(record)
        if end > self._room:
            try:
                end = self._make_room(at, len(record))
            except OSError:
                self.lost += 1
                return
        assert self._map is not None
        self._map[end - len(record) : end] = record
        self._at = end
        self._unsynced = True

    async def keep(self) -> None:
        """Sync what was appended, each second, and end segments whose time is over; ends only by cancellation."""
        told = 0
        while True:
            await asyncio.sleep(_SYNC_SECONDS)
            try:
                await self.sync()
            except OSError as error:
                _log.warning("pull events could not be synced, will try again", error=error.strerror)
            if self.lost > told:
                _log.warning("pull events were lost: is the disk full?", count=self.lost - told)
                told = self.lost

    async def sync(self) -> None:
        """Return when everything that was appended survives a power cut; OSError when it does not."""
        if self._descriptor >= 0 and time.monotonic() >= self._ends:
            self._end()
        finished, self._finished = self._finished, []
        unsynced, self._unsynced = self._unsynced, False
        new, self._new = self._new, False
        current = [self._descriptor] if unsynced and self._descriptor >= 0 else []
        try:
            if finished or current or new:
                await asyncio.to_thread(self._sync_now, [*finished, *current], directory=new)
        except BaseException:
            self._unsynced = True
            self._new = self._new or new
            raise
        finally:
            for descriptor in finished:
                os.close(descriptor)

    async def close(self) -> None:
        """End the segment, synced."""
        self._end()
        await self.sync()

    def _sync_now(self, descriptors: list[int], *, directory: bool) -> None:
        for descriptor in descriptors:
            os.fdatasync(descriptor)
        if directory:
            sync_directory(str(self._directory))

    def _end(self) -> None:
        """Leave the segment; only `sync` closes it, as a thread may be syncing it at this moment."""
        if self._map is not None:
            self._map.close()
            self._map = None
        if self._descriptor >= 0:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, self._at)  # else zeros follow, which are no records
            self._finished.append(self._descriptor)
        self._descriptor = -1
        self._at = self._room = 0

    def _make_room(self, at: int, size: int) -> int:
        """A larger segment, or a new one; returns where a record of this size ends in it."""
        if self._descriptor < 0 or self._at >= self._size or time.monotonic() >= self._ends:
            self._end()
            self._descriptor = _new_segment(self._directory, at)
            self._ends = time.monotonic() + self._seconds
            self._new = True
        # The disk gives the room before it is mapped: to write into a hole, on a full disk, would kill the worker.
        room = max(self._at + size, min(self._room + _STEP, self._size))
        os.posix_fallocate(self._descriptor, self._room, room - self._room)
        if self._map is not None:
            self._map.close()
        self._map = mmap.mmap(self._descriptor, room)
        self._room = room
        return self._at + size


def _new_segment(directory: Path, at: int) -> int:
    """A descriptor of a new segment whose name says that nothing in it is older than `at`.

    It gets its name only when it is locked: otherwise somebody who looks in between takes it for finished. A kill
    between the two leaves an empty `.new`, which nobody reads.
    """
    path = directory / f"{at // 1000:012x}-{os.getpid()}-{secrets.token_hex(8)}{_SUFFIX}"
    unnamed = path.with_suffix(".new")
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        descriptor = os.open(unnamed, flags, 0o600)
    except FileNotFoundError:
        make_directory(directory)
        descriptor = os.open(unnamed, flags, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.rename(unnamed, path)
    except OSError:
        os.close(descriptor)
        unnamed.unlink(missing_ok=True)
        raise
    return descriptor


def encode(event: PullEvent) -> bytes:
    """An event as a record."""
    return b"\n[%b,%d]" % (encode_head(event), event.at)


def encode_head(event: PullEvent) -> bytes:
    """What of a record does not change with its time."""
    repository, digest, tag, kind, account, credential, address, agent, size, _ = event
    return (
        f"{repository},{_quoted(digest)},{_quoted(tag)},{_quoted(kind)},{account or 0},{credential or 0},"
        f"{_quoted(address[:_ADDRESS_MAX])},{_quoted(agent[:AGENT_MAX])},{size}"
    ).encode("ascii")


def decode(record: bytes) -> PullEvent | None:
    """The event of a record, without its line break; None when it is torn. Unprintable characters become U+FFFD."""
    try:
        fields = json.loads(record)
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, list) or [type(field) for field in fields] != _TYPES:
        return None
    if not all(0 <= field <= _LARGEST for field in fields if isinstance(field, int)):
        return None
    cleaned: list[Any] = [_printable(field) if isinstance(field, str) else field for field in fields]
    event = PullEvent(*cleaned)
    return event._replace(account_id=event.account_id or None, credential_id=event.credential_id or None)


def _decoded(records: Sequence[bytes]) -> list[Alike]:
    """The events of the records that are not torn. Most records differ from one before in their time only."""
    known: dict[bytes, Alike] = {}
    for record in records:
        head, _, end = record.rpartition(b",")
        at = end[:-1]
        alike = known.get(head)
        if alike is not None and end[-1:] == b"]" and at.isdigit() and len(at) < _SURELY_SMALL:
            alike.times.append(int(at))
        elif (event := decode(record)) is not None:
            known.setdefault(head, Alike(event, [])).times.append(event.at)
    return list(known.values())


def _printable(text: str) -> str:
    """PostgreSQL stores no NUL, UTF-8 has no surrogates, and line breaks are for whoever writes a report."""
    return text if text.isprintable() else "".join(char if char.isprintable() else "\ufffd" for char in text)


class SegmentFiles:
    """The port PullSegments."""

    def __init__(self, data: Path, part: int = PART_BYTES) -> None:
        """`part`: bytes that are read at a time, more than the longest record has."""
        self._directory = layout.pulls_directory(data)
        self._part = part
        self._node = ""

    @contextlib.contextmanager
    def turn(self) -> Iterator[bool]:
        """See the port; by a flock on the directory, which ends with the process."""
        with _errors():
            make_directory(self._directory)
            descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield try_lock(descriptor)
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def present(self) -> Iterator[None]:
        """See the port; by a shared flock on the file of the node's name, which ends with the process."""
        descriptor = self._open_name()
        try:
            with _errors():
                fcntl.flock(descriptor, fcntl.LOCK_SH)
            yield
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def alone(self) -> Iterator[bool]:
        """See the port."""
        descriptor = self._open_name()
        try:
            yield try_lock(descriptor)
        finally:
            os.close(descriptor)

    def node(self) -> str:
        """See the port."""
        if not self._node:
            with _errors():
                self._node = _name_of(self._directory / "node")
        return self._node

    def look(self) -> Segments:
        """See the port."""
        found = Segments([], [])
        with _errors():
            for name in sorted(os.listdir(self._directory)):
                if name.endswith(_SUFFIX):
                    segment = name.removesuffix(_SUFFIX)
                    (found.finished if self._is_finished(segment) else found.growing).append(segment)
        return found

    def read(self, segment: str, position: int, *, growing: bool = False) -> Part:
        """See the port."""
        with _errors(), self._path(segment).open("rb") as file:
            file.seek(position)
            content = file.read(self._part)
        last = len(content) < self._part
        if growing and (last or b"\0" in content):
            last, content = True, _whole_records(content)
        if not last:
            # The last record may go on: leave it for the next part. What has no line break at all is no record.
            content = content[: content.rfind(b"\n")] if content.rfind(b"\n") > 0 else content
        # A power cut can leave zeros where bytes should be, right behind a record too.
        records = [record for line in content.split(b"\n") if (record := line.rstrip(b"\0"))]
        events = _decoded(records)
        read = sum(len(each.times) for each in events)
        return Part(events, len(records) - read, position + len(content), last)

    def remove(self, segments: Sequence[str]) -> None:
        """See the port."""
        with _errors():
            for segment in segments:
                self._path(segment).unlink(missing_ok=True)
            if segments:
                sync_directory(str(self._directory))

    def _open_name(self) -> int:
        self.node()
        with _errors():
            return os.open(self._directory / "node", os.O_RDONLY | os.O_CLOEXEC)

    def _path(self, segment: str) -> Path:
        return self._directory / f"{segment}{_SUFFIX}"

    def _is_finished(self, segment: str) -> bool:
        descriptor = os.open(self._path(segment), os.O_RDONLY | os.O_CLOEXEC)
        try:
            return try_lock(descriptor)
        finally:
            os.close(descriptor)


def _name_of(path: Path) -> str:
    """The name in this file; made, durably and once, when it is not there. It begins with the machine's."""
    with contextlib.suppress(FileNotFoundError):
        if name := path.read_text("ascii"):
            return name
        path.unlink()  # a version before this one was cut off while it wrote
    make_directory(path.parent)
    machine = _NO_NAME.sub("-", socket.gethostname().lower())[:_MACHINE_MAX]
    fresh = path.with_name(f"node-{secrets.token_hex(8)}.new")
    with fresh.open("x", encoding="ascii") as file:
        file.write(f"{machine}-{secrets.token_hex(8)}")
        file.flush()
        os.fsync(file.fileno())
    with contextlib.suppress(FileExistsError):  # of two who start at once one has named it
        os.link(fresh, path)
    fresh.unlink()
    sync_directory(str(path.parent))
    return path.read_text("ascii")


def _whole_records(content: bytes) -> bytes:
    """What of this a writer has surely copied: up to the first zero, as no record has one, without what is cut off."""
    written = content[:end] if (end := content.find(b"\0")) >= 0 else content
    last = written.rfind(b"\n")
    return written if last < 0 or decode(written[last + 1 :]) is not None else written[:last]


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"pull events cannot be read: {error.strerror}") from error
