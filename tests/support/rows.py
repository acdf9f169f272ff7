"""Databases with the program's tables, the row ports over them, and what to put into them."""

import asyncio
import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, TypeVar

from entrepot.access.caller import Caller
from entrepot.database.blobs import DatabaseBlobs
from entrepot.database.cache import ReadCache
from entrepot.database.deletion import DatabaseDeletions
from entrepot.database.engine import Engine, Transaction, Work
from entrepot.database.garbage import DatabaseGarbage
from entrepot.database.manifests import DatabaseManifests
from entrepot.database.postgres import PostgresEngine
from entrepot.database.uploads import DatabaseUploads
from entrepot.registry.deletion import DeletionRows
from entrepot.registry.garbage import GarbageRows
from entrepot.registry.identity import new_key, new_upload_id
from entrepot.registry.ports import BlobRows, Housekeeping, ManifestRows, NewManifest, Upload, UploadRows

T = TypeVar("T")
DAY = 24 * 60 * 60
STORE = "filesystem"
SOMEBODY = Caller(address="192.0.2.1")
_SQLITE_TABLES = "SELECT name FROM sqlite_schema WHERE type = 'table'"
_POSTGRES_TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
IMAGE_TYPE = "application/vnd.oci.image.manifest.v1+json"


class Uploading(UploadRows, Housekeeping, Protocol):
    """Two ports that one adapter satisfies: sessions, and cleaning up after them."""


class Change(NamedTuple):
    """A row of `changes`, with the repository's name for its id."""

    kind: str
    repository: str
    tag: str | None
    old: str | None
    new: str | None


@dataclass(frozen=True)
class Rows:
    """What one worker has: an engine of its own, and the ports over it."""

    engine: Engine
    blobs: BlobRows
    uploads: Uploading
    manifests: ManifestRows
    deletions: DeletionRows
    garbage: GarbageRows

    async def changes(self) -> list[Change]:
        """All changes, oldest first."""
        rows = await self.engine.read(
            "SELECT c.kind, r.name, c.tag, c.old, c.new FROM changes c"
            " JOIN repositories r ON r.id = c.repository_id ORDER BY c.id"
        )
        return [Change(*row) for row in rows]

    async def times_of(self, tag: str) -> list[int]:
        """When this tag changed, in the order of the changes, in microseconds."""
        return [at for (at,) in await self.engine.read("SELECT at FROM changes WHERE tag = :tag ORDER BY id", tag=tag)]

    async def execute(self, statement: str, **values: object) -> int:
        """One statement in a transaction, for what no port does; how many rows it changed."""

        async def run(transaction: Transaction) -> int:
            return await transaction.run(statement, **values)

        return await self.engine.write(run, durable=False)


def rows_over(engine: Engine) -> Rows:
    """The ports over an engine, as the composition root makes them."""
    cache = ReadCache(engine)
    return Rows(
        engine,
        DatabaseBlobs(engine, cache, DAY),
        DatabaseUploads(engine),
        DatabaseManifests(engine, cache),
        DatabaseDeletions(engine),
        DatabaseGarbage(engine),
    )


@dataclass
class Database:
    """A migrated, empty database; `connect` gives what another worker would have."""

    make_engine: Callable[[], Engine]
    _engines: list[Engine] = field(default_factory=list)

    def engine(self) -> Engine:
        """One more engine on this database; closed with it."""
        engine = self.make_engine()
        self._engines.append(engine)
        return engine

    def connect(self) -> Rows:
        """One more worker's view of this database."""
        return rows_over(self.engine())

    async def close(self) -> None:
        """Close every engine."""
        for engine in self._engines:
            await engine.close()


