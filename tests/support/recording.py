"""An engine that remembers which statements it was asked."""

from dataclasses import dataclass, field
from typing import TypeVar

from entrepot.database.engine import Engine, Row, Transaction, Work

T = TypeVar("T")


@dataclass
class Recording:
    """An engine that remembers what it was asked, with the last values."""

    engine: Engine
    asked: dict[str, dict[str, object]] = field(default_factory=dict)
    count: int = 0

    def note(self, statement: str, values: dict[str, object]) -> None:
        """It is asked now."""
        self.asked[statement] = values
        self.count += 1

    async def read(self, statement: str, **values: object) -> list[Row]:
        """As the engine."""
        self.note(statement, values)
        return await self.engine.read(statement, **values)

    async def scan(self, statement: str, **values: object) -> list[Row]:
        """As the engine."""
        self.note(statement, values)
        return await self.engine.scan(statement, **values)

    async def write(self, work: Work[T], *, durable: bool) -> T:
        """As the engine."""
        return await self.engine.write(lambda transaction: work(_Noting(self, transaction)), durable=durable)

    def changed(self) -> bool | None:
        """As the engine."""
        return self.engine.changed()

    def now(self) -> int:
        """As the engine."""
        return self.engine.now()

    async def overwrite(self) -> None:
        """As the engine."""
        await self.engine.overwrite()

    def overwritten(self) -> bool:
        """As the engine."""
        return self.engine.overwritten()

    async def close(self) -> None:
        """Whoever made the engine closes it."""


@dataclass
class _Noting:
    """A transaction of it."""

    recording: Recording
    transaction: Transaction

    async def all(self, statement: str, **values: object) -> list[Row]:
        """As the transaction."""
        self.recording.note(statement, values)
        return await self.transaction.all(statement, **values)

    async def one(self, statement: str, **values: object) -> Row | None:
        """As the transaction."""
        self.recording.note(statement, values)
        return await self.transaction.one(statement, **values)

    async def run(self, statement: str, **values: object) -> int:
        """As the transaction."""
        self.recording.note(statement, values)
        return await self.transaction.run(statement, **values)
