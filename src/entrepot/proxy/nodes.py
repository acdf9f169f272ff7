"""One fetch over all nodes: who leads, what the others read from it, and what they find when it leads no more.

A node that follows keeps what it reads in a spool of its own, verifies it like anything else that comes from outside,
and goes on from there when it must lead itself.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from secrets import token_hex
from types import TracebackType
from typing import NamedTuple, Self

import structlog

from entrepot.client.errors import RemoteLied
from entrepot.client.remote import Arriving
from entrepot.proxy.ports import Leader, LeaseRows, Peers, Spool, Spools
from entrepot.registry.errors import StorageError, UpstreamError

LEASE_SECONDS = 8.0
"""How long a node that has died keeps the others from fetching."""

_RENEW_SECONDS = 2.0
_ROW_SECONDS = 0.05  # between two looks at a row that another node has
_SPOOL_SECONDS = 0.01  # and at a spool that a worker of this node writes
_ABANDONED_SECONDS = 15.0  # after which a spool that does not grow is not waited for
_PIECE = 256 * 1024
_log = structlog.get_logger()


class Progress(NamedTuple):
    """Of a blob that is fetched: bytes, `size` -1 while it is not known."""

    size: int
    arrived: int


class Lease:
    """What this node has while it fetches; renewed in the background, however slow anybody reads."""

    def __init__(self, rows: LeaseRows, key: str, token: str, progress: Callable[[], Progress]) -> None:
        self._rows = rows
        self._key = key
        self._token = token
        self._progress = progress
        self._renewing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self.begin()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.end(error if isinstance(error, RemoteLied) else None)

    def begin(self) -> None:
        """Renew it from now on."""
        self._renewing = asyncio.create_task(self._renew())

    async def end(self, wrong: RemoteLied | None = None) -> None:
        """Give it back; that the bytes were `wrong`, whoever has followed hears."""
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.gather(self._renewing, return_exceptions=True)
        try:
            if wrong is None:
                await self._rows.release(self._key, self._token)
            else:
                await self._rows.give_up(self._key, self._token, wrong.message)
        except StorageError as error:  # then it lapses
            _log.warning("a lease could not be given back", key=self._key, reason=error.message)

    async def _renew(self) -> None:
        """Also as soon as the size is known: the others wait for it."""
        told, since = self._progress().size, 0.0
        while True:
            await asyncio.sleep(_ROW_SECONDS if told < 0 else _RENEW_SECONDS)
            since += _ROW_SECONDS
            progress = self._progress()
            if told < 0 and progress.size < 0 and since < _RENEW_SECONDS:
                continue
            told, since = progress.size, 0.0
            try:
                await self._rows.renew(self._key, self._token, *progress)
            except StorageError as error:
                _log.warning("a lease could not be renewed", key=self._key, reason=error.message)


class Nodes:
    """This node among the others."""

    def __init__(self, rows: LeaseRows, peers: Peers) -> None:
        self._rows = rows
        self._peers = peers

    async def take(self, digest: str, progress: Callable[[], Progress], followed: str) -> Lease | Leader:
        """The lease of a blob, or who has it. `followed`: the token of the lease that was followed so far."""
        token = token_hex(16)
        leader = await self._rows.take(digest, token, progress().size, followed)
        return Lease(self._rows, digest, token, progress) if leader is None else leader

    def arriving(
        self, leader: Leader, digest: str, origin: str, start: int, size: int
    ) -> AbstractAsyncContextManager[Arriving]:
        """What arrives at the leader, if it comes from the same origin."""
        return self._peers.arriving(leader.node, digest, origin, start, size)

    @asynccontextmanager
    async def turn(self, repository: str, digest: str | None) -> AsyncGenerator[None, None]:
        """One at a time of all nodes for this manifest; without a digest, for the repository."""
        token = token_hex(16)
        while True:
            if await self._rows.take_manifest(repository, digest, token):
                break
            await asyncio.sleep(_ROW_SECONDS)
        key = repository if digest is None else f"{repository}@{digest}"
        lease = Lease(self._rows, key, token, lambda: Progress(0, 0))
        lease.begin()
        try:
            yield
        finally:
            await lease.end()


class Arrivals:
    """What arrives at this node, for the others."""

    def __init__(self, spools: Spools) -> None:
        self._spools = spools

    async def read(self, digest: str, origin: str, start: int, size: int) -> AsyncGenerator[bytes, None] | None:
        """The bytes from `start` to `size`, as they arrive, once the first of them are here; None when nothing arrives
        from this origin.

        The generator raises UpstreamError when they end too early. Nothing of it is verified.
        """
        spool = self._spools.existing(digest)
        if spool is None or (start < size and not await _grown(spool, start)) or spool.origin != origin:
            return None
        return _growing(spool, start, size)


async def _growing(spool: Spool, start: int, size: int) -> AsyncGenerator[bytes, None]:
    while start < size:
        if not await _grown(spool, start):
            raise UpstreamError("the blob does not arrive here any more")
        chunk = spool.read(start, min(_PIECE, size - start))
        start += len(chunk)
        yield chunk


async def _grown(spool: Spool, start: int) -> bool:
    """Wait for bytes from `start` on; False when none come, as the spool was whole, was dropped, or is abandoned."""
    waited = 0.0
    while True:
        ended = (
            spool.verified or not spool.named or waited >= _ABANDONED_SECONDS
        )  # before the size: nothing comes later
        if spool.size > start:
            return True
        if ended:
            return False
        await asyncio.sleep(_SPOOL_SECONDS)
        waited += _SPOOL_SECONDS
