"""Who may look into a repository: a grant is asked about what is stored, never about a name alone."""

from entrepot.access.grant import Grant
from entrepot.registry.errors import Unauthorized
from entrepot.registry.ports import RepositoryRows, StoredRepository


async def admitted(rows: RepositoryRows, repository: str, grant: Grant) -> StoredRepository | None:
    """The repository, None when there is none of this name; Unauthorized when the grant does not tell even that."""
    found = await rows.find_repository(repository)
    if found is None:
        if not grant.names(repository):
            raise Unauthorized
        return None
    if not grant.covers(repository, found.id, found.rights_version):
        raise Unauthorized
    return found
