"""The pull event: that a manifest was answered, written down in the request and counted later (design.md §4)."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

LOOK = "look"


class PullEvent(NamedTuple):
    """A manifest GET that was answered with 200; or, of the kind `look`, a HEAD or a 304: no pull, but a use, as
    whoever has the image already sends nothing else.

    `tag` is what was asked for, empty when that was a digest. `kind` is image, index, referrer, attestation or look.
    `account_id` and `credential_id` are None for nobody and for a password. `agent` is the User-Agent as it came: it
    is cut and made harmless where it is kept. `bytes` is the manifest's size. `at` is in microseconds since 1970.

    A named tuple, as making a frozen dataclass costs a microsecond more.
    """

    repository_id: int
    digest: str
    tag: str
    kind: str
    account_id: int | None
    credential_id: int | None
    address: str
    agent: str
    bytes: int
    at: int


class PullEvents(Protocol):
    """Where a worker leaves its pull events."""

    lost: int
    """How many could not be kept since the worker started: the disk was full, or is broken."""

    def prepare(self, event: PullEvent) -> bytes:
        """What `append_again` takes for events like this one, at whatever time."""
        ...

    def append_again(self, prepared: bytes, at: int) -> None:
        """Keep an event like the prepared one, at this time in microseconds, as `append` does."""
        ...

    def append(self, event: PullEvent) -> None:
        """Keep an event: in microseconds, without a lock or a sync, and without ever failing.

        SIGKILL loses none that was appended, a power cut those of the last second.
        """
        ...


class Alike(NamedTuple):
    """Events that differ in their time only: one of them, and the times of all, in microseconds since 1970."""

    event: PullEvent
    times: list[int]


class Part(NamedTuple):
    """Some events of a segment, and where the next ones begin. `torn` records among them could not be read."""

    events: list[Alike]
    torn: int
    position: int
    last: bool


class Segments(NamedTuple):
    """The segments of a node, oldest first. `growing`: those that may still be written; `finished`: the others."""

    finished: list[str]
    growing: list[str]


class PullSegments(Protocol):
    """What workers have left behind, for whoever counts it. Failures are StorageError."""

    def turn(self) -> AbstractContextManager[bool]:
        """True for one at a time of all processes of this node, False for the others."""
        ...

    def present(self) -> AbstractContextManager[None]:
        """While it lasts, this process may append events."""
        ...

    def alone(self) -> AbstractContextManager[bool]:
        """True when no process of this node may append events; while it lasts none begins to."""
        ...

    def node(self) -> str:
        """What this node is called among those that share a database; the same after a restart."""
        ...

    def look(self) -> Segments:
        """What is there. No two segments of all nodes have the same id, at any time."""
        ...

    def read(self, segment: str, position: int, *, growing: bool = False) -> Part:
        """Events from a position on, a bounded number of them; a position is 0 or comes from a part before.

        Of a `growing` segment all that was appended before the call is read; what is half appended waits.
        """
        ...

    def remove(self, segments: Sequence[str]) -> None:
        """Remove these for good: after this no power cut brings them back. It is no error when one is not there."""
        ...
