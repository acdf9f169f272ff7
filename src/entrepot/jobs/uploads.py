"""Uploads past their time end, and bytes that nothing names any more are removed.

Only of a store that is this database's: it says so itself, by an id and a generation.
"""

import asyncio
import contextlib
import time
import uuid
from collections.abc import Mapping, Sequence

import structlog

from entrepot.registry.errors import StorageError, StorageFull
from entrepot.registry.garbage import Rest
from entrepot.registry.ports import Bytes, Housekeeping, OlderVersions

_STEP = 100
_AT_ONCE = 10  # removals that run beside each other: an object store answers each after milliseconds
_MOST_FAILED = 1000  # in one run: then it is the store that does not let them go
_AGREED = 60.0  # seconds: then it is looked again whether a store still is this database's
_log = structlog.get_logger()


class UploadCleaning:
    """The two jobs that keep the store free of leftovers."""

    def __init__(self, rows: Housekeeping, stores: Mapping[str, Bytes], rest: Rest | None = None) -> None:
        """`stores`: by name; `rest`: between the removals from the trash."""
        self._rows = rows
        self._rest = rest
        self._stores = stores
        self._agreed: dict[str, float] = {}  # when, by a monotonic clock

    async def expire(self) -> int:
        """End sessions past their time; returns how many."""
        if not await self.all_agree():
            return 0
        total = 0
        while count := await self._rows.expire_uploads(_STEP):
            total += count
        return total

    async def empty_trash(self) -> int:
        """Remove the bytes of trashed keys, then forget the keys; a crash in between repeats the removal.

        StorageError when some could not be removed, after the others were; many, and it is not tried for the others.
        """
        if not await self.all_agree():
            return 0
        total = 0
        failed: dict[tuple[str, str], StorageError] = {}
        while len(failed) < _MOST_FAILED:
            trashed = await self._rows.trashed(_STEP + len(failed))
            keys = [key for key in trashed if key[0] in self._stores and key not in failed]
            if not keys:
                break
            more = await self._remove(keys, self._rest)
            failed |= more
            total += len(keys) - len(more)
        _raise(failed)
        return total

    async def remove(self, keys: Sequence[tuple[str, str]]) -> None:
        """Remove the bytes of these trashed keys now; StorageError when nothing may be removed, or not all could be."""
        if not await self.all_agree():
            raise StorageError("database and bytes do not belong together: nothing is removed until that is mended")
        _raise(await self._remove(keys))

    async def older_versions(self) -> Sequence[OlderVersions]:
        """What becomes of older versions of what is removed, of each store."""
        return [await store.older_versions() for store in self._stores.values()]

    async def _remove(
        self, keys: Sequence[tuple[str, str]], rest: Rest | None = None
    ) -> Mapping[tuple[str, str], StorageError]:
        """Remove these and forget them; those that could not be, and why. StorageError when a store is away."""
        failed: dict[tuple[str, str], StorageError] = {}
        for start in range(0, len(keys), _AT_ONCE):
            began = time.monotonic()
            some = keys[start : start + _AT_ONCE]
            whys = await asyncio.gather(*(self._removal(*key) for key in some))
            more = {key: why for key, why in zip(some, whys, strict=True) if why is not None}
            await self._rows.empty_trash([key for key in some if key not in more])
            for store in {store for store, _ in more}:
                with contextlib.suppress(StorageFull):  # it is there, and what can go must go
                    await self._stores[store].check()
            failed |= more
            if rest is not None:
                await rest(time.monotonic() - began)
        return failed

    async def _removal(self, store: str, key: str) -> StorageError | None:
        try:
            await self._stores[store].delete(key)
        except StorageError as error:
            return error
        return None

    async def agree_now(self) -> bool:
        """Whether every store says, at this moment, that it is this database's; unlike `all_agree` this marks none."""
        for name, store in self._stores.items():
            found = await store.identity()
            if found is None or not belongs(found, await self._rows.store_identity(name, uuid.uuid4().hex)):
                return False
        return True

    async def all_agree(self) -> bool:
        """Whether database and bytes belong together: after a restore, or with a directory of another database, nothing
        may be removed until an administrator has looked."""
        for name, store in self._stores.items():
            now = time.monotonic()
            if now < self._agreed.get(name, now):
                continue
            found, known, why = await self._look_at(name, store)
            if why is not None:
                told = {"store": name, "why": why, "help": "entrepot verify --help"}
                _log.error("database and bytes do not belong together; nothing is removed", **told)
                return False
            if found != known:
                await store.mark(known)
            self._agreed[name] = now + _AGREED
        return True

    async def objection(self) -> str | None:
        """Why database and bytes do not belong together; None when they do."""
        for name, store in self._stores.items():
            *_, why = await self._look_at(name, store)
            if why is not None:
                return why
        return None

    async def refuse_foreign(self, so: str) -> None:
        """StorageError when database and bytes do not belong together: what follows from that, and what to do."""
        why = await self.objection()
        if why is not None:
            raise StorageError(
                f"database and bytes do not belong together: {why}. So {so}; `entrepot verify --help` says what to do"
            )

    async def accept(self) -> None:
        """Let the bytes that are there belong to this database, and to no other that knew them."""
        for name, store in self._stores.items():
            await store.mark(await self._rows.rename_store(name, uuid.uuid4().hex))

    async def _look_at(self, name: str, store: Bytes) -> tuple[str | None, str, str | None]:
        """What the store says, what the database knows it by, and why the two do not belong together, if so."""
        known = await self._rows.store_identity(name, uuid.uuid4().hex)
        found = await store.identity()
        return found, known, await self._objection(store, found, known)

    async def _objection(self, store: Bytes, found: str | None, known: str) -> str | None:
        if found is not None:
            return None if belongs(found, known) else _reason(found, known)
        blobs = [] if known.endswith(" 0") else await self._rows.newest_keys(store.name)
        if not blobs:
            # Whatever was pushed since a new database has first seen this store: it must have nothing else.
            async with contextlib.aclosing(store.keys()) as keys:
                async for key in keys:
                    if await self._rows.unnamed(store.name, [key]):
                        return "the store has bytes that the database does not know, and does not say whose they are"
            return None
        for key in blobs:
            with contextlib.suppress(FileNotFoundError):
                await store.size(key)
                return None
        return "the store has none of the database's newest blobs, and does not say whose it is"

    async def raise_generations(self) -> int:
        """Let database and bytes grow older together: a copy of the database that is put back later is younger than
        the bytes then, and so can remove nothing. Returns how many stores there are."""
        if not await self.all_agree():
            return 0
        for name, store in self._stores.items():
            await store.mark(await self._rows.raise_generation(name))
        return len(self._stores)


def _raise(failed: Mapping[tuple[str, str], StorageError]) -> None:
    if failed:
        (_, key), why = next(iter(failed.items()))
        raise StorageError(f"{len(failed)} of what was to be removed could not be, as {key}: {why.message}")


def _reason(found: str, known: str) -> str:
    if found.partition(" ")[0] == known.partition(" ")[0]:
        return "the database is an older copy, younger than the bytes in the store"
    return "the store says that it belongs to another database"


def belongs(found: str, known: str) -> bool:
    """Whether a store that says `found` belongs to a database that knows it as `known`; each is an id and a generation.

    The store may be behind, as the database is written first; it is ahead only of an older copy of the database.
    """
    (store, of), (same, generation) = found.rpartition(" ")[::2], known.rpartition(" ")[::2]
    return store == same and of.isdigit() and int(of) <= int(generation)
