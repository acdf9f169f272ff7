"""The ports UploadRows and Housekeeping, over SQLite and PostgreSQL: upload sessions and what they leave behind."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

from entrepot.registry.identity import new_key, new_upload_id
from entrepot.registry.ports import Body
from entrepot.registry.uploads import Incoming, Uploads
from entrepot.storage.filesystem import FileStore
from tests.support.rows import (
    DAY,
    SOMEBODY,
    STORE,
    Database,
    Rows,
    a_blob,
    a_claimed_key,
    a_digest,
    a_joined_body,
    again,
    an_upload,
    holds,
    trash,
)

HELLO = "library/hello"


async def test_a_new_session_is_empty(rows: Rows) -> None:
    upload = await an_upload(rows)
    assert (upload.store, upload.offset, upload.generation, upload.algorithm, upload.digest) == (
        STORE,
        0,
        0,
        None,
        None,
    )
    assert await rows.uploads.upload_bodies(upload.id) == []


async def test_a_session_remembers_its_digest_algorithm(rows: Rows) -> None:
    identity = new_upload_id()
    await rows.uploads.open_upload(HELLO, identity, STORE, "sha512", DAY, SOMEBODY)
    upload = await rows.uploads.find_upload(HELLO, identity)
    assert upload is not None
    assert upload.algorithm == "sha512"


async def test_a_session_belongs_to_its_repository(rows: Rows) -> None:
    upload = await an_upload(rows)
    await an_upload(rows, "library/other")
    assert await rows.uploads.find_upload("library/other", upload.id) is None
    assert not await rows.uploads.cancel_upload("library/other", upload.id)
    assert await rows.uploads.find_upload(HELLO, upload.id) == upload


async def test_bodies_join_one_after_another(rows: Rows) -> None:
    upload = await an_upload(rows)
    first, upload = await a_joined_body(rows, upload, 10)
    second, upload = await a_joined_body(rows, upload, 5)
    assert upload.offset == 15
    assert await rows.uploads.upload_bodies(upload.id) == [Body(first, 10), Body(second, 5)]


async def test_the_digest_is_that_of_the_first_body_while_it_is_the_only_one(rows: Rows) -> None:
    digest = a_digest()
    _, upload = await a_joined_body(rows, await an_upload(rows), 10, digest)
    assert upload.digest == digest
    _, upload = await a_joined_body(rows, upload, 5)
    assert upload.digest is None


async def test_a_claimed_body_is_no_part_of_the_session_yet(rows: Rows) -> None:
    upload = await an_upload(rows)
    await a_claimed_key(rows, upload)
    assert await rows.uploads.upload_bodies(upload.id) == []
    assert (await again(rows, upload)).offset == 0


async def test_of_two_bodies_at_one_offset_one_joins_and_the_others_key_is_trash(database: Database) -> None:
    one, other = database.connect(), database.connect()
    upload = await an_upload(one)
    keys = [await a_claimed_key(one, upload), await a_claimed_key(other, upload)]
    joined = await asyncio.gather(
        one.uploads.join_body(upload, keys[0], 10, None, DAY),
        other.uploads.join_body(upload, keys[1], 20, None, DAY),
    )
    assert sorted(joined) == [False, True]
    winner, loser = (0, 1) if joined[0] else (1, 0)
    assert await one.uploads.upload_bodies(upload.id) == [Body(keys[winner], (10, 20)[winner])]
    assert await trash(one) == {keys[loser]}


async def test_a_body_of_the_same_offset_but_an_older_generation_does_not_join(rows: Rows) -> None:
    before = await an_upload(rows)
    key, upload = await a_joined_body(rows, before, 10)
    await rows.uploads.shorten_upload(upload, [])
    late = await a_claimed_key(rows, upload)
    assert not await rows.uploads.join_body(before, late, 10, None, DAY)
    assert (await again(rows, upload)).offset == 0
    assert await trash(rows) == {key, late}


async def test_a_discarded_body_is_trash_and_the_session_stays(rows: Rows) -> None:
    upload = await an_upload(rows)
    key = await a_claimed_key(rows, upload)
    await rows.uploads.discard_body(upload, key)
    assert await trash(rows) == {key}
    assert await again(rows, upload) == upload


async def test_a_body_that_has_joined_cannot_be_discarded(rows: Rows) -> None:
    key, upload = await a_joined_body(rows, await an_upload(rows), 10)
    await rows.uploads.discard_body(upload, key)
    assert await rows.uploads.upload_bodies(upload.id) == [Body(key, 10)]
    assert await trash(rows) == set()


async def test_bytes_that_come_after_their_session_was_cleaned_up_are_trash_again(rows: Rows) -> None:
    upload = await an_upload(rows)
    joining, leaving = await a_claimed_key(rows, upload), await a_claimed_key(rows, upload)
    assert await rows.uploads.cancel_upload(HELLO, upload.id)
    await rows.uploads.empty_trash(await rows.uploads.trashed(10))
    assert not await rows.uploads.join_body(upload, joining, 10, None, DAY)
    await rows.uploads.discard_body(upload, leaving)
    assert await trash(rows) == {joining, leaving}


async def test_nothing_can_be_claimed_in_a_session_that_has_ended(rows: Rows) -> None:
    upload = await an_upload(rows)
    assert await rows.uploads.cancel_upload(HELLO, upload.id)
    assert not await rows.uploads.claim_body(upload.id, new_key(upload.id))
    assert not await rows.uploads.claim_body(new_upload_id(), new_key(upload.id))


async def test_a_shortened_session_goes_back_to_the_bodies_that_are_left(rows: Rows) -> None:
    first, upload = await a_joined_body(rows, await an_upload(rows), 10, a_digest())
    second, upload = await a_joined_body(rows, upload, 5)
    third, upload = await a_joined_body(rows, upload, 7)
    await rows.uploads.shorten_upload(upload, [Body(first, 10)])
    shorter = await again(rows, upload)
    assert (shorter.offset, shorter.digest) == (10, None)
    assert shorter.generation > upload.generation
    assert await rows.uploads.upload_bodies(upload.id) == [Body(first, 10)]
    assert await trash(rows) == {second, third}
    fourth, longer = await a_joined_body(rows, shorter, 1)
    assert longer.offset == 11
    assert await rows.uploads.upload_bodies(upload.id) == [Body(first, 10), Body(fourth, 1)]


async def test_a_session_that_has_moved_on_is_not_shortened(rows: Rows) -> None:
    _, before = await a_joined_body(rows, await an_upload(rows), 10)
    _, upload = await a_joined_body(rows, before, 5)
    await rows.uploads.shorten_upload(before, [])
    assert await again(rows, upload) == upload


async def test_a_closed_session_is_gone_and_only_the_blobs_key_is_kept(rows: Rows) -> None:
    first, upload = await a_joined_body(rows, await an_upload(rows), 10)
    second, upload = await a_joined_body(rows, upload, 5)
    whole = await a_claimed_key(rows, upload)
    digest = a_digest()
    assert await rows.uploads.close_upload(upload, digest, 15, whole, SOMEBODY)
    assert await rows.uploads.find_upload(HELLO, upload.id) is None
    assert await rows.uploads.upload_bodies(upload.id) == []
    blob = await rows.blobs.find_blob(HELLO, digest)
    assert blob is not None
    assert blob.key == whole
    assert await trash(rows) == {first, second}


async def test_a_blob_that_is_there_already_keeps_its_key_and_the_new_one_is_trash(rows: Rows) -> None:
    digest = await a_blob(rows, "library/other", size=10)
    before = await rows.blobs.find_blob("library/other", digest)
    key, upload = await a_joined_body(rows, await an_upload(rows), 10)
    assert await rows.uploads.close_upload(upload, digest, 10, key, SOMEBODY)
    found = await rows.blobs.find_blob(HELLO, digest)
    assert found is not None
    assert before is not None
    assert found == replace(before, repository_id=found.repository_id)
    assert await trash(rows) == {key}


async def test_of_two_closings_with_one_body_one_wins_and_the_blob_keeps_its_bytes(database: Database) -> None:
    one, other = database.connect(), database.connect()
    key, upload = await a_joined_body(one, await an_upload(one), 10)
    digest = a_digest()
    closed = await asyncio.gather(
        one.uploads.close_upload(upload, digest, 10, key, SOMEBODY),
        other.uploads.close_upload(upload, digest, 10, key, SOMEBODY),
    )
    assert sorted(closed) == [False, True]
    blob = await one.blobs.find_blob(HELLO, digest)
    assert blob is not None
    assert blob.key == key
    assert await trash(one) == set()


async def test_a_closing_that_loses_to_another_body_takes_nothing_from_the_session(rows: Rows) -> None:
    first, before = await a_joined_body(rows, await an_upload(rows), 10)
    second, upload = await a_joined_body(rows, before, 5)
    assert not await rows.uploads.close_upload(before, a_digest(), 10, first, SOMEBODY)
    assert await again(rows, upload) == upload
    assert await rows.uploads.upload_bodies(upload.id) == [Body(first, 10), Body(second, 5)]
    assert await trash(rows) == set()


async def test_a_closing_that_loses_throws_its_own_last_body_away(rows: Rows) -> None:
    before = await an_upload(rows)
    last = await a_claimed_key(rows, before)
    key, upload = await a_joined_body(rows, before, 5)
    assert not await rows.uploads.close_upload(before, a_digest(), 10, last, SOMEBODY)
    assert await rows.uploads.upload_bodies(upload.id) == [Body(key, 5)]
    assert await trash(rows) == {last}


async def test_one_blob_pushed_by_many_at_once_is_stored_once(database: Database) -> None:
    workers = [database.connect() for _ in range(4)]
    digest = a_digest()
    keys = set()

    async def push(worker: Rows, repository: str) -> bool:
        upload = await an_upload(worker, repository)
        key = await a_claimed_key(worker, upload)
        keys.add(key)
        return await worker.uploads.close_upload(upload, digest, 10, key, SOMEBODY)

    pushes = [push(worker, f"library/{number}") for worker in workers for number in range(4)]
    assert all(await asyncio.gather(*pushes))
    found = [await workers[0].blobs.find_blob(f"library/{number}", digest) for number in range(4)]
    (kept,) = {blob.key if blob else "" for blob in found}
    assert await trash(workers[0]) == keys - {kept}


async def test_a_cancelled_session_is_gone_and_its_keys_are_trash(rows: Rows) -> None:
    joined, upload = await a_joined_body(rows, await an_upload(rows), 10)
    claimed = await a_claimed_key(rows, upload)
    assert await rows.uploads.cancel_upload(HELLO, upload.id)
    assert await rows.uploads.find_upload(HELLO, upload.id) is None
    assert await trash(rows) == {joined, claimed}
    assert not await rows.uploads.cancel_upload(HELLO, upload.id)
    assert not await rows.uploads.close_upload(upload, a_digest(), 10, joined, SOMEBODY)


async def test_a_session_past_its_time_is_not_found_and_expires(rows: Rows) -> None:
    identity = new_upload_id()
    await rows.uploads.open_upload(HELLO, identity, STORE, None, 0, SOMEBODY)
    key = new_key(identity)
    assert await rows.uploads.claim_body(identity, key)
    assert await rows.uploads.find_upload(HELLO, identity) is None
    fresh = await an_upload(rows)
    assert await rows.uploads.expire_uploads(10) == 1
    assert await rows.uploads.expire_uploads(10) == 0
    assert await trash(rows) == {key}
    assert await again(rows, fresh) == fresh


async def test_no_more_sessions_expire_at_once_than_asked(rows: Rows) -> None:
    for _ in range(5):
        await rows.uploads.open_upload(HELLO, new_upload_id(), STORE, None, 0, SOMEBODY)
    assert [await rows.uploads.expire_uploads(3) for _ in range(3)] == [3, 2, 0]


async def test_a_session_lives_on_from_each_join(rows: Rows) -> None:
    upload = await an_upload(rows)
    await rows.execute("UPDATE uploads SET expires_at = now_us() + 1000000000")
    before = await rows.engine.read("SELECT expires_at FROM uploads")
    await a_joined_body(rows, upload, 10)
    assert await rows.engine.read("SELECT expires_at FROM uploads") > before


async def test_a_session_lives_on_while_its_bytes_flow_and_is_written_to_seldom(rows: Rows, tmp_path: Path) -> None:
    store, now = FileStore(tmp_path), [0.0]
    await store.start()
    uploads = Uploads(rows.uploads, rows.blobs, store, 4000, lambda: now[0])
    identity = await uploads.open(HELLO, None, SOMEBODY)
    times: set[int] = set()

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(100):
            now[0] += 100
            yield b"x"
            times.add((await rows.engine.read("SELECT expires_at FROM uploads"))[0][0])

    before = (await rows.engine.read("SELECT expires_at FROM uploads"))[0][0]
    assert await uploads.append(HELLO, identity, Incoming(chunks())) == 100
    await store.close()
    assert max(times) > before
    assert len(times) == 11  # as it began, and once each quarter of the lifetime: not once each chunk


async def test_a_body_that_begins_late_gives_its_session_more_time(rows: Rows) -> None:
    upload = await an_upload(rows)
    await rows.execute("UPDATE uploads SET expires_at = now_us() + 1000000")
    assert await rows.uploads.claim_body(upload.id, new_key(upload.id), 3600)
    left = (await rows.engine.read("SELECT expires_at - now_us() FROM uploads"))[0][0]
    assert left > 3000 * 1_000_000
    await rows.execute("UPDATE uploads SET expires_at = now_us() + 3000000000")
    assert await rows.uploads.claim_body(upload.id, new_key(upload.id), 3600)
    assert (await rows.engine.read("SELECT expires_at - now_us() FROM uploads"))[0][0] <= 3000 * 1_000_000


async def test_emptied_trash_is_forgotten_and_only_that(rows: Rows) -> None:
    upload = await an_upload(rows)
    keys = {await a_claimed_key(rows, upload) for _ in range(3)}
    await rows.uploads.cancel_upload(HELLO, upload.id)
    (first,) = await rows.uploads.trashed(1)
    assert first[0] == STORE
    await rows.uploads.empty_trash([first])
    assert await trash(rows) == keys - {first[1]}


async def test_an_upload_changes_no_answer_until_it_is_closed(rows: Rows) -> None:
    _, upload = await a_joined_body(rows, await an_upload(rows), 10)
    await rows.uploads.cancel_upload(HELLO, upload.id)
    assert await rows.changes() == []
    assert not await holds(rows, HELLO)
    assert await rows.manifests.repositories("", 10) == []


async def test_a_store_is_known_by_what_it_was_called_first(database: Database) -> None:
    one, other = database.connect(), database.connect()
    known = await asyncio.gather(
        one.uploads.store_identity("filesystem", "one"), other.uploads.store_identity("filesystem", "other")
    )
    assert known[0] == known[1]
    assert await one.uploads.store_identity("filesystem", "late") == known[0]
    assert await one.uploads.store_identity("another-store", "late") != known[0]
