"""The port ManifestRows, over SQLite and PostgreSQL: manifests and tags."""

import asyncio
import itertools
from dataclasses import replace

import pytest

from tests.support.rows import (
    IMAGE_TYPE,
    SOMEBODY,
    Change,
    Database,
    Rows,
    a_blob,
    a_digest,
    a_manifest,
    holds,
    push,
    tagged,
)

HELLO = "library/hello"


async def test_a_manifest_is_found_by_tag_and_by_digest_byte_for_byte(rows: Rows) -> None:
    content = bytes(range(256)) * 16
    manifest = a_manifest(content, media_type="application/vnd.oci.image.index.v1+json")
    await push(rows, manifest, "v1")
    by_tag = await rows.manifests.find_manifest(HELLO, "v1")
    assert by_tag is not None
    assert by_tag == replace(by_tag, digest=manifest.digest, media_type=manifest.media_type, content=content)
    assert await rows.manifests.find_manifest(HELLO, manifest.digest) == by_tag


async def test_a_manifest_is_only_in_its_repository(rows: Rows) -> None:
    manifest = a_manifest()
    await push(rows, manifest, "v1")
    await push(rows, a_manifest(), "v2", repository="library/other")
    assert await rows.manifests.find_manifest("library/other", manifest.digest) is None
    assert await rows.manifests.find_manifest("library/other", "v1") is None
    assert await rows.manifests.find_manifest("library/unknown", "v1") is None


async def test_tags_compare_by_bytes(rows: Rows) -> None:
    await push(rows, a_manifest(), "Latest")
    assert await rows.manifests.find_manifest(HELLO, "latest") is None


async def test_one_push_moves_every_tag_it_names(rows: Rows) -> None:
    digest = await push(rows, a_manifest(), "v1", "v1.2", "latest")
    assert [await tagged(rows, tag) for tag in ("v1", "v1.2", "latest")] == [digest] * 3


async def test_a_manifest_without_its_blobs_is_refused_and_changes_nothing(rows: Rows) -> None:
    present, absent, elsewhere = await a_blob(rows), a_digest(), await a_blob(rows, "library/other")
    before = await rows.changes()
    manifest = a_manifest(required=(present, absent, elsewhere))
    missing = await rows.manifests.put_manifest(HELLO, manifest, ["v1"], SOMEBODY)
    assert missing == [absent, elsewhere]
    assert await rows.manifests.find_manifest(HELLO, manifest.digest) is None
    assert await tagged(rows, "v1") is None
    assert await rows.changes() == before


async def test_a_refused_manifest_does_not_make_its_repository(rows: Rows) -> None:
    missing = a_digest()
    manifest = a_manifest(required=(missing,))
    assert await rows.manifests.put_manifest("library/new", manifest, ["v1"], SOMEBODY) == [missing]
    assert not await holds(rows, "library/new")


async def test_a_manifest_whose_blobs_are_linked_is_accepted(rows: Rows) -> None:
    blobs = (await a_blob(rows), await a_blob(rows))
    digest = await push(rows, a_manifest(required=blobs), "v1")
    assert await tagged(rows, "v1") == digest


async def test_a_manifest_links_nothing(rows: Rows) -> None:
    elsewhere = await a_blob(rows, "library/other")
    manifest = a_manifest()
    await push(rows, manifest, "v1")
    assert await rows.blobs.find_blob(HELLO, elsewhere) is None


async def test_a_second_push_with_another_media_type_takes_the_new_one(rows: Rows) -> None:
    content = b"{}" * 50
    await push(rows, a_manifest(content), "v1")
    await push(rows, a_manifest(content, media_type="application/vnd.docker.distribution.manifest.v2+json"), "v1")
    found = await rows.manifests.find_manifest(HELLO, "v1")
    assert found is not None
    assert found.media_type == "application/vnd.docker.distribution.manifest.v2+json"


