"""A database of version 0005 with upstreams' repositories in it walks up to this version, and they are read on."""

from entrepot.database.engine import Engine, Transaction
from entrepot.database.upstreams import DatabaseUpstreams
from entrepot.proxy.ports import Seen
from tests.support.old_database import OldDatabase

DIGEST = "sha256:aa"
FILL = (
    "INSERT INTO repositories (id, name, created_at, visibility, upstream)"
    " VALUES (9, 'docker.io/library/nginx', 1001, 'private', 'docker.io')",
    "INSERT INTO blobs (id, digest, size, store, key, created_at) VALUES (3, :digest, 5, 'filesystem', 'k', 1002)",
    "INSERT INTO links (repository_id, blob_id, created_at, used_at) VALUES (9, 3, 1003, 1004)",
    "INSERT INTO upstream_tags (repository_id, tag, checked_at, gone_since) VALUES (9, 'latest', 1005, 1006)",
    "INSERT INTO upstream_sightings (repository_id, tag, digest, first_at) VALUES (9, :tag, :digest, 1007)",
)


async def fill(engine: Engine) -> None:
    """Something in every table, with the columns of version 0005."""

    async def work(transaction: Transaction) -> None:
        for statement in FILL:
            assert await transaction.run(statement, digest=DIGEST, tag="latest")

    await engine.write(work, durable=True)


async def it_is_known(engine: Engine) -> None:
    """What the cache remembers."""
    rows = DatabaseUpstreams(engine)
    assert await rows.seen("docker.io/library/nginx", "latest") == Seen(1005, 1006)
    assert await rows.first_seen("docker.io/library/nginx", "latest", DIGEST) == 1007
    assert await rows.link_stored("docker.io/library/nginx", DIGEST)


async def test_a_filled_database_of_version_0005_walks_up(old_database: OldDatabase) -> None:
    await old_database.migrate("0005")
    await old_database.use(fill)
    await old_database.migrate("head")
    await old_database.use(it_is_known)
