"""Manifests of which nothing is here any more are deleted after a while, so that rows do not grow for ever.

They outlive their blobs, as a pull of an upstream's budget is spared when somebody wants the image again.
"""

from typing import NamedTuple, Protocol

from entrepot.access.caller import Caller
from entrepot.proxy.upstream import Upstream, Upstreams
from entrepot.registry.deletion import DeletionRows
from entrepot.registry.errors import Denied, Moved, Unsupported

AGE_SECONDS = 30 * 86400.0
"""How long ago a manifest was fetched, and its tags were looked at."""

_STEP = 100
_CALLER = Caller(reason="nothing of it was here any more")


class Bare(NamedTuple):
    """A manifest of which nothing is here, with its tags. `id` says where to go on."""

    id: int
    repository: str
    digest: str
    tags: list[str]


class BareRows(Protocol):
    """What is left of evicted images."""

    async def bare(self, alias: str, age: float, after: int, limit: int) -> list[Bare]:
        """Manifests that no index names, of which (nor of whose children) no blob is linked, that were fetched more
        than `age` seconds ago, and none of whose tags was looked at since; by id."""
        ...

    async def forget_tags(self, alias: str, age: float, limit: int) -> int:
        """Forget when tags were looked at that are not stored, and were not looked at for so long; how many."""
        ...


class Forgetting:
    """The job, for upstreams whose blobs go at some time."""

    def __init__(self, upstreams: Upstreams, size: int | None, rows: BareRows, deletions: DeletionRows) -> None:
        """`size`: bytes that all upstreams together may hold, None for any number."""
        self._upstreams = upstreams
        self._size = size
        self._rows = rows
        self._deletions = deletions

    async def run(self) -> int:
        """Returns how many were deleted."""
        return sum([await self._forget(upstream) for upstream in self._upstreams if self._lets_go(upstream)])

    def _lets_go(self, upstream: Upstream) -> bool:
        return self._size is not None or upstream.size is not None or upstream.keep is not None

    async def _forget(self, upstream: Upstream) -> int:
        total = after = 0
        while found := await self._rows.bare(upstream.alias, AGE_SECONDS, after, _STEP):
            after = found[-1].id
            for each in found:
                if all(upstream.freshness(tag).seconds is not None for tag in each.tags):  # what is pinned never moves
                    total += await self._delete(each)
        while await self._rows.forget_tags(upstream.alias, AGE_SECONDS, _STEP) == _STEP:
            pass
        return total

    async def _delete(self, bare: Bare) -> int:
        try:
            deleted = await self._deletions.delete_manifest(bare.repository, bare.digest, _CALLER, bare.tags)
        except (Denied, Moved, Unsupported):  # somebody came to use it, or a rule holds it
            return 0
        return 0 if deleted is None else len(deleted.manifests)
