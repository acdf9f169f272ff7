"""Bytes in S3-compatible object storage, by obstore (docs/decisions/0005-object-storage.md says why).

An object is whole or it is not there, and it is durable when the server has answered: nothing is ever half-written.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing, contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from entrepot.oci.digest import Hash
from entrepot.registry.errors import StorageError, StorageFull
from entrepot.registry.ports import OlderVersions
from entrepot.storage import layout
from entrepot.storage.versions import Versions

if TYPE_CHECKING:
    from obstore.store import S3Config, S3Credential

_BLOCK: Final = 512 * 1024  # bytes handed on at once: fewer steps through the event loop and fewer thread hops
_PART: Final = 7 * 1024 * 1024  # bytes; two parts and the blocks on their way are what an upload holds (16 MiB)
_PARTS_AT_ONCE: Final = 2
_MOST: Final = 10_000 * _PART  # bytes; "Amazon S3 multipart upload limits": 10,000 parts
_READ: Final = 256 * 1024  # bytes; the HTTP client below reads at most 400 KiB more
_INLINE: Final = 128 * 1024  # bytes: hashing less costs less than a thread hop
_ANSWER: Final = 10  # seconds until a request without a body must be answered
_SETTLING: Final = 0.1  # seconds
_PAGE: Final = 1000  # objects of one listing
_URL_LIFETIME: Final = timedelta(minutes=5)

_CODE = re.compile(r"<Code>(\w+)</Code>")
_STATUS = re.compile(r"status code: (\d{3})")
_FULL = frozenset({"QuotaExceeded", "InsufficientCapacity", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded"})


class _OutOfRangeError(Exception):
    """The range starts after the last byte."""


class _AbandonedError(Exception):
    """Raised inside obstore's upload, which then aborts it at the server."""


