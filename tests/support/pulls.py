"""Pull events to append."""

import time

from entrepot.registry.events import PullEvent

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
