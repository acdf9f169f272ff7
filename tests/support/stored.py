"""What a server has stored, looked at beside it: rows in its database, bytes in its directory or bucket."""

import asyncio
import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

import asyncpg
import obstore
from obstore.store import LocalStore, S3Store

from entrepot.database.postgres import PostgresEngine
from entrepot.database.sqlite import SqliteEngine, connect
from entrepot.database.uploads import DatabaseUploads
from entrepot.jobs.uploads import UploadCleaning
from entrepot.registry.ports import Bytes
from entrepot.storage import layout
from entrepot.storage.filesystem import FileStore
from entrepot.storage.objects import ObjectStore
from tests.support.s3 import REGION, SECRET_ACCESS_KEY, Bucket

Row = tuple[Any, ...]

_NAMED = "SELECT key FROM blobs UNION SELECT key FROM trash UNION SELECT key FROM upload_bodies"
_TRASHED_AND_NAMED = (
    "SELECT key FROM trash WHERE key IN (SELECT key FROM blobs UNION ALL SELECT key FROM upload_bodies)"
)
_SUMS = (
    "SELECT u.id, u.size, COALESCE((SELECT SUM(b.size) FROM upload_bodies b"
    " WHERE b.upload_id = u.id AND b.position IS NOT NULL), 0) FROM uploads u"
)
_LOOSE_TAGS = (
    "SELECT t.name, t.manifest_id FROM tags t LEFT JOIN manifests m ON m.id = t.manifest_id"
    " AND m.repository_id = t.repository_id WHERE m.id IS NULL"
)


class Stored(Protocol):
    """Rows and bytes of one registry, whatever keeps them."""

    def rows(self, statement: str) -> list[Row]:
        """The rows of a statement without parameters."""
        ...

    def sizes(self) -> dict[str, int]:
        """Every key that is there → its size in bytes."""
        ...

    def content(self, key: str) -> bytes:
        """The bytes of a key."""
        ...

    def damage(self) -> list[str]:
        """What the database says of its own state when something is wrong with it."""
        ...

    def remove_unfinished(self) -> None:
        """Let every upload's time be over, and do what the server's jobs do then. The server must not run."""
        ...


class StoredFiles:
    """SQLite and files in a data directory."""

    def __init__(self, data_directory: Path) -> None:
        self._data = data_directory

    def rows(self, statement: str) -> list[Row]:
        """See Stored."""
        with closing(connect(layout.database_file(self._data), read_only=True)) as connection:
            return [tuple(row) for row in connection.execute(statement).fetchall()]

    def sizes(self) -> dict[str, int]:
        """See Stored."""
        return _sizes(LocalStore(self._data))

    def content(self, key: str) -> bytes:
        """See Stored."""
        return (self._data / layout.file_path(key)).read_bytes()

    def damage(self) -> list[str]:
        """See Stored."""
        return [str(row[0]) for row in self.rows("PRAGMA integrity_check") if row[0] != "ok"] + [
            f"{row} breaks a foreign key" for row in self.rows("PRAGMA foreign_key_check")
        ]

    def remove_unfinished(self) -> None:
        """See Stored."""
        with closing(connect(layout.database_file(self._data))) as connection:
            connection.execute("UPDATE uploads SET expires_at = 0")

        async def clean() -> None:
            engine = SqliteEngine(layout.database_file(self._data), layout.lock_file(self._data))
            store = FileStore(self._data)
            await _clean(UploadCleaning(DatabaseUploads(engine), {store.name: store}), store)
            await engine.close()

        asyncio.run(clean())


