"""What is used of upstreams' repositories is written down, so that room is made by what is not."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

from entrepot.proxy.ports import UpstreamRows

USE_SECONDS = 300
"""To so many seconds the last use of a blob is written down: pulls seldom write."""

_REMEMBERED = 20_000  # uses of which a worker knows that they are written down


class Uses:
    """Notes uses, and lets nobody wait for it."""

    def __init__(self, known: UpstreamRows) -> None:
        self._known = known
        self._noted: dict[tuple[str, str], int] = {}
        self._notes: set[asyncio.Task[None]] = set()

    def blob(self, name: str, digest: str) -> None:
        """A blob was asked for."""
        self._note(name, digest, self._known.used)

    def image(self, name: str, digest: str) -> None:
        """A manifest was asked for: whoever did will want its blobs, of which none is to go meanwhile."""
        self._note(name, digest, self._known.used_image)

    def _note(self, name: str, digest: str, write: Callable[[str, str], Coroutine[Any, Any, None]]) -> None:
        now = int(time.time() // USE_SECONDS)
        if self._noted.get((name, digest)) == now:
            return
        if len(self._noted) >= _REMEMBERED:
            self._noted.clear()
        self._noted[name, digest] = now
        task = asyncio.create_task(write(name, digest))
        self._notes.add(task)
        task.add_done_callback(self._notes.discard)
