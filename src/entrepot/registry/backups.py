"""Backup and restore: one snapshot of all rows, and the bytes that they name, beside a running server.

    PLACE
    ├── blobs/            bytes under the keys of the store, each once, whichever snapshots name them
    └── snapshots/        rows, one file a backup; written last, so what is named is there

A key is used once, so bytes that are in the place need not be copied again. While a backup runs nothing that it may
name is removed from the store.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

from entrepot.oci.digest import Digest, InvalidDigest, hasher
from entrepot.registry.errors import StorageError
from entrepot.registry.ports import Bytes
from entrepot.registry.snapshots import SnapshotFile

T = TypeVar("T")
HOLD_SECONDS = 60
"""That nothing is removed after the last sign of life of a backup."""

_RENEW_SECONDS = 15
_AT_ONCE = 4  # blobs on their way
_KEY = re.compile(r"[a-z0-9.-]{1,80}")
_NAME = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{6}")


class NamedBytes(NamedTuple):
    """Bytes that a snapshot's row names."""

    digest: str
    size: int
    key: str


class Place(Protocol):
    """Where backups are. Failures are StorageError; what is not there is FileNotFoundError."""

    async def has(self, key: str, size: int) -> bool:
        """Whether so many bytes are there under this key. Then they are whole."""
        ...

    async def write(self, key: str, chunks: AsyncIterator[bytes]) -> None:
        """Write bytes, durably; when `chunks` raises, or the process dies, nothing is there under the key."""
        ...

    def read(self, key: str) -> AsyncGenerator[bytes, None]:
        """The bytes."""
        ...

    async def snapshots(self) -> list[str]:
        """The names of all snapshots that are whole, the oldest first."""
        ...

    async def keep(self, name: str, snapshot: Path) -> None:
        """Add a snapshot, whole and durable or not at all."""
        ...

    async def fetch(self, name: str, to: Path) -> None:
        """Copy a snapshot into a file."""
        ...


class BackupRows(Protocol):
    """The database that is backed up."""

    async def hold(self, seconds: int) -> None:
        """Let no bytes be removed for so long; a later call counts anew."""
        ...

    async def snapshot(self, to: Path) -> None:
        """Write all rows, as they are at one moment, into a file."""
        ...

    async def names(self, key: str) -> bool:
        """Whether a blob's row still names this key."""
        ...


class RestoredRows(Protocol):
    """The database that is restored into."""

    async def is_empty(self) -> bool:
        """Whether nothing would be overwritten."""
        ...

    async def fill(self, snapshot: Path, store: str) -> None:
        """Make the tables and all their rows, whole or not at all; bytes are in the store of this name from now on.

        StorageError when the snapshot is of a later version than this program's.
        """
        ...

    async def identity(self, store: str) -> str:
        """What the database knows the store by from now on."""
        ...


class Damage(Exception):
    """Bytes that have not the digest they should have."""


class Unreadable(Exception):
    """Bytes that the store has and cannot give; the message is the store's."""


Told = Callable[[int], object]
"""Called with bytes that are done."""


@dataclass
class Report:
    """What a backup has done. `wrong`: what could not be copied, as the store has it no more, or not as it was."""

    name: str
    blobs: int = 0
    copied: int = 0
    copied_bytes: int = 0
    wrong: list[str] = field(default_factory=list)

    def add(self, each: NamedBytes) -> None:
        """These bytes were copied."""
        self.copied += 1
        self.copied_bytes += each.size

    def lack(self, each: NamedBytes, kind: str, *why: object) -> None:
        """These were not, as they are missing or damaged."""
        self.wrong.append("\t".join(map(str, (kind, each.digest, each.key, *why))))


def named_bytes(snapshot: SnapshotFile) -> Iterator[NamedBytes]:
    """What a snapshot needs besides its rows; what is being removed has no bytes to keep."""
    for digest, size, key, state in snapshot.rows_of("blobs", "digest", "size", "key", "state"):
        if not isinstance(key, str) or not _KEY.fullmatch(key):
            raise StorageError(f"the snapshot names bytes by {key!r}, which is no key")
        if state != "removing":
            yield NamedBytes(digest, size, key)


