"""Places for backups: a directory, or a bucket.

In a directory:

    DIR/
    ├── store                                                         `backups of ` and which registry's they are
    ├── blobs/01a207/01a2071ee2767c47bff638c8386a91b8-5f3a90c2d1      as in a data directory
    ├── snapshots/20261129T164500Z-5f3a90
    └── .part-5f3a90c2d1                                              what is being written, or was cut off

In a bucket, under the prefix, the same without the directories of 24 bits; there an object is whole or it is not there.

Whoever writes a `.part-` file holds a flock on it: whoever gets the lock knows that it was cut off.
"""

import asyncio
import contextlib
import os
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from entrepot.registry.backup_places import SNAPSHOT_NAME
from entrepot.registry.errors import StorageError, StorageFull
from entrepot.registry.ports import Bytes
from entrepot.storage import layout
from entrepot.storage.directories import make_directory, sync_directory
from entrepot.storage.filesystem import NO_SPACE
from entrepot.storage.locks import try_lock

_READ = 1024 * 1024  # bytes
_PART = ".part-"
_OF = "backups of "


class DirectoryPlace:
    """The port Place in a directory: a file has its name only when it is whole and durable."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def has(self, key: str, size: int) -> bool:
        """See the port."""
        try:
            return (self._directory / layout.file_path(key)).stat().st_size == size
        except FileNotFoundError:
            return False
        except OSError as error:
            raise _said(error) from error

    async def write(self, key: str, chunks: AsyncIterator[bytes]) -> None:
        """See the port."""
        await self._write(self._directory / layout.file_path(key), chunks)

    async def read(self, key: str) -> AsyncGenerator[bytes, None]:
        """See the port."""
        async for chunk in _chunks(self._directory / layout.file_path(key)):
            yield chunk

    async def owner(self) -> str | None:
        """See the port."""
        try:
            with _errors():
                return _owner((self._directory / "store").read_text())
        except FileNotFoundError:
            return None

    async def claim(self, owner: str) -> None:
        """See the port."""
        await self._write(self._directory / "store", _text(_OF + owner))

    async def tidy(self) -> None:
        """See the port."""
        for name in _names(self._directory):
            if name.startswith(_PART):
                with _errors():
                    _remove_cut_off(self._directory / name)

    async def keys(self) -> AsyncGenerator[str, None]:
        """See the port."""
        blobs = layout.blobs_directory(self._directory)
        for directory in await asyncio.to_thread(_names, blobs):
            for key in await asyncio.to_thread(_names, blobs / directory):
                yield key

    async def remove(self, key: str) -> None:
        """See the port."""
        with _errors():
            await asyncio.to_thread((self._directory / layout.file_path(key)).unlink, missing_ok=True)

    async def drop(self, name: str) -> None:
        """See the port."""
        path = self._snapshot(name)
        with _errors():
            path.unlink(missing_ok=True)
            await asyncio.to_thread(sync_directory, str(path.parent))

    async def snapshots(self) -> list[str]:
        """See the port."""
        return sorted(filter(SNAPSHOT_NAME.fullmatch, _names(self._snapshot("").parent)))

    async def keep(self, name: str, snapshot: Path) -> None:
        """See the port."""
        await self._write(self._snapshot(name), _chunks(snapshot))

    async def fetch(self, name: str, to: Path) -> None:
        """See the port."""
        await _copied(_chunks(self._snapshot(name)), to)

    def _snapshot(self, name: str) -> Path:
        return self._directory / "snapshots" / (name or "-")

    async def _write(self, path: Path, chunks: AsyncIterator[bytes]) -> None:
        with _errors():
            make_directory(self._directory)
            make_directory(path.parent)
            part, file = _new_part(self._directory)
        try:
            with file:
                await _fill(file, chunks)
                with _errors():
                    await asyncio.to_thread(os.fsync, file.fileno())
                    os.rename(part, path)
                    await asyncio.to_thread(sync_directory, str(path.parent))
        finally:
            part.unlink(missing_ok=True)


class BucketPlace:
    """The port Place in a bucket."""

    def __init__(self, blobs: Bytes, snapshots: Bytes) -> None:
        """Byte stores of the bucket: one under the prefix, one under the prefix for snapshots."""
        self._blobs = blobs
        self._snapshots = snapshots

    async def has(self, key: str, size: int) -> bool:
        """See the port."""
        try:
            return await self._blobs.size(key) == size
        except FileNotFoundError:
            return False

    async def write(self, key: str, chunks: AsyncIterator[bytes]) -> None:
        """See the port."""
        await self._blobs.write(key, chunks, ())

    async def read(self, key: str) -> AsyncGenerator[bytes, None]:
        """See the port."""
        async with contextlib.aclosing(self._blobs.read(key)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def owner(self) -> str | None:
        """See the port."""
        return _owner(await self._blobs.identity() or "")

    async def claim(self, owner: str) -> None:
        """See the port."""
        await self._blobs.mark(_OF + owner)

    async def tidy(self) -> None:
        """See the port: there is nothing that is not whole but what the bucket's own rule ends (decision 5)."""

    async def keys(self) -> AsyncGenerator[str, None]:
        """See the port."""
        async with contextlib.aclosing(self._blobs.keys()) as keys:
            async for key in keys:
                yield key

    async def remove(self, key: str) -> None:
        """See the port."""
        await self._blobs.delete(key)

    async def drop(self, name: str) -> None:
        """See the port."""
        await self._snapshots.delete(name)

    async def snapshots(self) -> list[str]:
        """See the port."""
        names = self._snapshots.keys()
        return sorted([name async for name in names if SNAPSHOT_NAME.fullmatch(name)])

    async def keep(self, name: str, snapshot: Path) -> None:
        """See the port."""
        await self._snapshots.write(name, _chunks(snapshot), ())

    async def fetch(self, name: str, to: Path) -> None:
        """See the port."""
        await _copied(self._snapshots.read(name), to)