async def test_a_moved_tag_says_where_it_was_before(rows: Rows) -> None:
    first = await push(rows, a_manifest(), "v1")
    second = await push(rows, a_manifest(), "v1")
    assert await tagged(rows, "v1") == second
    assert [change for change in await rows.changes() if change.kind == "tag.move"] == [
        Change("tag.move", HELLO, "v1", None, first),
        Change("tag.move", HELLO, "v1", first, second),
    ]


async def test_pushing_the_same_again_is_no_move_and_no_change(rows: Rows) -> None:
    first = a_manifest()
    await push(rows, first, "v1")
    second = a_manifest()
    await push(rows, second, "v1")
    before, times = await rows.changes(), await rows.engine.read("SELECT previous_id, moved_at FROM tags")
    await push(rows, second, "v1")
    assert await rows.changes() == before
    assert await rows.engine.read("SELECT previous_id, moved_at FROM tags") == times


async def test_a_tag_that_moves_back_moves(rows: Rows) -> None:
    first, second = a_manifest(), a_manifest()
    for manifest in (first, second, first):
        await push(rows, manifest, "v1")
    moves = [(change.old, change.new) for change in await rows.changes() if change.kind == "tag.move"]
    assert moves == [(None, first.digest), (first.digest, second.digest), (second.digest, first.digest)]


async def test_the_times_of_a_tag_strictly_rise(rows: Rows) -> None:
    for _ in range(20):
        await push(rows, a_manifest(), "v1")
    times = await rows.times_of("v1")
    assert len(times) == 20
    assert all(earlier < later for earlier, later in itertools.pairwise(times))


async def test_the_times_of_a_tag_rise_when_the_clock_was_ahead(rows: Rows) -> None:
    """Also when the tag is deleted and comes back."""
    await push(rows, a_manifest(), "v1")
    await rows.execute("UPDATE tags SET moved_at = moved_at + 60000000")
    await rows.execute("UPDATE changes SET at = at + 60000000")
    manifest = a_manifest()
    await push(rows, manifest, "v1")
    assert await rows.deletions.delete_tag(HELLO, "v1", SOMEBODY)
    await push(rows, manifest, "v1")
    assert await rows.deletions.delete_manifest(HELLO, manifest.digest, SOMEBODY)
    await push(rows, manifest, "v1")
    times = await rows.times_of("v1")
    assert len(times) == 6
    assert all(earlier < later for earlier, later in itertools.pairwise(times))
    assert await rows.engine.read("SELECT moved_at FROM tags") == [(times[-1],)]


async def test_a_deleted_tag_is_gone_and_its_manifest_stays(rows: Rows) -> None:
    digest = await push(rows, a_manifest(), "v1", "v2")
    assert await rows.deletions.delete_tag(HELLO, "v1", SOMEBODY)
    assert await tagged(rows, "v1") is None
    assert await tagged(rows, "v2") == digest
    assert await rows.manifests.find_manifest(HELLO, digest) is not None


async def test_deleting_a_tag_that_is_not_there_says_so(rows: Rows) -> None:
    await push(rows, a_manifest(), "v1")
    assert not await rows.deletions.delete_tag(HELLO, "v2", SOMEBODY)
    assert not await rows.deletions.delete_tag("library/unknown", "v1", SOMEBODY)


async def test_a_deleted_manifest_takes_all_its_tags_along(rows: Rows) -> None:
    digest = await push(rows, a_manifest(required=(await a_blob(rows),)), "v1", "latest")
    other = await push(rows, a_manifest(), "v2")
    assert await rows.deletions.delete_manifest(HELLO, digest, SOMEBODY)
    assert await rows.manifests.find_manifest(HELLO, digest) is None
    assert [await tagged(rows, tag) for tag in ("v1", "latest", "v2")] == [None, None, other]
    assert await rows.manifests.tags(HELLO, "", 10) == ["v2"]


async def test_deleting_a_manifest_that_is_not_there_says_so(rows: Rows) -> None:
    digest = await push(rows, a_manifest(), "v1")
    assert not await rows.deletions.delete_manifest(HELLO, a_digest(), SOMEBODY)
    assert not await rows.deletions.delete_manifest("library/unknown", digest, SOMEBODY)
    assert await rows.deletions.delete_manifest(HELLO, digest, SOMEBODY)
    assert not await rows.deletions.delete_manifest(HELLO, digest, SOMEBODY)


