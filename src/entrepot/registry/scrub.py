"""Every blob is read again and again, at a set pace, and what was found damaged or missing is mended where it can be.

One worker of all nodes at a time has the turn: to save work, and to keep the pace. Two that read the same do no harm.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import NamedTuple, Protocol
from uuid import uuid4

from entrepot.registry.errors import RegistryError
from entrepot.registry.verification import Finding, NamedBlob, VerificationRows, Verifier

_LEASE = 120  # seconds
_SLOWEST = 1024 * 1024  # bytes a second: a blob whose reading takes longer may be read twice
_LONGEST_LEASE = 12 * 3600
_EACH = 64 * 1024  # bytes: what it costs to look at a blob, besides its size
_COUNT_SECONDS = 3600.0  # how long a sum over all blobs is taken for true
_AGAIN_SECONDS = 10.0  # until what could not be mended is looked at again; each time twice as long
_AGAIN_MOST = 3600.0
_BATCH = 100
_SOURCES = 5  # repositories of upstreams that are asked for one blob


class Turn(NamedTuple):
    """The id of the last blob that was read, and how many bytes may be read now; a blob too large makes a debt."""

    position: int
    credit: int


class ScrubRows(Protocol):
    """Whose turn it is, and how far it has come; both survive a restart."""

    async def take_turn(self, owner: str, lease: int, pace: float) -> Turn | None:
        """Take or keep the turn for `lease` seconds; None while another has it.

        The credit grows by `pace` bytes for each second since the last turn, of at most an hour.
        """
        ...

    async def renew(self, owner: str, lease: int) -> bool:
        """Keep the turn for `lease` seconds from now on; False when it was lost."""
        ...

    async def progress(self, owner: str, position: int, cost: int) -> bool:
        """The blobs up to this id were read, for so many bytes of credit; False when the turn was lost."""
        ...


class Healer(Protocol):
    """Gets bytes again from where they came."""

    async def heal(self, digest: str, repositories: Sequence[str]) -> None:
        """Have the blob fetched and stored anew from the upstream of one of these; RegistryError when none has it."""
        ...


class Scrubber:
    """Reads blobs in turn with those of other workers."""

    def __init__(
        self,
        rows: ScrubRows,
        blobs: VerificationRows,
        verifier: Verifier,
        store: str,
        period: float,
        healer: Healer,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`period`: seconds in which every blob is read once, 0 for never. `clock`: monotonic, in seconds."""
        self._rows = rows
        self._blobs = blobs
        self._verifier = verifier
        self._store = store
        self._period = period
        self._healer = healer
        self._clock = clock
        self._owner = uuid4().hex
        self._counted: float | None = None
        self._pace = 0.0
        self._tried: dict[NamedBlob, tuple[float, float]] = {}

    async def damage(self) -> Mapping[str, int]:
        """How many blobs are known to be `damaged`, and `missing`."""
        return await self._blobs.damage()

    async def run(self) -> AsyncIterator[Finding]:
        """Whatever is due, if it is our turn; tells what was found, what upstreams could not mend, and nothing else."""
        turn = await self._rows.take_turn(self._owner, _LEASE, await self._bytes_a_second())
        if turn is None:
            return
        if self._period:
            async for found in self._read(turn):
                yield found
        async for unmended in self._mend():
            yield unmended

    async def _bytes_a_second(self) -> float:
        if self._period and (self._counted is None or self._clock() - self._counted > _COUNT_SECONDS):
            count, size = await self._blobs.total(self._store)
            self._pace = (size + count * _EACH) / self._period
            self._counted = self._clock()
        return self._pace

    async def _read(self, turn: Turn) -> AsyncIterator[Finding]:
        position, credit = turn
        while credit > 0:
            found = await self._blobs.blobs(self._store, position, _BATCH)
            if not found:
                await self._rows.progress(self._owner, 0, 0)
                return
            for blob in found:
                if credit <= 0 or not await self._rows.renew(self._owner, _lease_for(blob)):
                    return
                position, cost = blob.id, blob.size + _EACH
                credit -= cost
                try:
                    wrong = await self._verifier.check(blob, rehash=True)
                except Exception:  # it is passed over: else every later round would begin here, and end
                    await self._rows.progress(self._owner, position, cost)
                    raise
                if wrong is not None:
                    yield wrong
                if not await self._rows.progress(self._owner, position, cost):
                    return

    async def _mend(self) -> AsyncIterator[Finding]:
        """Look at what is damaged again: it may be whole by now, or an upstream may have it; tells why none has."""
        seen: set[NamedBlob] = set()
        after = 0
        while found := await self._blobs.damaged(self._store, after, _BATCH):
            for blob in found:
                seen.add(blob)
                due, wait = self._tried.get(blob, (self._clock(), _AGAIN_SECONDS))
                if self._clock() < due:
                    continue
                self._tried[blob] = self._clock() + wait, min(wait * 2, _AGAIN_MOST)
                if not await self._rows.renew(self._owner, _lease_for(blob)):
                    return
                wrong = await self._verifier.check(blob, rehash=True)
                if wrong is not None and (why := await self._heal(blob)) is not None:
                    yield wrong._replace(note=f"{wrong.note}; it could not be mended: {why}")
            after = found[-1].id
            await asyncio.sleep(0)
        self._tried = {blob: self._tried[blob] for blob in seen}

    async def _heal(self, blob: NamedBlob) -> str | None:
        """Have the blob mended where upstreams may have it; why that failed, if it did: others may be mended still."""
        names = await self._blobs.of_upstreams(blob.digest, _SOURCES)
        if names:
            try:
                await self._healer.heal(blob.digest, names)
            except RegistryError as error:
                return error.message or type(error).__name__
        return None


def _lease_for(blob: NamedBlob) -> int:
    return min(_LEASE + blob.size // _SLOWEST, _LONGEST_LEASE)
