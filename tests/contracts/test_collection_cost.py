"""What a collection costs depends on the garbage, and not on the store: no statement of it reads a table that grows."""

import json
import re
import secrets
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from entrepot.database.engine import Transaction
from entrepot.database.garbage import DatabaseGarbage
from entrepot.database.postgres import PostgresEngine
from entrepot.registry.garbage import Ages, Collected, Collector
from tests.support.clock import Clock, clock_of
from tests.support.recording import Recording
from tests.support.rows import DAY, SOMEBODY, Database, Rows, a_blob, a_manifest, push

AGES = Ages(undo=DAY, grace=DAY, quarantine=DAY)
LIVE, TIMES = 10, 50  # images that live in a small store, and in how many times as large a one
GARBAGE = 30
FEW = {"uploads", "lifecycle"}  # rows: of pushes that go on, and one
_ROWS = (  # of an image with one layer, in a repository of its own
    "INSERT INTO repositories (name, created_at, visibility) VALUES (:digest, now_us(), 'public')",
    "INSERT INTO manifests (repository_id, digest, media_type, size, pushed_at, content) SELECT id, :digest, 'm', 2,"
    " now_us(), :content FROM repositories WHERE name = :digest",
    "INSERT INTO manifest_references (manifest_id, digest, kind) SELECT id, :layer, 'layer' FROM manifests"
    " WHERE digest = :digest",
    "INSERT INTO tags (repository_id, name, manifest_id, moved_at) SELECT repository_id, :digest, id, now_us()"
    " FROM manifests WHERE digest = :digest",
    "INSERT INTO blobs (digest, size, store, key, created_at, state) VALUES (:layer, 2, 'filesystem', :layer, now_us(),"
    " 'held')",
    "INSERT INTO links (repository_id, blob_id, created_at) SELECT r.id, b.id, now_us() FROM repositories r, blobs b"
    " WHERE r.name = :digest AND b.digest = :layer",
)
# Partial indexes have in them only what is on its way out.
_PARTIAL_SQLITE = "SELECT name FROM sqlite_master WHERE type = 'index' AND sql LIKE '% WHERE %'"
_PARTIAL_POSTGRES = "SELECT indexname FROM pg_indexes WHERE indexdef LIKE '% WHERE %'"
_READS = {"Seq Scan", "Index Scan", "Index Only Scan", "Bitmap Index Scan"}
_SCAN = re.compile(r"SCAN \S+(?: USING (?:COVERING )?INDEX (\S+))?")
_OF_FEW = re.compile(r"SCAN (\d+-ROW VALUES|CONSTANT|\d+ CONSTANT|lifecycle\b|d(eleted)?$)")