class HeldEngine:
    """An engine whose transactions stop before their commit until they are let go: real races, one step at a time.

    Only for engines whose transactions may wait (PostgreSQL).
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.done_but_open = asyncio.Event()
        self.let_go = asyncio.Event()

    async def read(self, statement: str, **values: object) -> list[tuple[object, ...]]:
        """As the engine."""
        return await self._engine.read(statement, **values)

    async def scan(self, statement: str, **values: object) -> list[tuple[object, ...]]:
        """As the engine."""
        return await self._engine.scan(statement, **values)

    async def write(self, work: Work[T], *, durable: bool) -> T:
        """As the engine, with a stop between the last statement and the commit."""

        async def held(transaction: Transaction) -> T:
            result = await work(transaction)
            self.done_but_open.set()
            await self.let_go.wait()
            return result

        return await self._engine.write(held, durable=durable)

    def changed(self) -> bool | None:
        """As the engine."""
        return self._engine.changed()

    def now(self) -> int:
        """As the engine."""
        return self._engine.now()

    async def overwrite(self) -> None:
        """As the engine."""
        await self._engine.overwrite()

    def overwritten(self) -> bool:
        """As the engine."""
        return self._engine.overwritten()

    async def close(self) -> None:
        """Whoever made the engine closes it."""


def a_digest() -> str:
    """A digest that nothing else has."""
    return f"sha256:{secrets.token_hex(32)}"


async def an_upload(rows: Rows, repository: str = "library/hello", lifetime: int = DAY) -> Upload:
    """A session that was just opened."""
    identity = new_upload_id()
    await rows.uploads.open_upload(repository, identity, STORE, None, lifetime, SOMEBODY)
    upload = await rows.uploads.find_upload(repository, identity)
    assert upload is not None
    return upload


async def holds(rows: Rows, repository: str) -> bool:
    """Whether there is a repository of this name that anything was pushed to."""
    found = await rows.manifests.find_repository(repository)
    return found is not None and found.holding


async def a_claimed_key(rows: Rows, upload: Upload) -> str:
    """A key for a body whose first byte may come now."""
    key = new_key(upload.id)
    assert await rows.uploads.claim_body(upload.id, key)
    return key


async def a_joined_body(rows: Rows, upload: Upload, size: int, digest: str | None = None) -> tuple[str, Upload]:
    """A body that has joined; its key, and the session as it is afterwards."""
    key = await a_claimed_key(rows, upload)
    assert await rows.uploads.join_body(upload, key, size, digest, DAY)
    return key, await again(rows, upload)


async def again(rows: Rows, upload: Upload, repository: str = "library/hello") -> Upload:
    """The session as it is now."""
    found = await rows.uploads.find_upload(repository, upload.id)
    assert found is not None
    return found


async def a_blob(rows: Rows, repository: str = "library/hello", digest: str | None = None, size: int = 100) -> str:
    """The digest of a blob that was pushed to this repository."""
    digest = digest or a_digest()
    upload = await an_upload(rows, repository)
    key = await a_claimed_key(rows, upload)
    assert await rows.uploads.close_upload(upload, digest, size, key, SOMEBODY)
    return digest


def a_manifest(
    content: bytes | None = None,
    *,
    required: tuple[str, ...] = (),
    subject: str | None = None,
    artifact_type: str | None = None,
    annotations: str | None = None,
    media_type: str = IMAGE_TYPE,
    children: tuple[str, ...] = (),
) -> NewManifest:
    """A manifest, of random content when none is given; an index when it has children."""
    content = content if content is not None else secrets.token_bytes(64)
    return NewManifest(
        digest=f"sha256:{hashlib.sha256(content).hexdigest()}",
        media_type=media_type,
        content=content,
        artifact_type=artifact_type,
        annotations=annotations,
        subject=subject,
        kind="index" if children else "image",
        required=required,
        references=(*((digest, "layer") for digest in required), *((digest, "child") for digest in children)),
    )


async def push(rows: Rows, manifest: NewManifest, *tags: str, repository: str = "library/hello") -> str:
    """Push a manifest that is accepted; its digest."""
    assert await rows.manifests.put_manifest(repository, manifest, tags, SOMEBODY) == []
    return manifest.digest


async def tagged(rows: Rows, tag: str, repository: str = "library/hello") -> str | None:
    """The digest that a tag has."""
    found = await rows.manifests.find_manifest(repository, tag)
    return None if found is None else found.digest


async def every_row(engine: Engine) -> dict[str, list[str]]:
    """All rows of all tables but those of usage."""
    catalogue = _POSTGRES_TABLES if isinstance(engine, PostgresEngine) else _SQLITE_TABLES
    tables = [str(name) for (name,) in await engine.read(catalogue)]
    return {
        table: sorted(map(repr, await engine.read(f'SELECT * FROM "{table}"')))
        for table in tables
        if not table.startswith("usage_")
    }


async def trash(rows: Rows) -> set[str]:
    """The keys whose bytes may be removed."""
    return {key for _, key in await rows.uploads.trashed(1000)}
