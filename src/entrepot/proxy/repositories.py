"""Where a pull finds what it wants: in a hosted repository, or in one of an upstream, by its name alone."""

from entrepot.access.grant import Grant
from entrepot.oci.digest import Digest
from entrepot.proxy.blobs import ProxiedBlobs
from entrepot.proxy.manifests import ProxiedManifests
from entrepot.proxy.upstream import Upstreams
from entrepot.proxy.uses import Uses
from entrepot.registry.blobs import Blobs
from entrepot.registry.manifests import Manifests
from entrepot.registry.ports import StoredBlob, StoredManifest


class Repositories:
    """All repositories, hosted or not."""

    def __init__(
        self,
        upstreams: Upstreams,
        manifests: Manifests,
        blobs: Blobs,
        proxied_manifests: ProxiedManifests,
        proxied_blobs: ProxiedBlobs,
        uses: Uses,
    ) -> None:
        self._upstreams = upstreams
        self._manifests = manifests
        self._blobs = blobs
        self._proxied_manifests = proxied_manifests
        self._proxied_blobs = proxied_blobs
        self._uses = uses

    async def find_manifest(self, name: str, reference: str, grant: Grant, *, whole: bool) -> StoredManifest:
        """By tag or digest; `whole`: it is pulled, not only looked at."""
        place = self._upstreams.place(name)
        if place is None:
            return await self._manifests.find(name, reference, grant)
        found = await self._proxied_manifests.find(name, reference, place, grant, whole=whole)
        if whole:
            self._uses.image(name, found.digest)
        return found

    async def find_blob(self, name: str, digest: Digest, grant: Grant, *, whole: bool) -> StoredBlob:
        """A blob; `whole`: its bytes are wanted, not only its size."""
        place = self._upstreams.place(name)
        if place is None:
            return await self._blobs.find(name, digest, grant)
        if whole:
            return await self._proxied_blobs.find(name, digest, place, grant)
        return await self._proxied_blobs.size(name, digest, place, grant)
