"""Blobs as a repository sees them: readable only through its own link."""

from entrepot.access.actor import Caller
from entrepot.oci.digest import Digest
from entrepot.registry.errors import BlobUnknown, Unsupported
from entrepot.registry.ports import BlobRows, StoredBlob


class Blobs:
    """Finding and unlinking."""

    def __init__(self, rows: BlobRows, *, deletion: bool) -> None:
        self._rows = rows
        self._deletion = deletion

    async def find(self, repository: str, digest: Digest) -> StoredBlob:
        """The blob, when this repository has it."""
        blob = await self._rows.find_blob(repository, str(digest))
        if blob is None:
            raise BlobUnknown("this repository has no such blob", {"digest": str(digest)})
        return blob

    async def delete(self, repository: str, digest: Digest, caller: Caller) -> None:
        """End this repository's link; other repositories keep theirs."""
        if not self._deletion:
            raise Unsupported("deletion is switched off here: set storage.delete.enabled to true")
        if not await self._rows.unlink_blob(repository, str(digest), caller):
            raise BlobUnknown("this repository has no such blob", {"digest": str(digest)})