class ObjectStore:
    """The byte store `s3`. Make one in each process: the connections must not cross a fork."""

    name = "s3"

    def __init__(
        self,
        *,
        bucket: str,
        region: str,
        endpoint: str = "",
        access_key_id: str = "",
        secret_access_key: str = "",
        prefix: str = "",
        redirect: bool = False,
    ) -> None:
        """The bucket must exist. Without an `endpoint` it is Amazon's; without keys they come from the environment
        or the machine's role, as in Amazon's own tools. `redirect`: whether clients may be sent to signed URLs.
        """
        self._bucket = bucket
        self._prefix = prefix
        self._redirect = redirect
        self._where = urlsplit(endpoint).netloc.rpartition("@")[2] if endpoint else f"Amazon S3 in {region}"
        with self._errors():
            self._store = _client(bucket, region, endpoint, access_key_id, secret_access_key)
        keys = (access_key_id, secret_access_key)
        self._versions = Versions(bucket, region, endpoint, *keys) if access_key_id else None

    async def write(self, key: str, chunks: AsyncIterator[bytes], hashes: Sequence[Hash]) -> int:
        """See the port. Up to 7 MiB are one request; what is longer goes in parts. At most 70,000 MiB."""
        path = layout.object_path(self._prefix, key)
        start: list[bytes] = []
        size = 0
        async with aclosing(_hashed(_blocks(chunks), hashes)) as blocks:
            async for block in blocks:
                start.append(block)
                size += len(block)
                if size > _PART:
                    return await self._write_in_parts(path, start, blocks)
        with self._errors():
            await obstore.put_async(self._store, path, b"".join(start), use_multipart=False)
        return size

    async def join(self, key: str, parts: Sequence[str]) -> int:
        """See the port. The bytes pass through this process: obstore has no UploadPartCopy."""
        return await self.write(key, self._concatenated(parts), ())

    async def sync(self, key: str) -> None:
        """See the port: an object that was acknowledged is durable."""

    async def size(self, key: str) -> int:
        """See the port."""
        try:
            with self._errors():
                async with asyncio.timeout(_ANSWER):
                    return (await obstore.head_async(self._store, layout.object_path(self._prefix, key)))["size"]
        except FileNotFoundError:
            await self.check()  # the answer to a HEAD cannot say that it is the bucket that is not there
            raise

    async def read(self, key: str, start: int = 0, length: int | None = None) -> AsyncGenerator[bytes, None]:
        """See the port. One request; the server is only read as fast as the chunks are taken."""
        path = layout.object_path(self._prefix, key)
        if length == 0:
            await self.size(key)
            return
        options: obstore.GetOptions = {}
        if length is not None:
            options["range"] = (start, start + length)
        elif start > 0:
            options["range"] = {"offset": start}
        try:
            with self._errors():
                async with asyncio.timeout(_ANSWER):
                    answer = await obstore.get_async(self._store, path, options=options)
        except _OutOfRangeError:
            return
        chunks = answer.stream(min_chunk_size=_READ)
        while True:
            with self._errors():
                chunk = await anext(chunks, None)
            if chunk is None:
                return
            yield chunk

    async def delete(self, key: str) -> None:
        """See the port; in a bucket that keeps versions, all of them, where keys are configured that may do that."""
        await self._delete(layout.object_path(self._prefix, key))

    async def older_versions(self) -> OlderVersions:
        """See the port."""
        if self._versions is None:
            words = f"whether the bucket {self._bucket} keeps older versions cannot be read without an access key"
            return OlderVersions(stay=True, words=f"{words} (`storage.s3.access_key_id`): those that it keeps stay")
        return await self._versions.state()

    async def keys(self) -> AsyncGenerator[str, None]:
        """See the port."""
        prefix = layout.object_path(self._prefix, "")
        pages = obstore.list(self._store, prefix, chunk_size=_PAGE)
        while True:
            with self._errors():
                page = await anext(pages, None)
            if page is None:
                return
            for each in page:
                yield each["path"].removeprefix(prefix)

    def path(self, key: str) -> str | None:
        """See the port: objects are no files."""
        return None

    async def signed_url(self, key: str) -> str | None:
        """See the port: for 5 minutes, when redirects are on."""
        if not self._redirect:
            return None
        with self._errors():
            path = layout.object_path(self._prefix, key)
            return await obstore.sign_async(self._store, "GET", path, _URL_LIFETIME)

    async def identity(self) -> str | None:
        """See the port."""
        try:
            with self._errors():
                async with asyncio.timeout(_ANSWER):
                    found = await obstore.get_async(self._store, layout.identity_object_path(self._prefix))
                    return bytes(await found.bytes_async()).decode().strip()
        except FileNotFoundError:
            return None

    async def mark(self, identity: str) -> None:
        """See the port."""
        with self._errors():
            path = layout.identity_object_path(self._prefix)
            await obstore.put_async(self._store, path, identity.encode(), use_multipart=False)

    async def check(self) -> None:
        """See the port. Asks for an object that is not there: that needs the bucket, the keys and the right to list."""
        try:
            with self._errors():
                async with asyncio.timeout(_ANSWER):
                    await obstore.get_async(self._store, layout.absent_object_path(self._prefix))
        except FileNotFoundError:
            return

    async def close(self) -> None:
        """See the port. Gives obstore's threads the time to let go of what they hold of Python.

        They report nothing that could be awaited, and a process that ends before aborts (11 of 25, none after 50 ms).
        """
        await asyncio.sleep(_SETTLING)

    async def _write_in_parts(self, path: str, start: list[bytes], blocks: AsyncIterator[bytes]) -> int:
        """A multipart upload of `start`, which is emptied, and all further blocks; returns their size in bytes.

        obstore pulls what it sends; the blocks come by a hand-over, so that they are produced in the caller's own task
        and a cancelled request aborts the upload instead of leaving its parts at the server.
        """
        handover = _Handover()
        upload = asyncio.ensure_future(
            obstore.put_async(
                self._store, path, handover, use_multipart=True, chunk_size=_PART, max_concurrency=_PARTS_AT_ONCE
            )
        )
        upload.add_done_callback(handover.nobody_takes)
        size = 0
        try:
            while start:
                size += len(start[0])
                await handover.give(start.pop(0))
            async for block in blocks:
                size += len(block)
                if size > _MOST:
                    raise StorageError(f"object storage takes at most {_MOST} bytes a blob")
                if upload.done():
                    break
                await handover.give(block)
            await handover.give(None)
            with self._errors():
                await asyncio.shield(upload)
        except BaseException:
            handover.abort()
            await asyncio.wait([upload])
            if not upload.cancelled() and upload.exception() is None:
                await self._delete(path)
            raise
        return size

    async def _concatenated(self, parts: Sequence[str]) -> AsyncIterator[bytes]:
        for part in parts:
            async for chunk in self.read(part):
                yield chunk

    async def _delete(self, path: str) -> None:
        if self._versions is not None and await self._versions.remove(path):
            return
        try:
            with self._errors():
                async with asyncio.timeout(_ANSWER):
                    await obstore.delete_async(self._store, path)
        except FileNotFoundError:
            return

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """The object store's errors as the port's. Their own text is dropped: it can hold what signs a request."""
        try:
            yield
        except TimeoutError:
            raise StorageError(f"{self._named()} did not answer within {_ANSWER} seconds") from None
        except (BaseError, FileNotFoundError) as error:
            raise self._translated(error) from None

    def _translated(self, error: Exception) -> Exception:
        text = str(error)
        code = _first(_CODE, text)
        status = _first(_STATUS, text)
        if code == "InvalidRange" or status == "416":
            return _OutOfRangeError()
        if code == "NoSuchBucket":
            return StorageError(f"{self._named()} does not exist: make the bucket, or correct its name or region")
        if isinstance(error, FileNotFoundError):
            return FileNotFoundError(f"{self._named()} has no such object")
        if code in _FULL or status == "507":
            return StorageFull(f"{self._named()} has no space left ({code or status})")
        if status in ("401", "403"):
            return StorageError(f"{self._named()} refuses the access key, its secret or its rights ({code or status})")
        if not status:
            return StorageError(f"{self._named()} cannot be reached")
        return StorageError(f"{self._named()} answered {status} {code}".rstrip())

    def _named(self) -> str:
        return f"the bucket {self._bucket} at {self._where}"


