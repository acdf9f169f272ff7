"""Which version is really running: any digest that an engine prints, and the tags that have it, or had it.

`docker inspect` prints the digest of an image's config as its id; others print that of its manifest, of the index that
it was pulled by, or of a layer.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from entrepot.access.actor import Actor
from entrepot.access.decision import Action
from entrepot.access.rights import Rights
from entrepot.hub.errors import Invalid
from entrepot.oci.digest import Digest, InvalidDigest

_MOST = 200  # manifests, and tags of each
_LOOKED_AT = 2000  # of all repositories, when most are not for the actor to see


class Place(NamedTuple):
    """A manifest that has a digest, or names it. `role` is what the digest is: image, index, referrer, attestation
    for its own, gone when nothing of it can be brought back, else config, layer or child. `deleted_at` in microseconds
    while it can still be brought back."""

    repository_id: int
    repository: str
    manifest: str
    role: str
    deleted_at: int | None


class Span(NamedTuple):
    """A tag named a manifest `since` a time, `until` another one or still (None); `now` is what it names now."""

    tag: str
    since: int
    until: int | None
    now: str | None


class Found(NamedTuple):
    """A manifest, what the digest is to it, and the tags that have named it."""

    repository: str
    manifest: str
    role: str
    deleted_at: int | None
    tags: Sequence[Span]


class DigestRows(Protocol):
    """What this needs of the database."""

    async def manifests(self, digest: str, limit: int, offset: int) -> list[Place]:
        """Manifests with this digest, one in each repository."""
        ...

    async def gone(self, digest: str, limit: int) -> list[Place]:
        """Where tags have named a manifest with this digest that is forgotten, or was purged."""
        ...

    async def naming(self, digest: str, limit: int, offset: int) -> list[Place]:
        """Manifests that name this digest, the oldest first."""
        ...

    async def tags(self, repository_id: int, digest: str, limit: int) -> list[Span]:
        """The tags that have named this manifest, by time."""
        ...


class Digests:
    """Looks up digests among what the actor may pull."""

    def __init__(self, rows: DigestRows, rights: Rights) -> None:
        self._rows = rows
        self._rights = rights

    async def find(self, actor: Actor, digest: str) -> list[Found]:
        """Where it is and was: manifests that are it or name it, and the indexes of those."""
        try:
            wanted = str(Digest.parse(digest))
        except InvalidDigest as error:
            raise Invalid(str(error), "digest") from None
        known: dict[str, bool] = {}
        places: list[Place] = []
        for read in (self._rows.manifests, self._rows.naming):
            for offset in range(0, _LOOKED_AT, _MOST):
                page = await read(wanted, _MOST, offset)
                places += await self._readable(actor, page, known)
                if len(page) < _MOST or len(places) >= _MOST:
                    break
        indexes: list[Place] = []
        for name in {place.manifest for place in places} - {wanted}:
            indexes += [each._replace(role="child") for each in await self._rows.naming(name, _MOST, 0)]
        here = {(place.repository_id, place.manifest) for place in places}
        more = [each for each in dict.fromkeys(indexes) if (each.repository_id, each.manifest) not in here]
        places += await self._readable(actor, [*more, *await self._rows.gone(wanted, _MOST)], known)
        return [
            Found(*place[1:], await self._rows.tags(place.repository_id, place.manifest, _MOST))
            for place in places[:_MOST]
        ]

    async def _readable(self, actor: Actor, places: Sequence[Place], known: dict[str, bool]) -> list[Place]:
        """Those in repositories that the actor may pull; `known` is what was decided before."""
        for name in {place.repository for place in places} - known.keys():
            known[name] = (await self._rights.decide(actor, Action.PULL, name)).allowed
        return [place for place in places if known[place.repository]]
