"""Races that only PostgreSQL can have, one step at a time: the first transaction stops before its commit, the second
comes in its way, the first goes on. SQLite's transactions run one after another; there each race has an order."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from entrepot.registry.errors import Moved
from entrepot.registry.identity import new_key
from tests.support.rows import (
    SOMEBODY,
    Database,
    HeldEngine,
    Rows,
    a_claimed_key,
    a_digest,
    a_joined_body,
    a_manifest,
    an_upload,
    push,
    rows_over,
    tagged,
    trash,
)

HELLO = "library/hello"
A = TypeVar("A")
B = TypeVar("B")


async def overlapping(
    database: Database, first: Callable[[Rows], Awaitable[A]], second: Callable[[Rows], Awaitable[B]]
) -> tuple[A, B]:
    """Run `second` while `first` has done everything but its commit; what both returned."""
    held = HeldEngine(database.engine())
    one = asyncio.ensure_future(first(rows_over(held)))
    await held.done_but_open.wait()
    other = asyncio.ensure_future(second(database.connect()))
    await until_blocked_or_done(database, other)
    held.let_go.set()
    return await one, await other


async def until_blocked_or_done(database: Database, task: asyncio.Future[B]) -> None:
    """Return when the task is done, or a connection waits for another's lock."""
    waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    engine = database.engine()
    while not task.done() and not await engine.read(waiting):
        await asyncio.sleep(0.01)


async def test_a_session_that_expires_while_it_is_closed_leaves_its_blob_alone(postgres: Database) -> None:
    rows = postgres.connect()
    key, upload = await a_joined_body(rows, await an_upload(rows), 10)
    await rows.execute("UPDATE uploads SET expires_at = 0")
    digest = a_digest()
    closed, expired = await overlapping(
        postgres,
        lambda one: one.uploads.close_upload(upload, digest, 10, key, SOMEBODY),
        lambda other: other.uploads.expire_uploads(10),
    )
    assert (closed, expired) == (True, 0)
    assert await rows.blobs.find_blob(HELLO, digest) is not None
    assert await trash(rows) == set()


async def test_a_session_that_is_closed_while_it_expires_makes_no_blob(postgres: Database) -> None:
    rows = postgres.connect()
    key, upload = await a_joined_body(rows, await an_upload(rows), 10)
    await rows.execute("UPDATE uploads SET expires_at = 0")
    digest = a_digest()
    expired, closed = await overlapping(
        postgres,
        lambda one: one.uploads.expire_uploads(10),
        lambda other: other.uploads.close_upload(upload, digest, 10, key, SOMEBODY),
    )
    assert (expired, closed) == (1, False)
    assert await rows.blobs.find_blob(HELLO, digest) is None
    assert await trash(rows) == {key}


async def test_a_session_that_is_cancelled_while_it_is_closed_leaves_its_blob_alone(postgres: Database) -> None:
    rows = postgres.connect()
    key, upload = await a_joined_body(rows, await an_upload(rows), 10)
    closed, cancelled = await overlapping(
        postgres,
        lambda one: one.uploads.close_upload(upload, a_digest(), 10, key, SOMEBODY),
        lambda other: other.uploads.cancel_upload(HELLO, upload.id),
    )
    assert (closed, cancelled) == (True, False)
    assert await trash(rows) == set()


async def test_a_key_claimed_while_its_session_is_cancelled_is_trash(postgres: Database) -> None:
    rows = postgres.connect()
    upload = await an_upload(rows)
    key = new_key(upload.id)
    claimed, cancelled = await overlapping(
        postgres,
        lambda one: one.uploads.claim_body(upload.id, key),
        lambda other: other.uploads.cancel_upload(HELLO, upload.id),
    )
    assert (claimed, cancelled) == (True, True)
    assert await trash(rows) == {key}


async def test_a_session_cancelled_while_a_key_is_claimed_gives_no_key(postgres: Database) -> None:
    rows = postgres.connect()
    upload = await an_upload(rows)
    cancelled, claimed = await overlapping(
        postgres,
        lambda one: one.uploads.cancel_upload(HELLO, upload.id),
        lambda other: other.uploads.claim_body(upload.id, new_key(upload.id)),
    )
    assert (cancelled, claimed) == (True, False)