class _Handover:
    """Blocks that one task gives and obstore takes, one at a time."""

    def __init__(self) -> None:
        self._waiting: asyncio.Queue[bytes | _AbandonedError | None] = asyncio.Queue(1)
        self._taken = True

    async def give(self, block: bytes | None) -> None:
        """Return when the block before this one was taken, or nobody takes any more; None is the end."""
        if self._taken:
            await self._waiting.put(block)

    def abort(self) -> None:
        """Make the taker fail."""
        self._clear()
        self._waiting.put_nowait(_AbandonedError())

    def nobody_takes(self, upload: "asyncio.Future[obstore.PutResult]") -> None:
        """The upload has ended: whoever gives must not wait for it."""
        if not upload.cancelled():
            upload.exception()  # the giver may be gone; asyncio complains about errors nobody has seen
        self._taken = False
        self._clear()

    def _clear(self) -> None:
        while not self._waiting.empty():
            self._waiting.get_nowait()

    def __aiter__(self) -> "_Handover":
        return self

    async def __anext__(self) -> bytes:
        block = await self._waiting.get()
        if block is None:
            raise StopAsyncIteration
        if isinstance(block, _AbandonedError):
            raise block
        return block


async def _blocks(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """The same bytes in blocks of about 512 KiB."""
    gathered: list[bytes] = []
    held = 0
    async for chunk in chunks:
        gathered.append(chunk)
        held += len(chunk)
        if held >= _BLOCK:
            yield b"".join(gathered)
            gathered, held = [], 0
    if held:
        yield b"".join(gathered)


async def _hashed(blocks: AsyncIterator[bytes], hashes: Sequence[Hash]) -> AsyncGenerator[bytes, None]:
    """The same blocks; each is hashed in a thread while it is on its way. All are hashed when this ends."""
    loop = asyncio.get_running_loop()
    job: asyncio.Future[None] | None = None
    try:
        async for block in blocks:
            if job is not None:
                await job
                job = None
            if len(block) <= _INLINE:
                _update(hashes, block)
            elif hashes:
                job = loop.run_in_executor(None, _update, hashes, block)
            yield block
    finally:
        if job is not None:
            await job


def _update(hashes: Sequence[Hash], block: bytes) -> None:
    for running in hashes:
        running.update(block)


def _first(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.search(text)
    return found.group(1) if found else ""


def _client(bucket: str, region: str, endpoint: str, access_key_id: str, secret_access_key: str) -> S3Store:
    config: S3Config = {"bucket": bucket, "region": region, "disable_bulk_delete": True}
    if endpoint:
        config["aws_endpoint_url_s3"] = endpoint  # under this name the environment cannot replace it
    else:
        config["virtual_hosted_style_request"] = "." not in bucket  # a dot does not fit Amazon's certificate
    # Given as a pair that is whole, they are never mixed with a session token of the environment.
    keys: S3Credential = {"access_key_id": access_key_id, "secret_access_key": secret_access_key, "expires_at": None}
    return S3Store(
        config=config,
        credential_provider=(lambda: keys) if access_key_id else None,
        client_options={
            "allow_http": endpoint.startswith("http://"),
            "connect_timeout": timedelta(seconds=3),
            "read_timeout": timedelta(seconds=30),  # without a byte; also until a part, once sent, is acknowledged
            "timeout": timedelta(days=1),  # the whole request: a slow client may take its time over a download
            "default_content_type": "application/octet-stream",
        },
        retry_config={
            "max_retries": 5,
            "retry_timeout": timedelta(seconds=6),
            "backoff": {
                "init_backoff": timedelta(milliseconds=100),
                "max_backoff": timedelta(seconds=1),
                "base": 2,
            },
        },
    )
