"""A database of version 0013 in which two manifests went together walks up to this version, and both come back."""

from entrepot.database.deletion import DatabaseDeletions
from entrepot.database.engine import Engine, Transaction
from tests.support.old_database import OldDatabase
from tests.support.rows import SOMEBODY

INDEX, CHILD = "sha256:aa", "sha256:bb"
FILL = (
    "INSERT INTO repositories (id, name, created_at) VALUES (9, 'library/hello', 1001)",
    "INSERT INTO deletions (id, repository_id, at, digest) VALUES (2, 9, 1005, :index)",
    "INSERT INTO manifests (id, repository_id, digest, media_type, size, pushed_at, content, deleted_at, deletion_id)"
    " VALUES (5, 9, :index, 'application/json', 1, 1004, '{', 1005, 2)",
    "INSERT INTO manifests (id, repository_id, digest, media_type, size, pushed_at, content, deleted_at, deletion_id)"
    " VALUES (6, 9, :child, 'application/json', 1, 1004, '{', 1005, 2)",
)


async def fill(engine: Engine) -> None:
    """A deletion of two."""

    async def work(transaction: Transaction) -> None:
        for statement in FILL:
            values = {"index": INDEX, "child": CHILD}
            assert await transaction.run(statement, **{key: at for key, at in values.items() if f":{key}" in statement})

    await engine.write(work, durable=True)


async def both_come_back(engine: Engine) -> None:
    """By one undo."""
    restored = await DatabaseDeletions(engine).undo("library/hello", INDEX, SOMEBODY, {})
    assert restored is not None
    assert restored.manifests == [INDEX, CHILD]


async def test_a_filled_database_of_version_0013_walks_up(old_database: OldDatabase) -> None:
    await old_database.migrate("0013")
    await old_database.use(fill)
    await old_database.migrate("head")
    await old_database.use(both_come_back)
