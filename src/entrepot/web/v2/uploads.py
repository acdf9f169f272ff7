"""e4, e5, e6, e11, e13, e14: upload sessions over HTTP."""

from entrepot.access.caller import Caller
from entrepot.oci.digest import Digest
from entrepot.oci.reference import InvalidName, check_name
from entrepot.registry.errors import BodyTimedOut, DigestInvalid, UploadOutOfOrder
from entrepot.registry.uploads import Incoming, Uploads
from entrepot.web.message import Answer, Headers, Request
from entrepot.web.v2 import errors
from entrepot.web.v2.parse import digest_from
from entrepot.web.v2.ranges import upload_span
from entrepot.web.v2.visit import Visit


class UploadDoor:
    """Upload sessions."""

    def __init__(self, uploads: Uploads) -> None:
        self._uploads = uploads

    async def open(self, request: Request, name: str, visit: Visit) -> Answer:
        """POST: a mount (e11), a whole blob (e4b), or a new session (e4a, e4c)."""
        caller = visit.caller
        mount = request.query.one("mount")
        if mount is not None:
            digest = digest_from(mount)
            if await self._uploads.mount(name, digest, _source(request), caller, visit.grant):
                return _created(name, digest)
        algorithm = request.query.one("digest-algorithm")
        whole = request.query.one("digest")
        if whole is not None and mount is None:
            digest = digest_from(whole)
            if algorithm not in (None, digest.algorithm):
                raise DigestInvalid(f"digest-algorithm says {algorithm}, the digest is {digest}")
            await self._uploads.push_at_once(name, digest, _incoming(request), caller)
            return _created(name, digest)
        upload = await self._uploads.open(name, algorithm, caller)
        return Answer(202, session_headers(name, upload, 0))

    async def append(self, request: Request, name: str, upload: str) -> Answer:
        """PATCH: one chunk, or a stream."""
        try:
            offset = await self._uploads.append(name, upload, _incoming(request))
        except (UploadOutOfOrder, BodyTimedOut) as error:
            return _with_place(error, name)
        return Answer(202, session_headers(name, upload, offset))

    async def close(self, request: Request, name: str, upload: str, caller: Caller) -> Answer:
        """PUT: the last chunk, if any, and the digest of the whole."""
        text = request.query.one("digest")
        if text is None:
            raise DigestInvalid("the closing PUT needs ?digest=")
        digest = digest_from(text)
        try:
            await self._uploads.close(name, upload, digest, _incoming(request), caller)
        except (UploadOutOfOrder, BodyTimedOut) as error:
            return _with_place(error, name)
        return _created(name, digest)

    async def status(self, name: str, upload: str) -> Answer:
        """GET: how far the session is."""
        return Answer(204, session_headers(name, upload, await self._uploads.status(name, upload)))

    async def cancel(self, name: str, upload: str) -> Answer:
        """DELETE: end it."""
        await self._uploads.cancel(name, upload)
        return Answer(204)


def session_headers(name: str, upload: str, offset: int) -> Headers:
    """Where the session is and what it has. An empty one says `0-0`, as Docker must be able to read it (spec #213)."""
    return [
        (b"location", f"/v2/{name}/blobs/uploads/{upload}".encode()),
        (b"docker-upload-uuid", upload.encode()),
        (b"range", f"0-{max(offset - 1, 0)}".encode()),
    ]


def _incoming(request: Request) -> Incoming:
    return Incoming(request.chunks(), request.content_length(), upload_span(request.header(b"content-range")))


def _source(request: Request) -> str | None:
    """The repository to mount from; one that cannot exist is a miss, never an error."""
    source = request.query.one("from")
    if not source:
        return None
    try:
        return check_name(source)
    except InvalidName:
        return "-"


def _created(name: str, digest: Digest) -> Answer:
    location = f"/v2/{name}/blobs/{digest}".encode()
    return Answer(201, [(b"location", location), (b"docker-content-digest", str(digest).encode())])


def _with_place(error: UploadOutOfOrder | BodyTimedOut, name: str) -> Answer:
    return errors.answer(error, session_headers(name, error.upload, error.offset))
