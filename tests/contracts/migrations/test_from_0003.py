"""A database of version 0003 with usage in every table walks up to this version, and it is reported and counted on."""

from entrepot.database.engine import Engine, Transaction
from entrepot.database.usage import DatabaseUsage
from entrepot.hub.tally import HOUR, tally
from entrepot.hub.usage import Usage, UsageQuery, UsageRow
from tests.support.old_database import OldDatabase
from tests.support.pulls import a_pull, alike

AT = 500_000 * HOUR
PULL = a_pull(repository_id=9, account_id=7, at=AT)
FILL = (
    "INSERT INTO accounts (id, kind, name, created_at) VALUES (7, 'person', 'olga', 1000)",
    "INSERT INTO repositories (id, name, created_at, namespace_id) VALUES (9, 'olga/app', 1001, 7)",
    "INSERT INTO usage_hours (hour, repository_id, digest, tag, kind, account_id, credential_id, address, agent,"
    " subject, requests, bytes, first_at, last_at)"
    f" VALUES ({AT}, 9, :digest, 'latest', 'image', 7, 6, '192.0.2.1', 'docker', '192.0.2.1', 40, 4000,"
    f" {AT + 1}, {AT + 5})",
    f"INSERT INTO usage_repositories (repository_id, pull_count, last_pulled_at) VALUES (9, 400, {AT + 5})",
    f"INSERT INTO usage_manifests (repository_id, digest, last_pulled_at) VALUES (9, :digest, {AT + 5})",
    "INSERT INTO usage_segments (id, position, counted_at) VALUES ('segment', 777, 1000)",
    "INSERT INTO usage_nodes (id, complete_until) VALUES ('node', 1000)",
)


async def fill(engine: Engine) -> None:
    """Something in every table, with the columns of version 0003."""

    async def work(transaction: Transaction) -> None:
        for statement in FILL:
            assert await transaction.run(statement, digest=PULL.digest)

    await engine.write(work, durable=True)


async def it_goes_on(engine: Engine) -> None:
    """One more pull, from the next part of a segment that is half counted."""
    usage = DatabaseUsage(engine)
    assert await usage.position("segment") == 777
    assert await usage.count("segment", 777, 800, tally(alike(PULL)))
    report = await Usage(usage).report(UsageQuery(AT, AT + 1, ("repository", "account")), None, 10)
    assert report.rows == [
        UsageRow(*(None, 9, "olga/app", None, None, 7, "olga", None, None), 41, 41, 4000 + PULL.bytes, AT, AT + 5)
    ]
    totals = "SELECT r.pull_count, r.last_pulled_at, m.last_pulled_at FROM usage_repositories r, usage_manifests m"
    assert await engine.read(totals) == [(401, AT + 5, AT + 5)]


async def test_a_filled_database_of_version_0003_walks_up(old_database: OldDatabase) -> None:
    await old_database.migrate("0003")
    await old_database.use(fill)
    await old_database.migrate("head")
    await old_database.use(it_goes_on)