@dataclass
class Store:
    """A database with its clock, and a collector whose statements are recorded."""

    rows: Rows
    clock: Clock
    recording: Recording
    collector: Collector

    async def grow(self, images: int) -> None:
        """So many more images that live."""

        async def add(transaction: Transaction) -> None:
            for _ in range(images):
                values: dict[str, object] = {each: f"sha256:{secrets.token_hex(32)}" for each in ("digest", "layer")}
                values["content"] = secrets.token_bytes(8)
                for statement in _ROWS:
                    used = {key: value for key, value in values.items() if f":{key}" in statement}
                    await transaction.run(statement, **used)

        await self.rows.engine.write(add, durable=False)

    async def litter(self) -> None:
        """Blobs that nothing names, images that are deleted, and a repository that is."""
        for _ in range(GARBAGE):
            await a_blob(self.rows)
            image = a_manifest(required=(await a_blob(self.rows),))
            await push(self.rows, image, "v1")
            assert await self.rows.deletions.delete_manifest("library/hello", image.digest, SOMEBODY)
        gone = a_manifest(required=(await a_blob(self.rows, "library/gone"),))
        await push(self.rows, gone, "v1", repository="library/gone")
        await self.rows.execute(
            "UPDATE repositories SET deleted_at = now_us(), name = '~' || id WHERE name = 'library/gone'"
        )
        await self.rows.execute("UPDATE uploads SET expires_at = 0")  # beside an open one nothing ages

    async def collect(self) -> tuple[Collected, int]:
        """All of it, through every phase: what was moved, and by how many statements."""
        before, moved = self.recording.count, Collected()
        for _ in range(12):
            await self.clock.wait(DAY / 2 + 1)
            for phase, count in (await self.collector.run()).counts.items():
                moved.add(phase, count)
        return moved, self.recording.count - before

    async def read_whole(self) -> dict[str, list[str]]:
        """Of each statement what it reads all of: a table, or an index that is not partial, of more than a few rows."""
        postgres = isinstance(self.rows.engine, PostgresEngine)
        partial = {name for (name,) in await self.rows.engine.read(_PARTIAL_POSTGRES if postgres else _PARTIAL_SQLITE)}
        if postgres:
            await self.rows.engine.write(lambda transaction: transaction.all("ANALYZE"), durable=False)
        found = {}
        for statement, values in self.recording.asked.items():
            if postgres:
                found[statement] = await self._read_by_postgres(statement, values, partial)
            else:
                found[statement] = await self._read_by_sqlite(statement, values, partial)
        return {statement: whole for statement, whole in found.items() if whole}

    async def _read_by_postgres(self, statement: str, values: dict[str, object], partial: set[str]) -> list[str]:
        async def explain(transaction: Transaction) -> str:
            for switch in ("seqscan", "hashjoin", "mergejoin"):  # by which it reads tables that are small
                await transaction.all(f"SELECT set_config('enable_{switch}', 'off', true)")
            return str((await transaction.all(f"EXPLAIN (FORMAT JSON) {statement}", **values))[0][0])

        plan = json.loads(await self.rows.engine.write(explain, durable=False))
        return list(_whole(plan[0]["Plan"], partial))

    async def _read_by_sqlite(self, statement: str, values: dict[str, object], partial: set[str]) -> list[str]:
        async def explain(transaction: Transaction) -> list[str]:
            return [str(row[-1]) for row in await transaction.all(f"EXPLAIN QUERY PLAN {statement}", **values)]

        return [
            line
            for line in await self.rows.engine.write(explain, durable=False)
            if (scan := _SCAN.match(line)) and not _OF_FEW.match(line) and scan[1] not in partial
        ]


def _whole(node: dict[str, Any], partial: set[str]) -> Iterator[str]:
    """What the steps of a plan of PostgreSQL read all of."""
    read = node.get("Relation Name") or node.get("Index Name")  # an index for a bitmap
    by_key = "Index Cond" in node or node.get("Index Name") in partial
    if node["Node Type"] in _READS and read not in FEW and not by_key:
        yield f"all of {read}"
    for each in node.get("Plans", []):
        yield from _whole(each, partial)


@pytest.fixture
async def store(tables: Database, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Store]:
    """Empty, of each kind."""
    clock = await clock_of(tables, monkeypatch)
    rows = tables.connect()
    recording = Recording(rows.engine)
    yield Store(rows, clock, recording, Collector(DatabaseGarbage(recording), AGES, clock.monotonic))
    await tables.close()


async def test_the_same_garbage_costs_the_same_in_a_store_that_is_fifty_times_as_large(store: Store) -> None:
    await store.grow(LIVE)
    await store.litter()
    in_small = await store.collect()
    await store.grow(LIVE * (TIMES - 1))
    await store.litter()
    in_large = await store.collect()
    assert in_small[0].total > 3 * GARBAGE, "through all its phases"
    assert (in_large[0].counts, in_large[1]) == (in_small[0].counts, in_small[1])


async def test_no_statement_of_a_collection_or_of_its_report_reads_a_table_that_grows(store: Store) -> None:
    await store.grow(LIVE * TIMES)
    await store.litter()
    assert len([each async for each in store.collector.garbage()]) == 3 * GARBAGE + 2
    await store.collect()
    assert len(store.recording.asked) > 20
    assert await store.read_whole() == {}
