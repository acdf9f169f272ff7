"""What every byte store promises (registry/ports.py, Bytes), shown with each of them; S3 is a real server."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from entrepot.oci.digest import hasher
from entrepot.registry.identity import new_key, new_upload_id
from entrepot.registry.ports import Bytes
from entrepot.storage.filesystem import FileStore
from entrepot.storage.objects import ObjectStore
from tests.support.s3 import ACCESS_KEY_ID, REGION, SECRET_ACCESS_KEY, Bucket
from tests.support.s3_proxy import S3Proxy, s3_proxy

KIB = 1024
MIB = 1024 * KIB
SIZES = [0, 1, 5 * MIB + 1, 20 * MIB]
CONTENT = os.urandom(20 * MIB)


@dataclass
class Backend:
    """A byte store and a look behind it."""

    store: Bytes
    everything: Callable[[], list[str]]
    """The names of all that lies there, half-written things included."""
    written: Callable[[str], int]
    """How many bytes under this key the store no longer holds in memory."""


async def a_filesystem(request: pytest.FixtureRequest, exits: AsyncExitStack) -> Backend:
    directory: Path = request.getfixturevalue("tmp_path")
    store = FileStore(directory)
    await store.start()
    return Backend(
        store,
        lambda: [path.name for path in directory.rglob("*") if path.is_file()],
        lambda key: os.stat(store.path(key)).st_size,
    )


async def an_object_store(request: pytest.FixtureRequest, exits: AsyncExitStack) -> Backend:
    bucket: Bucket = request.getfixturevalue("bucket")
    return s3_backend(bucket, bucket.endpoint, None)


async def a_slow_object_store(request: pytest.FixtureRequest, exits: AsyncExitStack) -> Backend:
    """Each answer takes a while, as over a real network, so that a store that reads ahead has the time to do so."""
    bucket: Bucket = request.getfixturevalue("bucket")
    proxy = await exits.enter_async_context(s3_proxy(bucket.endpoint))

    async def be_slow(_: str) -> None:
        await asyncio.sleep(0.2)

    proxy.before_answer = be_slow
    return s3_backend(bucket, proxy.endpoint, proxy)


def s3_backend(bucket: Bucket, endpoint: str, proxy: S3Proxy | None) -> Backend:
    store = ObjectStore(
        bucket=bucket.name,
        region=REGION,
        endpoint=endpoint,
        access_key_id=ACCESS_KEY_ID,
        secret_access_key=SECRET_ACCESS_KEY,
        prefix="some/where/",
    )
    return Backend(
        store,
        lambda: bucket.objects() + bucket.unfinished_uploads(),
        lambda key: proxy.acknowledged if proxy is not None else 0,
    )


@pytest.fixture(params=[a_filesystem, an_object_store], ids=lambda maker: maker.__name__)
async def backend(request: pytest.FixtureRequest) -> AsyncIterator[Backend]:
    """Each byte store in turn, empty."""
    async with AsyncExitStack() as exits:
        made: Backend = await request.param(request, exits)
        yield made
        await made.store.close()


@pytest.fixture
def store(backend: Backend) -> Bytes:
    """Each byte store in turn, empty."""
    return backend.store


def a_key() -> str:
    return new_key(new_upload_id())


async def chunks(content: bytes, size: int = 64 * KIB) -> AsyncIterator[bytes]:
    """The content as a server's transport delivers it."""
    for start in range(0, len(content), size):
        yield content[start : start + size]


async def written(store: Bytes, content: bytes) -> str:
    """The key under which the content was written."""
    key = a_key()
    assert await store.write(key, chunks(content), []) == len(content)
    return key


async def all_of(content: AsyncIterator[bytes]) -> bytes:
    return b"".join([chunk async for chunk in content])


@pytest.mark.parametrize("size", SIZES)
async def test_what_is_written_is_read_back_byte_for_byte(store: Bytes, size: int) -> None:
    key = await written(store, CONTENT[:size])
    assert await all_of(store.read(key)) == CONTENT[:size]
    assert await store.size(key) == size


@pytest.mark.parametrize("size", [1, 1000, 3 * MIB])
async def test_the_transport_may_deliver_chunks_of_any_size(store: Bytes, size: int) -> None:
    content = CONTENT[: 16 * MIB] if size > 1000 else CONTENT[: size * 999]
    key = a_key()
    assert await store.write(key, chunks(content, size), []) == len(content)
    assert await all_of(store.read(key)) == content


@pytest.mark.parametrize("size", SIZES)
async def test_every_hash_is_fed_with_all_bytes(store: Bytes, size: int) -> None:
    hashes = [hasher("sha256"), hasher("sha512")]
    await store.write(a_key(), chunks(CONTENT[:size]), hashes)
    assert hashes[0].hexdigest() == hashlib.sha256(CONTENT[:size]).hexdigest()
    assert hashes[1].hexdigest() == hashlib.sha512(CONTENT[:size]).hexdigest()


@pytest.mark.parametrize(
    ("start", "length"),
    [(0, 1), (0, 20 * MIB), (1, 2 * MIB), (20 * MIB - 1, 1), (20 * MIB - 1, None), (3 * MIB, None), (7, 0), (0, None)],
)
async def test_a_range_is_read_exactly(store: Bytes, start: int, length: int | None) -> None:
    key = await written(store, CONTENT)
    end = len(CONTENT) if length is None else start + length
    assert await all_of(store.read(key, start, length)) == CONTENT[start:end]


