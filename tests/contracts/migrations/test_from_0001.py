"""A database of version 0001 with something in every table walks up to this version, and everything is still there."""

from entrepot.database.engine import Engine, Transaction
from entrepot.registry.ports import Body, Upload
from tests.support.old_database import OldDatabase
from tests.support.rows import rows_over

CONFIG, LAYER = f"sha256:{'c' * 64}", f"sha512:{'1' * 128}"
IMAGE, OLD, SIGNATURE = (f"sha256:{digit * 64}" for digit in "abd")
KIND = "application/vnd.example"
CONTENT = b'{"schemaVersion":2}\x00\xff'
HELLO = "(SELECT id FROM repositories WHERE name = 'library/hello')"
FILL: list[tuple[str, list[dict[str, object]]]] = [
    ("INSERT INTO store (name, id, generation) VALUES ('filesystem', 'some-id', 3)", [{}]),
    ("INSERT INTO repositories (name, created_at) VALUES ('library/hello', 1000), ('empty', 1001)", [{}]),
    (
        "INSERT INTO blobs (digest, size, store, key, created_at) VALUES (:digest, :size, 'filesystem', :key, 1002)",
        [
            {"digest": CONFIG, "size": 70, "key": "key-config"},
            {"digest": LAYER, "size": 5_000_000_000, "key": "key-layer"},
        ],
    ),
    (f"INSERT INTO links (repository_id, blob_id, created_at) SELECT {HELLO}, id, 1004 FROM blobs", [{}]),
    (
        "INSERT INTO uploads (id, repository_id, store, size, generation, algorithm, digest, expires_at)"
        f" VALUES ('upload', {HELLO}, 'filesystem', 30, 2, 'sha512', NULL, 9000000000000000)",
        [{}],
    ),
    (
        "INSERT INTO upload_bodies (upload_id, key, position, size)"
        " VALUES ('upload', 'body-2', 2, 20), ('upload', 'body-1', 1, 10), ('upload', 'claimed', NULL, NULL)",
        [{}],
    ),
    ("INSERT INTO trash (store, key) VALUES ('filesystem', 'key-gone')", [{}]),
    (
        "INSERT INTO manifests (repository_id, digest, media_type, size, artifact_type, subject, pushed_at,"
        f" annotations, content) VALUES ({HELLO}, :digest, 'application/vnd.oci.image.manifest.v1+json', 21,"
        " :kind, :subject, 1005, :annotations, :content)",
        [
            {"digest": IMAGE, "kind": None, "subject": None, "annotations": None, "content": CONTENT},
            {"digest": OLD, "kind": None, "subject": None, "annotations": None, "content": CONTENT},
            {"digest": SIGNATURE, "kind": KIND, "subject": IMAGE, "annotations": '{"a":"b"}', "content": CONTENT},
        ],
    ),
    (
        "INSERT INTO manifest_references (manifest_id, digest, kind)"
        " SELECT id, :layer, 'layer' FROM manifests WHERE digest = :digest",
        [{"layer": LAYER, "digest": IMAGE}],
    ),
    (
        "INSERT INTO tags (repository_id, name, manifest_id, previous_id, moved_at)"
        " SELECT m.repository_id, :tag, m.id, (SELECT id FROM manifests WHERE digest = :previous), 1006"
        " FROM manifests m WHERE m.digest = :digest",
        [{"tag": "v1", "digest": IMAGE, "previous": OLD}, {"tag": "V1", "digest": OLD, "previous": ""}],
    ),
    (
        "INSERT INTO changes (at, account, address, kind, repository_id, tag, old, new)"
        f" VALUES (1006, NULL, '192.0.2.1', 'tag.move', {HELLO}, 'v1', :old, :new)",
        [{"old": OLD, "new": IMAGE}],
    ),
]


async def fill(engine: Engine) -> None:
    """Something in every table, with the columns of version 0001; times and sizes are arbitrary."""

    async def work(transaction: Transaction) -> None:
        for statement, filled in FILL:
            for values in filled:
                assert await transaction.run(statement, **values)

    await engine.write(work, durable=True)


async def everything_is_there(engine: Engine) -> None:
    """What the ports answer."""
    rows = rows_over(engine)
    for reference in ("v1", IMAGE):
        manifest = await rows.manifests.find_manifest("library/hello", reference)
        assert manifest is not None
        assert (manifest.digest, manifest.content) == (IMAGE, CONTENT)
    assert await rows.manifests.tags("library/hello", "", 10) == ["V1", "v1"]
    assert await rows.manifests.repositories("", 10) == ["library/hello"]
    (referrer,) = await rows.manifests.referrers("library/hello", IMAGE, KIND, 0, 10)
    assert (referrer.digest, referrer.annotations) == (SIGNATURE, '{"a":"b"}')
    blob = await rows.blobs.find_blob("library/hello", LAYER)
    assert blob is not None
    assert (blob.digest, blob.size, blob.store, blob.key) == (LAYER, 5_000_000_000, "filesystem", "key-layer")
    upload = await rows.uploads.find_upload("library/hello", "upload")
    assert upload is not None
    assert upload == Upload("upload", upload.repository_id, "filesystem", 30, 2, "sha512", None)
    assert await rows.uploads.upload_bodies("upload") == [Body("body-1", 10), Body("body-2", 20)]
    assert await rows.uploads.trashed(10) == [("filesystem", "key-gone")]
    assert [(change.tag, change.old, change.new) for change in await rows.changes()] == [("v1", OLD, IMAGE)]


async def test_a_filled_database_of_version_0001_walks_up(old_database: OldDatabase) -> None:
    await old_database.migrate("0001")
    await old_database.use(fill)
    await old_database.migrate("head")
    await old_database.use(everything_is_there)
