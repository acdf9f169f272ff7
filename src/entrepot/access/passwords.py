"""Passwords: what may become one, how one is kept, and how one is proved by exactly one hash, whoever asks.

Argon2id with the first parameters that OWASP's "Password Storage Cheat Sheet" names: 19 MiB, two passes, one lane,
about 20 ms. bcrypt is only read, as htpasswd files have it.
"""

import asyncio
import hmac
import secrets
import struct
import time
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from hashlib import sha256
from typing import TypeVar

import bcrypt
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

T = TypeVar("T")

SHORTEST = 8
"""Characters of a password, at least (NIST SP 800-63B §5.1.1.2)."""

LONGEST = 1024
"""Bytes of a password in UTF-8, at most: nobody makes us hash megabytes."""

REMEMBERED_SECONDS = 5 * 60
"""How long a worker remembers at most that a password was right."""

_MEMORY, _PASSES, _LANES = 19 * 1024, 2, 1  # KiB; see above
_AT_ONCE = 2  # hashes under way in a worker: 38 MiB, however many log in
_REMEMBERED = 10_000  # passwords that a worker remembers as right
_BCRYPT_BYTES = 72  # bcrypt looks at no more; the library wants them cut, as htpasswd and Apache do silently
_BCRYPT = ("$2a$", "$2b$", "$2y$")
# A hash of the usual work whose result, all zeros, no password has.
_NOBODY = f"$argon2id$v=19$m={_MEMORY},t={_PASSES},p={_LANES}${'A' * 22}${'A' * 43}"


class InvalidPassword(ValueError):
    """Not a password that an account can have; the message says why, and never contains it."""


def check_new_password(password: str) -> str:
    """The password itself, when an account can have it; InvalidPassword otherwise. Nothing is hashed."""
    if len(password) < SHORTEST:
        raise InvalidPassword(f"a password has at least {SHORTEST} characters, this one has {len(password)}")
    size = len(_bytes(password))
    if size > LONGEST:
        raise InvalidPassword(f"a password has at most {LONGEST} bytes, this one has {size}")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in password):
        raise InvalidPassword("a password has no control characters, such as line breaks or tabs")
    return password


class Passwords:
    """Hashes and verifies, one of it in a worker.

    Two threads of its own bound the memory. Unlike a semaphore, they also count a hash whose request has gone away: it
    runs on, as threads cannot be stopped.
    """

    def __init__(self) -> None:
        self._argon2 = PasswordHasher(time_cost=_PASSES, memory_cost=_MEMORY, parallelism=_LANES)
        self._threads = ThreadPoolExecutor(_AT_ONCE, "passwords")

    async def hash(self, password: str) -> str:
        """What is stored of a password that check_new_password has let pass."""
        return await self._work(partial(self._argon2.hash, _bytes(password)))

    async def verify(self, password: str, stored: str | None, *, dummy: str = _NOBODY) -> bool:
        """Whether this is the password of which `stored` is kept: Argon2id, or bcrypt of an htpasswd file.

        Always one hash. None, for a name that is no account, costs that of `dummy` and is False: where accounts come
        from a file, give Htpasswd.dummy, so that an unknown name takes as long as a known one. A password that is too
        long is wrong, and costs the same.
        """
        given = _bytes(password)
        verify = self._bcrypt_verify if (stored or dummy).startswith(_BCRYPT) else self._argon2_verify
        right = await self._work(partial(verify, stored or dummy, given[:LONGEST]))
        return right and stored is not None and len(given) <= LONGEST

    async def _work(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def _argon2_verify(self, stored: str, given: bytes) -> bool:
        try:
            return self._argon2.verify(stored, given)
        except (VerificationError, InvalidHashError):
            return False

    def _bcrypt_verify(self, stored: str, given: bytes) -> bool:
        return bcrypt.checkpw(given[:_BCRYPT_BYTES], stored.encode())


class VerifiedPasswords:
    """Remembers for a while that a password was right, so that not each request of `docker push` costs a hash.

    Only an HMAC is kept, under a key that no other process has. The time of the password's last change is part of it:
    a changed password is forgotten by itself.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, most: int = _REMEMBERED) -> None:
        """`clock` counts seconds and never goes back; the oldest of more than `most` passwords is forgotten."""
        self._key = secrets.token_bytes(32)
        self._clock = clock
        self._most = most
        self._until: dict[bytes, float] = {}  # each lives equally long, so the first is the oldest

    def known(self, identity_id: int, changed_at: int, password: str) -> bool:
        """Whether it was right within REMEMBERED_SECONDS; `changed_at` in microseconds."""
        return self._until.get(self._mark(identity_id, changed_at, password), 0) > self._clock()

    def remember(self, identity_id: int, changed_at: int, password: str) -> None:
        """It was verified just now. What is merely known must not be remembered again, else it would never end."""
        mark = self._mark(identity_id, changed_at, password)
        self._until.pop(mark, None)
        if len(self._until) >= self._most:
            del self._until[next(iter(self._until))]
        self._until[mark] = self._clock() + REMEMBERED_SECONDS

    def _mark(self, identity_id: int, changed_at: int, password: str) -> bytes:
        return hmac.digest(self._key, struct.pack(">qq", identity_id, changed_at) + _bytes(password), sha256)


def _bytes(password: str) -> bytes:
    """UTF-8. JSON can bring half a surrogate pair, which has none: no reason to fail, it is only a wrong password."""
    return password.encode("utf-8", "surrogatepass")
