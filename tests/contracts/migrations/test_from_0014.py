"""A database of version 0014 that is being backed up walks up to this version, and no other backup removes anything."""

from entrepot.database.engine import Engine, Transaction
from entrepot.database.snapshots import BackedUpRows, PostgresSnapshots
from tests.support.old_database import OldDatabase


async def fill(engine: Engine) -> None:
    """A backup that runs."""

    async def work(transaction: Transaction) -> None:
        running = "INSERT INTO backups (name, until, alone) VALUES ('runs', now_us() + 600000000, 0)"
        assert await transaction.run(running)

    await engine.write(work, durable=True)


async def it_runs(engine: Engine) -> None:
    """As it did."""
    rows = BackedUpRows(engine, PostgresSnapshots(""))
    assert not await rows.hold("another", 60, alone=True)
    assert await rows.hold("another", 60, alone=False)


async def test_a_filled_database_of_version_0014_walks_up(old_database: OldDatabase) -> None:
    await old_database.migrate("0014")
    await old_database.use(fill)
    await old_database.migrate("head")
    await old_database.use(it_runs)
