"""Blobs of upstreams' repositories: stored, or arriving.

A blob is readable in a repository when a manifest that was fetched for that repository names it, or when the upstream
itself says that the repository has it. That the bytes are here for another repository opens nothing.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager

from entrepot.access.grant import Grant
from entrepot.client.errors import RemoteError, RemoteFailed
from entrepot.client.remote import Arriving
from entrepot.oci.digest import Digest
from entrepot.proxy.errand import Errand
from entrepot.proxy.errors import ANSWER_SECONDS, as_answer, check_allowed, not_for
from entrepot.proxy.flights import Flights
from entrepot.proxy.ledger import Count
from entrepot.proxy.manifests import NOBODY
from entrepot.proxy.ports import UpstreamRows
from entrepot.proxy.sources import Sources
from entrepot.proxy.upstream import Place
from entrepot.proxy.uses import Uses
from entrepot.registry.admission import admitted
from entrepot.registry.errors import RegistryError, Unauthorized, UpstreamError, UpstreamSlow
from entrepot.registry.ports import BlobRows, Bytes, RepositoryRows, StoredBlob
from entrepot.registry.uploads import Incoming, Uploads

_JOINED = 5  # flights that are joined for one request: those before it may be of others, whose upstream says no


class ProxiedBlobs:
    """Finds blobs in upstreams' repositories."""

    def __init__(
        self,
        sources: Sources,
        rows: BlobRows,
        repositories: RepositoryRows,
        known: UpstreamRows,
        uploads: Uploads,
        store: Bytes,
        flights: Flights,
        uses: Uses,
    ) -> None:
        self._sources = sources
        self._rows = rows
        self._repositories = repositories
        self._known = known
        self._uploads = uploads
        self._bytes = store
        self._flights = flights
        self._uses = uses

    async def find(self, name: str, digest: Digest, place: Place, grant: Grant) -> StoredBlob:
        """The blob; one that is not here begins to arrive."""
        found = await self._stored(name, digest, place, grant)
        if found is not None:
            self._sources.of(place).page.add(Count.SAVED_BYTES, found.size)
            self._uses.blob(name, str(digest))
            return found
        await self._may_be_fetched(name, place, grant)
        async with _in_time(place.upstream.alias):
            return await self._arriving(name, digest, place)

    async def _arriving(self, name: str, digest: Digest, place: Place) -> StoredBlob:
        size = await self._size(name, digest, place)
        repository = await self._known.ensure(name, place.upstream.alias)
        errand = self._errand(name, digest, size, place)
        for attempt in range(1, _JOINED + 1):
            if await self._take_stored(name, digest, place):
                found = await self._rows.find_blob(name, str(digest))
                if found is not None:
                    return found
            flight = self._flights.join(errand)
            if flight.origin != errand.origin:
                await errand.confirm()
            try:
                if await flight.started():
                    return StoredBlob(str(digest), flight.size, "", "", repository, 0, flight.read)
            except RegistryError:  # which may be the fault of who has asked first, for another repository
                if flight.is_for(errand) or attempt == _JOINED:
                    raise
        raise UpstreamError(f"{name} was evicted while it was read: ask again")

    async def _take_stored(self, name: str, digest: Digest, place: Place) -> bool:
        """Link what is stored here, if it is.

        What came from elsewhere says nothing of this repository: a manifest can name any digest, and what is stored may
        be for others. Then the upstream has to say that the repository has it.
        """
        shared = await self._known.stored(place.upstream.alias, str(digest))
        if shared is None:
            return False
        if not shared or len(place.upstream.credentials) > 1:
            await self._confirm(digest, place)
        return await self._known.link_stored(name, str(digest))

    async def _confirm(self, digest: Digest, place: Place) -> int | None:
        """The size in bytes that the upstream says, if it does; RegistryError unless its repository has the blob."""
        try:
            return await self._sources.of(place).blob_size(place.path, str(digest))
        except RemoteError as error:
            raise as_answer(error, blob=True) from error

    async def size(self, name: str, digest: Digest, place: Place, grant: Grant) -> StoredBlob:
        """What HEAD answers: nothing is fetched for it."""
        found = await self._stored(name, digest, place, grant)
        if found is not None:
            return found
        await self._may_be_fetched(name, place, grant)
        async with _in_time(place.upstream.alias):
            size = await self._size(name, digest, place)
        if size < 0:
            return await self.find(name, digest, place, grant)
        return StoredBlob(str(digest), size, "", "", 0, 0)

    async def fetch(self, name: str, digest: Digest, place: Place) -> None:
        """Have a blob stored anew whose bytes are not there, or not whole; RegistryError when that cannot be done."""
        check_allowed(place)
        async with _in_time(place.upstream.alias):
            blob = await self._arriving(name, digest, place)
        if blob.reader is not None:
            async for _ in blob.reader(0, None):
                pass

    async def _may_be_fetched(self, name: str, place: Place, grant: Grant) -> None:
        await asyncio.sleep(0)  # what does not wait ends here (web/fast_door.py)
        await admitted(self._repositories, name, grant)
        if not grant.fetches(name):
            raise not_for(name, place)

    async def _stored(self, name: str, digest: Digest, place: Place, grant: Grant) -> StoredBlob | None:
        check_allowed(place)
        found = await self._rows.find_blob(name, str(digest))
        if found is not None and not grant.covers(name, found.repository_id, found.rights_version):
            raise Unauthorized
        return found

    async def _size(self, name: str, digest: Digest, place: Place) -> int:
        """The size in bytes, -1 when it is not known; BlobUnknown when this repository has no such blob, Barred when
        it was purged."""
        await self._known.refuse_purged(place.upstream.alias, str(digest))
        naming = await self._known.naming(name, str(digest))
        if naming is not None:
            return _size_in(naming, str(digest))
        size = await self._confirm(digest, place)
        return -1 if size is None else size

    def _errand(self, name: str, digest: Digest, size: int, place: Place) -> Errand:
        async def is_stored() -> bool:
            await self._known.refuse_purged(place.upstream.alias, str(digest))
            return await self._take_stored(name, digest, place)

        async def confirm() -> None:
            await self._confirm(digest, place)

        async def keep(chunks: AsyncIterator[bytes]) -> None:
            await self._uploads.push_at_once(name, digest, Incoming(chunks), NOBODY)

        @asynccontextmanager
        async def stored(start: int) -> AsyncGenerator[Arriving, None]:
            found = await self._rows.find_blob(name, str(digest))
            if found is None:
                raise RemoteFailed(f"{name} was evicted while it was read")
            async with aclosing(self._bytes.read(found.key, start)) as chunks:
                yield Arriving(start, found.size, chunks)

        def followed() -> None:
            source.page.add(Count.FROM_NODES)

        source = self._sources.of(place)
        alias = place.upstream.alias
        origin = f"{alias} {place.credential.name}".rstrip()
        return Errand(digest, size, source, alias, place.path, origin, confirm, followed, is_stored, stored, keep)


@asynccontextmanager
async def _in_time(alias: str) -> AsyncGenerator[None, None]:
    """What an upstream must say at once, as somebody waits."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            yield
    except TimeoutError:
        raise UpstreamSlow(f"{alias} did not answer within {ANSWER_SECONDS:.0f} seconds") from None


def _size_in(manifest: bytes, digest: str) -> int:
    """What a manifest says about the size of a blob that it names; -1 when it says nothing that can be read."""
    document = json.loads(manifest)
    for each in [document.get("config"), *(document.get("layers") or [])]:
        if isinstance(each, dict) and each.get("digest") == digest:
            size = each.get("size")
            return size if isinstance(size, int) and not isinstance(size, bool) and size >= 0 else -1
    return -1
