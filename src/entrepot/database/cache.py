"""What was read before, dropped as soon as a change names it (SQLite only: PostgreSQL cannot tell in time)."""

from collections import OrderedDict
from typing import Any

from entrepot.database.engine import Engine

_BUDGET = 32 * 1024 * 1024  # bytes a worker
_OVERHEAD = 600  # bytes an entry, besides its content
_MOST_CHANGES = 2000  # beyond which it is cheaper to forget everything

_OF_REPOSITORIES = ("repository.", "namespace.")  # kinds that change every answer of a repository; they are rare
_NOTHING_IN_IT = "repository.create"

_LATEST = "SELECT COALESCE(MAX(id), 0) FROM changes"
_SINCE = (
    "SELECT c.id, r.name, c.tag, c.old, c.new, c.kind FROM changes c LEFT JOIN repositories r ON r.id = c.repository_id"
    " WHERE c.id > :seen ORDER BY c.id LIMIT :most"
)


class ReadCache:
    """Rows by (repository, tag or digest or "blob " + digest); every change shows at once.

    Reading, storing and dropping happen on one event loop without a pause between them, so an entry is never older
    than the last change that was looked at.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._entries: OrderedDict[tuple[str, str], tuple[Any, int]] = OrderedDict()
        self._size = 0
        self._seen: int | None = None

    async def get(self, repository: str, key: str) -> Any | None:
        """The entry, if it is still true."""
        changed = self._engine.changed()
        if changed or self._seen is None:
            if changed is None:
                return None
            try:
                await self._refresh()
            except BaseException:  # this change will not be told again
                self._clear()
                self._seen = None
                raise
        entry = self._entries.get((repository, key))
        return None if entry is None else entry[0]

    def put(self, repository: str, key: str, row: Any, size: int) -> None:
        """Remember a row that was just read; `size` in bytes."""
        if self._seen is None:
            return
        self._forget((repository, key))
        self._entries[repository, key] = (row, size + _OVERHEAD)
        self._size += size + _OVERHEAD
        while self._size > _BUDGET:
            oldest = next(iter(self._entries))
            self._forget(oldest)

    async def _refresh(self) -> None:
        if self._seen is None:
            self._seen = (await self._engine.read(_LATEST))[0][0]
            return
        rows = await self._engine.read(_SINCE, seen=self._seen, most=_MOST_CHANGES)
        if len(rows) == _MOST_CHANGES:
            self._clear()
            self._seen = (await self._engine.read(_LATEST))[0][0]
            return
        for identity, repository, tag, old, new, kind in rows:
            self._seen = identity
            same_bytes = old is not None and old == new  # under another media type, whatever tags they have
            if same_bytes or (kind.startswith(_OF_REPOSITORIES) and kind != _NOTHING_IN_IT):
                self._clear()
            for key in (tag, old, new, f"blob {old}", f"blob {new}"):
                if key is not None:
                    self._forget((repository, key))

    def _clear(self) -> None:
        self._entries.clear()
        self._size = 0

    def _forget(self, key: tuple[str, str]) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._size -= entry[1]
