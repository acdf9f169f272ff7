"""Accounts of an htpasswd file, as registry:2 has them: lines of `name:hash`, where the hash is bcrypt (`htpasswd -B`).

The file is read again when it has changed. It may be replaced or edited in place: one that cannot be used, perhaps as
it is only half written, changes nothing.
"""

import hmac
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from entrepot.access.names import LIBRARY, PREVIEW, RESERVED, check_account_name, namespace_of

_LOOK_SECONDS = 1  # between two looks at the file
_BCRYPT = re.compile(r"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}")  # 128 and 184 bits
_COSTS = range(4, 18)  # what htpasswd -C takes; each one more is twice the work
_USUAL_COST = "05"  # of htpasswd -B
_OURS = frozenset({LIBRARY, namespace_of(PREVIEW)})  # namespaces that exist without an account
_Signature = tuple[int, int, int]


class HtpasswdError(Exception):
    """The file cannot be used; the message names it and the line, and never shows a hash."""


@dataclass(frozen=True, slots=True)
class _Content:
    """Hashes by name, in the order of the file, and a key that only readers of the file can know."""

    hashes: dict[str, str]
    costs: tuple[str, ...]
    key: bytes


class Htpasswd:
    """The names and hashes of one file, as it is now."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Read the file; HtpasswdError when that is impossible. `clock` counts seconds and never goes back."""
        self._path = path
        self._clock = clock
        self._looked = clock()
        self._signature: _Signature | None
        self._content, self._signature = self._read()
        self._error: HtpasswdError | None = None

    @property
    def error(self) -> HtpasswdError | None:
        """Why the file as it is now cannot be used and an older content stands; None when all is well."""
        return self._error

    @property
    def names(self) -> frozenset[str]:
        """Every name that the file had when it was last looked at."""
        return frozenset(self._content.hashes)

    def find(self, name: str) -> str | None:
        """The bcrypt hash of a name, in lower case; None when the file does not have it."""
        self._look()
        return self._content.hashes.get(name)

    def dummy(self, name: str) -> str:
        """A hash that no password has, for Passwords.verify of a name that the file does not have.

        Its cost is one of the file's, as often as the file has it and always the same for one name: so the time that a
        refusal takes tells nothing.
        """
        content = self._content
        drawn = int.from_bytes(hmac.digest(content.key, name.encode("utf-8", "surrogatepass"), sha256))
        return f"$2b${content.costs[drawn % len(content.costs)]}${'.' * 53}"

    def _look(self) -> None:
        now = self._clock()
        if now - self._looked < _LOOK_SECONDS:
            return
        self._looked = now
        try:
            if _signature(self._path.stat()) != self._signature:
                self._signature = None  # of a file that cannot be used: it is read at each look, until it can
                self._content, self._signature = self._read()
            self._error = None
        except OSError as error:
            self._signature = None
            self._error = self._unreadable(error)
        except HtpasswdError as error:
            self._error = error

    def _read(self) -> tuple[_Content, _Signature]:
        try:
            with self._path.open("rb") as file:
                signature = _signature(os.fstat(file.fileno()))  # before the bytes: what comes later is seen later
                data = file.read()
        except OSError as error:
            raise self._unreadable(error) from error
        hashes: dict[str, str] = {}
        for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
            try:
                self._take(hashes, line)
            except ValueError as error:  # an InvalidAccountName, or one of ours
                raise HtpasswdError(f"{self._path}, line {number}: {error}") from None
        costs = tuple(stored[4:6] for stored in hashes.values()) or (_USUAL_COST,)
        return _Content(hashes, costs, sha256(data).digest()), signature

    def _take(self, hashes: dict[str, str], line: bytes) -> None:
        """Take one line; ValueError, without the line's text, when it cannot be used."""
        try:
            text = line.decode().strip()
        except UnicodeDecodeError:
            raise ValueError("this is not UTF-8") from None
        if not text or text.startswith("#"):
            return
        name, colon, stored = text.partition(":")
        if not colon:
            raise ValueError("this is not of the form name:hash")
        match = _BCRYPT.fullmatch(stored)
        if match is None:
            raise ValueError("the hash is not a bcrypt one: make it by `htpasswd -B`")
        if int(match[1]) not in _COSTS:
            raise ValueError(f"the cost of the hash is {match[1]}: it has to be {_COSTS[0]} to {_COSTS[-1]}")
        if name not in RESERVED - _OURS:
            check_account_name(name)
        if name in hashes:
            raise ValueError(f"the name {name!r} stands in the file twice")
        hashes[name] = stored

    def _unreadable(self, error: OSError) -> HtpasswdError:
        return HtpasswdError(f"{self._path} cannot be read: {error.strerror}")


def _signature(found: os.stat_result) -> _Signature:
    return found.st_mtime_ns, found.st_size, found.st_ino
