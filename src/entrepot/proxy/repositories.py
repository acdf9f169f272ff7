"""Where a pull finds what it wants: in a hosted repository, or in one of an upstream, by its name alone."""

from entrepot.access.grant import Grant
from entrepot.oci.digest import Digest
from entrepot.proxy.blobs import ProxiedBlobs
from entrepot.proxy.manifests import ProxiedManifests
from entrepot.proxy.upstream import Upstreams
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
    ) -> None:
        self._upstreams = upstreams
        self._manifests = manifests
        self._blobs = blobs
        self._proxied_manifests = proxied_manifests
        self._proxied_blobs = proxied_blobs

    async def find_manifest(self, name: str, reference: str, grant: Grant) -> StoredManifest:
        """By tag or digest."""
        place = self._upstreams.place(name)
        if place is None:
            return await self._manifests.find(name, reference, grant)
        return await self._proxied_manifests.find(name, reference, place, grant)

    async def find_blob(self, name: str, digest: Digest, grant: Grant, *, whole: bool) -> StoredBlob:
        """A blob; `whole`: its bytes are wanted, not only its size."""
        place = self._upstreams.place(name)
        if place is None:
            return await self._blobs.find(name, digest, grant)
        if whole:
            return await self._proxied_blobs.find(name, digest, place, grant)
        return await self._proxied_blobs.size(name, digest, place, grant)
