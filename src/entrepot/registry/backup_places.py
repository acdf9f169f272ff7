"""Where backups are, and what they need besides their rows.

PLACE
├── store             which registry's backups these are
├── blobs/            bytes under the keys of the store, each once, whichever snapshots name them
└── snapshots/        rows, one file a backup; written last, so what is named is there
"""

import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from entrepot.registry.errors import StorageError
from entrepot.registry.snapshots import SnapshotFile

SNAPSHOT_NAME = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{6}")
"""What has another name is no snapshot."""

_KEY = re.compile(r"[a-z0-9.-]{1,80}")


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

    async def owner(self) -> str | None:
        """The registry whose backups these are, as it was said; None while nobody has."""
        ...

    async def claim(self, owner: str) -> None:
        """Say, durably, whose backups these are."""
        ...

    async def tidy(self) -> None:
        """Remove what backups have left that were killed; not what one that runs is writing."""
        ...

    def keys(self) -> AsyncGenerator[str, None]:
        """The keys of all bytes."""
        ...

    async def remove(self, key: str) -> None:
        """Remove bytes."""
        ...

    async def drop(self, name: str) -> None:
        """Remove a snapshot, durably."""
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


def named_bytes(snapshot: SnapshotFile) -> Iterator[NamedBytes]:
    """What a snapshot needs besides its rows; what is being removed has no bytes to keep."""
    for digest, size, key, state in snapshot.rows_of("blobs", "digest", "size", "key", "state"):
        if not isinstance(key, str) or not _KEY.fullmatch(key):
            raise StorageError(f"the snapshot names bytes by {key!r}, which is no key")
        if state != "removing":
            yield NamedBytes(digest, size, key)
