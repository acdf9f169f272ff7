"""Blobs as they arrive from an upstream: files that one process writes and every process of the node may read.

    DATA
    └── arriving/
        ├── sha256-2c26b46b…            written under a flock; read-only as soon as its digest is verified
        └── 5f3a90c2d1….turn            a lock and nothing else

What a file is told by its own metadata, which needs no second file and no message: while somebody holds its lock it
grows; without write permission it is whole and right; without a name and with it, it was wrong. Where it comes from is
in an extended attribute; where there are none that is not known, and nobody relies on it.
"""

import asyncio
import contextlib
import fcntl
import os
import stat
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path

from entrepot.registry.errors import StorageError, StorageFull
from entrepot.storage import layout
from entrepot.storage.directories import make_directory
from entrepot.storage.locks import try_lock

_POLL = 0.01  # seconds between two looks at a lock that another process holds
_ORIGIN = "user.entrepot.origin"
_ABANDONED = 86400.0  # seconds after which an unfinished file that nobody writes is removed


class SpoolFile:
    """The port Spool."""

    def __init__(self, path: Path, flags: int = os.O_CREAT) -> None:
        self._path = path
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | flags, 0o600)
        except PermissionError:  # it is verified, and nobody writes it any more
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def lead(self) -> bool:
        """See the port."""
        return try_lock(self._descriptor)

    @property
    def size(self) -> int:
        """See the port."""
        return os.fstat(self._descriptor).st_size

    @property
    def verified(self) -> bool:
        """See the port."""
        return not os.fstat(self._descriptor).st_mode & stat.S_IWUSR

    @property
    def named(self) -> bool:
        """See the port."""
        return os.fstat(self._descriptor).st_nlink > 0

    @property
    def origin(self) -> str:
        """See the port."""
        try:
            return os.getxattr(self._descriptor, _ORIGIN).decode()
        except OSError:
            return ""

    def come_from(self, origin: str) -> None:
        """See the port."""
        with contextlib.suppress(OSError):
            os.setxattr(self._descriptor, _ORIGIN, origin.encode())

    def append(self, offset: int, data: bytes) -> None:
        """See the port."""
        view = memoryview(data)
        try:
            while view:
                written = os.pwrite(self._descriptor, view, offset)
                view, offset = view[written:], offset + written
        except OSError as error:
            raise StorageFull(f"what arrives from the upstream cannot be kept: {error.strerror}") from error

    def read(self, offset: int, length: int) -> bytes:
        """See the port."""
        return os.pread(self._descriptor, length, offset)

    def verify(self) -> None:
        """See the port."""
        os.fchmod(self._descriptor, 0o400)

    def empty(self) -> None:
        """See the port."""
        os.ftruncate(self._descriptor, 0)

    def remove(self) -> None:
        """See the port. What has this name when ours is gone is somebody else's."""
        if self.named:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path)

    def release(self) -> None:
        """See the port."""
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def __del__(self) -> None:
        """Close when the last who reads has gone; nobody has to keep count of them."""
        if hasattr(self, "_descriptor"):  # else it could not be opened
            os.close(self._descriptor)


class SpoolFiles:
    """The port Spools."""

    def __init__(self, data: Path) -> None:
        self._directory = layout.arriving_directory(data)

    def open(self, digest: str) -> SpoolFile:
        """See the port. A file that was unlinked between opening and looking is not ours: try again."""
        try:
            make_directory(self._directory)
            return SpoolFile(self._path(digest))
        except OSError as error:
            raise StorageError(f"the directory for what arrives cannot be used: {error.strerror}") from error

    def existing(self, digest: str) -> SpoolFile | None:
        """See the port."""
        try:
            return SpoolFile(self._path(digest), 0)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(f"what arrives cannot be read: {error.strerror}") from error

    @asynccontextmanager
    async def turn(self, key: str, *, shared: bool = False) -> AsyncGenerator[None, None]:
        """See the port. Only who has the lock alone removes the name, so that nobody waits for a lock that is gone."""
        path = self._directory / f"{sha256(key.encode()).hexdigest()[:32]}.turn"
        while True:
            descriptor = self._open(path)
            try:
                await _lock(descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
                if os.fstat(descriptor).st_nlink:
                    try:
                        yield
                    finally:
                        if try_lock(descriptor) and os.fstat(descriptor).st_nlink:
                            path.unlink(missing_ok=True)
                    return
            finally:
                os.close(descriptor)

    def _open(self, path: Path) -> int:
        try:
            make_directory(self._directory)
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StorageError(f"the directory for what arrives cannot be used: {error.strerror}") from error

    async def clean(self) -> int:
        """Remove unfinished files that nobody has written for a day; returns how many."""
        return await asyncio.to_thread(self._clean)

    def _path(self, digest: str) -> Path:
        return self._directory / digest.replace(":", "-")

    def _clean(self) -> int:
        if not self._directory.is_dir():
            return 0
        removed = 0
        before = time.time() - _ABANDONED
        for entry in os.scandir(self._directory):
            with contextlib.suppress(FileNotFoundError):
                if entry.stat().st_mtime < before:
                    spool = SpoolFile(Path(entry.path))
                    if spool.lead():
                        spool.remove()
                        removed += 1
        return removed


async def _lock(descriptor: int, kind: int) -> None:
    while True:
        if try_lock(descriptor, kind):
            return
        await asyncio.sleep(_POLL)
