"""One fetch a blob, whoever asks: the first client gets the bytes as they arrive, the others join the growing file.

A flight is a blob on its way, as one worker sees it. In the worker that leads it a task writes the spool; in the others
it watches the spool grow. When a leader dies, its lock is free, and the next worker that looks goes on where it was.
The last bytes are held back until the digest is verified, so that nobody ever has the whole of a wrong blob.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager
from functools import partial

import structlog

from entrepot.client.errors import RemoteBusy, RemoteError, RemoteFailed, RemoteLied, RemoteSilent, RemoteUnreachable
from entrepot.client.remote import Arriving
from entrepot.oci.digest import Hash, hasher
from entrepot.proxy.errand import Errand
from entrepot.proxy.errors import as_answer
from entrepot.proxy.nodes import Lease, Nodes, Progress
from entrepot.proxy.ports import Leader, Spools
from entrepot.registry.errors import Denied, RegistryError, StorageError, StorageFull, UpstreamError

HELD_BACK = 64 * 1024  # bytes that are sent only after the digest is verified
_READ = 256 * 1024
_LOOK = 0.01  # seconds between two looks at a spool that another process writes
_MOMENT = 0.02  # seconds that readers wait for more than a little
_LOOK_AT_ROW = 0.05  # seconds between two looks at the lease of another node
_ATTEMPTS = 3  # times that a broken download is gone on with
_AGAIN = 0.2  # seconds before that
_log = structlog.get_logger()


class Flight:
    """A blob that arrives. `size` is in bytes, -1 as long as it is not known."""

    def __init__(self, errand: "Errand", spools: Spools, nodes: Nodes | None) -> None:
        self.digest = errand.digest
        self.size = errand.size
        self.landed_before = False
        self._errand = errand
        self._spools = spools
        self._nodes = nodes
        self._followed = ""  # the token of the lease of the node that was followed
        self._spool = spools.open(str(errand.digest))
        self._there = 0
        self._verified = False
        self._begun = False
        self._over = False
        self._error: RegistryError | None = None
        self._changed = asyncio.Event()
        self._told = 0  # bytes that were there when readers were woken
        self._telling: asyncio.TimerHandle | None = None
        self._cut = False
        self._may_read = False  # what others have fetched

    @property
    def alias(self) -> str:
        """The upstream that it comes from."""
        return self._errand.alias

    @property
    def origin(self) -> str:
        """See Errand."""
        return self._errand.origin

    @property
    def over(self) -> bool:
        """Whether nothing more comes."""
        return self._over

    def is_for(self, errand: Errand) -> bool:
        """Whether what becomes of it is what would become of this errand."""
        mine = self._errand
        return (mine.origin, mine.path, mine.size) == (errand.origin, errand.path, errand.size)

    def cut(self) -> None:
        """Its task is about to be cancelled, as the blob was purged: what has arrived is dropped."""
        self._cut = True

    async def run(self) -> None:
        """Lead, or watch another leader until there is none; ends when the blob is stored, or nobody can get it."""
        try:
            while not self._spool.lead():
                if self._spool.size or self._spool.verified or self._there:
                    await self._check_origin()
                    if self._watch():
                        return
                await asyncio.sleep(_LOOK)
            try:
                await self._lead()
            finally:
                if self._cut:
                    self._withdraw()
                self._spool.release()
        except asyncio.CancelledError:
            if not self._cut:
                raise
            self._error = Denied(f"{self.digest} was purged while it arrived")
        except RegistryError as error:
            self._error = error
        except RemoteError as error:
            self._error = as_answer(error, blob=True)
        except Exception as error:  # whoever waits must hear of it, whatever it is
            _log.exception("a blob could not be fetched", digest=str(self.digest))
            self._error = StorageError(f"the blob could not be fetched: {type(error).__name__}")
        finally:
            self._over = True
            self._tell()

    async def started(self) -> bool:
        """Wait until the size is known and bytes arrive; False when the blob has been stored meanwhile. RegistryError
        when the upstream did not begin to send it."""
        while not self._over and (not self._begun or self.size < 0):
            await self._changed.wait()
        if self.landed_before:
            return False
        if self._error is not None and not self._begun:
            raise self._error
        if self.size < 0:
            raise self._error or UpstreamError(f"{self._errand.alias} does not say how large the blob is")
        return True

    async def read(self, start: int, length: int | None) -> AsyncGenerator[bytes, None]:
        """The bytes as they arrive; RegistryError when they do not, or are wrong."""
        end = self.size if length is None else min(start + length, self.size)
        while start < end:
            released = min(self._there if self._verified else min(self._there, self.size - HELD_BACK), end)
            if released > start:
                chunk = self._spool.read(start, min(_READ, released - start))
                if not chunk:
                    raise self._error or UpstreamError("the blob was withdrawn: what the upstream sent was wrong")
                start += len(chunk)
                yield chunk
            elif self._over:
                raise self._error or UpstreamError("the blob did not arrive whole")
            else:
                await self._changed.wait()

    async def _lead(self) -> None:
        if not self._spool.named and not self._spool.verified:
            if self._there:
                raise UpstreamError("the blob was withdrawn: what the upstream sent was wrong")
            self._spool = self._spools.open(str(self.digest))
            if not self._spool.lead():
                raise UpstreamError("the blob could not be fetched: ask again")
        if self._spool.size == 0 and await self._errand.is_stored():
            self.landed_before = True
            self._spool.remove()
            return
        if self._spool.size == 0:
            self._spool.come_from(self._errand.origin)
        else:
            await self._check_origin()
        try:
            await self._fetch()
        except StorageFull:
            self._withdraw()  # nobody can have it whole from here, and its room is wanted
            raise
        except BaseException:
            if self._spool.size == 0:
                self._spool.remove()
            raise

    async def _check_origin(self) -> None:
        """Before what somebody else has fetched is read."""
        if not self._may_read and self._spool.origin != self._errand.origin:
            await self._errand.confirm()
        self._may_read = True

    async def _fetch(self) -> None:
        if self._spool.verified:
            self._publish()
        running = await self._hash_of_what_is_there()
        if self._nodes is None:
            await self._land(running)
            return
        while True:
            took = await self._nodes.take(
                str(self.digest), lambda: Progress(self.size, self._there), followed=self._followed
            )
            if isinstance(took, Lease):
                async with took:
                    await (
                        self._land_what_is_stored(running) if await self._errand.is_stored() else self._land(running)
                    )
                return
            await self._follow(took, running)

    async def _land(self, running: Hash) -> None:
        """Fetch it, and store it."""
        if not self._spool.verified:
            await self._download(running)
            self._verify(running)
        self._publish()
        if self._spool.named:
            await self._errand.keep(self._stored_bytes())
            self._spool.remove()

    async def _land_what_is_stored(self, running: Hash) -> None:
        """Another node has stored it: whoever reads here gets the rest from the store."""
        if not self._begun and not self._there:
            self.landed_before = True
        elif not self._spool.verified:
            await self._receive(self._errand.stored(self._there), running)
            self._verify(running)
            self._publish()
        self._spool.remove()

    async def _follow(self, leader: Leader, running: Hash) -> None:
        """Read what arrives at another node, as long as it comes."""
        assert self._nodes is not None
        if leader.wrong is not None:
            if self._there:
                self._withdraw()
                raise RemoteLied(leader.wrong)
            self._followed = ""  # nothing of it was taken, and it may have been wrong for another repository only
            return
        self._followed = leader.token
        size = self.size if self.size >= 0 else leader.size
        if not self._verified and size >= 0:
            with contextlib.suppress(RemoteFailed):  # then its lease says what is to be done
                arriving = self._nodes.arriving(leader, str(self.digest), self._errand.origin, self._there, size)
                await self._receive(arriving, running)
                self._verify(running)
                self._publish()
                self._errand.followed()
                return
        await asyncio.sleep(_LOOK_AT_ROW)

    def _verify(self, running: Hash) -> None:
        actual = f"{self.digest.algorithm}:{running.hexdigest()}"
        if actual != str(self.digest):
            self._withdraw()
            _log.error("wrong bytes were sent", repository=self._errand.path, wanted=str(self.digest), got=actual)
            raise RemoteLied(f"{self._errand.alias} sent bytes of the digest {actual} for {self.digest}")
        self._spool.verify()

    def _publish(self) -> None:
        self._there = self.size = self._spool.size
        self._begun = self._verified = True
        self._tell()

    def _watch(self) -> bool:
        """Look at what another process writes; True when that is the end of it."""
        if self._spool.verified:
            self._there = self.size = self._spool.size
            self._verified = True
        elif self._there and not self._spool.named and not self._spool.verified:  # asked last: it may just have landed
            raise UpstreamError("the blob was withdrawn: what the upstream sent was wrong")
        elif self._spool.size != self._there:
            self._there = self._spool.size
        self._begun = self._begun or self._verified or self._there > 0
        self._tell()
        return self._verified

    async def _download(self, running: Hash) -> None:
        for attempt in range(_ATTEMPTS):
            if 0 <= self.size <= self._there:
                return  # whoever was here before has got all of it, and did not come to look whether it is right
            try:
                await self._receive(
                    self._errand.registry.blob(self._errand.path, str(self.digest), self._there), running
                )
                break
            except RemoteBusy:
                raise
            except RemoteFailed as error:
                unknown = self.size < 0 and not isinstance(error, RemoteUnreachable)
                silent = isinstance(error, RemoteSilent) and not self._begun  # who asks has waited long enough
                if attempt == _ATTEMPTS - 1 or unknown or silent:
                    raise
                await asyncio.sleep(_AGAIN)

    async def _hash_of_what_is_there(self) -> Hash:
        """What a leader before us has left is gone on with, after it was read once."""
        running = hasher(self.digest.algorithm)
        if self._verified:
            return running
        position = 0
        while chunk := await asyncio.to_thread(self._spool.read, position, 1024 * 1024):
            await asyncio.to_thread(running.update, chunk)
            position += len(chunk)
        self._there = position
        return running

    async def _receive(self, source: AbstractAsyncContextManager[Arriving], running: Hash) -> None:
        async with source as arriving:
            position = arriving.start
            if arriving.size is not None:
                if 0 <= self.size != arriving.size:
                    self._withdraw()
                    raise RemoteLied(f"{self._errand.alias} announces {arriving.size} bytes, the manifest {self.size}")
                self.size = arriving.size
            self._begun = True
            self._tell()
            async for chunk in arriving.chunks:
                fresh = chunk[self._there - position :] if position < self._there else chunk
                position += len(chunk)
                if not fresh:
                    continue
                if 0 <= self.size < self._there + len(fresh):
                    self._withdraw()
                    raise RemoteLied(f"{self._errand.alias} sends more bytes than it has announced")
                self._spool.append(self._there, fresh)
                running.update(fresh)
                self._there += len(fresh)
                self._tell_soon()
        if 0 <= self._there < self.size:
            raise RemoteUnreachable(f"{self._errand.alias} broke off after {self._there} of {self.size} bytes")

    async def _stored_bytes(self) -> AsyncGenerator[bytes, None]:
        position = 0
        while chunk := await asyncio.to_thread(self._spool.read, position, 1024 * 1024):
            position += len(chunk)
            yield chunk

    def _withdraw(self) -> None:
        """The bytes are wrong: nobody gets any more of them. Who sees fewer than before has to see why."""
        self._spool.remove()
        if not self._spool.verified:
            self._spool.empty()

    def _tell(self) -> None:
        if self._telling is not None:
            self._telling.cancel()
            self._telling = None
        self._told = self._there
        self._changed.set()
        self._changed = asyncio.Event()

    def _tell_soon(self) -> None:
        """Wake the readers when a good piece is there, or a moment has passed: fifty of them for each packet cost more
        than the link gives."""
        if not self._told or self._there - self._told >= _READ:
            self._tell()
        elif self._telling is None:
            self._telling = asyncio.get_running_loop().call_later(_MOMENT, self._tell)


class Flights:
    """The flights of a worker."""

    def __init__(self, spools: Spools, nodes: Nodes | None) -> None:
        """`nodes`: the other nodes, where there are any."""
        self._spools = spools
        self._nodes = nodes
        self._flights: dict[str, Flight] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def join(self, errand: Errand) -> Flight:
        """The flight of this blob, begun when there is none. Whoever asks must be allowed to have the blob, and must
        have it confirmed when the flight is of another origin."""
        key = str(errand.digest)
        flight = self._flights.get(key)
        if flight is None or flight.over:
            flight = Flight(errand, self._spools, self._nodes)
            self._flights[key] = flight
            task = asyncio.create_task(flight.run())
            self._tasks[key] = task
            task.add_done_callback(partial(self._ended, key, flight))
        return flight

    def cut(self, digest: str, alias: str | None) -> None:
        """The port Fetches. What a worker that died has left behind is dropped as well."""
        flight = self._flights.get(digest)
        if flight is not None:
            if alias in (None, flight.alias):
                flight.cut()
                self._tasks[digest].cancel()
            return
        spool = self._spools.existing(digest)
        if spool is not None and spool.lead():
            spool.remove()
            spool.release()

    async def close(self) -> None:
        """Break off; what has arrived is gone on with later."""
        running = list(self._tasks.values())
        for task in running:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*running, return_exceptions=True)

    def _ended(self, key: str, flight: Flight, _: object) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key], self._tasks[key]
