"""A registry that has grown: a million manifests and two million blobs in rows, made by the database itself."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import asyncpg

from bench.servers import Server
from entrepot.database.engine import Engine
from entrepot.database.sqlite import SqliteEngine, connect
from entrepot.storage import layout

REPOSITORIES = 1000
_SERIES = "WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {count})"
_DIGEST = {  # of what, by its number: scattered as digests are, so that indexes are too
    "sqlite": "'sha256:' || printf('%08x%056x', ({n}) * 2654435761 % 4294967296, {n})",
    "postgres": "'sha256:' || lpad(to_hex(({n}) * 2654435761 % 4294967296), 8, '0') || lpad(to_hex({n}), 56, '0')",
}
_BYTES = {"sqlite": "CAST({text} AS BLOB)", "postgres": "convert_to({text}, 'UTF8')"}
_CONTENT = (
    '\'{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","layers":[{{"digest":"\''
    ' || {first} || \'"}},{{"digest":"\' || {second} || \'"}}]}}\''
)
_TABLES = ("repositories", "blobs", "manifests")  # whose ids were given by hand


class Beside:
    """Statements beside the server, in its own database."""

    def __init__(self, server: Server) -> None:
        self._settings: Mapping[str, str] = server.environment()
        self._data = server.directory / "data"
        self.kind = "postgres" if "ENTREPOT_DATABASE__URL" in self._settings else "sqlite"

    def run(self, *statements: str) -> list[Any]:
        """Run these in one transaction; the rows of the last."""
        if self.kind == "postgres":
            return asyncio.run(self._run(statements))
        with connect(layout.database_file(self._data)) as database:
            database.execute("BEGIN IMMEDIATE")
            rows: list[Any] = []
            for statement in statements:
                rows = database.execute(statement).fetchall()
            database.execute("COMMIT")
        database.close()
        return rows

    def measured(self, look: Callable[[Engine], Awaitable[list[float]]]) -> list[float]:
        """What a coroutine finds out with an engine of its own."""

        async def with_engine() -> list[float]:
            engine = self._engine()
            try:
                return await look(engine)
            finally:
                await engine.close()

        return asyncio.run(with_engine())

    def _engine(self) -> Engine:
        if self.kind == "sqlite":
            return SqliteEngine(layout.database_file(self._data), layout.lock_file(self._data))
        from entrepot.database.postgres import PostgresEngine

        return PostgresEngine(self._settings["ENTREPOT_DATABASE__URL"])

    async def _run(self, statements: tuple[str, ...]) -> list[Any]:
        connection = await asyncpg.connect(self._settings["ENTREPOT_DATABASE__URL"])
        try:
            async with connection.transaction():
                for statement in statements[:-1]:
                    await connection.execute(statement)
                return list(await connection.fetch(statements[-1]))
        finally:
            await connection.close()


def grow(beside: Beside, manifests: int) -> None:
    """Each manifest names two blobs of its own, which no store has; a tag that was moved to it twice names it."""

    def digest(number: str) -> str:
        return _DIGEST[beside.kind].format(n=number)

    def series(count: int) -> str:
        return _SERIES.format(count=count)

    content = _CONTENT.format(first=digest("2 * n - 1"), second=digest("2 * n"))
    own = digest("n + 1000000000")
    repository = f"1 + n % {REPOSITORIES}"
    statements = [
        "INSERT INTO repositories (id, name, created_at)"
        f" {series(REPOSITORIES)} SELECT n, 'grown/r' || n, now_us() FROM s",
        "INSERT INTO blobs (id, digest, size, store, key, created_at, state)"
        f" {series(2 * manifests)} SELECT n, {digest('n')}, 1000, 'grown', 'grown' || n, now_us(), 'held' FROM s",
        "INSERT INTO manifests (id, repository_id, digest, media_type, size, pushed_at, content, tagged)"
        f" {series(manifests)} SELECT n, {repository}, {own}, 'application/vnd.oci.image.manifest.v1+json', 300,"
        f" now_us(), {_BYTES[beside.kind].format(text=f'({content})')}, 1 FROM s",
        "INSERT INTO manifest_references (manifest_id, digest, kind)"
        f" {series(2 * manifests)} SELECT (n + 1) / 2, {digest('n')}, 'layer' FROM s",
        "INSERT INTO links (repository_id, blob_id, created_at)"
        f" {series(2 * manifests)} SELECT 1 + ((n + 1) / 2) % {REPOSITORIES}, n, now_us() FROM s",
        "INSERT INTO tags (repository_id, name, manifest_id, moved_at)"
        f" {series(manifests)} SELECT {repository}, 't' || n, n, now_us() FROM s",
        "INSERT INTO changes (at, address, kind, repository_id, tag, old, new)"
        f" {series(manifests)} SELECT 1000, '127.0.0.1', 'tag.move', {repository}, 't' || n, NULL, {own} FROM s",
        "INSERT INTO changes (at, address, kind, repository_id, tag, old, new)"
        f" {series(manifests)} SELECT 2000, '127.0.0.1', 'tag.move', {repository}, 't' || n, {own}, {own} FROM s",
    ]
    if beside.kind == "postgres":
        statements += [
            f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), (SELECT MAX(id) FROM {table}))"
            for table in _TABLES
        ]
    beside.run(*statements)
    if beside.kind == "postgres":
        beside.run("ANALYZE")
