"""Whether rows and bytes agree: blobs whose bytes are missing or damaged, and bytes that no row names.

Beside a running server: what was collected meanwhile is looked at again before it is reported. What is found missing or
damaged is marked: from then on no door answers it, so that clients push it again, and that mends it.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from entrepot.oci.digest import Digest, hasher
from entrepot.registry.errors import BytesUnreadable, StorageError, StorageFull
from entrepot.registry.ports import Bytes

_BATCH = 100  # rows, and keys, at a time


class NamedBlob(NamedTuple):
    """A blob's row; `damage` is what it is marked as, missing or damaged, or None."""

    id: int
    digest: str
    size: int
    key: str
    damage: str | None


class Finding(NamedTuple):
    """Something that does not agree: `kind` is missing, damaged, unreadable (for now) or orphan; an orphan has no
    digest."""

    kind: str
    digest: str
    key: str
    note: str


class VerificationRows(Protocol):
    """What this needs of the database."""

    async def total(self, store: str) -> tuple[int, int]:
        """How many blobs this store should have, and their size in bytes."""
        ...

    async def blobs(self, store: str, after: int, limit: int) -> Sequence[NamedBlob]:
        """Blobs with ids over `after`, by id, but for those that are being removed."""
        ...

    async def damaged(self, store: str, after: int, limit: int) -> Sequence[NamedBlob]:
        """The same, of those that are marked."""
        ...

    async def damage(self) -> Mapping[str, int]:
        """How many blobs are marked, by what."""
        ...

    async def mark(self, blob: NamedBlob, damage: str | None) -> bool:
        """Mark the blob as missing or damaged, or as neither; False when it does not have this key any more."""
        ...

    async def of_upstreams(self, digest: str, limit: int) -> Sequence[str]:
        """Upstreams' repositories that have or name this blob."""
        ...

    async def unnamed(self, store: str, keys: Sequence[str]) -> Sequence[str]:
        """Those of at most 100 keys that no blob, no upload and no trash names."""
        ...

    async def sight_orphan(self, store: str, key: str, grace: int, quarantine: int) -> str:
        """Note that an orphan was seen; what has become of it: sighted, quarantined or trashed.

        It is quarantined when it was first sighted `grace` microseconds ago, and trashed `quarantine` after that.
        """
        ...


class Verifier:
    """Compares a store with the rows."""

    def __init__(
        self,
        rows: VerificationRows,
        store: Bytes,
        grace: float,
        quarantine: float,
        belong_together: Callable[[], Awaitable[bool]],
    ) -> None:
        """`grace` and `quarantine`: seconds between the sightings of an orphan, and until it goes.

        `belong_together`: whether the store says, at this moment, that it is this database's; nothing is marked else.
        """
        self._rows = rows
        self._store = store
        self._grace = int(grace * 1_000_000)
        self._quarantine = int(quarantine * 1_000_000)
        self._belong_together = belong_together

    async def count(self) -> int:
        """How many blobs `blobs` will look at."""
        return (await self._rows.total(self._store.name))[0]

    async def blobs(self, *, rehash: bool) -> AsyncGenerator[Finding | None, None]:
        """Look at the bytes of each blob: something for each, None when it is as it should be."""
        after = 0
        while found := await self._rows.blobs(self._store.name, after, _BATCH):
            for blob in found:
                yield await self.check(blob, rehash=rehash)
            after = found[-1].id

    async def check(self, blob: NamedBlob, *, rehash: bool) -> Finding | None:
        """Look at one blob, and mark what is found; one that is marked and whole is so no more.

        What a store that answers cannot give for some other reason than a bad sector is told, and not marked.
        StorageError when the store does not answer, or when the bytes are not this database's: a disk that is not there
        must not look like loss.
        """
        wrong = await self._wrong(blob, rehash=rehash or blob.damage is not None)
        if wrong is None and blob.damage is None:
            return None
        if wrong is not None and wrong.kind == "unreadable":
            return wrong
        if wrong is not None and not await self._belong_together():
            raise StorageError("database and bytes do not belong together: nothing can be compared")
        still = await self._rows.mark(blob, None if wrong is None else wrong.kind)
        return wrong if still else None

    async def orphans(self, *, remove: bool) -> AsyncIterator[Finding]:
        """Bytes that nothing names. With `remove` they go, after two sightings a grace apart and a quarantine."""
        batch: list[str] = []
        async for key in self._store.keys():
            batch.append(key)
            if len(batch) == _BATCH:
                for found in await self._unnamed(batch, remove=remove):
                    yield found
                batch = []
        for found in await self._unnamed(batch, remove=remove):
            yield found

    async def _unnamed(self, keys: Sequence[str], *, remove: bool) -> list[Finding]:
        if not keys:
            return []
        found = []
        for key in await self._rows.unnamed(self._store.name, keys):
            try:
                size = await self._store.size(key)
            except FileNotFoundError:
                continue  # it went between the two looks
            state = "left alone"
            if remove:
                state = await self._rows.sight_orphan(self._store.name, key, self._grace, self._quarantine)
            found.append(Finding("orphan", "", key, f"{size} bytes that no row names; {state}"))
        return found

    async def _wrong(self, blob: NamedBlob, *, rehash: bool) -> Finding | None:
        try:
            note = await self._difference(blob, rehash=rehash)
        except FileNotFoundError:
            return Finding("missing", blob.digest, blob.key, f"{blob.size} bytes are not there")
        except BytesUnreadable as error:
            return Finding("damaged", blob.digest, blob.key, error.message)
        except StorageError as error:  # of permissions, of limits, of a service that has a bad day
            await self._is_there()
            return Finding("unreadable", blob.digest, blob.key, error.message)
        return None if note is None else Finding("damaged", blob.digest, blob.key, note)

    async def _difference(self, blob: NamedBlob, *, rehash: bool) -> str | None:
        """How the bytes differ from what the row says. StorageError when they cannot be read."""
        try:
            return await self._compared(blob, rehash=rehash)
        except StorageError:
            await self._is_there()
        return await self._compared(blob, rehash=rehash)  # a connection may break once

    async def _is_there(self) -> None:
        with contextlib.suppress(StorageFull):
            await self._store.check()

    async def _compared(self, blob: NamedBlob, *, rehash: bool) -> str | None:
        size = await self._store.size(blob.key)
        if size != blob.size:
            return f"{size} bytes instead of {blob.size}"
        if rehash:
            running = hasher(Digest.parse(blob.digest).algorithm)
            async with contextlib.aclosing(self._store.read(blob.key)) as chunks:
                async for chunk in chunks:
                    await asyncio.to_thread(running.update, chunk)
            actual = f"{blob.digest.partition(':')[0]}:{running.hexdigest()}"
            if actual != blob.digest:
                return f"its bytes are {actual}"
        return None
