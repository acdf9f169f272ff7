"""Overwriting what was purged, when readers of the database were in the way."""

from typing import Protocol

OVERWRITE_SECONDS = 2.0


class Overwritable(Protocol):
    """What this needs of the database."""

    async def overwrite(self) -> None:
        """Leave nothing of what was deleted in the database's own files, as far as nobody who reads is in the way."""
        ...

    def overwritten(self) -> bool:
        """Whether nothing is left to do."""
        ...


class Overwriting:
    """The job, of every worker."""

    def __init__(self, database: Overwritable) -> None:
        self._database = database
        self._began = False

    async def run(self) -> int:
        """Try again, and once after a start anyway: the server may have ended before it could; 1 when that did it."""
        if self._began and self._database.overwritten():
            return 0
        await self._database.overwrite()
        self._began = True
        return int(self._database.overwritten())
