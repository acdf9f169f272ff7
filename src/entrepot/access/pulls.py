"""Pull limits: so many pulls in a moving window (protocol.md §4.1)."""

from dataclasses import dataclass
from typing import NamedTuple, Protocol


@dataclass(frozen=True, slots=True)
class PullLimit:
    """At most `limit` pulls in any `window` seconds."""

    limit: int
    window: int


class Spent(NamedTuple):
    """What is left: pulls, and the seconds until the next one is free (0 while some are left)."""

    allowed: bool
    remaining: int
    retry_after: int


class PullCounter(Protocol):
    """Counts pulls of subjects such as `account:17` or `address:192.0.2.1`, for all workers together."""

    waits: bool
    """Whether it asks another server: then the fast door, which cannot wait, must not use it."""

    def spend_ahead(self, subject: str, limit: PullLimit) -> int | None:
        """One pull of those that were counted ahead, without waiting: what is left then. None: `spend` knows."""
        ...

    async def spend(self, subject: str, limit: PullLimit) -> Spent:
        """Count one pull when it is allowed: of a hundred allowed exactly a hundred are, whoever asks at once."""
        ...

    async def look(self, subject: str, limit: PullLimit) -> Spent:
        """The same without counting."""
        ...
