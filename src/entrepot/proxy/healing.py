"""Blobs whose stored bytes are damaged or missing are fetched again where an upstream has them."""

from collections.abc import Sequence

from entrepot.oci.digest import Digest
from entrepot.proxy.blobs import ProxiedBlobs
from entrepot.proxy.upstream import Upstreams
from entrepot.registry.errors import RegistryError


class Healing:
    """The port Healer."""

    def __init__(self, upstreams: Upstreams, blobs: ProxiedBlobs) -> None:
        self._upstreams = upstreams
        self._blobs = blobs

    async def heal(self, digest: str, repositories: Sequence[str]) -> None:
        """See the port. What arrives is stored by an upload like any other, and that replaces the bytes."""
        failed: RegistryError | None = None
        for name in repositories:
            place = self._upstreams.place(name)
            if place is None:
                continue
            try:
                await self._blobs.fetch(name, Digest.parse(digest), place)
            except RegistryError as error:
                failed = error
                continue
            return
        if failed is not None:
            raise failed
