"""Backup and restore: one snapshot of all rows, and the bytes that they name, beside a running server.

A key is used once, so bytes that are in the place need not be copied again. While a backup runs nothing that it may
name is removed from the store.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

from entrepot.oci.digest import Digest, InvalidDigest, hasher
from entrepot.registry.backup_places import SNAPSHOT_NAME, NamedBytes, Place, named_bytes
from entrepot.registry.errors import StorageError
from entrepot.registry.older_backups import Older
from entrepot.registry.ports import Bytes
from entrepot.registry.snapshots import SnapshotFile

T = TypeVar("T")
HOLD_SECONDS = 60
"""That nothing is removed after the last sign of life of a backup."""

_RENEW_SECONDS = 15
_AT_ONCE = 4  # blobs on their way


class BackupRows(Protocol):
    """The database that is backed up."""

    async def hold(self, name: str, seconds: int, *, alone: bool) -> bool:
        """The backup `name` runs for so long: let no bytes be removed meanwhile; a later call counts anew.

        False when another runs, and one of the two is to be `alone`.
        """
        ...

    async def end(self, name: str) -> None:
        """The backup `name` does not run any more."""
        ...

    async def registry(self, store: str) -> str:
        """Which registry this is, among all that have such a store."""
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
    """Bytes that a store or a place has and cannot give; the message is theirs."""


Told = Callable[[int], object]
"""Called with bytes that are done."""


@dataclass
class Report:
    """What a backup has done. `wrong`: what could not be copied, as the store has it no more, or not as it was.

    `dropped` older snapshots, and `removed` bytes that only they named.
    """

    name: str
    blobs: int = 0
    copied: int = 0
    copied_bytes: int = 0
    dropped: int = 0
    removed: int = 0
    wrong: list[str] = field(default_factory=list)

    def add(self, each: NamedBytes) -> None:
        """These bytes were copied."""
        self.copied += 1
        self.copied_bytes += each.size

    def lack(self, each: NamedBytes, kind: str, *why: object) -> None:
        """These were not, as they are missing or damaged."""
        self.wrong.append("\t".join(map(str, (kind, each.digest, each.key, *why))))


class Backup:
    """Backs up a store and its rows."""

    def __init__(self, rows: BackupRows, store: Bytes, place: Place, keep: int | None = None) -> None:
        """`keep`: only the newest snapshots, so many, stay, and the bytes that they name."""
        self._rows = rows
        self._store = store
        self._place = place
        self._keep = keep

    async def run(
        self,
        name: str,
        work: Path,
        begin: Callable[[int], Told],
        *,
        rehash: bool = False,
        take_over: bool = False,
    ) -> Report:
        """Make a backup called `name`; `work` is a directory for the rows. `begin` is called with all bytes there are.

        `rehash`: what the place has already is read too, and copied anew where it is damaged. `take_over`: the place
        may have been another registry's, and is this one's then.
        StorageError when it is another's, when a purge has taken what was to be copied (then nothing was kept), and
        when another backup runs while one of the two removes older ones.
        """
        async with self._held(name):
            await self._claim(take_over=take_over)
            await self._place.tidy()
            report = await self._copy_all(name, work / name, begin, rehash=rehash)
            await self._claim(take_over=False)  # two that began in an empty place at once
            await self._place.keep(name, work / name)
            if self._keep is not None and not report.wrong:  # else an older one may have what this one lacks
                older = Older(self._place, lambda: self._hold(name))
                try:
                    report.dropped, report.removed = await older.remove(name, self._keep, work)
                except StorageError as error:
                    raise StorageError(f"{name} is made, and older ones stay: {error.message}") from None
        return report

    async def _copy_all(self, name: str, file: Path, begin: Callable[[int], Told], *, rehash: bool) -> Report:
        """Write all rows into a file, and copy what they name."""
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
        return report

    async def _claim(self, *, take_over: bool) -> None:
        mine = await self._rows.registry(self._store.name)
        owner = await self._place.owner()
        if owner is not None and owner != mine and not take_over:
            raise StorageError(
                "the backups there are another registry's: give each a place of its own. If this one is in its place"
                " now, as after a restore, say --take-over once"
            )
        if owner != mine:
            await self._place.claim(mine)

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
    async def _held(self, name: str) -> AsyncIterator[None]:
        """Removal waits for as long as this process lives, and a minute more: another backup may run too."""
        await self._hold(name)

        async def renew() -> None:
            """A database that is away for less than the hold does no harm."""
            loop = asyncio.get_running_loop()
            held = loop.time()
            while True:
                await asyncio.sleep(_RENEW_SECONDS)
                asked = loop.time()
                try:
                    await self._hold(name)
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
            with contextlib.suppress(StorageError):  # then it lapses
                await self._rows.end(name)

    async def _hold(self, name: str) -> None:
        if not await self._rows.hold(name, HOLD_SECONDS, alone=self._keep is not None):
            raise StorageError(
                "another backup is running, or was killed less than a minute ago, and one of the two removes older"
                " ones (--keep): try again when it has ended"
            )


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
            try:
                await self._write(each)
            except Unreadable:
                await self._check(report.name)
                await self._write(each)  # a connection may break once
            await self._store.sync(each.key)
        except FileNotFoundError:
            await self._check(report.name)
            report.lack(each, "missing")
        except Damage as damage:
            report.lack(each, "damaged", damage)
        except Unreadable as error:  # a bad sector must not be the end of a restore; a place that is away is
            await self._check(report.name)
            report.lack(each, "damaged", error)
        else:
            report.add(each)

    async def _write(self, each: NamedBytes) -> None:
        await self._store.write(each.key, _verified(_read(self._place, each.key), each), ())

    async def _check(self, name: str) -> None:
        """StorageError unless the place still has the snapshot."""
        if name not in await self._place.snapshots():
            raise StorageError("the place of the backup is not there any more: begin the restore again when it is")


async def newest(place: Place, name: str | None) -> str:
    """The snapshot of this name, else the newest; StorageError when there is none."""
    if name is not None:
        if not SNAPSHOT_NAME.fullmatch(name):
            raise StorageError(f"{name} is no name of a snapshot: `entrepot restore --list` shows those that are")
        return name
    names = await place.snapshots()
    if not names:
        raise StorageError("there is no snapshot: is this the place that `entrepot backup` was given?")
    return names[-1]


async def _read(store: Bytes | Place, key: str) -> AsyncGenerator[bytes, None]:
    """Bytes of a store or a place; its failures are Unreadable: they must not be taken for those of whoever writes."""
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
