"""A database of version 0008 in which a node fetches something walks up to this version, and the lease holds."""

from entrepot.database.engine import Engine, Transaction
from entrepot.database.leases import DatabaseLeases
from entrepot.proxy.ports import Leader
from tests.support.old_database import OldDatabase

LEASE = (
    "INSERT INTO leases (key, node, token, until, size, arrived, wrong)"
    " VALUES (:key, 'http://one', 't', :until, 9, 5, :wrong)"
)


async def fill(engine: Engine) -> None:
    """A lease that lives and one that was given up."""

    async def work(transaction: Transaction) -> None:
        assert await transaction.run(LEASE, key="sha256:aa", until=2**62, wrong=None)
        assert await transaction.run(LEASE, key="sha256:bb", until=0, wrong="it was")

    await engine.write(work, durable=True)


async def it_holds(engine: Engine) -> None:
    """Another node hears of both."""
    other = DatabaseLeases(engine, "http://other", 5)
    assert await other.take("sha256:aa", "u", -1, "") == Leader("http://one", "t", 9, None)
    assert await other.take("sha256:bb", "u", -1, "t") == Leader("http://one", "t", 9, "it was")


async def test_a_filled_database_of_version_0008_walks_up(old_database: OldDatabase) -> None:
    await old_database.migrate("0008")
    await old_database.use(fill)
    await old_database.migrate("head")
    await old_database.use(it_holds)
