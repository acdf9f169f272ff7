"""A database of version 0011 with a purge of an upstream walks up to this version, and it bars as before."""

import pytest

from entrepot.database.engine import Engine, Transaction
from entrepot.database.purge_rows import DatabasePurges
from entrepot.database.upstreams import DatabaseUpstreams
from entrepot.registry.errors import Barred
from entrepot.registry.purging import Bounds
from tests.support.old_database import OldDatabase

FILL = (
    "INSERT INTO repositories (id, name, created_at, upstream) VALUES (9, 'up.example/app', 1001, 'up.example')",
    "INSERT INTO purges (id, upstream, repository_id, digest, reason, at)"
    " VALUES (2, 'up.example', 9, :digest, 'a key', 1008)",
)


async def fill(engine: Engine) -> None:
    """A purge of an upstream."""

    async def work(transaction: Transaction) -> None:
        for statement in FILL:
            values = {"digest": "sha256:bb"} if ":digest" in statement else {}
            assert await transaction.run(statement, **values)

    await engine.write(work, durable=True)


async def it_holds(engine: Engine) -> None:
    """It is known, and bars what it is of and nothing else."""
    (purge,) = await DatabasePurges(engine).purges(Bounds(upstream="up.example"), 0, 10)
    assert (purge.id, purge.digest, purge.reason) == (2, "sha256:bb", "a key")
    upstreams = DatabaseUpstreams(engine)
    with pytest.raises(Barred):
        await upstreams.refuse_purged("up.example", "sha256:bb")
    await upstreams.refuse_purged("other.example", "sha256:bb")
    await upstreams.refuse_purged("up.example", "sha256:cc")


async def test_a_filled_database_of_version_0011_walks_up(old_database: OldDatabase) -> None:
    await old_database.migrate("0011")
    await old_database.use(fill)
    await old_database.migrate("head")
    await old_database.use(it_holds)
