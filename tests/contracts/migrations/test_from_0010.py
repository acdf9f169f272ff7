"""A database of version 0010 that is being scrubbed walks up to this version, and the scrub goes on."""

from entrepot.database.engine import Engine, Transaction
from entrepot.database.scrub import DatabaseScrub
from entrepot.database.verification import DatabaseVerification
from entrepot.registry.scrub import Turn
from tests.support.old_database import OldDatabase

FILL = (
    "INSERT INTO blobs (id, digest, size, store, key, created_at, state, damage)"
    " VALUES (5, :digest, 9, 'filesystem', 'k', 1000, 'held', 'missing')",
    "UPDATE scrub SET position = 5, credit = -9, at = 1000",
)


async def fill(engine: Engine) -> None:
    """Something damaged, and a position."""

    async def work(transaction: Transaction) -> None:
        for statement in FILL:
            values = {"digest": "sha256:aa"} if ":digest" in statement else {}
            assert await transaction.run(statement, **values)

    await engine.write(work, durable=True)


async def it_holds(engine: Engine) -> None:
    """Both are known."""
    assert await DatabaseVerification(engine).damage() == {"missing": 1}
    assert await DatabaseScrub(engine).take_turn("me", 60, 0) == Turn(5, -9)


async def test_a_filled_database_of_version_0010_walks_up(old_database: OldDatabase) -> None:
    await old_database.migrate("0010")
    await old_database.use(fill)
    await old_database.migrate("head")
    await old_database.use(it_holds)
