"""`/v2/` as a whole: from a request to the answer."""

from collections.abc import AsyncGenerator, Iterable

from entrepot.access.caller import Caller
from entrepot.access.grant import EVERYTHING
from entrepot.registry.errors import NameInvalid, RegistryError, Unauthorized, Unsupported
from entrepot.web.message import Answer, BadRequest, Request
from entrepot.web.v2 import errors
from entrepot.web.v2.blobs import BlobDoor
from entrepot.web.v2.listings import ListingDoor
from entrepot.web.v2.manifests import ManifestDoor
from entrepot.web.v2.naming import Named, Naming
from entrepot.web.v2.parse import digest_from, name_from
from entrepot.web.v2.routes import METHODS, Route, route
from entrepot.web.v2.uploads import UploadDoor
from entrepot.web.v2.visit import Gate, Refused, Visit


class V2:
    """Every route of the specification."""

    def __init__(
        self,
        gate: Gate,
        naming: Naming,
        blobs: BlobDoor,
        uploads: UploadDoor,
        manifests: ManifestDoor,
        listings: ListingDoor,
    ) -> None:
        self._gate = gate
        self._naming = naming
        self._blobs = blobs
        self._uploads = uploads
        self._manifests = manifests
        self._listings = listings

    async def answer(self, request: Request, address: str) -> tuple[str, Answer]:
        """The kind of route (for the metrics), and the answer: the specification's error form when it is a refusal."""
        found = route(request.path)
        if found is None:
            return "other", errors.refusal(404, "UNSUPPORTED", "the registry has no such endpoint")
        allowed = METHODS[found.kind]
        if request.method not in allowed:
            text = f"{request.method} is not a thing to do with {found.kind} here"
            return found.kind, errors.refusal(405, "UNSUPPORTED", text, headers=[_allow(allowed)])
        named = self._naming.name(request, found)
        if isinstance(named, Answer):
            return found.kind, named
        try:
            answer = await self._admitted(request, named, address)
            answer.headers.extend(named.headers)
            if answer.stream is not None and answer.file is None:
                answer.stream = await _begun(answer.stream)
            return found.kind, answer
        except Refused as error:
            return found.kind, error.answer
        except BadRequest as error:
            return found.kind, errors.refusal(400, "UNSUPPORTED", str(error))
        except Unsupported as error:
            others = [method for method in allowed if method != request.method]
            return found.kind, errors.answer(error, [_allow(others)])
        except RegistryError as error:
            return found.kind, errors.answer(error)

    def at_mirror(self, port: int) -> bool:
        """Whether what comes by this port comes to a mirror, where there is nothing but `/v2/`."""
        return self._naming.at_mirror(port)

    async def _admitted(self, request: Request, named: Named, address: str) -> Answer:
        found = named.route
        if found.name:
            name_from(found.name)
        if named.anonymous:
            return await self._dispatch(request, found, Visit(EVERYTHING, Caller(address=address)))
        visit = await self._gate.admit(request, found, address)
        try:
            return await self._dispatch(request, found, visit)
        except Unauthorized:  # the token is from before what is there now: a first push, or a change of rights
            return await self._dispatch(request, found, await self._gate.again(request, found, address))

    async def _dispatch(self, request: Request, found: Route, visit: Visit) -> Answer:
        name = found.name
        match found.kind:
            case "ping":
                return Answer(200, [(b"content-type", b"application/json")], b"{}")
            case "catalog":
                return await self._listings.catalog(request, visit)
            case "tags":
                return await self._listings.tags(request, name, visit)
            case "referrers":
                return await self._listings.referrers(request, name, digest_from(found.reference), visit)
            case "uploads":
                return await self._uploads.open(request, name, visit)
            case "upload":
                return await self._upload(request, name, found.reference, visit.caller)
            case "blobs":
                return await self._blob(request, name, found.reference, visit)
            case "manifests":
                return await self._manifest(request, name, found.reference, visit)
        raise NameInvalid(f"no such resource: {found.kind}")

    async def _upload(self, request: Request, name: str, upload: str, caller: Caller) -> Answer:
        match request.method:
            case "PATCH":
                return await self._uploads.append(request, name, upload)
            case "PUT":
                return await self._uploads.close(request, name, upload, caller)
            case "DELETE":
                return await self._uploads.cancel(name, upload)
            case _:
                return await self._uploads.status(name, upload)

    async def _blob(self, request: Request, name: str, reference: str, visit: Visit) -> Answer:
        if request.method == "DELETE":
            return await self._blobs.delete(name, digest_from(reference), visit.caller)
        return await self._blobs.get(request, name, digest_from(reference), visit)

    async def _manifest(self, request: Request, name: str, reference: str, visit: Visit) -> Answer:
        match request.method:
            case "PUT":
                return await self._manifests.put(request, name, reference, visit.caller)
            case "DELETE":
                return await self._manifests.delete(name, reference, visit.caller)
            case _:
                return await self._manifests.get(request, name, reference, visit, request.query.one("at"))


def _allow(methods: Iterable[str]) -> tuple[bytes, bytes]:
    return b"allow", ", ".join(methods).encode()


async def _begun(stream: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """The same bytes, the first of them at hand: a store that fails at once gets its own answer, not a broken 200."""
    first = await anext(stream, b"")

    async def whole() -> AsyncGenerator[bytes, None]:
        yield first
        async for chunk in stream:
            yield chunk

    return whole()
