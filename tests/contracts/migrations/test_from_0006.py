"""A database of version 0006 with something deleted and something loose walks up to this version, and it is known."""

from entrepot.database.deletion import DatabaseDeletions
from entrepot.database.engine import Engine, Transaction
from entrepot.database.garbage import DatabaseGarbage
from tests.support.old_database import OldDatabase
from tests.support.rows import SOMEBODY

MANIFEST, LAYER, LOOSE = "sha256:aa", "sha256:bb", "sha256:cc"
FILL = (
    "INSERT INTO repositories (id, name, created_at) VALUES (9, 'library/hello', 1001)",
    "INSERT INTO blobs (id, digest, size, store, key, created_at) VALUES (3, :layer, 5, 'filesystem', 'k', 1002)",
    "INSERT INTO blobs (id, digest, size, store, key, created_at, state, since, sighted)"
    " VALUES (4, :loose, 6, 'filesystem', 'l', 1002, 'quarantined', 1003, 7)",
    "INSERT INTO links (repository_id, blob_id, created_at, loose_since, sighted) VALUES (9, 4, 1003, 1004, 8)",
    "INSERT INTO unlinked (repository_id, digest) VALUES (9, :layer)",
    "INSERT INTO deletions (id, repository_id, at, digest) VALUES (2, 9, 1005, :manifest)",
    "INSERT INTO manifests (id, repository_id, digest, media_type, size, pushed_at, content, deleted_at, deletion_id,"
    " tagged) VALUES (5, 9, :manifest, 'application/json', 1, 1004, '{', 1005, 2, 1)",
    "INSERT INTO manifest_references (manifest_id, digest, kind) VALUES (5, :layer, 'layer')",
    "INSERT INTO deleted_tags (deletion_id, name, manifest_id) VALUES (2, 'v1', 5)",
    "UPDATE lifecycle SET elapsed = 77",
)


def _used(statement: str) -> dict[str, object]:
    """The digests that a statement names: SQLite takes no others."""
    names = {"manifest": MANIFEST, "layer": LAYER, "loose": LOOSE}
    return {name: digest for name, digest in names.items() if f":{name}" in statement}


async def fill(engine: Engine) -> None:
    """Something in every table that this version brought."""

    async def work(transaction: Transaction) -> None:
        for statement in FILL:
            assert await transaction.run(statement, **_used(statement))

    await engine.write(work, durable=True)


async def it_is_known(engine: Engine) -> None:
    """What was deleted comes back, what is loose is garbage still."""
    garbage = DatabaseGarbage(engine)
    assert await garbage.elapsed() == 77
    found = {each.digest: each.state for each in await garbage.garbage((0, 0, 0), "", 10)}
    assert found == {MANIFEST: "deleted", LAYER: "held", LOOSE: "quarantined"}
    restored = await DatabaseDeletions(engine).undo("library/hello", MANIFEST, SOMEBODY, {})
    assert restored is not None
    assert (restored.manifests, restored.tags) == ([MANIFEST], ["v1"])
    linked = await engine.read("SELECT b.digest FROM links l JOIN blobs b ON b.id = l.blob_id ORDER BY b.digest")
    assert linked == [(LAYER,), (LOOSE,)]


async def test_a_filled_database_of_version_0006_walks_up(old_database: OldDatabase) -> None:
    await old_database.migrate("0006")
    await old_database.use(fill)
    await old_database.migrate("head")
    await old_database.use(it_is_known)
