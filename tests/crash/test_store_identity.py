"""The file that says whose bytes a directory has, when a crash comes while it is written."""

from pathlib import Path

from entrepot.storage import layout
from entrepot.storage.filesystem import FileStore


async def test_an_identity_that_a_crash_cut_short_counts_as_none_and_is_written_again(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    await store.start()
    layout.identity_file(tmp_path).touch()
    assert await store.identity() is None
    await store.mark("whose 1")
    assert await store.identity() == "whose 1"
    await store.close()
