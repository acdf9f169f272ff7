"""Ports whose calls are steps that a scheduler takes, and a byte store in memory that fails now and then."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextvars import ContextVar
from random import Random
from typing import Any

from entrepot.oci.digest import Hash
from entrepot.registry.errors import StorageFull
from entrepot.registry.ports import OlderVersions
from tests.support.rows import STORE

ACTOR: ContextVar["Actor"] = ContextVar("actor")


class Actor:
    """Somebody who does one thing; `waits` is set while the scheduler is to say when it goes on."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.go = asyncio.Event()
        self.idle = asyncio.Event()
        self.dead = False
        self.pace = 1.0
        self.task: asyncio.Task[None] | None = None


class Stepped:
    """A port whose calls are the scheduler's steps."""

    def __init__(self, port: Any) -> None:
        self._port = port

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._port, name)

        async def call(*values: Any, **named: Any) -> Any:
            actor = ACTOR.get()
            if actor.dead:  # whatever it would clean up on its way out: a crash leaves no time for that
                raise asyncio.CancelledError
            actor.idle.set()
            await actor.go.wait()
            actor.go.clear()
            return await method(*values, **named)

        return call


class FaultyBytes:
    """A byte store in memory: now and then it has no space, or loses nothing but fails."""

    name = STORE

    def __init__(self, random: Random) -> None:
        self.kept: dict[str, bytes] = {}
        self._random = random
        self._identity: str | None = None

    async def write(self, key: str, chunks: AsyncIterator[bytes], hashes: Sequence[Hash]) -> int:
        """See the port."""
        assert key not in self.kept, "a key was used twice"
        content = b"".join([chunk async for chunk in chunks])
        if self._random.random() < 0.02:
            raise StorageFull("no space is left")
        for each in hashes:
            each.update(content)
        self.kept[key] = content
        return len(content)

    async def join(self, key: str, parts: Sequence[str]) -> int:
        """See the port."""
        assert key not in self.kept, "a key was used twice"
        self.kept[key] = b"".join([self._found(part) for part in parts])
        return len(self.kept[key])

    async def sync(self, key: str) -> None:
        """See the port."""
        self._found(key)

    async def size(self, key: str) -> int:
        """See the port."""
        return len(self._found(key))

    async def read(self, key: str, start: int = 0, length: int | None = None) -> AsyncGenerator[bytes, None]:
        """See the port."""
        yield self._found(key)[start:]

    async def delete(self, key: str) -> None:
        """See the port."""
        self.kept.pop(key, None)

    async def older_versions(self) -> OlderVersions:
        """See the port."""
        return OlderVersions(stay=False, words="")

    async def keys(self) -> AsyncGenerator[str, None]:
        """See the port."""
        for key in tuple(self.kept):
            yield key

    def path(self, key: str) -> None:
        """See the port."""
        return

    async def signed_url(self, key: str) -> None:
        """See the port."""
        return

    async def identity(self) -> str | None:
        """See the port: the tests of the store identity are elsewhere."""
        return self._identity

    async def mark(self, identity: str) -> None:
        """See the port."""
        self._identity = identity

    async def check(self) -> None:
        """See the port."""

    async def close(self) -> None:
        """See the port."""

    def _found(self, key: str) -> bytes:
        if key not in self.kept:
            raise FileNotFoundError(key)
        return self.kept[key]