async def _chunks(path: Path) -> AsyncGenerator[bytes, None]:
    with _errors():
        file = path.open("rb")
    with file:
        while True:
            with _errors():
                chunk = await asyncio.to_thread(file.read, _READ)
            if not chunk:
                return
            yield chunk


async def _text(text: str) -> AsyncIterator[bytes]:
    yield text.encode()


async def _copied(chunks: AsyncIterator[bytes], to: Path) -> None:
    with _errors():
        file = _new_file(to)
    with file:
        await _fill(file, chunks)


async def _fill(file: BinaryIO, chunks: AsyncIterator[bytes]) -> None:
    async for chunk in chunks:
        with _errors():
            await asyncio.to_thread(file.write, chunk)
    with _errors():
        file.flush()


def _new_file(path: Path) -> BinaryIO:
    """It has hashes of passwords, or what is private: for its owner alone, whatever the umask says."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")


def _new_part(directory: Path) -> tuple[Path, BinaryIO]:
    """A new file that nobody takes for one that was cut off while it is open."""
    while True:
        part = directory / f"{_PART}{secrets.token_hex(5)}"
        file = _new_file(part)
        with contextlib.suppress(OSError):  # a file system without locks: then nothing is taken for cut off there
            try_lock(file.fileno())
        if part.exists():
            return part, file
        file.close()  # somebody has looked between the two


def _remove_cut_off(part: Path) -> None:
    try:
        file = part.open("rb")
    except FileNotFoundError:
        return
    with file, contextlib.suppress(OSError):  # a file system without locks, as above
        if try_lock(file.fileno()):
            part.unlink(missing_ok=True)


def _names(directory: Path) -> list[str]:
    with _errors():
        try:
            return os.listdir(directory)
        except FileNotFoundError:
            return []


def _owner(text: str) -> str | None:
    return text.strip().removeprefix(_OF) or None


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _said(error) from error


def _said(error: OSError) -> StorageError:
    if error.errno in NO_SPACE:
        return StorageFull(f"no space is left there: {error.filename or 'free some'}")
    return StorageError(f"{error.filename or 'the place of the backup'} cannot be used: {error.strerror}")
