"""A database of version 0012 with nodes that were asked to count walks up to this version, and they still are."""

from entrepot.database.engine import Engine, Transaction
from entrepot.database.usage import DatabaseUsage
from tests.support.old_database import OldDatabase

FILL = (
    "INSERT INTO usage_nodes (id, complete_until, asked, answered) VALUES ('answers', 1000, 5, 5)",
    "INSERT INTO usage_nodes (id, complete_until, asked, answered) VALUES ('is silent', 1000, 5, 4)",
)


async def fill(engine: Engine) -> None:
    """Two nodes."""

    async def work(transaction: Transaction) -> None:
        for statement in FILL:
            assert await transaction.run(statement)

    await engine.write(work, durable=True)


async def one_is_silent(engine: Engine) -> None:
    """As it was."""
    usage = DatabaseUsage(engine)
    assert await usage.asked("answers") == (5, 5)
    assert await usage.silent({"answers": 5, "is silent": 5}) == ["is silent"]


async def test_a_filled_database_of_version_0012_walks_up(old_database: OldDatabase) -> None:
    await old_database.migrate("0012")
    await old_database.use(fill)
    await old_database.migrate("head")
    await old_database.use(one_is_silent)
