"""Whether a database is of this program's version, without loading what migrates it."""

import asyncio
from pathlib import Path

from entrepot.registry.errors import StorageError

_SELECT = "SELECT version_num FROM alembic_version"


def newest() -> str:
    """The version that this program works with: the highest number among the migrations."""
    versions = Path(__file__).with_name("migrations") / "versions"
    return max(path.name.partition("_")[0] for path in versions.glob("[0-9]*.py"))


def sqlite_is_current(path: Path) -> bool:
    """False for a file that is new or older; StorageError for one of a later program."""
    if not path.exists():
        return False
    import pysqlite3

    connection = pysqlite3.connect(str(path))
    try:
        rows = connection.execute(_SELECT).fetchall()
    except pysqlite3.OperationalError:
        return False
    finally:
        connection.close()
    return _compare(rows[0][0] if rows else "")


def postgres_is_current(url: str) -> bool:
    """The same for PostgreSQL; StorageError when it does not answer."""
    return asyncio.run(_postgres_is_current(url))


async def _postgres_is_current(url: str) -> bool:
    import asyncpg

    try:
        connection = await asyncpg.connect(url, timeout=10)
    except (OSError, TimeoutError, asyncpg.PostgresError) as error:
        raise StorageError(f"PostgreSQL does not answer: {error}") from None
    try:
        found = await connection.fetchval(_SELECT)
    except asyncpg.UndefinedTableError:
        return False
    finally:
        await connection.close()
    return _compare(found or "")


def _compare(found: str) -> bool:
    if found > newest():
        raise StorageError(
            f"the database has version {found}, this program knows {newest()}: use the newer program that made it"
        )
    return found == newest()
