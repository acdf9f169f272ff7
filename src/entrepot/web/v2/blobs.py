"""e2 and e10: pulling a blob, and unlinking it."""

import secrets
from collections.abc import AsyncGenerator

from entrepot.access.caller import Caller
from entrepot.oci.digest import Digest
from entrepot.proxy.repositories import Repositories
from entrepot.registry.deletion import Deletions
from entrepot.registry.ports import Bytes, StoredBlob
from entrepot.web.message import Answer, Conditions, Headers
from entrepot.web.v2.errors import refusal
from entrepot.web.v2.ranges import Unsatisfiable, download_spans
from entrepot.web.v2.visit import Visit

_TYPE = (b"content-type", b"application/octet-stream")


class BlobDoor:
    """Blobs over HTTP."""

    def __init__(self, repositories: Repositories, deletions: Deletions, store: Bytes) -> None:
        self._repositories = repositories
        self._deletions = deletions
        self._store = store

    async def get(self, request: Conditions, name: str, digest: Digest, visit: Visit) -> Answer:
        """GET and HEAD; with If-None-Match, and for GET Range and If-Range (RFC 9110 §13, §14)."""
        whole = request.method == "GET"
        blob = await self._repositories.find_blob(name, digest, visit.grant, whole=whole)
        headers = blob_headers(blob.digest)
        etag = f'"{blob.digest}"'
        if matches(request.header(b"if-none-match"), blob.digest):
            return Answer(304, headers)
        if request.method == "HEAD":
            return Answer(200, [*headers, _TYPE], length=blob.size)
        condition = request.header(b"if-range")
        wanted = request.header(b"range") if condition in (None, etag) else None
        try:
            spans = download_spans(wanted, blob.size)
        except Unsatisfiable:
            return _unsatisfiable(blob)
        url = None if blob.reader is not None else await self._store.signed_url(blob.key)
        if url is not None:
            return Answer(307, [*headers, (b"location", url.encode())])
        if spans is None:
            return self._part(blob, 200, [*headers, _TYPE], 0, blob.size)
        if len(spans) == 1:
            first, length = spans[0]
            content_range = f"bytes {first}-{first + length - 1}/{blob.size}".encode()
            return self._part(blob, 206, [*headers, _TYPE, (b"content-range", content_range)], first, length)
        return self._several(blob, headers, spans)

    async def delete(self, name: str, digest: Digest, caller: Caller) -> Answer:
        """DELETE: 202 when this repository's link has ended."""
        await self._deletions.delete_blob(name, digest, caller)
        return Answer(202)

    def _part(self, blob: StoredBlob, status: int, headers: Headers, first: int, length: int) -> Answer:
        if blob.reader is not None:
            return Answer(status, headers, stream=blob.reader(first, length), length=length, blob=_named(blob))
        path = self._store.path(blob.key)
        file = None if path is None else (path, first, length)
        stream = self._store.read(blob.key, first, length)
        return Answer(status, headers, stream=stream, file=file, length=length, blob=_named(blob))

    def _several(self, blob: StoredBlob, headers: Headers, spans: list[tuple[int, int]]) -> Answer:
        """multipart/byteranges (RFC 9110 §14.6), which lazy snapshotters ask for."""
        boundary = secrets.token_hex(16)
        heads = [
            f"\r\n--{boundary}\r\nContent-Type: application/octet-stream\r\n"
            f"Content-Range: bytes {first}-{first + length - 1}/{blob.size}\r\n\r\n".encode()
            for first, length in spans
        ]
        tail = f"\r\n--{boundary}--\r\n".encode()

        async def parts() -> AsyncGenerator[bytes, None]:
            for head, (first, length) in zip(heads, spans, strict=True):
                yield head
                read = blob.reader(first, length) if blob.reader else self._store.read(blob.key, first, length)
                async for chunk in read:
                    yield chunk
            yield tail

        total = sum(map(len, heads)) + sum(length for _, length in spans) + len(tail)
        kind = (b"content-type", f"multipart/byteranges; boundary={boundary}".encode())
        return Answer(206, [*headers, kind], stream=parts(), length=total, blob=_named(blob))


def _named(blob: StoredBlob) -> tuple[int, str]:
    return blob.repository_id, blob.digest


def blob_headers(digest: str) -> Headers:
    """What every answer about a blob says."""
    return [
        (b"docker-content-digest", digest.encode()),
        (b"etag", f'"{digest}"'.encode()),
        (b"accept-ranges", b"bytes"),
        (b"cache-control", b"max-age=31536000"),
    ]


def matches(header: str | None, digest: str) -> bool:
    """If-None-Match, with the digest quoted, weak or bare (Docker's cache sends it bare)."""
    if header is None:
        return False
    tags = {tag.strip().removeprefix("W/").strip('"') for tag in header.split(",")}
    return digest in tags or "*" in tags


def _unsatisfiable(blob: StoredBlob) -> Answer:
    return refusal(
        416,
        "SIZE_INVALID",
        f"no byte of that range is there: the blob has {blob.size} bytes",
        headers=[(b"content-range", f"bytes */{blob.size}".encode()), (b"accept-ranges", b"bytes")],
    )
