"""Requests between the nodes of one registry: signed with a key that is derived from the root secret they share."""

import hmac
import re
import time
from collections.abc import Callable

from entrepot.access.keys import derive

_VALID = 60.0  # seconds; a request that is sent again within them gets the same bytes again
_CREDENTIAL = re.compile(r"EntrepotNode ([0-9]{1,12})\.([0-9a-f]{64})")


class NodeKey:
    """Signs and checks."""

    def __init__(self, root: bytes, clock: Callable[[], float] = time.time) -> None:
        """`root` is the root secret; clocks of the nodes may differ by a minute."""
        self._key = derive(root, "requests between nodes")
        self._clock = clock

    def sign(self, method: str, target: str) -> str:
        """What the header Authorization of this request is."""
        at = int(self._clock())
        return f"EntrepotNode {at}.{self._signature(method, target, at)}"

    def accepts(self, method: str, target: str, authorization: str | None) -> bool:
        """Whether a node of this registry has signed this request within the last minute."""
        found = _CREDENTIAL.fullmatch(authorization or "")
        if found is None:
            return False
        at = int(found[1])
        right = hmac.compare_digest(found[2], self._signature(method, target, at))
        return right and abs(self._clock() - at) <= _VALID

    def _signature(self, method: str, target: str, at: int) -> str:
        return hmac.digest(self._key, f"{method}\n{target}\n{at}".encode(), "sha256").hex()
