"""What one worker read before, another changes: every change shows at once, over SQLite and PostgreSQL."""

import pytest

from entrepot.database.cache import ReadCache
from entrepot.database.engine import Engine, Row
from entrepot.registry.errors import StorageError
from tests.support.rows import SOMEBODY, Database, Rows, a_blob, a_manifest, push, rows_over, tagged

HELLO = "library/hello"
MANY = 2500  # changes: more than the cache looks at one by one


class WatchedEngine:
    """SQLite's engine, with its look-ups counted, and failing when asked to."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.lookups = 0
        self.fails = False

    async def read(self, statement: str, **values: object) -> list[Row]:
        """As the engine."""
        if self.fails:
            raise StorageError("the disk does not answer")
        self.lookups += "FROM repositories" in statement
        return await self._engine.read(statement, **values)

    def __getattr__(self, name: str) -> object:
        return getattr(self._engine, name)


def watched(database: Database) -> tuple[Rows, WatchedEngine]:
    engine = WatchedEngine(database.engine())
    return rows_over(engine), engine  # type: ignore[arg-type]


async def test_another_worker_sees_each_move_of_a_tag_at_once(database: Database) -> None:
    writer, reader = database.connect(), database.connect()
    for _ in range(5):
        digest = await push(writer, a_manifest(), "v1")
        assert await tagged(reader, "v1") == digest
        assert await tagged(writer, "v1") == digest


async def test_another_worker_sees_a_tag_appear(database: Database) -> None:
    writer, reader = database.connect(), database.connect()
    assert await tagged(reader, "v1") is None
    digest = await push(writer, a_manifest(), "v1")
    assert await tagged(reader, "v1") == digest


async def test_another_worker_sees_a_tag_deleted(database: Database) -> None:
    writer, reader = database.connect(), database.connect()
    digest = await push(writer, a_manifest(), "v1")
    assert await tagged(reader, "v1") == digest
    await writer.deletions.delete_tag(HELLO, "v1", SOMEBODY)
    assert await tagged(reader, "v1") is None
    assert await tagged(writer, "v1") is None


async def test_another_worker_sees_a_manifest_deleted_under_each_of_its_names(database: Database) -> None:
    writer, reader = database.connect(), database.connect()
    digest = await push(writer, a_manifest(), "v1", "v2")
    assert [await tagged(reader, name) for name in ("v1", "v2", digest)] == [digest] * 3
    await writer.deletions.delete_manifest(HELLO, digest, SOMEBODY)
    assert [await tagged(reader, name) for name in ("v1", "v2", digest)] == [None] * 3


async def test_another_worker_sees_a_manifests_new_media_type_by_digest(database: Database) -> None:
    writer, reader = database.connect(), database.connect()
    digest = await push(writer, a_manifest(b"{}"))
    await reader.manifests.find_manifest(HELLO, digest)
    await push(writer, a_manifest(b"{}", media_type="application/vnd.example+json"))
    found = await reader.manifests.find_manifest(HELLO, digest)
    assert found is not None
    assert found.media_type == "application/vnd.example+json"


async def test_a_new_media_type_shows_under_the_tag_too(database: Database) -> None:
    writer, reader = database.connect(), database.connect()
    await push(writer, a_manifest(b"{}"), "v1", "v2")
    await reader.manifests.find_manifest(HELLO, "v1")
    await push(writer, a_manifest(b"{}", media_type="application/vnd.example+json"), "v2")
    found = await reader.manifests.find_manifest(HELLO, "v1")
    assert found is not None
    assert found.media_type == "application/vnd.example+json"


async def test_another_worker_sees_a_blob_unlinked_and_linked_again(database: Database) -> None:
    writer, reader = database.connect(), database.connect()
    digest = await a_blob(writer)
    assert await reader.blobs.find_blob(HELLO, digest) is not None
    await writer.deletions.unlink_blob(HELLO, digest, SOMEBODY)
    assert await reader.blobs.find_blob(HELLO, digest) is None
    await a_blob(writer, digest=digest)
    assert await reader.blobs.find_blob(HELLO, digest) is not None


async def test_a_change_shows_after_more_changes_than_are_looked_at(sqlite: Database) -> None:
    writer, reader = sqlite.connect(), sqlite.connect()
    first = await push(writer, a_manifest(), "v1", "v2")
    assert [await tagged(reader, tag) for tag in ("v1", "v2")] == [first] * 2
    second = await push(writer, a_manifest(), "v1")
    await writer.execute(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :many)"
        " INSERT INTO changes (at, address, kind, repository_id, new) SELECT 0, '', 'manifest.push', r.id, 'x'"
        " FROM n, repositories r",
        many=MANY,
    )
    third = await push(writer, a_manifest(), "v2")
    assert [await tagged(reader, tag) for tag in ("v1", "v2")] == [second, third]


async def test_what_did_not_change_is_read_once(sqlite: Database) -> None:
    writer = sqlite.connect()
    await push(writer, a_manifest(), "v1")
    digest = await a_blob(writer)
    reader, engine = watched(sqlite)
    for _ in range(3):
        await reader.manifests.find_manifest(HELLO, "v1")
        await reader.blobs.find_blob(HELLO, digest)
    assert engine.lookups == 2
    await push(writer, a_manifest(), "v2")
    await reader.manifests.find_manifest(HELLO, "v1")
    await reader.blobs.find_blob(HELLO, digest)
    assert engine.lookups == 2


async def test_a_large_manifest_is_not_kept(sqlite: Database) -> None:
    await push(sqlite.connect(), a_manifest(b"x" * (256 * 1024 + 1)), "v1")
    reader, engine = watched(sqlite)
    await reader.manifests.find_manifest(HELLO, "v1")
    await reader.manifests.find_manifest(HELLO, "v1")
    assert engine.lookups == 2


async def test_a_change_that_could_not_be_looked_at_is_not_forgotten(sqlite: Database) -> None:
    writer = sqlite.connect()
    await push(writer, a_manifest(), "v1")
    reader, engine = watched(sqlite)
    assert await tagged(reader, "v1") is not None
    digest = await push(writer, a_manifest(), "v1")
    engine.fails = True
    with pytest.raises(StorageError):
        await tagged(reader, "v1")
    engine.fails = False
    assert await tagged(reader, "v1") == digest


async def test_the_cache_keeps_to_its_budget_and_drops_what_came_first(sqlite: Database) -> None:
    cache = ReadCache(sqlite.engine())
    assert await cache.get(HELLO, "first") is None
    for name in ("first", "second", "third"):
        cache.put(HELLO, name, name, 15 * 1024 * 1024)
    assert [await cache.get(HELLO, name) for name in ("first", "second", "third")] == [None, "second", "third"]


async def test_postgresql_caches_nothing(postgres: Database) -> None:
    reader, engine = watched(postgres)
    await push(postgres.connect(), a_manifest(), "v1")
    await tagged(reader, "v1")
    await tagged(reader, "v1")
    assert engine.lookups == 2
