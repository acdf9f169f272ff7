"""What is there: tags, repositories, referrers (distribution-spec, "Content discovery")."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from entrepot.access.grant import Grant
from entrepot.oci.digest import Digest
from entrepot.registry.admission import admitted
from entrepot.registry.errors import NameUnknown
from entrepot.registry.ports import ManifestRows, Referrer

Names = Callable[[str, int], Awaitable[list[str]]]
"""Up to so many names of repositories after one, in byte order."""

MAX_PAGE = 1000  # entries; docker-registry's catalog.maxentries and tags.maxtags
_REFERRERS_READ = 50  # rows at once: each may have 4 MiB of annotations
_REFERRER_BYTES = 600  # of a descriptor without annotations, at most
_REFERRERS_BYTES = 3 * 1024 * 1024  # of descriptors: an answer stays below the 4 MiB that clients read


@dataclass(frozen=True, slots=True)
class Page:
    """Names in byte order, and whether more follow."""

    names: list[str]
    more: bool


@dataclass(frozen=True, slots=True)
class Referrers:
    """Descriptors of the manifests that name a subject; `next_after` is set when more follow."""

    descriptors: list[dict[str, Any]]
    next_after: int | None


class Listings:
    """Pages of names and descriptors."""

    def __init__(self, rows: ManifestRows) -> None:
        self._rows = rows

    async def admit(self, repository: str, grant: Grant) -> None:
        """Unauthorized when the grant is not for this repository."""
        await admitted(self._rows, repository, grant)

    async def tags(self, repository: str, after: str, count: int | None, grant: Grant) -> Page:
        """Tags that sort after `after`; NameUnknown when there is no such repository."""
        found = await admitted(self._rows, repository, grant)
        if found is None or not found.holding:
            raise NameUnknown("there is no such repository", {"name": repository})
        limit = MAX_PAGE if count is None else min(count, MAX_PAGE)
        return _page(await self._rows.tags(repository, after, limit + 1) if limit else [], limit)

    async def repositories(self, after: str, count: int | None, names: Names | None = None) -> Page:
        """Repositories that sort after `after`: those that `names` gives, or all there are."""
        limit = MAX_PAGE if count is None else min(count, MAX_PAGE)
        source = names or self._rows.repositories
        return _page(await source(after, limit + 1) if limit else [], limit)

    async def referrers(
        self, repository: str, subject: Digest, artifact_type: str | None, after: int, grant: Grant
    ) -> Referrers:
        """Referrers of a subject, which need not exist; neither need the repository.

        They are computed from every stored manifest with a `subject`, so those that old clients listed under a
        fallback tag (`sha256-<hex>`) are among them.
        """
        await admitted(self._rows, repository, grant)
        descriptors: list[dict[str, Any]] = []
        size = 0
        while True:
            rows = await self._rows.referrers(repository, str(subject), artifact_type, after, _REFERRERS_READ)
            for row in rows:
                size += _REFERRER_BYTES + len((row.annotations or "").encode())
                if descriptors and size > _REFERRERS_BYTES:
                    return Referrers(descriptors, after)
                descriptors.append(_descriptor(row))
                after = row.id
            if len(rows) < _REFERRERS_READ:
                return Referrers(descriptors, None)


def _page(names: list[str], limit: int) -> Page:
    return Page(names[:limit], len(names) > limit)


def _descriptor(row: Referrer) -> dict[str, Any]:
    descriptor: dict[str, Any] = {"mediaType": row.media_type, "digest": row.digest, "size": row.size}
    if row.annotations:
        descriptor["annotations"] = json.loads(row.annotations)
    if row.artifact_type:
        descriptor["artifactType"] = row.artifact_type
    return descriptor
