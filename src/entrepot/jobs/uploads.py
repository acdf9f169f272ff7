"""Uploads past their time end, and bytes that nothing names any more are removed."""

from collections.abc import Mapping

from entrepot.registry.ports import Bytes, Housekeeping

_STEP = 100


class UploadCleaning:
    """The two jobs that keep the store free of leftovers."""

    def __init__(self, rows: Housekeeping, stores: Mapping[str, Bytes]) -> None:
        """`stores`: by name."""
        self._rows = rows
        self._stores = stores

    async def expire(self) -> int:
        """End sessions past their time; returns how many."""
        total = 0
        while count := await self._rows.expire_uploads(_STEP):
            total += count
        return total

    async def empty_trash(self) -> int:
        """Remove the bytes of trashed keys, then forget the keys; a crash in between repeats the removal."""
        total = 0
        while keys := [key for key in await self._rows.trashed(_STEP) if key[0] in self._stores]:
            for store, key in keys:
                await self._stores[store].delete(key)
            await self._rows.empty_trash(keys)
            total += len(keys)
        return total
