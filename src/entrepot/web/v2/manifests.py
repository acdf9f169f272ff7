"""e3, e7, e9: manifests over HTTP."""

from entrepot.access.caller import Caller
from entrepot.access.names import PREVIEW
from entrepot.oci.digest import Digest
from entrepot.oci.manifest import MAX_SIZE
from entrepot.oci.mediatype import OCI_INDEX
from entrepot.proxy.repositories import Repositories
from entrepot.registry.deletion import Deleted, Deletions
from entrepot.registry.errors import BodyInterrupted, BodyLost, ManifestTooLarge, TagInvalid
from entrepot.registry.history import History
from entrepot.registry.manifests import Manifests
from entrepot.registry.ports import StoredManifest
from entrepot.web.message import Answer, Conditions, Headers, Request
from entrepot.web.v2.blobs import matches
from entrepot.web.v2.errors import refusal
from entrepot.web.v2.parse import reference_from, tag_from, time_from
from entrepot.web.v2.pulls import PREVIEW_CONTENT, PullDesk
from entrepot.web.v2.stale import stale_headers
from entrepot.web.v2.visit import Visit

_NAMED_TAGS = 20  # in a warning, which has at most 4096 bytes
_MOST_TAGS = 100  # of one PUT; the specification asks for at least 10


class ManifestDoor:
    """Manifests and tags."""

    def __init__(
        self,
        repositories: Repositories,
        manifests: Manifests,
        deletions: Deletions,
        history: History,
        desk: PullDesk | None,
    ) -> None:
        """`desk`: where pulls are charged and noted; without accounts there is none."""
        self._repositories = repositories
        self._manifests = manifests
        self._deletions = deletions
        self._history = history
        self._desk = desk

    async def get(self, request: Conditions, name: str, reference: str, visit: Visit, at: str | None = None) -> Answer:
        """GET and HEAD by tag or digest. Accept is advice: what was pushed is what is answered.

        `at`: what it was at this time, in RFC 3339.
        """
        wanted = reference_from(reference)
        if self._desk is not None and name == PREVIEW:
            return Answer(200, [(b"content-type", OCI_INDEX.encode()), *await self._desk.shown(visit)], PREVIEW_CONTENT)
        if at is None:
            whole = request.method == "GET"
            found = await self._repositories.find_manifest(name, str(wanted), visit.grant, whole=whole)
        elif isinstance(wanted, str):
            found = await self._history.find(name, wanted, time_from(at), visit.grant)
        else:
            found = await self._history.find_digest(name, str(wanted), time_from(at), visit.grant)
        headers = manifest_headers(found, by_tag=isinstance(wanted, str))
        unchanged = matches(request.header(b"if-none-match"), found.digest)
        if self._desk is not None:
            pulled = request.method == "GET" and not unchanged
            headers += await self._desk.charge(visit, found, counted=pulled)
            tag = wanted if isinstance(wanted, str) else ""
            self._desk.note(visit, found, tag, request.header(b"user-agent") or "", pulled=pulled)
        if found.stale is not None:
            headers += stale_headers(found.stale)
        if unchanged:
            return Answer(304, headers[1:])
        return Answer(200, headers, found.content)

    async def put(self, request: Request, name: str, reference: str, caller: Caller) -> Answer:
        """PUT by tag, or by digest with any number of `?tag=`."""
        wanted = reference_from(reference)
        tags = [tag_from(tag) for tag in request.query.all("tag")]
        if len(tags) > _MOST_TAGS:
            return refusal(414, "MANIFEST_INVALID", f"at most {_MOST_TAGS} tags can be given at once, not {len(tags)}")
        if isinstance(wanted, str):
            if tags:
                raise TagInvalid("?tag= goes with a push by digest")
            digest = None
            moved: tuple[str, ...] = (wanted,)
        else:
            digest, moved = wanted, tuple(dict.fromkeys(tags))
        content = await _body(request)
        pushed = await self._manifests.push(name, content, request.header(b"content-type"), digest, moved, caller)
        headers: Headers = [
            (b"location", f"/v2/{name}/manifests/{pushed.digest}".encode()),
            (b"docker-content-digest", pushed.digest.encode()),
        ]
        if pushed.subject is not None:
            headers.append((b"oci-subject", pushed.subject.encode()))
        if digest is not None:
            headers.extend((b"oci-tag", tag.encode()) for tag in pushed.tags)
        return Answer(201, headers)

    async def delete(self, name: str, reference: str, caller: Caller) -> Answer:
        """DELETE by tag takes the tag; by digest the manifest and its tags."""
        wanted = reference_from(reference)
        if not isinstance(wanted, Digest):
            gone = await self._deletions.delete_tag(name, wanted, caller)
            return Answer(202, _still_there(name, gone.digest))
        deleted = await self._deletions.delete(name, wanted, caller)
        return Answer(202, _went_along(deleted))


def manifest_headers(manifest: StoredManifest, *, by_tag: bool) -> Headers:
    """What every answer about a manifest says; the type comes first and bare, without parameters."""
    return [
        (b"content-type", manifest.media_type.encode()),
        (b"docker-content-digest", manifest.digest.encode()),
        (b"etag", f'"{manifest.digest}"'.encode()),
        (b"cache-control", b"no-cache" if by_tag else b"max-age=31536000"),
    ]


def _went_along(deleted: Deleted) -> Headers:
    """For clients that delete a tag by its digest and take its siblings along (distribution-spec, "Warnings")."""
    warnings = []
    if len(deleted.tags) > 1:
        named = ", ".join(deleted.tags[:_NAMED_TAGS]) + (", ..." if len(deleted.tags) > _NAMED_TAGS else "")
        warnings.append(f"{len(deleted.tags)} tags named this manifest and went with it: {named}")
    if len(deleted.manifests) > 1:
        warnings.append(f"{len(deleted.manifests) - 1} manifests that belong to it went with it")
    return [(b"warning", f'299 - "{text}"'.encode()) for text in warnings]


def _still_there(name: str, digest: str) -> Headers:
    """Deleting a tag does not delete the image: who deletes one is told (distribution-spec, "Warnings")."""
    text = (
        f"the tag is gone, but its image still answers by its digest {digest}:"
        f" to delete that too, DELETE /v2/{name}/manifests/{digest}"
    )
    return [(b"warning", f'299 - "{text}"'.encode())]


async def _body(request: Request) -> bytes:
    length = request.content_length()
    if length is not None and length > MAX_SIZE:
        raise ManifestTooLarge(f"a manifest has at most {MAX_SIZE} bytes, this one has {length}")
    parts: list[bytes] = []
    size = 0
    try:
        async for chunk in request.chunks():
            parts.append(chunk)
            size += len(chunk)
            if size > MAX_SIZE:
                raise ManifestTooLarge(f"a manifest has at most {MAX_SIZE} bytes")
    except BodyInterrupted as reason:
        if reason.timed_out:
            raise BodyLost("the body fell silent: send the manifest again") from None
        raise
    return b"".join(parts)
