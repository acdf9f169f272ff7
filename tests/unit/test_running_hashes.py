"""The running hash that a worker keeps for a session is never taken for one of other bytes."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from entrepot.access.caller import Caller
from entrepot.database.blobs import DatabaseBlobs
from entrepot.database.cache import ReadCache
from entrepot.database.migrate import migrate_sqlite
from entrepot.database.sqlite import SqliteEngine
from entrepot.database.uploads import DatabaseUploads
from entrepot.oci.digest import Digest
from entrepot.registry.errors import DigestInvalid
from entrepot.registry.uploads import Incoming, Uploads
from entrepot.storage import layout
from entrepot.storage.filesystem import FileStore


def body(content: bytes) -> Incoming:
    async def chunks() -> AsyncIterator[bytes]:
        yield content

    return Incoming(chunks(), len(content))


@pytest.mark.parametrize("claimed", [b"first, second", b"first, SECOND"])
async def test_a_session_that_another_worker_rewrote_to_the_same_length_is_read_anew(
    tmp_path: Path, claimed: bytes
) -> None:
    """A file server's power cut took the second body's end; another worker received it again, with other bytes."""
    migrate_sqlite(layout.database_file(tmp_path))
    engine = SqliteEngine(layout.database_file(tmp_path), layout.lock_file(tmp_path))
    store = FileStore(tmp_path)
    await store.start()
    rows, blobs = DatabaseUploads(engine), DatabaseBlobs(engine, ReadCache(engine), 86400)
    one, other = (Uploads(rows, blobs, store, 3600) for _ in range(2))
    try:
        upload = await one.open("a", None, Caller())
        await one.append("a", upload, body(b"first, "))
        await one.append("a", upload, body(b"second"))
        second = (await rows.upload_bodies(upload))[1]
        os.truncate(store.path(second.key), 0)
        assert await other.status("a", upload) == len(b"first, ")
        await other.append("a", upload, body(b"SECOND"))
        closing = one.close("a", upload, Digest.of(claimed), body(b""), Caller())
        if claimed == b"first, SECOND":
            await closing
            assert await blobs.find_blob("a", str(Digest.of(claimed)))
        else:
            with pytest.raises(DigestInvalid):
                await closing
    finally:
        await store.close()
        await engine.close()