async def test_the_same_blob_closed_twice_at_once_is_stored_once(postgres: Database) -> None:
    rows = postgres.connect()
    digest = a_digest()
    uploads = [await an_upload(rows, name) for name in ("library/a", "library/b")]
    keys = [await a_claimed_key(rows, upload) for upload in uploads]
    closed = await overlapping(
        postgres,
        lambda one: one.uploads.close_upload(uploads[0], digest, 10, keys[0], SOMEBODY),
        lambda other: other.uploads.close_upload(uploads[1], digest, 10, keys[1], SOMEBODY),
    )
    assert closed == (True, True)
    found = [await rows.blobs.find_blob(name, digest) for name in ("library/a", "library/b")]
    assert [blob.key if blob else None for blob in found] == [keys[0]] * 2
    assert await trash(rows) == {keys[1]}


async def test_a_manifest_deleted_while_a_tag_moves_to_it_leaves_no_tag_without_manifest(postgres: Database) -> None:
    rows = postgres.connect()
    manifest = a_manifest()
    await push(rows, manifest)
    _, deleted = await overlapping(
        postgres,
        lambda one: push(one, manifest, "v1"),
        lambda other: other.deletions.delete_manifest(HELLO, manifest.digest, SOMEBODY),
    )
    assert deleted
    assert await tagged(rows, "v1") is None
    assert [change.kind for change in await rows.changes()][-2:] == ["tag.delete", "manifest.delete"]


async def test_a_manifest_pushed_while_it_is_deleted_is_there_afterwards(postgres: Database) -> None:
    rows = postgres.connect()
    manifest = a_manifest()
    await push(rows, manifest, "v1")
    deleted, _ = await overlapping(
        postgres,
        lambda one: one.deletions.delete_manifest(HELLO, manifest.digest, SOMEBODY),
        lambda other: push(other, manifest, "v2"),
    )
    assert deleted
    assert [await tagged(rows, name) for name in ("v1", "v2")] == [None, manifest.digest]


async def test_a_tag_pushed_while_it_is_deleted_comes_later_in_time(postgres: Database) -> None:
    rows = postgres.connect()
    first, second = a_manifest(), a_manifest()
    await push(rows, first, "v1")
    deleted, _ = await overlapping(
        postgres,
        lambda one: one.deletions.delete_tag(HELLO, "v1", SOMEBODY),
        lambda other: push(other, second, "v1"),
    )
    assert deleted
    assert await tagged(rows, "v1") == second.digest
    times = await rows.times_of("v1")
    assert len(times) == 3
    assert all(earlier < later for earlier, later in itertools.pairwise(times))


async def test_a_tag_pushed_while_it_is_restored_keeps_what_was_pushed(postgres: Database) -> None:
    rows = postgres.connect()
    old, new = a_manifest(), a_manifest()
    await push(rows, old)

    async def restore(other: Rows) -> None:
        with pytest.raises(Moved, match=new.digest):
            await other.deletions.restore_tag(HELLO, "v1", old.digest, SOMEBODY)

    await overlapping(postgres, lambda one: push(one, new, "v1"), restore)
    assert await tagged(rows, "v1") == new.digest


async def test_a_tag_pushed_while_its_deletion_is_undone_keeps_what_was_pushed(postgres: Database) -> None:
    rows = postgres.connect()
    old, new = a_manifest(), a_manifest()
    await push(rows, old, "v1")
    await rows.deletions.delete_manifest(HELLO, old.digest, SOMEBODY)

    async def undo(other: Rows) -> None:
        with pytest.raises(Moved, match=new.digest):
            await other.deletions.undo(HELLO, old.digest, SOMEBODY, {})

    await overlapping(postgres, lambda one: push(one, new, "v1"), undo)
    assert await tagged(rows, "v1") == new.digest
    assert await rows.manifests.find_manifest(HELLO, old.digest) is None


async def test_a_new_repository_made_by_two_at_once_is_one(postgres: Database) -> None:
    rows = postgres.connect()
    await overlapping(
        postgres,
        lambda one: push(one, a_manifest(), "v1", repository="library/new"),
        lambda other: push(other, a_manifest(), "v2", repository="library/new"),
    )
    assert await rows.manifests.tags("library/new", "", 10) == ["v1", "v2"]
    assert await rows.manifests.repositories("", 10) == ["library/new"]
