"""Blobs as a repository sees them: readable only through its own link."""

from entrepot.access.grant import Grant
from entrepot.oci.digest import Digest
from entrepot.registry.admission import admitted
from entrepot.registry.errors import BlobUnknown, Unauthorized
from entrepot.registry.ports import BlobRows, RepositoryRows, StoredBlob


class Blobs:
    """Finding."""

    def __init__(self, rows: BlobRows, repositories: RepositoryRows) -> None:
        self._rows = rows
        self._repositories = repositories

    async def find(self, repository: str, digest: Digest, grant: Grant) -> StoredBlob:
        """The blob, when this repository has it; Unauthorized when the grant is not for the repository."""
        blob = await self._rows.find_blob(repository, str(digest))
        if blob is None:
            await admitted(self._repositories, repository, grant)
            raise BlobUnknown("this repository has no such blob", {"digest": str(digest)})
        if not grant.covers(repository, blob.repository_id, blob.rights_version):
            raise Unauthorized
        return blob
