"""Pull events counted together: by the hour and by what they have in common, before they become rows."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import NamedTuple, Protocol

from entrepot.access.throttling import subject_address
from entrepot.registry.events import LOOK, Alike, PullEvent

HOUR = 3_600_000_000  # microseconds
_FAMILY = re.compile(r"[a-z][a-z0-9._-]{0,39}(?![^/ (])")


class HourKey(NamedTuple):
    """What pulls that are counted together have in common. `hour` is its beginning in microseconds; 0 is no account
    and no credential; `agent` is the client's family."""

    hour: int
    repository_id: int
    digest: str
    tag: str
    kind: str
    account_id: int
    credential_id: int
    address: str
    agent: str


class Counted(NamedTuple):
    """How many requests, how many bytes of manifests, and the first and the last time in microseconds."""

    requests: int
    bytes: int
    first_at: int
    last_at: int


@dataclass
class Tally:
    """Some events, counted. `subjects`: addresses as pull limits have them, by address. `repositories`: pulls of
    images, and the last time of any manifest. `manifests`: the last time, by repository and digest."""

    hours: dict[HourKey, Counted] = field(default_factory=dict)
    subjects: dict[str, str] = field(default_factory=dict)
    repositories: dict[int, tuple[int, int]] = field(default_factory=dict)
    manifests: dict[tuple[int, str], int] = field(default_factory=dict)


class TallyRows(Protocol):
    """What counting needs of the database."""

    async def position(self, segment: str) -> int:
        """How far this segment is counted; 0 when it is not known."""
        ...

    async def count(self, segment: str, position: int, end: int, tally: Tally) -> bool:
        """Add a tally, and say that the segment is counted from `position` to `end`: both or neither, durably.

        False, and nothing is added, when the segment is not counted to exactly `position`.
        """
        ...

    async def forget(self, segments: Sequence[str]) -> None:
        """These segments will never be seen again."""
        ...

    async def appear(self, node: str) -> None:
        """There is this node, which may have something to count, until it leaves."""
        ...

    async def leave(self, node: str) -> bool:
        """Nothing of this node will be counted any more; False when it is not known."""
        ...

    async def ask(self, node: str) -> dict[str, int]:
        """Ask every node, `node` too, to count what it has answered: what of each must be asked for by then."""
        ...

    async def asked(self, node: str) -> tuple[int, int]:
        """How often this node was asked, and which of these times it has answered last."""
        ...

    async def silent(self, asked: dict[str, int]) -> list[str]:
        """Those of these nodes that are still there and have not answered."""
        ...

    async def complete(self, node: str, until: int, asked: int) -> None:
        """Say that everything that this node answered before `until`, in microseconds, is counted, and everything that
        it had answered when it was asked for this time."""
        ...

    async def prune(self, age: int, limit: int) -> int:
        """Remove at most `limit` hours of each kind that are older than `age` microseconds; how many it were.

        With them goes what was remembered of manifests that are no more.
        """
        ...


def tally(events: Iterable[Alike]) -> Tally:
    """Count events together; those that are alike are told apart only where their hours differ."""
    counted = Tally()
    for event, times in events:
        hours = [times]
        if min(times) // HOUR != max(times) // HOUR:
            hours = [list(each) for _, each in groupby(sorted(times), lambda at: at // HOUR)]
        for each in hours:
            at = each[0] // HOUR * HOUR
            _add(counted, event._replace(at=at), Counted(len(each), len(each) * event.bytes, min(each), max(each)))
    return counted


def _add(counted: Tally, event: PullEvent, alike: Counted) -> None:
    """Add events that are alike but for their time, which is within the hour that begins at `event.at`."""
    manifest = event.repository_id, event.digest
    counted.manifests[manifest] = max(counted.manifests.get(manifest, 0), alike.last_at)
    if event.kind == LOOK:
        return
    key = HourKey(
        event.at,
        event.repository_id,
        event.digest,
        event.tag,
        event.kind,
        event.account_id or 0,
        event.credential_id or 0,
        event.address,
        agent_family(event.agent),
    )
    requests, size, first, last = counted.hours.get(key, (0, 0, alike.first_at, alike.last_at))
    counted.hours[key] = Counted(
        requests + alike.requests, size + alike.bytes, min(first, alike.first_at), max(last, alike.last_at)
    )
    if event.address not in counted.subjects:
        counted.subjects[event.address] = subject_address(event.address)
    pulls, last = counted.repositories.get(event.repository_id, (0, 0))
    more = alike.requests if event.kind == "image" else 0
    counted.repositories[event.repository_id] = (pulls + more, max(last, alike.last_at))


def agent_family(agent: str) -> str:
    """The client's name without its version: `docker` of `docker/27.3.1 go/go1.22`; `other` when it has none that is
    like a name (RFC 9110 §10.1.5), empty when it says nothing."""
    found = _FAMILY.match(agent.lower())
    return found[0] if found else "other" if agent else ""
