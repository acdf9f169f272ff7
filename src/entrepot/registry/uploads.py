"""Upload sessions: POST, PATCH, PUT, status, cancel, mount (distribution-spec, "Pushing blobs").

Each request body is written under a key that only this request has, and joins its session by one compare-and-set on
(offset, generation). One body becomes the blob as it is; several are joined once, when the session closes.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from entrepot.access.caller import Caller
from entrepot.access.grant import Grant
from entrepot.oci.digest import CANONICAL, Digest, Hash, hasher
from entrepot.registry.errors import (
    BodyInterrupted,
    BodyLost,
    BodyTimedOut,
    Denied,
    DigestInvalid,
    SizeInvalid,
    UploadOutOfOrder,
    UploadUnknown,
)
from entrepot.registry.identity import new_key, new_upload_id
from entrepot.registry.ports import BlobRows, Body, Bytes, Upload, UploadRows

_RUNNING_HASHES = 1024


@dataclass(frozen=True, slots=True)
class Span:
    """A Content-Range of an upload: first byte and length in bytes."""

    start: int
    length: int


@dataclass(slots=True)
class Incoming:
    """A request body: its chunks, its announced length (None when chunked), and its place in the upload if stated."""

    chunks: AsyncIterator[bytes]
    length: int | None = None
    span: Span | None = None
    size: int = 0
    interrupted: BodyInterrupted | None = None

    @property
    def empty(self) -> bool:
        """Whether the request said that there is no body."""
        return self.length == 0

    async def received(self) -> AsyncIterator[bytes]:
        """The chunks that arrive; they simply end, and `interrupted` is set, when the client goes away."""
        try:
            async for chunk in self.chunks:
                self.size += len(chunk)
                yield chunk
        except BodyInterrupted as reason:
            self.interrupted = reason


class Uploads:
    """Every upload session of this server, whichever worker or node it was opened on."""

    def __init__(
        self,
        rows: UploadRows,
        blobs: BlobRows,
        store: Bytes,
        lifetime: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`lifetime`: seconds that an unfinished session lives after its last byte. `clock`: monotonic, in seconds."""
        self._clock = clock
        self._rows = rows
        self._blobs = blobs
        self._store = store
        self._lifetime = lifetime
        self._running: OrderedDict[str, tuple[int, str, Hash]] = OrderedDict()

    async def open(self, repository: str, algorithm: str | None, caller: Caller) -> str:
        """Open a session; returns its id. DigestInvalid for an algorithm that is not supported."""
        if algorithm is not None:
            _hasher(algorithm)
        upload = new_upload_id()
        await self._rows.open_upload(repository, upload, self._store.name, algorithm, self._lifetime, caller)
        return upload

    async def push_at_once(self, repository: str, digest: Digest, body: Incoming, caller: Caller) -> None:
        """The whole blob in one POST; nothing is left behind when it fails."""
        upload = await self.open(repository, digest.algorithm, caller)
        try:
            await self.close(repository, upload, digest, body, caller)
        except BaseException as error:
            await self._rows.cancel_upload(repository, upload)
            if isinstance(error, BodyTimedOut):
                raise BodyLost("the body fell silent: send the blob again, or in parts that can be resumed") from None
            raise

    async def mount(self, repository: str, digest: Digest, source: str | None, caller: Caller, grant: Grant) -> bool:
        """Link a blob of another repository; False when it is not there or not granted: a normal upload follows."""
        return await self._blobs.mount_blob(repository, str(digest), source, caller, grant)

    async def status(self, repository: str, upload: str) -> int:
        """The offset of the session in bytes."""
        return (await self._find(repository, upload)).offset

    async def cancel(self, repository: str, upload: str) -> None:
        """End the session and throw its bytes away."""
        if not await self._rows.cancel_upload(repository, upload):
            raise _unknown(upload)
        self._running.pop(upload, None)

    async def append(self, repository: str, upload_id: str, body: Incoming) -> int:
        """Add one body to the session; returns the new offset. What arrived before an interruption is kept."""
        upload = await self._find(repository, upload_id)
        _check_place(upload, body)
        if body.empty:
            return upload.offset
        running = self._running_hash(upload, upload.algorithm or CANONICAL)
        key = await self._write(upload, body, [running] if running else [])
        if body.span is not None and body.interrupted is None and body.size != body.span.length:
            await self._rows.discard_body(upload, key)
            raise SizeInvalid(f"the Content-Range announces {body.span.length} bytes, the body has {body.size}")
        offset = await self._join(repository, upload, key, body.size, running)
        if body.interrupted is not None:
            raise _cut(upload_id, offset, body.interrupted)
        return offset

    async def close(self, repository: str, upload_id: str, digest: Digest, body: Incoming, caller: Caller) -> None:
        """Close the session: the bytes, with the last body, must have this digest. Durable when it returns."""
        upload = await self._find(repository, upload_id)
        _check_place(upload, body)
        parts = [] if upload.offset == 0 else [part.key for part in await self._rows.upload_bodies(upload.id)]
        running = self._running_hash(upload, digest.algorithm)
        size = upload.offset
        if not body.empty or not parts:
            key = await self._write(upload, body, [running] if running else [])
            if body.interrupted is not None:
                known = running if digest.algorithm == (upload.algorithm or CANONICAL) else None
                offset = await self._join(repository, upload, key, body.size, known)
                raise _cut(upload.id, offset, body.interrupted)
            if body.span is not None and body.size != body.span.length:
                await self._rows.discard_body(upload, key)
                raise SizeInvalid(f"the Content-Range announces {body.span.length} bytes, the body has {body.size}")
            size += body.size
            if body.size or not parts:
                parts.append(key)
        try:
            await self._verify(repository, upload, digest, parts, running)
            final = await self._one_key(upload, parts)
            await self._store.sync(final)
        except FileNotFoundError:  # the session has ended meanwhile, and its bytes are gone
            raise await self._moved_on(repository, upload.id) from None
        if not await self._rows.close_upload(upload, str(digest), size, final, caller):
            raise await self._moved_on(repository, upload.id)
        self._running.pop(upload_id, None)

    async def _find(self, repository: str, upload_id: str) -> Upload:
        upload = await self._rows.find_upload(repository, upload_id)
        if upload is None:
            raise _unknown(upload_id)
        if upload.offset and await self._shorter_than_its_row(upload):
            upload = await self._rows.find_upload(repository, upload_id)
            if upload is None:
                raise _unknown(upload_id)
        return upload

    async def _shorter_than_its_row(self, upload: Upload) -> bool:
        """After a power cut a body may have lost its end: 202 promises no sync. The session then goes back to it."""
        kept: list[Body] = []
        for body in await self._rows.upload_bodies(upload.id):
            try:
                size = await self._store.size(body.key)
            except FileNotFoundError:
                size = 0
            if size >= body.size:
                kept.append(body)
                continue
            await self._rows.shorten_upload(upload, kept)
            self._running.pop(upload.id, None)
            return True
        return False

    async def _write(self, upload: Upload, body: Incoming, hashes: list[Hash]) -> str:
        reserved = await self._rows.reserve(upload, upload.offset + (body.length or 0), more=body.length is None)
        key = new_key(upload.id)
        if not await self._rows.claim_body(upload.id, key, self._lifetime):
            raise _unknown(upload.id)
        chunks = body.received() if reserved is None else self._within(upload, body, reserved)
        try:
            await self._store.write(key, self._renewing(upload, chunks), hashes)
        except Denied:
            await self._rows.discard_body(upload, key)
            raise
        return key

    async def _renewing(self, upload: Upload, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The chunks; while they come the session does not expire, and what is beside it does not age."""
        due = self._clock() + self._lifetime / 4
        async for chunk in chunks:
            yield chunk
            now = self._clock()
            if now >= due:
                await self._rows.renew_upload(upload.id, self._lifetime)
                due = now + self._lifetime / 4

    async def _within(self, upload: Upload, body: Incoming, reserved: int) -> AsyncIterator[bytes]:
        """The chunks as long as there is room for them: a chunked body does not say how long it will be."""
        async for chunk in body.received():
            if upload.offset + body.size > reserved:
                more = await self._rows.reserve(upload, upload.offset + body.size, more=True)
                reserved = reserved if more is None else more
            yield chunk

    async def _join(self, repository: str, upload: Upload, key: str, size: int, running: Hash | None) -> int:
        if size == 0:
            await self._rows.discard_body(upload, key)
            return upload.offset
        algorithm = upload.algorithm or CANONICAL
        digest = f"{algorithm}:{running.hexdigest()}" if running and upload.offset == 0 else None
        if not await self._rows.join_body(upload, key, size, digest, self._lifetime):
            raise await self._moved_on(repository, upload.id)
        if running is not None:
            self._running[upload.id] = (upload.generation + 1, algorithm, running)
            if len(self._running) > _RUNNING_HASHES:
                self._running.popitem(last=False)
        return upload.offset + size

    def _running_hash(self, upload: Upload, algorithm: str) -> Hash | None:
        """A hash of everything before the next body, which may be updated; None when it is not known here."""
        if upload.offset == 0:
            return _hasher(algorithm)
        generation, known, running = self._running.get(upload.id, (-1, "", None))
        if running is None or generation != upload.generation or known != algorithm:
            return None
        return running.copy()

    async def _verify(
        self, repository: str, upload: Upload, digest: Digest, parts: list[str], running: Hash | None
    ) -> None:
        if upload.offset and len(parts) == 1 and upload.digest and upload.digest.startswith(digest.algorithm):
            actual = upload.digest
        elif running is not None:
            actual = f"{digest.algorithm}:{running.hexdigest()}"
        else:
            actual = await self._read_back(parts, digest.algorithm)
        if actual != str(digest):
            await self._rows.cancel_upload(repository, upload.id)
            raise DigestInvalid(
                f"the content has the digest {actual}, not {digest}; push it again", {"digest": str(digest)}
            )

    async def _read_back(self, parts: list[str], algorithm: str) -> str:
        running = hasher(algorithm)
        for part in parts:
            async for chunk in self._store.read(part):
                await asyncio.to_thread(running.update, chunk)
        return f"{algorithm}:{running.hexdigest()}"

    async def _one_key(self, upload: Upload, parts: list[str]) -> str:
        if len(parts) == 1:
            return parts[0]
        key = new_key(upload.id)
        if not await self._rows.claim_body(upload.id, key):
            raise _unknown(upload.id)
        await self._store.join(key, parts)
        return key

    async def _moved_on(self, repository: str, upload_id: str) -> UploadOutOfOrder | UploadUnknown:
        """What to tell the request that lost a race."""
        upload = await self._rows.find_upload(repository, upload_id)
        if upload is None:
            return _unknown(upload_id)
        return UploadOutOfOrder(upload_id, upload.offset, "another request has changed this upload meanwhile")


def _hasher(algorithm: str) -> Hash:
    try:
        return hasher(algorithm)
    except ValueError as error:
        raise DigestInvalid(str(error)) from None


def _check_place(upload: Upload, body: Incoming) -> None:
    if body.span is None:
        return
    if body.span.start != upload.offset:
        raise UploadOutOfOrder(
            upload.id, upload.offset, f"this upload has {upload.offset} bytes; the next chunk starts there"
        )
    if body.length is not None and body.length != body.span.length:
        raise UploadOutOfOrder(
            upload.id,
            upload.offset,
            f"the Content-Range announces {body.span.length} bytes, the body has {body.length}",
        )


def _cut(upload: str, offset: int, reason: BodyInterrupted) -> Exception:
    if not reason.timed_out:
        return reason
    return BodyTimedOut(upload, offset, f"the body fell silent; {offset} bytes are kept, go on from there")


def _unknown(upload: str) -> UploadUnknown:
    return UploadUnknown("no such upload here: it was finished, cancelled or has expired", {"upload": upload})
