"""A database of version 0007 with rules, a policy, an expiring tag and a purge walks up to this version."""

from entrepot.database.engine import Engine, Transaction
from entrepot.database.purge_rows import DatabasePurges
from entrepot.database.retention import DatabaseRetention
from entrepot.database.tag_rules import DatabaseTagRules
from entrepot.hub.tag_rules import Place
from entrepot.registry.purging import Bounds
from tests.support.old_database import OldDatabase

FILL = (
    "INSERT INTO accounts (id, name, kind, created_at) VALUES (7, 'olga', 'person', 1000)",
    "INSERT INTO repositories (id, name, created_at, namespace_id) VALUES (9, 'olga/app', 1001, 7)",
    "INSERT INTO manifests (id, repository_id, digest, media_type, size, pushed_at, content) VALUES (5, 9, :manifest,"
    " 'application/json', 1, 1004, '{')",
    "INSERT INTO tags (repository_id, name, manifest_id, moved_at, expires_at) VALUES (9, 'v1', 5, 1005, 99)",
    "INSERT INTO tag_rules (id, repository_id, kind, syntax, pattern, exceptions, role, created_at)"
    " VALUES (3, 9, 'immutable', 'glob', 'r*', '[\"x\"]', '', 1006)",
    "INSERT INTO retention (id, namespace_id, policy, changed_at) VALUES (4, 7, '[]', 1007)",
    "INSERT INTO purges (id, namespace_id, repository_id, digest, reason, at) VALUES (2, 7, 9, :purged, 'a key', 1008)",
    "INSERT INTO purged (id, purge_id, repository_id, digest, kind) VALUES (6, 2, 9, :purged, 'blob')",
    "INSERT INTO purge_cuts (id, purge_id, at, address, target) VALUES (8, 2, 1009, '192.0.2.1', '/v2/')",
    "INSERT INTO orphans (store, key, since) VALUES ('filesystem', 'k', 1010)",
)


async def fill(engine: Engine) -> None:
    """Something in every table that this version brought."""

    async def work(transaction: Transaction) -> None:
        for statement in FILL:
            values = {"manifest": "sha256:aa", "purged": "sha256:bb"}
            assert await transaction.run(statement, **{key: at for key, at in values.items() if f":{key}" in statement})

    await engine.write(work, durable=True)


async def it_holds(engine: Engine) -> None:
    """The rule, the policy, the expiry and the purge are known."""
    (rule,) = await DatabaseTagRules(engine).tag_rules(Place(repository=9), 0, 10)
    assert (rule.words, rule.covers("r1"), rule.covers("x")) == (
        "rule 3 of the repository: immutable glob r* except x", True, False,
    )  # fmt: skip
    retention = DatabaseRetention(engine)
    assert await retention.policy_for(9) == ([], None)
    (purge,) = await DatabasePurges(engine).purges(Bounds(7), 0, 10)
    assert (purge.id, purge.digest, purge.reason) == (2, "sha256:bb", "a key")
    exposure = await DatabasePurges(engine).exposure(purge)
    assert [each.address for each in exposure.cut] == ["192.0.2.1"]
    assert await retention.expire(10) == 1
    assert await engine.read("SELECT store, key FROM orphans") == [("filesystem", "k")]


async def test_a_filled_database_of_version_0007_walks_up(old_database: OldDatabase) -> None:
    await old_database.migrate("0007")
    await old_database.use(fill)
    await old_database.migrate("head")
    await old_database.use(it_holds)
