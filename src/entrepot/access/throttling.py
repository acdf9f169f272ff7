"""Guessing passwords is slowed down, and nobody can lock another out.

Failures are counted in the database, so that all workers and nodes count together: of a name from an address, of an
address, and of a name from all addresses that have never been seen logged in to that account. A window is five minutes
from its first failure. Within it, 10 failures of a pair and 30 of an address are answered plainly; what comes then is
refused unlooked-at until the window ends. The third count is against guessing from many addresses at once: it stops
only strangers, so that the account's owner still gets in from where he has been before.
"""

import asyncio
import hmac
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from hashlib import sha256
from ipaddress import IPv6Address, ip_address
from typing import NamedTuple, Protocol
from weakref import WeakValueDictionary

WINDOW = 5 * 60
"""Seconds from the first failure until all are forgotten."""

PAIR_LIMIT = 10
"""Failures of one name from one address within a window."""

ADDRESS_LIMIT = 30
"""Failures of one address, whatever the name, within a window."""

NAME_LIMIT = 100
"""Failures of one name from addresses that were never logged in to it, within a window.

Ours: far more than a crowd of forgetful people behind new addresses, and 29,000 guesses a day for a whole botnet.
"""

_MICROSECONDS = 1_000_000
_INTERFACE_BITS = 64  # the lower half of an IPv6 address, which its holder chooses freely (RFC 4291 §2.5.4)


class Failures(NamedTuple):
    """How many a key has counted in its present window; `left` is how long that lasts still, in microseconds."""

    key: str
    number: int
    left: int


class ThrottleRows(Protocol):
    """Counts that all workers and nodes share, by the database's clock. `window` is in seconds."""

    async def failures(self, keys: Sequence[str], window: int) -> Sequence[Failures]:
        """Of those of one to three keys whose window has not ended."""
        ...

    async def count_failure(self, keys: Sequence[str], window: int) -> None:
        """One more for each key; the first of a new window where the last has ended."""
        ...

    async def clear_failures(self, key: str) -> None:
        """Forget a key."""
        ...

    async def known_address(self, account_id: int, address: str) -> bool:
        """Whether the account has been logged in to from there."""
        ...

    async def remember_address(self, account_id: int, address: str) -> None:
        """It has been, now. Writes only what is new or was written more than a day ago."""
        ...


class Throttling:
    """The rules. Addresses may be given as they come: IPv6 ones count by their /64."""

    def __init__(self, rows: ThrottleRows, key: bytes) -> None:
        """`key`: names are stored only as hashes under it, as a name may be a password typed into the wrong field."""
        self._rows = rows
        self._key = key
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def turn(self, address: str) -> AsyncIterator[None]:
        """Hold this from check to failed or succeeded: of one address, a worker proves one password at a time.

        Otherwise a thousand guesses sent at once would all be checked before the first of them has failed.
        """
        subject = subject_address(address)
        lock = self._turns.get(subject)
        if lock is None:
            lock = self._turns[subject] = asyncio.Lock()
        async with lock:
            yield

    async def check(self, name: str, address: str, *, known: bool) -> int | None:
        """None, or for how many seconds this name is not looked at from this address. Writes nothing.

        `known`: whether the name is an account that has been logged in to from there.
        """
        limits = self._limits(name, address, known)
        found = await self._rows.failures(list(limits), WINDOW)
        full = [each.left for each in found if each.number >= limits[each.key]]
        return -(-max(full) // _MICROSECONDS) if full else None

    async def failed(self, name: str, address: str, *, known: bool) -> None:
        """The secret was wrong, or the name is no account."""
        await self._rows.count_failure(list(self._limits(name, address, known)), WINDOW)

    async def succeeded(self, name: str, address: str) -> None:
        """The password was right: the pair's failures were mistypings. Those of the address and the name stay."""
        pair = self._pair(name, subject_address(address))
        if await self._rows.failures([pair], WINDOW):
            await self._rows.clear_failures(pair)

    async def known(self, account_id: int, address: str) -> bool:
        """Whether the account has been logged in to from this address."""
        return await self._rows.known_address(account_id, subject_address(address))

    async def remember(self, account_id: int, address: str) -> None:
        """Somebody has logged in from this address."""
        await self._rows.remember_address(account_id, subject_address(address))

    def _limits(self, name: str, address: str, known: bool) -> dict[str, int]:
        subject = subject_address(address)
        limits = {self._pair(name, subject): PAIR_LIMIT, f"address:{subject}": ADDRESS_LIMIT}
        if not known:
            limits[f"name:{self._hash(name)}"] = NAME_LIMIT
        return limits

    def _pair(self, name: str, subject: str) -> str:
        return f"pair:{self._hash(name)}:{subject}"

    def _hash(self, name: str) -> str:
        return hmac.new(self._key, name.lower().encode("utf-8", "surrogatepass"), sha256).hexdigest()


def subject_address(text: str) -> str:
    """Whom an address counts as: itself for IPv4, the /64 of IPv6 as `2001:db8:1:2::`; IPv4-mapped IPv6 is IPv4.

    What is no IP address, such as the peer of a Unix socket, stands for itself.
    """
    try:
        address = ip_address(text)
    except ValueError:
        return text
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(IPv6Address(int(address) >> _INTERFACE_BITS << _INTERFACE_BITS))
