"""The trash is emptied, over SQLite and PostgreSQL: what cannot be removed keeps nothing else from going."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from entrepot.jobs.uploads import UploadCleaning
from entrepot.registry.errors import StorageError
from entrepot.storage.filesystem import FileStore
from tests.support.rows import STORE, Rows, trash

STUCK = 110  # more than one step removes


class AwayStore(FileStore):
    """A store that was there a moment ago; it counts what it was to delete."""

    deletions = 0

    async def delete(self, key: str) -> None:
        """See the port."""
        self.deletions += 1
        raise StorageError("it does not answer")

    async def check(self) -> None:
        """See the port."""
        raise StorageError("it does not answer")


def key_of(number: int) -> str:
    """A key."""
    return f"01a2071ee2767c47bff638c8386a{number:04x}-5f3a90c2d1"


async def trashed(rows: Rows, store: FileStore, number: int) -> Path:
    """Bytes in the trash."""
    await rows.execute("INSERT INTO trash (store, key) VALUES (:store, :key)", store=STORE, key=key_of(number))

    async def chunks() -> AsyncIterator[bytes]:
        yield b"content"

    await store.write(key_of(number), chunks(), ())
    return Path(store.path(key_of(number)))


async def test_what_cannot_be_removed_stays_and_all_else_goes(rows: Rows, tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    await store.start()
    cleaning = UploadCleaning(rows.uploads, {STORE: store})
    assert await cleaning.all_agree()
    files = [await trashed(rows, store, number) for number in range(STUCK + 5)]
    stuck = [Path(store.path(key)) for _, key in await rows.uploads.trashed(STUCK)]
    for file in stuck:  # as when it may not be unlinked, whoever asks
        file.unlink()
        file.mkdir()
    with pytest.raises(StorageError, match=f"^{STUCK} of what was to be removed could not be"):
        await cleaning.empty_trash()
    assert await trash(rows) == {file.name for file in stuck}
    assert {file for file in files if file.exists()} == set(stuck)
    keys = [(STORE, file.name) for file in stuck[:12]]
    stuck[11].rmdir()
    with pytest.raises(StorageError, match=r"^11 of what"):
        await cleaning.remove(keys)
    assert await trash(rows) == {file.name for file in stuck if file.exists()}
    for file in stuck:
        if file.exists():
            file.rmdir()
    assert await cleaning.empty_trash() == STUCK - 1
    assert await trash(rows) == set()
    await store.close()


async def test_a_store_that_is_away_is_not_asked_for_each_key(rows: Rows, tmp_path: Path) -> None:
    store = AwayStore(tmp_path)
    await store.start()
    cleaning = UploadCleaning(rows.uploads, {STORE: store})
    assert await cleaning.all_agree()
    for number in range(30):
        await trashed(rows, store, number)
    with pytest.raises(StorageError, match="does not answer"):
        await cleaning.empty_trash()
    assert store.deletions == 10
    assert len(await trash(rows)) == 30
    await store.close()