async def test_a_deleted_manifest_can_be_pushed_again(rows: Rows) -> None:
    manifest = a_manifest(required=(await a_blob(rows),))
    await push(rows, manifest, "v1")
    await rows.deletions.delete_manifest(HELLO, manifest.digest, SOMEBODY)
    await push(rows, manifest, "v1")
    assert await tagged(rows, "v1") == manifest.digest


async def test_pushes_and_deletions_are_changes_in_their_order(rows: Rows) -> None:
    digest = await push(rows, a_manifest(), "v1", "v2")
    await rows.deletions.delete_tag(HELLO, "v1", SOMEBODY)
    await rows.deletions.delete_manifest(HELLO, digest, SOMEBODY)
    assert await rows.changes() == [
        Change("manifest.push", HELLO, None, None, digest),
        Change("tag.move", HELLO, "v1", None, digest),
        Change("tag.move", HELLO, "v2", None, digest),
        Change("tag.delete", HELLO, "v1", digest, None),
        Change("tag.delete", HELLO, "v2", digest, None),
        Change("manifest.delete", HELLO, None, digest, None),
    ]


async def test_a_second_push_with_another_media_type_is_a_change(rows: Rows) -> None:
    digest = await push(rows, a_manifest(b"{}"))
    await push(rows, a_manifest(b"{}", media_type="application/vnd.example+json"))
    assert await rows.changes() == [
        Change("manifest.push", HELLO, None, None, digest),
        Change("manifest.push", HELLO, None, digest, digest),
    ]


@pytest.mark.parametrize("writers", [2, 4])
async def test_a_tag_that_many_move_at_once_ends_at_one_of_them_and_its_history_is_a_chain(
    database: Database, writers: int
) -> None:
    workers = [database.connect() for _ in range(writers)]
    manifests = [[a_manifest() for _ in range(5)] for _ in workers]

    async def move(worker: Rows, mine: list[str]) -> None:
        for manifest in manifests[workers.index(worker)]:
            mine.append(await push(worker, manifest, "v1"))

    written: list[str] = []
    await asyncio.gather(*(move(worker, written) for worker in workers))
    moves = [change for change in await workers[0].changes() if change.kind == "tag.move"]
    assert {change.new for change in moves} == set(written)
    assert moves[0].old is None
    assert all(earlier.new == later.old for earlier, later in itertools.pairwise(moves))
    assert await tagged(workers[0], "v1") == moves[-1].new
    times = await workers[0].times_of("v1")
    assert all(earlier < later for earlier, later in itertools.pairwise(times))


async def test_one_manifest_pushed_by_many_at_once_is_stored_once(database: Database) -> None:
    workers = [database.connect() for _ in range(4)]
    manifest = a_manifest()
    await asyncio.gather(*(push(worker, manifest, "v1", f"v{number}") for number, worker in enumerate(workers)))
    changes = await workers[0].changes()
    assert [change.kind for change in changes].count("manifest.push") == 1
    assert await workers[0].manifests.tags(HELLO, "", 10) == ["v0", "v1", "v2", "v3"]
    found = await workers[0].manifests.find_manifest(HELLO, "v1")
    assert found is not None
    assert found.media_type == IMAGE_TYPE


async def test_of_many_deletions_at_once_one_deletes(database: Database) -> None:
    workers = [database.connect() for _ in range(4)]
    digest = await push(workers[0], a_manifest(), "v1")
    deleted = await asyncio.gather(
        *(worker.deletions.delete_manifest(HELLO, digest, SOMEBODY) for worker in workers),
    )
    assert deleted.count(None) == 3
    assert [each.tags for each in deleted if each is not None] == [["v1"]]
    kinds = [change.kind for change in await workers[0].changes()]
    assert (kinds.count("tag.delete"), kinds.count("manifest.delete")) == (1, 1)