class Backup:
    """Backs up a store and its rows."""

    def __init__(self, rows: BackupRows, store: Bytes, place: Place) -> None:
        self._rows = rows
        self._store = store
        self._place = place

    async def run(self, name: str, work: Path, begin: Callable[[int], Told], *, rehash: bool = False) -> Report:
        """Make a backup called `name`; `work` is a directory for the rows. `begin` is called with all bytes there are.

        `rehash`: what the place has already is read too, and copied anew where it is damaged.
        StorageError when a purge has taken what was to be copied: then nothing was kept.
        """
        async with self._held():
            file = work / name
            await self._rows.snapshot(file)
            snapshot = SnapshotFile(file)
            wanted = await asyncio.to_thread(lambda: list(named_bytes(snapshot)))
            told = begin(sum(each.size for each in wanted))
            report = Report(name, blobs=len(wanted))

            async def copy(each: NamedBytes) -> None:
                if not await self._has(each, rehash=rehash):
                    await self._copy(each, report)
                told(each.size)

            await _side_by_side(wanted, copy)
            await self._place.keep(name, file)
        return report

    async def _has(self, each: NamedBytes, *, rehash: bool) -> bool:
        if not await self._place.has(each.key, each.size):
            return False
        if not rehash:
            return True
        try:
            async for _ in _verified(self._place.read(each.key), each):
                pass
        except (Damage, FileNotFoundError, StorageError):
            return False  # a place that is away says so when it is written to
        return True

    async def _copy(self, each: NamedBytes, report: Report) -> None:
        try:
            await self._place.write(each.key, _verified(_read(self._store, each.key), each))
        except FileNotFoundError:
            if not await self._rows.names(each.key):
                raise StorageError(
                    f"{each.digest} was purged while the backup ran, and so is in no backup: run it again"
                ) from None
            report.lack(each, "missing")
        except Damage as damage:
            report.lack(each, "damaged", damage)
        except Unreadable as error:  # a bad sector must not be the end of all backups; a store that is away is
            await self._store.check()
            report.lack(each, "damaged", error)
        else:
            report.add(each)

    @contextlib.asynccontextmanager
    async def _held(self) -> AsyncIterator[None]:
        """Removal waits for as long as this process lives, and a minute more: another backup may run too."""
        await self._rows.hold(HOLD_SECONDS)

        async def renew() -> None:
            """A database that is away for less than the hold does no harm."""
            loop = asyncio.get_running_loop()
            held = loop.time()
            while True:
                await asyncio.sleep(_RENEW_SECONDS)
                asked = loop.time()
                try:
                    await self._rows.hold(HOLD_SECONDS)
                except StorageError:
                    if loop.time() - held > HOLD_SECONDS:
                        raise
                else:
                    held = asked

        renewing = asyncio.create_task(renew())
        try:
            yield
            if renewing.done():
                renewing.result()
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)


class Restore:
    """Restores into an empty database and a store that nobody has used."""

    def __init__(self, rows: RestoredRows, store: Bytes, place: Place) -> None:
        self._rows = rows
        self._store = store
        self._place = place

    async def run(self, name: str, work: Path, begin: Callable[[int], Told]) -> Report:
        """Restore a snapshot: bytes first, rows after them, so that an interrupted restore can be begun again."""
        if not await self._rows.is_empty():
            raise StorageError("the database is not empty: restore into a new one")
        if await self._store.identity() is not None:
            raise StorageError("the place for blobs belongs to a database already: restore into an empty one")
        file = work / name
        try:
            await self._place.fetch(name, file)
        except FileNotFoundError:
            raise StorageError(f"there is no snapshot {name}: `entrepot restore --list` shows those that are") from None
        snapshot = SnapshotFile(file)
        wanted = await asyncio.to_thread(lambda: list(named_bytes(snapshot)))
        told = begin(sum(each.size for each in wanted))
        report = Report(name, blobs=len(wanted))

        async def copy(each: NamedBytes) -> None:
            await self._copy(each, report)
            told(each.size)

        await _side_by_side(wanted, copy)
        await self._rows.fill(file, self._store.name)
        await self._store.mark(await self._rows.identity(self._store.name))
        return report

    async def _copy(self, each: NamedBytes, report: Report) -> None:
        await self._store.delete(each.key)  # what an interrupted restore has left
        try:
            await self._store.write(each.key, _verified(self._place.read(each.key), each), ())
            await self._store.sync(each.key)
        except FileNotFoundError:
            report.lack(each, "missing")
        except Damage as damage:
            report.lack(each, "damaged", damage)
        else:
            report.add(each)


async def newest(place: Place, name: str | None) -> str:
    """The snapshot of this name, else the newest; StorageError when there is none."""
    if name is not None:
        if not _NAME.fullmatch(name):
            raise StorageError(f"{name} is no name of a snapshot: `entrepot restore --list` shows those that are")
        return name
    names = await place.snapshots()
    if not names:
        raise StorageError("there is no snapshot: is this the place that `entrepot backup` was given?")
    return names[-1]


async def _read(store: Bytes, key: str) -> AsyncGenerator[bytes, None]:
    """A store's bytes; its failures are Unreadable, so that they are not taken for those of whoever writes."""
    try:
        async with contextlib.aclosing(store.read(key)) as chunks:
            async for chunk in chunks:
                yield chunk
    except StorageError as error:
        raise Unreadable(error.message) from error


async def _verified(chunks: AsyncGenerator[bytes, None], named: NamedBytes) -> AsyncGenerator[bytes, None]:
    """The same chunks; Damage at the end unless they have the digest."""
    try:
        running = hasher(Digest.parse(named.digest).algorithm)
    except InvalidDigest as error:
        raise Damage(str(error)) from None
    async with contextlib.aclosing(chunks):
        async for chunk in chunks:
            running.update(chunk)
            yield chunk
    actual = f"{named.digest.partition(':')[0]}:{running.hexdigest()}"
    if actual != named.digest:
        raise Damage(f"its bytes are {actual}")


async def _side_by_side(many: list[T], work: Callable[[T], Awaitable[None]]) -> None:
    """Do some work for each, a few at once; the first failure ends it."""
    rest = iter(many)

    async def take() -> None:
        for each in rest:
            await work(each)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(_AT_ONCE):
                group.create_task(take())
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
