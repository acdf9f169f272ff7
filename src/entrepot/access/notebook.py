"""What logins leave behind is noted in memory and written down a moment later, off the request's way."""

import hmac
import time
from collections import Counter
from hashlib import sha256
from typing import NamedTuple, Protocol

_MOST = 10_000  # notes of each kind between two writes; beyond it the address is left out of the merged row


class _Outcome(NamedTuple):
    """What login events are merged by."""

    account_id: int | None
    name_key: str
    address: str
    outcome: str
    reason: str


class NoteRows(Protocol):
    """Where notes go."""

    async def write_notes(
        self, uses: list[tuple[int, int, str, str]], logins: list[tuple[int, int | None, str, str, str, str, int]]
    ) -> None:
        """Uses as (credential id, µs, address, agent); logins as (µs, account id, hash of a name that is no account,
        address, outcome, reason, how many)."""
        ...


class Notebook:
    """The notes of one worker."""

    def __init__(self, rows: NoteRows, key: bytes) -> None:
        """`key`: a name that is no account is kept only as its hash, as it may be a password in the wrong field."""
        self._rows = rows
        self._key = key
        self._uses: dict[int, tuple[int, int, str, str]] = {}
        self._logins: Counter[_Outcome] = Counter()

    def used(self, credential_id: int, address: str, agent: str) -> None:
        """A credential has been used."""
        self._uses[credential_id] = (credential_id, time.time_ns() // 1000, address, agent[:200])

    def login(self, account_id: int | None, name: str, address: str, outcome: str, reason: str) -> None:
        """Somebody has logged in, or has failed to."""
        name_key = "" if account_id is not None else hmac.new(self._key, name.encode(), sha256).hexdigest()
        if len(self._logins) >= _MOST:
            name_key, address = "", ""
        self._logins[_Outcome(account_id, name_key, address, outcome, reason)] += 1

    async def flush(self) -> int:
        """Write down what was noted; returns how much it was."""
        if not self._uses and not self._logins:
            return 0
        uses, self._uses = list(self._uses.values()), {}
        logins, self._logins = self._logins, Counter()
        now = time.time_ns() // 1000
        await self._rows.write_notes(uses, [(now, *event, count) for event, count in logins.items()])
        return len(uses) + len(logins)
