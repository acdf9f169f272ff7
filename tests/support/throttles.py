"""Failures to log in and known addresses, without a database."""

from collections.abc import Sequence

from entrepot.access.throttling import Failures


class MemoryThrottles:
    """The port, in memory, with a clock that is moved by hand and a count of what was written."""

    def __init__(self) -> None:
        self.now = 1_000_000_000
        self.counts: dict[str, tuple[int, int]] = {}
        self.addresses: set[tuple[int, str]] = set()
        self.writes = 0

    def later(self, seconds: float) -> None:
        """Time passes."""
        self.now += int(seconds * 1_000_000)

    async def failures(self, keys: Sequence[str], window: int) -> list[Failures]:
        """See the port."""
        assert 1 <= len(keys) <= 3
        found = [(key, *self.counts[key]) for key in keys if key in self.counts]
        left = [Failures(key, number, since + window * 1_000_000 - self.now) for key, since, number in found]
        return [each for each in left if each.left > 0]

    async def count_failure(self, keys: Sequence[str], window: int) -> None:
        """See the port."""
        self.writes += 1
        alive = {each.key: each.number for each in await self.failures(keys, window)}
        for key in keys:
            since = self.counts[key][0] if key in alive else self.now
            self.counts[key] = (since, alive.get(key, 0) + 1)

    async def clear_failures(self, key: str) -> None:
        """See the port."""
        self.writes += 1
        del self.counts[key]

    async def known_address(self, account_id: int, address: str) -> bool:
        """See the port."""
        return (account_id, address) in self.addresses

    async def remember_address(self, account_id: int, address: str) -> None:
        """See the port."""
        self.addresses.add((account_id, address))
