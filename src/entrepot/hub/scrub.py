"""What the scrub, and `entrepot verify`, have found wrong with what is stored: for administrators."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from entrepot.access.actor import Actor
from entrepot.hub.errors import Forbidden


class ScrubState(NamedTuple):
    """How many blobs are damaged and missing, how many orphans `verify --remove-orphans` has sighted, and how much of
    the blobs, in percent by age, the reading that is going on has behind it."""

    damaged: int
    missing: int
    orphans: int
    percent: int


class Wrong(NamedTuple):
    """A blob whose bytes are `damaged` or `missing`; `size` in bytes. At most 20 repositories that have it, by name."""

    id: int
    digest: str
    kind: str
    size: int
    repositories: Sequence[str]


class Orphan(NamedTuple):
    """Bytes that no row names; times in microseconds since 1970: first sighted, and since when in quarantine."""

    key: str
    since: int
    quarantined_at: int | None


class ScrubReportRows(Protocol):
    """What this needs of the database."""

    async def state(self) -> ScrubState:
        """See ScrubState."""
        ...

    async def wrong(self, after: int, limit: int) -> Sequence[Wrong]:
        """Blobs with ids over `after`, by id."""
        ...

    async def orphans(self, after: str, limit: int) -> Sequence[Orphan]:
        """Orphans with keys after this, by key."""
        ...


class ScrubReport:
    """Shows it to administrators."""

    def __init__(self, rows: ScrubReportRows) -> None:
        self._rows = rows

    async def state(self, actor: Actor) -> ScrubState:
        """In numbers."""
        _administrator(actor)
        return await self._rows.state()

    async def wrong(self, actor: Actor, after: int, limit: int) -> Sequence[Wrong]:
        """A page of blobs."""
        _administrator(actor)
        return await self._rows.wrong(after, limit)

    async def orphans(self, actor: Actor, after: str, limit: int) -> Sequence[Orphan]:
        """A page of orphans."""
        _administrator(actor)
        return await self._rows.orphans(after, limit)


def _administrator(actor: Actor) -> None:
    if not actor.administers:
        raise Forbidden("what is damaged is shown to administrators who have logged in with a password")
