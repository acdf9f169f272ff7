"""Manifests that must not be fetched, as they were purged, or name what was."""

from entrepot.proxy.ports import UpstreamRows
from entrepot.registry.errors import Barred

_REMEMBERED = 20_000


class Bars:
    """What was purged is asked of the database; this worker remembers which manifests name it, as it takes one of the
    upstream's pulls to see that, and it is so for ever."""

    def __init__(self, rows: UpstreamRows) -> None:
        self._rows = rows
        self._naming: dict[str, str] = {}

    async def refuse(self, alias: str, digest: str) -> None:
        """Barred for this manifest."""
        await self._rows.refuse_purged(alias, digest)
        named = self._naming.get(digest)
        if named is not None:
            await self._rows.refuse_purged(alias, named)

    async def any(self, alias: str) -> bool:
        """Whether anything is barred."""
        return await self._rows.any_purged(alias)

    def note(self, digest: str, error: Barred) -> None:
        """This manifest was refused so."""
        if len(self._naming) >= _REMEMBERED:
            self._naming.clear()
        self._naming[digest] = str((error.detail or {}).get("digest", digest))
