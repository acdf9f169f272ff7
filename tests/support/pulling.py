"""Pulling from a server that limits it, as one of many addresses."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.hub_world import Person, World, serving_world
from tests.support.wire import Answer

ANONYMOUS, ACCOUNT = 100, 200
"""Docker Hub's limits, in six hours."""

LIMITS = {"limits__pulls": "docker-hub"}
_ADDRESSES = iter(range(1, 60000))


def new_address() -> str:
    """An address that no other test of this process comes from."""
    number = next(_ADDRESSES)
    return f"198.51.{number // 250}.{number % 250 + 1}"


@contextmanager
def limited(factory: pytest.TempPathFactory, **where: str) -> Iterator[World]:
    """A server with these limits."""
    with serving_world(factory.mktemp("limited"), **LIMITS, **where) as world:
        yield world


def pull(hub: World, name: str, reference: str, address: str, who: Person | None = None, method: str = "GET") -> Answer:
    """A pull of a manifest by a token that was got for it; of nobody from `address`."""
    token = hub.token_for(who, name, actions="pull")
    headers = {"Authorization": f"Bearer {token}", "X-Forwarded-For": address}
    return hub.server.request(method, f"/v2/{name}/manifests/{reference}", headers)


def remaining(answer: Answer) -> int:
    """What is left of the limit, as the headers say."""
    match = re.fullmatch(r"(\d+);w=21600", answer["ratelimit-remaining"])
    assert match, answer
    return int(match[1])
