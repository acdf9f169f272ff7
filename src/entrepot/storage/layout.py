"""Every path, drawn.

On a filesystem, under the data directory:

    DATA/
    ├── entrepot.db          rows (SQLite), with -wal and -shm beside it
    ├── entrepot.lock        held around each write transaction; not empty while the -wal has rows that were purged
    ├── pulls.counts         pulls within their window, shared by the workers; with .lock beside it
    ├── secret               what all keys are derived from (0600), with accounts and unless secret_key is set
    ├── store                whose bytes these are, as the database knows it
    ├── pulls/               pull events that are not counted yet (pull_events.py)
    │   ├── node             what this node is called among those that share a database
    │   └── 019c4a1b2c3d-4711-5f3a90c2d1e8b7a6.events     milliseconds, process, chance
    └── blobs/
        └── 01a207/          the first 24 bits of the key: milliseconds >> 24, a new directory every 4.66 hours
            └── 01a2071ee2767c47bff638c8386a91b8-5f3a90c2d1

What is written at the same time lies in the same directory, so one directory sync serves many files.

In object storage, under the prefix (empty, or `registry/` and the like), where directories mean nothing:

    PREFIX
    ├── blobs/
    │   └── 01a2071ee2767c47bff638c8386a91b8-5f3a90c2d1
    ├── store                whose bytes these are, as the database knows it
    └── absent               never written: a check asks for it and wants to hear that it is not there
"""

from pathlib import Path


def blobs_directory(data: Path) -> Path:
    """Where a data directory keeps its blobs."""
    return data / "blobs"


def file_path(key: str) -> str:
    """A key's path below the data directory."""
    return f"blobs/{key[:6]}/{key}"


def arriving_directory(data: Path) -> Path:
    """Where a node keeps blobs that arrive from an upstream."""
    return data / "arriving"


def pulls_directory(data: Path) -> Path:
    """Where a node's workers leave their pull events."""
    return data / "pulls"


def identity_file(data: Path) -> Path:
    """Where a data directory says whose bytes it has."""
    return data / "store"


def object_path(prefix: str, key: str) -> str:
    """A key's path in a bucket."""
    return f"{prefix}blobs/{key}"


def identity_object_path(prefix: str) -> str:
    """Where a bucket says whose bytes it has."""
    return f"{prefix}store"


def absent_object_path(prefix: str) -> str:
    """The path in a bucket where nothing ever is."""
    return f"{prefix}absent"


def database_file(data: Path) -> Path:
    """SQLite's file."""
    return data / "entrepot.db"


def pull_counts_file(data: Path) -> Path:
    """Where a node's workers count pulls together."""
    return data / "pulls.counts"


def secret_file(data: Path) -> Path:
    """The root secret."""
    return data / "secret"


def lock_file(data: Path) -> Path:
    """The file that workers lock around a write transaction."""
    return data / "entrepot.lock"
