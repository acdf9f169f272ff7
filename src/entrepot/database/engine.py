"""What the query modules need of a database.

Statements are constant SQL text with `:name` parameters, the same for SQLite and PostgreSQL. Rows are tuples.
`now_us()` is the database's clock in microseconds since 1970, defined on both.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

Row = tuple[Any, ...]
T = TypeVar("T")


class Transaction(Protocol):
    """Statements inside one transaction."""

    async def all(self, statement: str, **values: object) -> list[Row]:
        """Every row."""
        ...

    async def one(self, statement: str, **values: object) -> Row | None:
        """The first row, if any."""
        ...

    async def run(self, statement: str, **values: object) -> int:
        """How many rows were changed."""
        ...


Work = Callable[[Transaction], Awaitable[T]]


class Engine(Protocol):
    """A database. Failures are StorageError, StorageFull when it has no space left."""

    async def read(self, statement: str, **values: object) -> list[Row]:
        """The rows of one statement, outside of any transaction."""
        ...

    async def scan(self, statement: str, **values: object) -> list[Row]:
        """As `read`, for a statement that looks at many rows: nobody else waits for it."""
        ...

    async def write(self, work: Work[T], *, durable: bool) -> T:
        """Run `work` in a transaction and commit it; `durable`: return only when it survives a power cut.

        `work` awaits nothing but its transaction, and may be run again when another transaction was in the way.
        """
        ...

    def changed(self) -> bool | None:
        """Whether anything was committed since the last call; None when it cannot tell (then cache nothing)."""
        ...

    def now(self) -> int:
        """The database's clock as this process knows it without asking, in microseconds."""
        ...

    async def overwrite(self) -> None:
        """Leave nothing of what was deleted in the database's own files, as far as that can be done from here.

        It waits for nobody who reads: what stays on their account is for a later call.
        """
        ...

    def overwritten(self) -> bool:
        """Whether the last `overwrite`, of any process, left nothing that a later one would."""
        ...

    async def close(self) -> None:
        """Finish what is being written and disconnect."""
        ...


class Conflict(Exception):
    """A uniqueness or reference rule refused a statement: somebody else was there first."""
