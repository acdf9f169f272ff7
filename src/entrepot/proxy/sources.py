"""An upstream's registry with what is known about it: its budget, and whether it is there."""

import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from math import ceil
from typing import Any, TypeVar

import structlog

from entrepot.client.errors import RemoteBusy, RemoteCrowded, RemoteError, RemoteFailed, RemoteUnreachable
from entrepot.client.remote import Arriving, Described, Fetched, Heard, Listing
from entrepot.proxy.budget import Breaker, Budget
from entrepot.proxy.ledger import Count, Ledger, Page
from entrepot.proxy.ports import Registry
from entrepot.proxy.upstream import Place, Upstream, Upstreams

T = TypeVar("T")
Connect = Callable[[Upstream, int, Heard], Registry]
"""Makes the registry of an upstream, to be asked with its credential of this number."""

_log = structlog.get_logger()


class Source:
    """The port Registry over another one: asks it only when that makes sense."""

    def __init__(
        self, upstream: Upstream, number: int, connect: Connect, page: Page, health: Page, clock: Callable[[], float]
    ) -> None:
        """`number`: of the credential; `page`: its; `health`: that of the whole upstream."""
        self.upstream = upstream
        self.page = page
        self.budget = Budget(page, clock)
        self.breaker = Breaker(health, clock)
        self._credential = upstream.credentials[number].name
        self._registry = connect(upstream, number, self._heard)

    async def describe(self, repository: str, reference: str) -> Described:
        """See the port."""
        self._leave_alone()
        self.page.add(Count.LOOKS)
        return await self._asked(self._registry.describe(repository, reference))

    async def manifest(self, repository: str, reference: str) -> Fetched:
        """See the port."""
        self._leave_alone()
        self.page.add(Count.PULLS)
        return await self._asked(self._registry.manifest(repository, reference))

    async def blob_size(self, repository: str, digest: str) -> int | None:
        """See the port."""
        return await self._asked(self._registry.blob_size(repository, digest))

    @asynccontextmanager
    async def blob(self, repository: str, digest: str, start: int = 0) -> AsyncGenerator[Arriving, None]:
        """See the port."""
        self.page.add(Count.BLOBS)
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

    def _heard(self, status: int, headers: Mapping[str, str]) -> None:
        self.budget.heard(headers)
        if self.budget.became_scarce():
            left, limit = self.page.remaining, self.page.limit
            _log.warning("few pulls are left at an upstream", left=left, limit=limit, **self._where)

    @property
    def _where(self) -> dict[str, str]:
        return {"upstream": self.upstream.alias, "credential": self._credential}

    def _leave_alone(self) -> None:
        wait = self.budget.wait
        if wait:
            again = f"it is asked again in {ceil(wait)} seconds"
            raise RemoteBusy(f"{self.upstream.alias} has had too many pulls: {again}", wait)

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
            self.page.add(Count.FAILURES)
            was_open = self.breaker.open
            self.breaker.failed()
            if self.breaker.open and not was_open:
                _log.warning("an upstream is down", upstream=self.upstream.alias, reason=error.message)
            return
        if isinstance(error, RemoteCrowded):
            return  # which says nothing of the upstream
        self.breaker.worked()
        if isinstance(error, RemoteBusy):
            self.budget.exhausted(error.retry_after)
            error.retry_after = self.budget.wait
            _log.warning("an upstream has had enough", reason=error.message, **self._where)


class Sources:
    """The source of each credential at each upstream; connections are made when one is first asked."""

    def __init__(
        self,
        upstreams: Upstreams,
        connect: Connect,
        ledger: Ledger,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.upstreams = upstreams
        self._connect = connect
        self._ledger = ledger
        self._clock = clock
        self._sources: dict[tuple[str, int], Source] = {}

    def of(self, place: Place) -> Source:
        """The source of a repository."""
        upstream = place.upstream
        number = upstream.credential(place.path)
        found = self._sources.get((upstream.alias, number))
        if found is None:
            page = self._ledger.page(upstream.alias, upstream.credentials[number].name)
            health = self._ledger.page(upstream.alias, upstream.credentials[0].name)
            found = Source(upstream, number, self._connect, page, health, self._clock)
            self._sources[upstream.alias, number] = found
        return found
