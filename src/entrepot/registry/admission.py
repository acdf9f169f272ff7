"""Who may look into a repository: a grant is asked about what is stored, never about a name alone."""

from entrepot.access.grant import Grant
from entrepot.registry.errors import ManifestUnknown, NameUnknown, Unauthorized
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


def missing(found: StoredRepository | None, repository: str, reference: str) -> ManifestUnknown | NameUnknown:
    """The refusal of a tag or digest that is not there."""
    if found is not None and found.holding:
        return ManifestUnknown("this repository has no such manifest", {"reference": reference})
    return NameUnknown("there is no such repository", {"name": repository})