class StoredObjects:
    """PostgreSQL and a bucket."""

    def __init__(self, database: str, bucket: Bucket) -> None:
        self._url = database
        self._bucket = bucket
        self._objects = S3Store(
            config={
                "bucket": bucket.name,
                "region": REGION,
                "endpoint": bucket.endpoint,
                "access_key_id": bucket.access_key_id,
                "secret_access_key": SECRET_ACCESS_KEY,
            },
            client_options={"allow_http": True},
        )

    def rows(self, statement: str) -> list[Row]:
        """See Stored."""

        async def select() -> list[Row]:
            connection = await asyncpg.connect(self._url)
            try:
                return [tuple(row) for row in await connection.fetch(statement)]
            finally:
                await connection.close()

        with ThreadPoolExecutor(1) as thread:  # a thread without an event loop of its own
            return thread.submit(asyncio.run, select()).result()

    def sizes(self) -> dict[str, int]:
        """See Stored."""
        return _sizes(self._objects)

    def content(self, key: str) -> bytes:
        """See Stored."""
        return bytes(obstore.get(self._objects, layout.object_path("", key)).bytes())

    def damage(self) -> list[str]:
        """See Stored: PostgreSQL has no such check without an extension."""
        return []

    def remove_unfinished(self) -> None:
        """See Stored."""
        self.rows("UPDATE uploads SET expires_at = 0")

        async def clean() -> None:
            engine = PostgresEngine(self._url)
            store = ObjectStore(
                bucket=self._bucket.name,
                region=REGION,
                endpoint=self._bucket.endpoint,
                access_key_id=self._bucket.access_key_id,
                secret_access_key=SECRET_ACCESS_KEY,
            )
            await _clean(UploadCleaning(DatabaseUploads(engine), {store.name: store}), store)
            await engine.close()

        asyncio.run(clean())


def disagreements(stored: Stored, after_blob: int = 0) -> Iterator[str]:
    """Where rows and bytes do not fit; of blobs only those with an id over `after_blob` are read and hashed."""
    sizes = stored.sizes()
    yield from stored.damage()
    yield from _blobs(stored, sizes, after_blob)
    yield from _uploads(stored, sizes)
    yield from _manifests(stored)
    for (key,) in stored.rows(_TRASHED_AND_NAMED):
        yield f"{key} is in the trash and is a blob or a body of an upload"


def _blobs(stored: Stored, sizes: dict[str, int], after: int) -> Iterator[str]:
    for identity, digest, size, key in stored.rows("SELECT id, digest, size, key FROM blobs"):
        if sizes.get(key) != size:
            yield f"blob {digest} has {size} bytes under {key}, where {sizes.get(key)} are"
        elif identity > after:
            algorithm, _, expected = digest.partition(":")
            if hashlib.new(algorithm, stored.content(key)).hexdigest() != expected:
                yield f"the bytes under {key} are not {digest}"


def _uploads(stored: Stored, sizes: dict[str, int]) -> Iterator[str]:
    for key, size in stored.rows("SELECT key, size FROM upload_bodies WHERE position IS NOT NULL"):
        if sizes.get(key) != size:
            yield f"an upload's body has {size} bytes under {key}, where {sizes.get(key)} are"
    for upload, size, total in stored.rows(_SUMS):
        if size != total:
            yield f"upload {upload} says {size} bytes, its bodies have {total}"


def _manifests(stored: Stored) -> Iterator[str]:
    for tag, manifest in stored.rows(_LOOSE_TAGS):
        yield f"tag {tag} names manifest {manifest}, which its repository does not have"
    for digest, content in stored.rows("SELECT digest, content FROM manifests"):
        if f"sha256:{hashlib.sha256(bytes(content)).hexdigest()}" != digest:
            yield f"the manifest {digest} has other bytes"


def unnamed(stored: Stored) -> set[str]:
    """Bytes that no row names: nobody would ever remove them."""
    there = set(stored.sizes())
    not_named = there - {key for (key,) in stored.rows(_NAMED)}
    return not_named & set(stored.sizes())  # what was in the trash may have been removed between the looks


def not_blobs(stored: Stored) -> set[str]:
    """Bytes that are not a blob's."""
    return set(stored.sizes()) - {key for (key,) in stored.rows("SELECT key FROM blobs")}


def _sizes(store: LocalStore | S3Store) -> dict[str, int]:
    listed = obstore.list(store, "blobs").collect()
    return {entry["path"].rpartition("/")[2]: entry["size"] for entry in listed}


async def _clean(cleaning: UploadCleaning, store: Bytes) -> None:
    await cleaning.expire()
    await cleaning.empty_trash()
    await store.close()
