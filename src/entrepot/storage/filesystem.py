"""Bytes in a directory. Every file is written once, under its final name, by the only descriptor that ever opens it
for writing; it is named by a row only after `sync`."""

import asyncio
import errno
import os
import secrets
import shutil
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from entrepot.oci.digest import Hash
from entrepot.registry.errors import BytesUnreadable, StorageError, StorageFull
from entrepot.registry.ports import OlderVersions
from entrepot.storage import layout
from entrepot.storage.directories import make_directory, sync_directory
from entrepot.storage.file_writer import BLOCK, Buffers, FileWriter
from entrepot.storage.group_sync import GroupSync

_INLINE = 128 * 1024  # bytes: less than a thread hop costs
_READ = 256 * 1024
NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
_DAMAGED = frozenset({errno.EIO, errno.EBADMSG, errno.EUCLEAN, errno.EISDIR})  # one file, not the disk or our rights


class FileStore:
    """The byte store `filesystem`."""

    name = "filesystem"

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._threads = ThreadPoolExecutor(4, "files")
        self._sync = GroupSync()
        self._buffers = Buffers()
        self._made: set[str] = set()

    async def start(self) -> None:
        """Make the directory; StorageError when that cannot be done."""
        with _errors():
            make_directory(layout.blobs_directory(self._directory))
            sync_directory(str(self._directory))  # another worker may have made it just now

    async def write(self, key: str, chunks: AsyncIterator[bytes], hashes: Sequence[Hash]) -> int:
        """See the port. The directory entry and the bytes are durable after `sync`."""
        with _errors():
            descriptor = self._create(key)
            try:
                return await self._fill(descriptor, chunks, hashes)
            except BaseException:
                os.unlink(self.path(key))
                raise
            finally:
                os.close(descriptor)

    async def join(self, key: str, parts: Sequence[str]) -> int:
        """See the port; by copy_file_range, which shares or copies the bytes inside the kernel."""
        with _errors():
            descriptor = self._create(key)
            try:
                loop = asyncio.get_running_loop()
                paths = [self.path(part) for part in parts]
                return await loop.run_in_executor(self._threads, _copy_all, descriptor, paths)
            except BaseException:
                os.unlink(self.path(key))
                raise
            finally:
                os.close(descriptor)

    async def sync(self, key: str) -> None:
        """See the port: file, then directory; what several requests wait for is done once."""
        with _errors():
            await self._sync.sync(self.path(key))

    async def size(self, key: str) -> int:
        """See the port."""
        with _errors():
            return os.stat(self.path(key)).st_size

    async def read(self, key: str, start: int = 0, length: int | None = None) -> AsyncGenerator[bytes, None]:
        """See the port; in chunks of 256 KiB, read in a thread."""
        loop = asyncio.get_running_loop()
        with _errors():
            descriptor = os.open(self.path(key), os.O_RDONLY | os.O_CLOEXEC)
        try:
            end = os.fstat(descriptor).st_size if length is None else start + length
            while start < end:
                with _errors():
                    chunk = await loop.run_in_executor(
                        self._threads, os.pread, descriptor, min(_READ, end - start), start
                    )
                if not chunk:
                    return
                start += len(chunk)
                yield chunk
        finally:
            os.close(descriptor)

    async def delete(self, key: str) -> None:
        """See the port."""
        with _errors():
            try:
                await asyncio.to_thread(os.unlink, self.path(key))
            except FileNotFoundError:
                return

    async def older_versions(self) -> OlderVersions:
        """See the port."""
        return OlderVersions(stay=False, words="blobs are files here, and files have no older versions")

    async def keys(self) -> AsyncGenerator[str, None]:
        """See the port; one directory at a time, read in a thread."""
        loop = asyncio.get_running_loop()
        top = str(layout.blobs_directory(self._directory))
        for directory in await loop.run_in_executor(self._threads, _names, top):
            for key in await loop.run_in_executor(self._threads, _names, f"{top}/{directory}"):
                yield key

    def path(self, key: str) -> str:
        """See the port."""
        return f"{self._directory}/{layout.file_path(key)}"

    async def signed_url(self, key: str) -> str | None:
        """See the port: files have none."""
        return None

    async def identity(self) -> str | None:
        """See the port."""
        try:
            with _errors():
                return layout.identity_file(self._directory).read_text().strip() or None  # None: a crash cut `mark`
        except FileNotFoundError:
            return None

    async def mark(self, identity: str) -> None:
        """See the port."""
        path = layout.identity_file(self._directory)
        fresh = path.with_name(f"{path.name}-{secrets.token_hex(4)}")  # others may read, or write, at the same time
        with _errors():
            try:
                fresh.write_text(identity + "\n")
                await self._sync.sync(str(fresh))
                os.replace(fresh, path)
                await asyncio.to_thread(sync_directory, str(self._directory))
            finally:
                fresh.unlink(missing_ok=True)

    async def check(self) -> None:
        """See the port."""
        with _errors():
            try:
                free = shutil.disk_usage(layout.blobs_directory(self._directory)).free
            except FileNotFoundError:
                raise StorageError("the blob directory is gone") from None
            if free == 0:
                raise StorageFull("no space is left for blobs")

    async def close(self) -> None:
        """See the port."""
        self._sync.close()
        self._threads.shutdown()

    def _create(self, key: str) -> int:
        path = self.path(key)
        directory = os.path.dirname(path)
        if directory not in self._made:
            self._make_directory(directory)
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)

    def _make_directory(self, directory: str) -> None:
        os.makedirs(directory, exist_ok=True)
        sync_directory(os.path.dirname(directory))
        self._made.add(directory)

    async def _fill(self, descriptor: int, chunks: AsyncIterator[bytes], hashes: Sequence[Hash]) -> int:
        loop = asyncio.get_running_loop()
        writer = FileWriter(descriptor, self._buffers)
        batch: list[bytes] = []
        held = 0
        jobs: list[asyncio.Future[None]] = []
        try:
            async for chunk in chunks:
                batch.append(chunk)
                held += len(chunk)
                if held >= BLOCK:
                    await _all(jobs)
                    jobs = [
                        loop.run_in_executor(self._threads, writer.add, batch),
                        loop.run_in_executor(self._threads, _hash, hashes, batch),
                    ]
                    batch, held = [], 0
            await _all(jobs)
            if not jobs and held <= _INLINE:
                _hash(hashes, batch)
                writer.finish(batch)
            else:
                jobs = [
                    loop.run_in_executor(self._threads, writer.finish, batch),
                    loop.run_in_executor(self._threads, _hash, hashes, batch),
                ]
                await _all(jobs)
            return writer.size
        finally:
            if jobs:
                await asyncio.wait(jobs)
            writer.release()


def _names(directory: str) -> list[str]:
    with _errors():
        try:
            return os.listdir(directory)
        except FileNotFoundError:
            return []


async def _all(jobs: Sequence[asyncio.Future[None]]) -> None:
    for job in jobs:
        await job


def _hash(hashes: Sequence[Hash], chunks: Sequence[bytes]) -> None:
    for running in hashes:
        for chunk in chunks:
            running.update(chunk)


def _copy_all(target: int, paths: Sequence[str]) -> int:
    total = 0
    for path in paths:
        source = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            while copied := os.copy_file_range(source, target, 1 << 30):
                total += copied
        finally:
            os.close(source)
    return total


@contextmanager
def _errors() -> Iterator[None]:
    """The operating system's errors as the port's."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno in NO_SPACE:
            raise StorageFull("no space is left for blobs: free some, or give the registry a larger disk") from error
        kind = BytesUnreadable if error.errno in _DAMAGED else StorageError
        raise kind(f"the blob directory cannot be used: {error.strerror}") from error
