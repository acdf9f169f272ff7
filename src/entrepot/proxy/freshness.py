"""How old what is known of upstreams' tags is: when each was last looked at, and which were not there."""

import time
from collections.abc import Callable
from enum import Enum

from entrepot.proxy.ports import UpstreamRows
from entrepot.proxy.upstream import Freshness
from entrepot.registry.errors import RegistryError

MICROSECONDS = 1_000_000
_ABSENT_SECONDS = 10.0  # that a tag which is not there is not asked for again
_WRITTEN_SECONDS = 3600.0  # between two notes that a tag was looked at, where its age says nothing
_REMEMBERED = 20_000


class State(Enum):
    """What a stored tag is good for."""

    FRESH = 0
    """It is answered as it is."""
    USABLE = 1
    """It is answered, and looked at meanwhile."""
    OLD = 2
    """It is looked at first."""


class TagTimes:
    """Remembers; times are the database's, as several nodes share what they have looked at."""

    def __init__(self, seen: UpstreamRows, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` runs as fast as the database's, from whatever point in time."""
        self._seen = seen
        self._clock = clock
        self._ahead: float | None = None  # seconds that the database's clock is ahead of ours
        self._checked: dict[tuple[str, str], float] = {}  # seconds of the database's clock
        self._absent: dict[tuple[str, str], tuple[float, type[RegistryError], str]] = {}

    async def state(self, name: str, tag: str, fresh: Freshness) -> State:
        """The state of a tag that is stored."""
        if fresh.seconds is None:
            return State.FRESH
        if not fresh.seconds and not fresh.stale:
            return State.OLD
        age = await self.age(name, tag)
        if age is None:
            return State.OLD
        if age < fresh.seconds:
            return State.FRESH
        return State.USABLE if age < fresh.seconds + fresh.stale else State.OLD

    async def age(self, name: str, tag: str) -> float | None:
        """Seconds since it was looked at and was there; None when it never was, or is refused since."""
        checked = self._checked.get((name, tag))
        if checked is None:
            seen = await self._seen.seen(name, tag)
            if seen.checked_at is None or seen.gone_since is not None:
                return None
            checked = seen.checked_at / MICROSECONDS
            self._remember(name, tag, checked)
        return max(0.0, await self._now() - checked)

    async def last_look(self, name: str, tag: str) -> float | None:
        """Seconds since it was there, whatever the upstream has said since."""
        seen = await self._seen.seen(name, tag)
        return None if seen.checked_at is None else max(0.0, await self._now() - seen.checked_at / MICROSECONDS)

    async def note(self, name: str, tag: str, fresh: Freshness) -> None:
        """The tag is there. Where nobody asks for the exact time, that is written down only once an hour, or when
        somebody has noticed that it was not."""
        self._absent.pop((name, tag), None)
        seen = await self._seen.seen(name, tag)
        written = 0.0 if seen.checked_at is None else seen.checked_at / MICROSECONDS
        old = await self._now() - written > _WRITTEN_SECONDS
        if old or seen.gone_since is not None or fresh.seconds or fresh.stale:
            checked = await self._seen.checked(name, tag) / MICROSECONDS
            self._ahead = checked - self._clock()
            self._remember(name, tag, checked)

    async def gone(self, name: str, tag: str) -> float:
        """It is refused or absent upstream; for how many seconds it has been so."""
        self._checked.pop((name, tag), None)
        since = await self._seen.gone(name, tag) / MICROSECONDS
        return max(0.0, await self._now() - since)

    def absent(self, name: str, tag: str) -> RegistryError | None:
        """What was said of a tag that was not there moments ago."""
        until, kind, message = self._absent.get((name, tag), (0.0, RegistryError, ""))
        return kind(message) if until > self._clock() else None

    def note_absent(self, name: str, tag: str, error: RegistryError) -> None:
        """It is not there, and is not asked for again for a while."""
        if len(self._absent) >= _REMEMBERED:
            self._absent.clear()
        # Not the error itself, to which every request that it is raised in adds its frames.
        self._absent[name, tag] = (self._clock() + _ABSENT_SECONDS, type(error), error.message)

    def forget_absent(self, name: str, tag: str) -> None:
        """Ask for it whatever was said."""
        self._absent.pop((name, tag), None)

    async def _now(self) -> float:
        if self._ahead is None:
            self._ahead = await self._seen.now() / MICROSECONDS - self._clock()
        return self._clock() + self._ahead

    def _remember(self, name: str, tag: str, at: float) -> None:
        if len(self._checked) >= _REMEMBERED:
            self._checked.clear()
        self._checked[name, tag] = at
