"""Pull events to append."""

import time
from collections.abc import Iterable

from entrepot.registry.events import Alike, PullEvent

_EVENT = PullEvent(
    repository_id=1,
    digest=f"sha256:{'a' * 64}",
    tag="latest",
    kind="image",
    account_id=5,
    credential_id=6,
    address="192.0.2.1",
    agent="docker/27.3.1",
    bytes=1000,
    at=0,
)


def a_pull(**values: object) -> PullEvent:
    """A pull of now, by an account, with these values in place of some."""
    return _EVENT._replace(**({"at": time.time_ns() // 1000} | values))  # type: ignore[arg-type]


def alike(*events: PullEvent) -> list[Alike]:
    """Events as a part has them."""
    found: dict[tuple[object, ...], Alike] = {}
    for event in events:
        found.setdefault(event[:-1], Alike(event, [])).times.append(event.at)
    return list(found.values())


def apart(events: Iterable[Alike]) -> list[PullEvent]:
    """Each event of a part."""
    return [event._replace(at=at) for event, times in events for at in times]
