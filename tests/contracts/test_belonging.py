"""Whether bytes belong to a database, on SQLite and PostgreSQL: what does not belong together loses nothing."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from entrepot.jobs.uploads import UploadCleaning, belongs
from entrepot.storage.filesystem import FileStore
from tests.support.rows import Database, Rows, a_blob, a_claimed_key, an_upload, trash

OLDER = "UPDATE store SET generation = generation - 1 WHERE name = 'filesystem'"


def cleaning(rows: Rows, store: FileStore) -> UploadCleaning:
    """As a server has it that has just started."""
    return UploadCleaning(rows.uploads, {store.name: store})


async def written(store: FileStore, key: str, content: bytes) -> None:
    """Bytes under a key."""

    async def chunks() -> AsyncIterator[bytes]:
        yield content

    await store.write(key, chunks(), ())


async def test_an_older_copy_of_the_database_removes_nothing_of_newer_bytes(rows: Rows, tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    await store.start()
    assert await cleaning(rows, store).all_agree()
    assert await cleaning(rows, store).raise_generations() == 1
    assert await cleaning(rows, store).all_agree()
    upload = await an_upload(rows)
    key = await a_claimed_key(rows, upload)
    await rows.uploads.cancel_upload("library/hello", upload.id)
    await rows.execute(OLDER)
    old = cleaning(rows, store)
    assert not await old.all_agree()
    assert await old.empty_trash() == await old.raise_generations() == 0
    assert await trash(rows) == {key}
    await store.close()


async def test_a_crash_between_database_and_store_keeps_them_together(rows: Rows, tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    await store.start()
    assert await cleaning(rows, store).all_agree()
    ahead = await rows.uploads.raise_generation(store.name)
    assert await store.identity() != ahead
    assert await cleaning(rows, store).all_agree()
    assert await store.identity() == ahead
    await store.close()


OF_NOBODY = "0" * 32 + "-1234567890"


async def test_a_new_database_claims_no_store_that_has_what_it_does_not_know(rows: Rows, tmp_path: Path) -> None:
    """Also not after something was pushed to it, and after a restart."""
    store = FileStore(tmp_path)
    await store.start()
    await written(store, OF_NOBODY, b"of nobody")
    assert not await cleaning(rows, store).all_agree()
    await a_blob(rows)
    ((key,),) = await rows.engine.read("SELECT key FROM blobs")
    await written(store, key, b"new")
    assert await cleaning(rows, store).objection() == (
        "the store has bytes that the database does not know, and does not say whose they are"
    )
    assert not await cleaning(rows, store).all_agree()
    await store.delete(OF_NOBODY)
    assert await cleaning(rows, store).all_agree()
    await written(store, OF_NOBODY, b"an orphan")
    assert await cleaning(rows, store).all_agree()
    await store.close()


async def test_a_store_that_was_away_at_the_start_is_claimed_with_what_was_pushed_since(
    rows: Rows, tmp_path: Path
) -> None:
    store = FileStore(tmp_path)
    await store.start()
    assert (await rows.uploads.store_identity(store.name, "id")).startswith("id 0")
    upload = await an_upload(rows)
    await written(store, await a_claimed_key(rows, upload), b"of an upload")
    assert await cleaning(rows, store).all_agree()
    await store.close()


async def test_a_database_with_blobs_claims_the_store_that_has_them(rows: Rows, tmp_path: Path) -> None:
    """As of a version that did not write whose they are, when that was lost, or of a restore that was cut off."""
    store = FileStore(tmp_path)
    await store.start()
    await a_blob(rows)
    ((key,),) = await rows.engine.read("SELECT key FROM blobs")
    for name in (key, OF_NOBODY):
        await written(store, name, b"content")
    assert await cleaning(rows, store).all_agree()
    assert await store.identity() is not None
    await store.close()


async def test_a_store_that_lacks_the_newest_blobs_is_another_one_or_not_there(rows: Rows, tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    await store.start()
    await a_blob(rows)
    ((key,),) = await rows.engine.read("SELECT key FROM blobs")
    assert not await cleaning(rows, store).all_agree()  # a directory whose disk is not mounted
    assert await store.identity() is None
    await written(store, OF_NOBODY, b"of nobody")
    assert not await cleaning(rows, store).all_agree()
    await written(store, key, b"content")
    assert await cleaning(rows, store).all_agree()
    await store.close()


async def test_what_an_administrator_accepts_belongs_to_nobody_else(database: Database, tmp_path: Path) -> None:
    """Also of a copy of this database that was put back beside it."""
    store, rows = FileStore(tmp_path), database.connect()
    await store.start()
    upload = await an_upload(rows)
    await written(store, await a_claimed_key(rows, upload), b"left")
    await rows.uploads.cancel_upload("library/hello", upload.id)
    await store.mark("another 7")
    assert await cleaning(rows, store).objection() == "the store says that it belongs to another database"
    assert await cleaning(rows, store).empty_trash() == 0
    await cleaning(rows, store).accept()
    mine = await store.identity()
    assert await cleaning(rows, store).objection() is None
    assert await cleaning(rows, store).empty_trash() == 1
    assert mine is not None
    assert not belongs(mine, "another 9")
    await cleaning(rows, store).accept()
    assert await store.identity() != mine
    await store.close()


async def test_a_store_that_becomes_another_databases_is_noticed(
    rows: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FileStore(tmp_path)
    await store.start()
    job = cleaning(rows, store)
    monkeypatch.setattr("entrepot.jobs.uploads._AGREED", 0.0)
    assert await job.all_agree()
    await store.mark("another 1")
    assert not await job.all_agree()
    assert await job.raise_generations() == 0
    assert await store.identity() == "another 1"
    await store.close()


@pytest.mark.parametrize(
    ("found", "known", "together"),
    [
        ("id 1", "id 1", True),
        ("id 1", "id 2", True),
        ("id 3", "id 2", False),
        ("other 1", "id 2", False),
        ("id", "id 2", False),
        ("somebody else's 1", "id 1", False),
    ],
)
def test_a_store_belongs_to_who_knows_it_and_is_not_older(found: str, known: str, together: bool) -> None:
    assert belongs(found, known) is together
