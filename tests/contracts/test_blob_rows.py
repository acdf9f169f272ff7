"""The port BlobRows, over SQLite and PostgreSQL: which repository may read which blob."""

import asyncio
from dataclasses import replace

from entrepot.access.caller import Caller
from entrepot.access.grant import EVERYTHING
from tests.support.rows import (
    SOMEBODY,
    Change,
    Database,
    Rows,
    a_blob,
    a_claimed_key,
    a_digest,
    an_upload,
    holds,
    trash,
)


async def test_a_pushed_blob_is_found_with_its_size_store_and_key(rows: Rows) -> None:
    upload = await an_upload(rows)
    key = await a_claimed_key(rows, upload)
    digest = a_digest()
    assert await rows.uploads.close_upload(upload, digest, 12345, key, SOMEBODY)
    blob = await rows.blobs.find_blob("library/hello", digest)
    assert blob is not None
    assert (blob.digest, blob.size, blob.store, blob.key) == (digest, 12345, "filesystem", key)


async def test_a_blob_is_readable_only_where_it_is_linked(rows: Rows) -> None:
    digest = await a_blob(rows, "library/hello")
    assert await rows.blobs.find_blob("library/other", digest) is None
    assert await rows.blobs.find_blob("library/hell", digest) is None
    assert await rows.blobs.find_blob("library/hello", a_digest()) is None


async def test_a_mount_from_a_repository_that_has_the_blob_links_it(rows: Rows) -> None:
    digest = await a_blob(rows, "library/hello")
    assert await rows.blobs.mount_blob("library/copy", digest, "library/hello", SOMEBODY, EVERYTHING)
    copied = await rows.blobs.find_blob("library/copy", digest)
    original = await rows.blobs.find_blob("library/hello", digest)
    assert copied is not None
    assert original is not None
    assert copied == replace(original, repository_id=copied.repository_id)


async def test_a_mount_from_a_repository_without_the_blob_links_nothing(rows: Rows) -> None:
    digest = await a_blob(rows, "library/hello")
    await a_blob(rows, "library/else")
    assert not await rows.blobs.mount_blob("library/copy", digest, "library/else", SOMEBODY, EVERYTHING)
    assert not await rows.blobs.mount_blob("library/copy", digest, "library/unknown", SOMEBODY, EVERYTHING)
    assert await rows.blobs.find_blob("library/copy", digest) is None
    assert not await holds(rows, "library/copy")


async def test_a_mount_without_a_source_finds_the_blob_anywhere(rows: Rows) -> None:
    digest = await a_blob(rows, "library/hello")
    assert await rows.blobs.mount_blob("library/copy", digest, None, SOMEBODY, EVERYTHING)
    assert await rows.blobs.find_blob("library/copy", digest) is not None
    assert not await rows.blobs.mount_blob("library/copy", a_digest(), None, SOMEBODY, EVERYTHING)


async def test_what_no_repository_links_any_more_cannot_be_mounted(rows: Rows) -> None:
    digest = await a_blob(rows, "library/hello")
    assert await rows.deletions.unlink_blob("library/hello", digest, SOMEBODY)
    assert not await rows.blobs.mount_blob("library/copy", digest, None, SOMEBODY, EVERYTHING)
    assert not await rows.blobs.mount_blob("library/copy", digest, "library/hello", SOMEBODY, EVERYTHING)


async def test_unlinking_ends_one_repositorys_link_only(rows: Rows) -> None:
    digest = await a_blob(rows, "library/hello")
    await rows.blobs.mount_blob("library/copy", digest, "library/hello", SOMEBODY, EVERYTHING)
    assert await rows.deletions.unlink_blob("library/hello", digest, SOMEBODY)
    assert await rows.blobs.find_blob("library/hello", digest) is None
    assert await rows.blobs.find_blob("library/copy", digest) is not None


async def test_unlinking_what_is_not_linked_says_so(rows: Rows) -> None:
    digest = await a_blob(rows, "library/hello")
    assert not await rows.deletions.unlink_blob("library/unknown", digest, SOMEBODY)
    assert not await rows.deletions.unlink_blob("library/hello", a_digest(), SOMEBODY)
    assert await rows.deletions.unlink_blob("library/hello", digest, SOMEBODY)
    assert not await rows.deletions.unlink_blob("library/hello", digest, SOMEBODY)


async def test_an_unlinked_blob_keeps_its_bytes_and_a_new_push_gives_it_back(rows: Rows) -> None:
    digest = await a_blob(rows, "library/hello")
    before = await rows.blobs.find_blob("library/hello", digest)
    assert await rows.deletions.unlink_blob("library/hello", digest, SOMEBODY)
    assert await trash(rows) == set()
    await a_blob(rows, "library/hello", digest)
    assert await rows.blobs.find_blob("library/hello", digest) == before


async def test_the_same_hex_of_two_algorithms_is_two_blobs(rows: Rows) -> None:
    hexadecimal = "ab" * 32
    await a_blob(rows, "library/hello", f"sha256:{hexadecimal}", size=1)
    await a_blob(rows, "library/hello", f"sha512:{hexadecimal}{hexadecimal}", size=2)
    sizes = set()
    for digest in (f"sha256:{hexadecimal}", f"sha512:{hexadecimal}{hexadecimal}"):
        found = await rows.blobs.find_blob("library/hello", digest)
        assert found is not None
        sizes.add(found.size)
    assert sizes == {1, 2}


async def test_every_link_and_unlink_is_a_change(rows: Rows) -> None:
    digest = await a_blob(rows, "library/hello")
    await rows.blobs.mount_blob("library/copy", digest, "library/hello", SOMEBODY, EVERYTHING)
    await rows.deletions.unlink_blob("library/hello", digest, SOMEBODY)
    assert await rows.changes() == [
        Change("blob.link", "library/hello", None, None, digest),
        Change("blob.link", "library/copy", None, None, digest),
        Change("blob.unlink", "library/hello", None, digest, None),
    ]


async def test_what_changes_nothing_is_no_change(rows: Rows) -> None:
    digest = await a_blob(rows, "library/hello")
    before = await rows.changes()
    await a_blob(rows, "library/hello", digest)
    assert await rows.blobs.mount_blob("library/hello", digest, "library/hello", SOMEBODY, EVERYTHING)
    assert not await rows.deletions.unlink_blob("library/hello", a_digest(), SOMEBODY)
    assert await rows.changes() == before


async def test_a_change_says_who_made_it_and_from_where(rows: Rows) -> None:
    digest = await a_blob(rows, "library/hello")
    await rows.deletions.unlink_blob("library/hello", digest, Caller(7, "2001:db8::7"))
    assert await rows.engine.read("SELECT account_id, address FROM changes ORDER BY id") == [
        (None, "192.0.2.1"),
        (7, "2001:db8::7"),
    ]


async def test_one_blob_mounted_by_many_at_once_is_linked_once(database: Database) -> None:
    workers = [database.connect() for _ in range(3)]
    digest = await a_blob(workers[0], "library/hello")
    mounts = [
        worker.blobs.mount_blob("library/copy", digest, "library/hello", SOMEBODY, EVERYTHING)
        for worker in workers
        for _ in "1234"
    ]
    assert all(await asyncio.gather(*mounts))
    links = [change for change in await workers[0].changes() if change.repository == "library/copy"]
    assert links == [Change("blob.link", "library/copy", None, None, digest)]
