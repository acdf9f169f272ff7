"""Who stands at the doors of `/v2/`, and what they may do there: decided once a request, by a gate."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from entrepot.access.caller import Caller
from entrepot.access.grant import EVERYTHING, Grant
from entrepot.access.pulls import PullLimit
from entrepot.web.message import Answer, Request
from entrepot.web.v2.routes import Route


@dataclass(frozen=True, slots=True)
class Visit:
    """A request that was let in.

    `grant` is what it may pull, `caller` who changes something. A pull that counts is charged to `subject` within
    `limit` (None: there is no limit); `limit_headers` are those of its headers that stay the same. `names` gives
    the repositories that the catalog shows; None shows all. `noted`: what pulls of this visit are written down as, by
    manifest, tag and agent.
    """

    grant: Grant
    caller: Caller
    limit: PullLimit | None = None
    subject: str = ""
    limit_headers: tuple[tuple[bytes, bytes], ...] = ()
    names: Callable[[str, int], Awaitable[list[str]]] | None = None
    noted: dict[tuple[int, str, str], bytes] = field(default_factory=dict)


class Refused(Exception):
    """A request that goes no further; `answer` says why, and what to do."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(str(answer.status))
        self.answer = answer


class Gate(Protocol):
    """Lets requests in, or raises `Refused` with the answer that says why not and what to do."""

    async def admit(self, request: Request, found: Route, address: str) -> Visit:
        """Who this is, when it may do what it asks for."""
        ...

    async def again(self, request: Request, found: Route, address: str) -> Visit:
        """The same by what the database says now: the data plane has found that the grant is not for what is there."""
        ...

    def remembered(self, authorization: bytes | None, address: str) -> Visit | None:
        """A visit that may pull what its grant covers, when that is known without I/O."""
        ...


class OpenGate:
    """A registry without accounts: everybody may do everything."""

    async def admit(self, request: Request, found: Route, address: str) -> Visit:
        """See Gate."""
        return Visit(EVERYTHING, Caller(address=address))

    async def again(self, request: Request, found: Route, address: str) -> Visit:
        """See Gate."""
        return await self.admit(request, found, address)

    def remembered(self, authorization: bytes | None, address: str) -> Visit | None:
        """See Gate."""
        return _ANYBODY


_ANYBODY = Visit(EVERYTHING, Caller())
