"""Whether bytes belong to a database, on SQLite and PostgreSQL: what does not belong together loses nothing."""

from pathlib import Path

import pytest

from entrepot.jobs.uploads import UploadCleaning, belongs
from entrepot.storage.filesystem import FileStore
from tests.support.rows import Rows, a_claimed_key, an_upload, trash

OLDER = "UPDATE store SET generation = generation - 1 WHERE name = 'filesystem'"


def cleaning(rows: Rows, store: FileStore) -> UploadCleaning:
    """As a server has it that has just started."""
    return UploadCleaning(rows.uploads, {store.name: store})


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


@pytest.mark.parametrize(
    ("found", "known", "together"),
    [
        (None, "id 1", True),
        ("id 1", "id 1", True),
        ("id 1", "id 2", True),
        ("id 3", "id 2", False),
        ("other 1", "id 2", False),
        ("id", "id 2", False),
        ("somebody else's 1", "id 1", False),
    ],
)
def test_a_store_belongs_to_who_knows_it_and_is_not_older(found: str | None, known: str, together: bool) -> None:
    assert belongs(found, known) is together
