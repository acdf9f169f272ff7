"""Failures to log in, and where people have logged in before."""

from collections.abc import Sequence

from entrepot.access.throttling import WINDOW, Failures
from entrepot.database.engine import Engine, Transaction

_MICROSECONDS = 1_000_000
_DAY = 24 * 60 * 60 * _MICROSECONDS
_FORGOTTEN = 90 * _DAY  # after so long, an address may be somebody else's
_FAILURES = (
    "SELECT key, failures, since + :window - now_us() FROM throttles"
    " WHERE key IN (:first, :second, :third) AND since > now_us() - :window"
)
_COUNT = (
    "INSERT INTO throttles (key, since, failures) VALUES (:key, now_us(), 1) ON CONFLICT (key) DO UPDATE SET"
    " since = CASE WHEN throttles.since > excluded.since - :window THEN throttles.since ELSE excluded.since END,"
    " failures = CASE WHEN throttles.since > excluded.since - :window THEN throttles.failures + 1 ELSE 1 END"
)
_CLEAR = "DELETE FROM throttles WHERE key = :key"
# The condition stands outside too: PostgreSQL asks only that again when a failure was counted in between.
_PRUNE = (
    "DELETE FROM throttles WHERE since <= now_us() - :window AND key IN"
    " (SELECT key FROM throttles WHERE since <= now_us() - :window ORDER BY since LIMIT :limit)"
)
_KNOWN = "SELECT seen_at > now_us() - :day FROM known_addresses WHERE account_id = :account AND address = :address"
_REMEMBER = (
    "INSERT INTO known_addresses (account_id, address, seen_at) VALUES (:account, :address, now_us())"
    " ON CONFLICT (account_id, address) DO UPDATE SET seen_at = excluded.seen_at"
)
_FORGET = (
    "DELETE FROM known_addresses WHERE seen_at <= now_us() - :age AND (account_id, address) IN"
    " (SELECT account_id, address FROM known_addresses WHERE seen_at <= now_us() - :age"
    " ORDER BY seen_at LIMIT :limit)"
)


class DatabaseThrottles:
    """The port ThrottleRows, and what a job forgets of it. Nothing here is durable: a power cut may forgive a guess."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def failures(self, keys: Sequence[str], window: int) -> list[Failures]:
        """See the port."""
        first, second, third = (*keys, keys[0], keys[0])[:3]
        found = await self._engine.read(
            _FAILURES, first=first, second=second, third=third, window=window * _MICROSECONDS
        )
        return [Failures(*row) for row in found]

    async def count_failure(self, keys: Sequence[str], window: int) -> None:
        """See the port."""

        async def count(transaction: Transaction) -> None:
            for key in sorted(keys):  # in one order, so that nobody waits for each other
                await transaction.run(_COUNT, key=key, window=window * _MICROSECONDS)

        await self._engine.write(count, durable=False)

    async def clear_failures(self, key: str) -> None:
        """See the port."""

        async def clear(transaction: Transaction) -> None:
            await transaction.run(_CLEAR, key=key)

        await self._engine.write(clear, durable=False)

    async def known_address(self, account_id: int, address: str) -> bool:
        """See the port."""
        return bool(await self._engine.read(_KNOWN, account=account_id, address=address, day=_DAY))

    async def remember_address(self, account_id: int, address: str) -> None:
        """See the port."""
        found = await self._engine.read(_KNOWN, account=account_id, address=address, day=_DAY)
        if found and found[0][0]:
            return

        async def remember(transaction: Transaction) -> None:
            await transaction.run(_REMEMBER, account=account_id, address=address)

        await self._engine.write(remember, durable=False)

    async def prune(self, limit: int) -> int:
        """Remove up to `limit` windows that have ended, and as many addresses unseen for 90 days; returns how many."""

        async def prune(transaction: Transaction) -> int:
            ended = await transaction.run(_PRUNE, window=WINDOW * _MICROSECONDS, limit=limit)
            return ended + await transaction.run(_FORGET, age=_FORGOTTEN, limit=limit)

        return await self._engine.write(prune, durable=False)
