"""A database of version 0009 in which removal waits for a backup walks up to this version, and it waits still."""

from entrepot.database.engine import Engine, Transaction
from entrepot.database.uploads import DatabaseUploads
from tests.support.old_database import OldDatabase

FILL = (
    "INSERT INTO trash (store, key) VALUES ('filesystem', 'k')",
    "UPDATE lifecycle SET removals_held_until = now_us() + 3600000000",
)


async def fill(engine: Engine) -> None:
    """Something in every column that this version brought."""

    async def work(transaction: Transaction) -> None:
        for statement in FILL:
            assert await transaction.run(statement)

    await engine.write(work, durable=True)


async def it_waits(engine: Engine) -> None:
    """Until the time is over."""
    uploads = DatabaseUploads(engine)
    assert await uploads.trashed(10) == []

    async def end(transaction: Transaction) -> None:
        await transaction.run("UPDATE lifecycle SET removals_held_until = now_us()")

    await engine.write(end, durable=True)
    assert await uploads.trashed(10) == [("filesystem", "k")]


async def test_a_filled_database_of_version_0009_walks_up(old_database: OldDatabase) -> None:
    await old_database.migrate("0009")
    await old_database.use(fill)
    await old_database.migrate("head")
    await old_database.use(it_waits)
