"""Whose turn it is to read blobs, and how far the reading has come: one row."""

from entrepot.database.engine import Engine, Transaction
from entrepot.registry.scrub import Turn

_MICROSECONDS = 1_000_000
_MOST_AT_ONCE = 3600 * _MICROSECONDS  # after a night without a server not everything is read at once
_DAY = 24 * 3600 * _MICROSECONDS  # no lease is longer: one that ends later is from before the clock went back
_IS_FREE = f"(owner = :owner OR lease_until < now_us() OR lease_until > now_us() + {_DAY})"
_LOOK = f"SELECT 1 FROM scrub WHERE id = 1 AND {_IS_FREE}"  # noqa: S608 - constants
_TAKE = (
    "UPDATE scrub SET owner = :owner, lease_until = now_us() + CAST(:lease AS bigint) WHERE id = 1"  # noqa: S608
    f" AND {_IS_FREE} RETURNING position, credit, at, now_us()"
)
_EARN = "UPDATE scrub SET credit = :credit, at = :now WHERE id = 1"
_RENEW = "UPDATE scrub SET lease_until = now_us() + CAST(:lease AS bigint) WHERE id = 1 AND owner = :owner"
_PROGRESS = (
    "UPDATE scrub SET position = :position, credit = credit - CAST(:cost AS bigint) WHERE id = 1 AND owner = :owner"
)


class DatabaseScrub:
    """The port ScrubRows."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def take_turn(self, owner: str, lease: int, pace: float) -> Turn | None:
        """See the port."""
        if not await self._engine.read(_LOOK, owner=owner):
            return None

        async def take(transaction: Transaction) -> Turn | None:
            row = await transaction.one(_TAKE, owner=owner, lease=lease * _MICROSECONDS)
            if row is None:
                return None
            position, credit, at, now = row
            passed = min(max(now - at, 0), _MOST_AT_ONCE) if at else 0
            credit += int(passed / _MICROSECONDS * pace)
            await transaction.run(_EARN, credit=credit, now=now)
            return Turn(position, credit)

        return await self._engine.write(take, durable=False)

    async def renew(self, owner: str, lease: int) -> bool:
        """See the port."""

        async def go_on(transaction: Transaction) -> bool:
            return await transaction.run(_RENEW, owner=owner, lease=lease * _MICROSECONDS) == 1

        return await self._engine.write(go_on, durable=False)

    async def progress(self, owner: str, position: int, cost: int) -> bool:
        """See the port."""

        async def note(transaction: Transaction) -> bool:
            return await transaction.run(_PROGRESS, owner=owner, position=position, cost=cost) == 1

        return await self._engine.write(note, durable=False)
