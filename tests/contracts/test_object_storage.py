"""What object storage promises beside the contract of all byte stores; the server is real, the way to it can break."""

import asyncio
import os
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from urllib.parse import parse_qs, urlsplit

import pytest

from entrepot.oci.digest import hasher
from entrepot.registry.errors import StorageError, StorageFull
from entrepot.storage.objects import ObjectStore
from tests.support.s3 import FULL_ACCESS_KEY_ID, REGION, SECRET_ACCESS_KEY, Bucket
from tests.support.s3_proxy import S3Proxy, s3_proxy

MIB = 1024 * 1024
CONTENT = os.urandom(20 * MIB)
SECONDS_TO_FAIL = 20
"""Far more than the ten that a dead server may cost; a store that waits for minutes is the failure."""


def a_store(
    bucket: Bucket,
    *,
    endpoint: str = "",
    name: str = "",
    secret: str = SECRET_ACCESS_KEY,
    prefix: str = "",
    redirect: bool = False,
) -> ObjectStore:
    """A store in this bucket, or one that has something wrong."""
    return ObjectStore(
        bucket=name or bucket.name,
        region=REGION,
        endpoint=endpoint or bucket.endpoint,
        access_key_id=bucket.access_key_id,
        secret_access_key=secret,
        prefix=prefix,
        redirect=redirect,
    )


@pytest.fixture
async def proxy(bucket: Bucket) -> AsyncIterator[S3Proxy]:
    """The way to the server."""
    async with s3_proxy(bucket.endpoint) as made:
        yield made


async def chunks(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), 65536):
        yield content[start : start + 65536]


async def all_of(content: AsyncIterator[bytes]) -> bytes:
    return b"".join([chunk async for chunk in content])


async def use_in_every_way(store: ObjectStore) -> list[str]:
    """Every operation must fail with StorageError before long; returns what each said."""
    operations = {
        "check": store.check(),
        "write": store.write("key", chunks(b"small"), []),
        "write in parts": store.write("key", chunks(CONTENT), []),
        "read": all_of(store.read("key")),
        "size": store.size("key"),
        "delete": store.delete("key"),
        "join": store.join("key", ["another"]),
    }
    async with asyncio.timeout(SECONDS_TO_FAIL):
        outcomes = await asyncio.gather(*operations.values(), return_exceptions=True)
    assert {name: type(outcome) for name, outcome in zip(operations, outcomes, strict=True)} == dict.fromkeys(
        operations, StorageError
    )
    return [str(outcome) for outcome in outcomes]


