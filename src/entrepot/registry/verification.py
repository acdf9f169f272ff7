"""Whether rows and bytes agree: blobs whose bytes are missing or damaged, and bytes that no row names.

Beside a running server: what was collected meanwhile is looked at again before it is reported.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import NamedTuple, Protocol

from entrepot.oci.digest import Digest, hasher
from entrepot.registry.ports import Bytes

_BATCH = 100  # rows, and keys, at a time


class NamedBlob(NamedTuple):
    """A blob's row."""

    id: int
    digest: str
    size: int
    key: str


class Finding(NamedTuple):
    """Something that does not agree: `kind` is missing, damaged or orphan; an orphan has no digest."""

    kind: str
    digest: str
    key: str
    note: str


class VerificationRows(Protocol):
    """What this needs of the database."""

    async def count(self, store: str) -> int:
        """How many blobs this store should have."""
        ...

    async def blobs(self, store: str, after: int, limit: int) -> Sequence[NamedBlob]:
        """Blobs with ids over `after`, by id, but for those that are being removed."""
        ...

    async def still(self, blob: NamedBlob) -> bool:
        """Whether the blob has this key still."""
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

    def __init__(self, rows: VerificationRows, store: Bytes, grace: float, quarantine: float) -> None:
        """`grace` and `quarantine`: seconds between the sightings of an orphan, and until it goes."""
        self._rows = rows
        self._store = store
        self._grace = int(grace * 1_000_000)
        self._quarantine = int(quarantine * 1_000_000)

    async def count(self) -> int:
        """How many blobs `blobs` will look at."""
        return await self._rows.count(self._store.name)

    async def blobs(self, *, rehash: bool) -> AsyncGenerator[Finding | None, None]:
        """Look at the bytes of each blob: something for each, None when it is as it should be."""
        after = 0
        while found := await self._rows.blobs(self._store.name, after, _BATCH):
            for blob in found:
                wrong = await self._wrong(blob, rehash=rehash)
                yield wrong if wrong is not None and await self._rows.still(blob) else None
            after = found[-1].id

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
            size = await self._store.size(blob.key)
            if size != blob.size:
                return Finding("damaged", blob.digest, blob.key, f"{size} bytes instead of {blob.size}")
            if rehash:
                running = hasher(Digest.parse(blob.digest).algorithm)
                async for chunk in self._store.read(blob.key):
                    running.update(chunk)
                actual = f"{blob.digest.partition(':')[0]}:{running.hexdigest()}"
                if actual != blob.digest:
                    return Finding("damaged", blob.digest, blob.key, f"its bytes are {actual}")
        except FileNotFoundError:
            return Finding("missing", blob.digest, blob.key, f"{blob.size} bytes are not there")
        return None
