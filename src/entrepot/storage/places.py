"""Places for backups: a directory, or a bucket.

In a directory:

    DIR/
    ├── blobs/01a207/01a2071ee2767c47bff638c8386a91b8-5f3a90c2d1      as in a data directory
    ├── snapshots/20261129T164500Z-5f3a90
    └── .part-5f3a90c2d1                                              what is being written, or was cut off

In a bucket, under the prefix, the same without the directories of 24 bits; there an object is whole or it is not there.
"""

import asyncio
import contextlib
import os
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

from entrepot.registry.errors import StorageError, StorageFull
from entrepot.registry.ports import Bytes
from entrepot.storage import layout
from entrepot.storage.directories import make_directory, sync_directory
from entrepot.storage.filesystem import NO_SPACE

_READ = 1024 * 1024  # bytes
_PART = ".part-"


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

    async def snapshots(self) -> list[str]:
        """See the port."""
        try:
            return sorted(os.listdir(self._snapshot("").parent))
        except FileNotFoundError:
            return []

    async def keep(self, name: str, snapshot: Path) -> None:
        """See the port."""
        await self._write(self._snapshot(name), _chunks(snapshot))

    async def fetch(self, name: str, to: Path) -> None:
        """See the port."""
        await _copied(_chunks(self._snapshot(name)), to)

    def _snapshot(self, name: str) -> Path:
        return self._directory / "snapshots" / (name or "-")

    async def _write(self, path: Path, chunks: AsyncIterator[bytes]) -> None:
        part = self._directory / f"{_PART}{secrets.token_hex(5)}"
        try:
            with _errors():
                make_directory(self._directory)
                make_directory(path.parent)
            await _copied(chunks, part, durable=True)
            with _errors():
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

    async def snapshots(self) -> list[str]:
        """See the port."""
        names = self._snapshots.keys()
        return sorted([name async for name in names])

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


async def _copied(chunks: AsyncIterator[bytes], to: Path, *, durable: bool = False) -> None:
    with _errors():
        # It has hashes of passwords, or what is private: for its owner alone, whatever the umask says.
        file = os.fdopen(os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")
    with file:
        async for chunk in chunks:
            with _errors():
                await asyncio.to_thread(file.write, chunk)
        with _errors():
            file.flush()
            if durable:
                await asyncio.to_thread(os.fsync, file.fileno())


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
