"""An upstream's registry with what is known about it: its budget, and whether it is there."""

from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog

from entrepot.client.errors import RemoteBusy, RemoteError, RemoteFailed, RemoteUnreachable
from entrepot.client.remote import Arriving, Described, Fetched, Heard, Listing
from entrepot.proxy.budget import Breaker, Budget
from entrepot.proxy.ports import Registry
from entrepot.proxy.upstream import Upstream, Upstreams

T = TypeVar("T")
Connect = Callable[[Upstream, Heard], Registry]
_log = structlog.get_logger()


@dataclass(slots=True)
class Counts:
    """What a worker has asked an upstream for, and what it has not had to."""

    manifests: int = 0
    blobs: int = 0
    looks: int = 0
    failures: int = 0


class Source:
    """The port Registry over another one: asks it only when that makes sense."""

    def __init__(self, upstream: Upstream, connect: Connect) -> None:
        self.upstream = upstream
        self.budget = Budget()
        self.breaker = Breaker()
        self.counts = Counts()
        self._registry = connect(upstream, lambda status, headers: self.budget.heard(headers))

    async def describe(self, repository: str, reference: str) -> Described:
        """See the port."""
        self.counts.looks += 1
        return await self._asked(self._registry.describe(repository, reference))

    async def manifest(self, repository: str, reference: str) -> Fetched:
        """See the port."""
        if self.budget.wait:
            raise RemoteBusy(f"{self.upstream.alias} has had too many pulls", self.budget.wait)
        self.counts.manifests += 1
        return await self._asked(self._registry.manifest(repository, reference))

    async def blob_size(self, repository: str, digest: str) -> int | None:
        """See the port."""
        return await self._asked(self._registry.blob_size(repository, digest))

    @asynccontextmanager
    async def blob(self, repository: str, digest: str, start: int = 0) -> AsyncGenerator[Arriving, None]:
        """See the port."""
        self.counts.blobs += 1
        self._let_through()
        try:
            async with self._registry.blob(repository, digest, start) as arriving:
                self.breaker.worked()
                yield arriving
        except RemoteError as error:
            self._learn(error)
            raise

    async def listing(self, repository: str, path: str) -> Listing:
        """See the port."""
        return await self._asked(self._registry.listing(repository, path))

    def _let_through(self) -> None:
        if not self.breaker.lets_through():
            raise RemoteUnreachable(f"{self.upstream.alias} has not answered lately, and is asked once a second")

    async def _asked(self, asking: Coroutine[Any, Any, T]) -> T:
        try:
            self._let_through()
        except RemoteUnreachable:
            asking.close()
            raise
        try:
            found = await asking
        except RemoteError as error:
            self._learn(error)
            raise
        self.breaker.worked()
        return found

    def _learn(self, error: RemoteError) -> None:
        if isinstance(error, RemoteFailed):
            self.counts.failures += 1
            was_open = self.breaker.open
            self.breaker.failed()
            if self.breaker.open and not was_open:
                _log.warning("an upstream is down", upstream=self.upstream.alias, reason=error.message)
            return
        self.breaker.worked()
        if isinstance(error, RemoteBusy):
            self.budget.exhausted(error.retry_after)
            _log.warning("an upstream has had enough", upstream=self.upstream.alias, reason=error.message)


class Sources:
    """The source of each upstream; connections are made when one is first asked."""

    def __init__(self, upstreams: Upstreams, connect: Connect) -> None:
        self.upstreams = upstreams
        self._connect = connect
        self._sources: dict[str, Source] = {}

    def of(self, upstream: Upstream) -> Source:
        """The source of an upstream."""
        found = self._sources.get(upstream.alias)
        if found is None:
            found = self._sources[upstream.alias] = Source(upstream, self._connect)
        return found