def fetch(url: str, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
    """GET without any proxy that the environment may name."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(urllib.request.Request(url, headers=headers or {}), timeout=30) as answer:
        return answer.status, answer.read()


async def test_keys_lie_under_the_prefix(bucket: Bucket) -> None:
    await a_store(bucket, prefix="our/registry/").write("key", chunks(b"content"), [])
    await a_store(bucket).write("key", chunks(b"other"), [])
    assert sorted(bucket.objects()) == ["blobs/key", "our/registry/blobs/key"]
    assert await all_of(a_store(bucket, prefix="our/registry/").read("key")) == b"content"


async def test_a_signed_url_gives_the_bytes_to_anybody_for_five_minutes(bucket: Bucket) -> None:
    store = a_store(bucket, redirect=True)
    await store.write("key", chunks(CONTENT), [])
    url = await store.signed_url("key")
    assert url is not None
    assert await asyncio.to_thread(fetch, url) == (200, CONTENT)
    assert await asyncio.to_thread(fetch, url, {"Range": "bytes=5-9"}) == (206, CONTENT[5:10])
    assert 0 < int(parse_qs(urlsplit(url).query)["X-Amz-Expires"][0]) <= 300
    assert SECRET_ACCESS_KEY not in url


async def test_a_signed_url_opens_nothing_else(bucket: Bucket) -> None:
    store = a_store(bucket, redirect=True)
    await store.write("key", chunks(b"content"), [])
    await store.write("kez", chunks(b"another"), [])
    url = await store.signed_url("key")
    assert url is not None
    with pytest.raises(urllib.error.HTTPError, match="403"):
        await asyncio.to_thread(fetch, url.replace("blobs/key", "blobs/kez"))


async def test_a_missing_bucket_is_named_by_the_check_and_by_every_operation(bucket: Bucket) -> None:
    for said in await use_in_every_way(a_store(bucket, name="no-such-bucket")):
        assert "no-such-bucket" in said


async def test_wrong_credentials_are_a_storage_error_without_a_secret(bucket: Bucket) -> None:
    for said in await use_in_every_way(a_store(bucket, secret="another secret")):
        assert bucket.name in said
        assert "another secret" not in said


async def test_a_server_that_refuses_connections_is_a_storage_error(bucket: Bucket) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        endpoint = f"http://user:password@127.0.0.1:{nobody.getsockname()[1]}"
        for said in await use_in_every_way(a_store(bucket, endpoint=endpoint)):
            assert bucket.name in said
            assert "127.0.0.1" in said
            assert "password" not in said


async def test_a_server_that_accepts_and_says_nothing_is_a_storage_error(bucket: Bucket) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        store = a_store(bucket, endpoint=f"http://127.0.0.1:{silent.getsockname()[1]}")
        async with asyncio.timeout(SECONDS_TO_FAIL):
            outcomes = await asyncio.gather(
                store.check(), store.size("key"), store.delete("key"), all_of(store.read("key")), return_exceptions=True
            )
    assert [type(outcome) for outcome in outcomes] == [StorageError] * 4


async def test_a_full_store_is_storage_full_and_keeps_nothing(bucket: Bucket) -> None:
    small = Bucket(bucket.endpoint, f"{bucket.name}-full", FULL_ACCESS_KEY_ID)
    small.create()
    store = a_store(small)
    for size in (2 * MIB, 20 * MIB):
        with pytest.raises(StorageFull):
            await store.write(f"key-{size}", chunks(CONTENT[:size]), [])
    assert small.objects() + small.unfinished_uploads() == []


async def test_a_server_that_is_busy_for_a_moment_is_asked_again(bucket: Bucket, proxy: S3Proxy) -> None:
    def refuse(request: str) -> bool:
        return proxy.seen.count(request) == 1

    proxy.refuse = refuse
    store = a_store(bucket, endpoint=proxy.endpoint)
    running = hasher("sha256")
    assert await store.write("key", chunks(CONTENT), [running]) == len(CONTENT)
    assert await all_of(store.read("key")) == CONTENT
    await store.delete("key")
    assert bucket.objects() == []


async def test_a_download_that_breaks_goes_on_where_it_broke(bucket: Bucket, proxy: S3Proxy) -> None:
    store = a_store(bucket, endpoint=proxy.endpoint)
    await store.write("key", chunks(CONTENT), [])

    def cut(request: str) -> int | None:
        return 9 * MIB if proxy.seen.count(request) == 1 else None

    proxy.cut = cut
    assert await all_of(store.read("key")) == CONTENT
    proxy.seen.clear()
    assert await all_of(store.read("key", 3, 12 * MIB)) == CONTENT[3 : 3 + 12 * MIB]
    assert len(proxy.seen) == 2


async def test_a_download_from_a_server_that_went_away_is_a_storage_error(bucket: Bucket, proxy: S3Proxy) -> None:
    store = a_store(bucket, endpoint=proxy.endpoint)
    await store.write("key", chunks(CONTENT), [])
    proxy.cut = lambda request: 9 * MIB
    proxy.refuse = lambda request: proxy.seen.count(request) > 1
    async with asyncio.timeout(SECONDS_TO_FAIL):
        with pytest.raises(StorageError):
            await all_of(store.read("key"))


async def test_an_upload_that_the_server_gives_up_leaves_nothing_behind(bucket: Bucket, proxy: S3Proxy) -> None:
    proxy.refuse = lambda request: "partNumber=2" in request
    store = a_store(bucket, endpoint=proxy.endpoint)
    async with asyncio.timeout(SECONDS_TO_FAIL):
        with pytest.raises(StorageError, match="503"):
            await store.write("key", chunks(CONTENT), [])
    assert bucket.objects() + bucket.unfinished_uploads() == []


async def test_an_upload_cancelled_while_it_is_completed_leaves_nothing_behind(bucket: Bucket, proxy: S3Proxy) -> None:
    completing = asyncio.Event()

    async def notice(request: str) -> None:
        if request.startswith("POST") and "uploadId=" in request:
            completing.set()

    proxy.before_answer = notice
    store = a_store(bucket, endpoint=proxy.endpoint)
    writing = asyncio.create_task(store.write("key", chunks(CONTENT), []))
    await completing.wait()
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert bucket.objects() + bucket.unfinished_uploads() == []


async def test_a_small_blob_is_one_request(bucket: Bucket, proxy: S3Proxy) -> None:
    store = a_store(bucket, endpoint=proxy.endpoint)
    await store.write("key", chunks(CONTENT[: 5 * MIB]), [])
    assert proxy.seen == [f"PUT /{bucket.name}/blobs/key"]


async def test_the_keys_of_the_store_are_not_those_of_the_environment(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody else")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "something else")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "a token")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
    await a_store(bucket).check()


USES_A_STORE = """
import asyncio, sys
from entrepot.storage.objects import ObjectStore

async def use(key, **options):
    async def chunks():
        yield b"content" * 2_000_000
    store = ObjectStore(region="us-east-1", **options)
    await store.write(key, chunks(), [])
    await store.close()

asyncio.run(use(sys.argv[1], **dict(argument.split("=", 1) for argument in sys.argv[2:])))
"""


async def test_a_process_that_closes_its_store_ends_in_order(bucket: Bucket) -> None:
    options = [f"bucket={bucket.name}", f"endpoint={bucket.endpoint}"]
    options += [f"access_key_id={bucket.access_key_id}", f"secret_access_key={SECRET_ACCESS_KEY}"]
    processes = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", USES_A_STORE, f"key-{number}", *options)
        for number in range(6)
    ]
    assert [await process.wait() for process in processes] == [0] * 6


async def test_in_a_bucket_that_keeps_versions_what_is_removed_leaves_none(bucket: Bucket) -> None:
    store = a_store(bucket, prefix="some/where & else")
    await store.write("key", chunks(b"from before"), [])
    bucket.keep_versions()
    await store.write("key-2", chunks(b"its neighbour"), [])
    await store.write("key-3", chunks(b"to go"), [])
    for key in ("key", "key-3", "key-3", "never-there"):
        await store.delete(key)
    assert [key.rpartition("/")[2] for key in bucket.versions()] == ["key-2"]
    assert await all_of(store.read("key-2")) == b"its neighbour"


async def test_what_was_removed_before_anybody_looked_goes_with_its_mark(bucket: Bucket) -> None:
    bucket.keep_versions()
    store = a_store(bucket)
    await store.write("key", chunks(b"secret"), [])
    bucket.delete("blobs/key")
    assert len(bucket.versions()) == 2
    await store.delete("key")
    assert bucket.versions() == []


async def test_it_says_what_becomes_of_older_versions(bucket: Bucket) -> None:
    assert await a_store(bucket).older_versions() == (
        False,
        f"the bucket {bucket.name} keeps no older versions of objects",
    )
    bucket.keep_versions()
    store = a_store(bucket)
    deleted = f"the bucket {bucket.name} keeps older versions: they are deleted too"
    assert await store.older_versions() == (False, f"{deleted}, if the key has s3:DeleteObjectVersion")
    await store.write("key", chunks(b"secret"), [])
    await store.delete("key")
    assert await store.older_versions() == (False, deleted)


@pytest.mark.parametrize("action", ["s3:GetBucketVersioning", "s3:ListBucketVersions", "s3:DeleteObjectVersion"])
async def test_where_the_key_lacks_a_right_older_versions_stay_and_it_says_so(bucket: Bucket, action: str) -> None:
    bucket.keep_versions()
    bucket.forbid(action)
    store = a_store(bucket)
    await store.write("key", chunks(b"secret"), [])
    await store.delete("key")
    with pytest.raises(FileNotFoundError):
        await all_of(store.read("key"))
    found = await store.older_versions()
    assert found.stay
    assert f"older versions of objects in the bucket {bucket.name}, if it keeps them, stay" in found.words
    assert action in found.words


async def test_where_the_bucket_is_away_it_says_that_versions_cannot_be_read(bucket: Bucket) -> None:
    found = await a_store(bucket, endpoint="http://127.0.0.1:1").older_versions()
    assert (found.stay, "cannot be read now" in found.words) == (True, True)
