"""What a flight is for (flights.py)."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple

from entrepot.client.remote import Arriving
from entrepot.oci.digest import Digest
from entrepot.proxy.ports import Registry


class Errand(NamedTuple):
    """What to fetch and where: the blob `digest` of the repository `path` of `registry`, which errors call `alias`.

    `size` is -1 if not known. `origin` is the same for all that whoever may read one of them may read: bytes that
    arrive from another one are followed only after `confirm`: RegistryError unless this repository has the blob.

    `followed` hears that it came from another node. `is_stored`: whether it was stored meanwhile; Barred when it was
    purged, so that nobody goes on with what was cut elsewhere. `stored` is then what is stored, from an offset on.
    `keep` stores verified bytes, durably when it returns.
    """

    digest: Digest
    size: int
    registry: Registry
    alias: str
    path: str
    origin: str
    confirm: Callable[[], Awaitable[None]]
    followed: Callable[[], None]
    is_stored: Callable[[], Awaitable[bool]]
    stored: Callable[[int], AbstractAsyncContextManager[Arriving]]
    keep: Callable[[AsyncIterator[bytes]], Awaitable[None]]