async def test_a_range_beyond_the_end_is_what_there_is(store: Bytes) -> None:
    key = await written(store, b"0123456789")
    assert await all_of(store.read(key, 8, 100)) == b"89"
    assert await all_of(store.read(key, 10)) == b""
    assert await all_of(store.read(key, 50, 3)) == b""


async def test_no_chunk_is_over_one_mebibyte(store: Bytes) -> None:
    key = await written(store, CONTENT)
    assert max([len(chunk) async for chunk in store.read(key)]) <= MIB


async def test_a_reader_may_stop_early(store: Bytes) -> None:
    key = await written(store, CONTENT)
    async for chunk in store.read(key):
        assert CONTENT.startswith(chunk)
        break
    assert await all_of(store.read(key, 5, 5)) == CONTENT[5:10]


@pytest.mark.parametrize("sizes", [[1], [20 * MIB], [0], [1, 1, 1], [5 * MIB + 1, 3, 0, 9 * MIB], [100] * 20], ids=str)
async def test_parts_are_joined_in_their_order_and_stay(store: Bytes, sizes: list[int]) -> None:
    contents = [CONTENT[number : number + size] for number, size in enumerate(sizes)]
    parts = [await written(store, content) for content in contents]
    key = a_key()
    assert await store.join(key, parts) == sum(sizes)
    assert await all_of(store.read(key)) == b"".join(contents)
    assert await all_of(store.read(parts[0])) == contents[0]


async def test_joining_a_part_that_is_missing_leaves_nothing_behind(backend: Backend) -> None:
    part = await written(backend.store, CONTENT[: 9 * MIB])
    before = backend.everything()
    with pytest.raises(FileNotFoundError):
        await backend.store.join(a_key(), [part, a_key()])
    assert backend.everything() == before


@pytest.mark.parametrize("size", SIZES)
async def test_a_body_that_breaks_off_leaves_nothing_behind(backend: Backend, size: int) -> None:
    async def broken() -> AsyncIterator[bytes]:
        async for chunk in chunks(CONTENT[:size]):
            yield chunk
        raise RuntimeError("the cable was pulled")

    with pytest.raises(RuntimeError, match="cable"):
        await backend.store.write(a_key(), broken(), [hasher("sha256")])
    assert backend.everything() == []


@pytest.mark.parametrize("size", SIZES)
async def test_a_write_that_is_cancelled_leaves_nothing_behind(backend: Backend, size: int) -> None:
    all_given = asyncio.Event()

    async def stalled() -> AsyncIterator[bytes]:
        async for chunk in chunks(CONTENT[:size]):
            yield chunk
        all_given.set()
        await asyncio.Event().wait()

    writing = asyncio.create_task(backend.store.write(a_key(), stalled(), [hasher("sha256")]))
    await all_given.wait()
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert backend.everything() == []


async def test_what_is_being_written_is_not_in_the_way_of_another_write(store: Bytes) -> None:
    others = [CONTENT[size:] for size in (0, 1, 12 * MIB, 20 * MIB - 1)]
    keys = await asyncio.gather(*(written(store, content) for content in others))
    assert [await all_of(store.read(key)) for key in keys] == others


@pytest.mark.parametrize("size", SIZES)
async def test_sync_returns_for_what_was_written_and_joined(store: Bytes, size: int) -> None:
    key, joined = await written(store, CONTENT[:size]), a_key()
    await store.sync(key)
    await store.join(joined, [key, key])
    await store.sync(joined)
    assert await store.size(joined) == 2 * size


async def test_deleted_bytes_are_gone_and_deleting_again_is_no_error(backend: Backend) -> None:
    key = await written(backend.store, b"content")
    await backend.store.delete(key)
    await backend.store.delete(key)
    assert backend.everything() == []
    with pytest.raises(FileNotFoundError):
        await backend.store.size(key)


async def test_a_key_that_is_not_there_is_file_not_found(store: Bytes) -> None:
    with pytest.raises(FileNotFoundError):
        await store.size(a_key())
    for start, length in ((0, None), (0, 0), (5, 5)):
        with pytest.raises(FileNotFoundError):
            await all_of(store.read(a_key(), start, length))


async def test_a_path_is_a_file_with_the_bytes(store: Bytes) -> None:
    path = store.path(await written(store, b"content"))
    assert path is None or Path(path).read_bytes() == b"content"


async def test_no_signed_url_is_given_unless_asked_for(store: Bytes) -> None:
    assert await store.signed_url(await written(store, b"content")) is None


async def test_the_check_passes_while_the_store_answers(store: Bytes) -> None:
    await store.check()


@pytest.mark.parametrize("backend", [a_filesystem, a_slow_object_store], indirect=True, ids=lambda make: make.__name__)
async def test_a_write_never_holds_more_than_16_mebibytes(backend: Backend) -> None:
    key = a_key()
    total = 64 * MIB
    ahead: list[int] = []

    async def counted() -> AsyncIterator[bytes]:
        for given in range(0, total, 256 * KIB):
            yield CONTENT[: 256 * KIB]
            ahead.append(given + 256 * KIB - backend.written(key))

    assert await backend.store.write(key, counted(), [hasher("sha256")]) == total
    assert max(ahead) <= 16 * MIB
    assert await backend.store.size(key) == total
