"""What the cache needs of the world besides what the data plane needs."""

from contextlib import AbstractAsyncContextManager
from typing import NamedTuple, Protocol

from entrepot.client.remote import Arriving, Described, Fetched, Listing


class Registry(Protocol):
    """The registry of an upstream; failures are RemoteError (client/errors.py)."""

    async def describe(self, repository: str, reference: str) -> Described:
        """What a tag or digest names there, without pulling it."""
        ...

    async def manifest(self, repository: str, reference: str) -> Fetched:
        """A manifest, not yet verified."""
        ...

    async def blob_size(self, repository: str, digest: str) -> int | None:
        """How large a blob is, in bytes; None when it does not say."""
        ...

    def blob(self, repository: str, digest: str, start: int = 0) -> AbstractAsyncContextManager[Arriving]:
        """A blob from this offset on, not yet verified."""
        ...

    async def listing(self, repository: str, path: str) -> Listing:
        """`tags/list` or `referrers/DIGEST`, with their parameters."""
        ...


class Seen(NamedTuple):
    """When a tag was last looked at upstream, and since when it is refused or absent there: microseconds, or None."""

    checked_at: int | None
    gone_since: int | None


class UpstreamRows(Protocol):
    """What is remembered of upstreams' repositories besides their manifests, tags and links."""

    async def ensure(self, repository: str, alias: str) -> int:
        """Make the repository, as one of this upstream, when it is new; its id."""
        ...

    async def naming(self, repository: str, digest: str) -> bytes | None:
        """A manifest of this repository that names the blob; None when there is none."""
        ...

    async def stored(self, alias: str, digest: str) -> bool | None:
        """Whether a repository of this upstream has the blob; None when nobody has."""
        ...

    async def link_stored(self, repository: str, digest: str) -> bool:
        """Link a blob that is stored for whomever; False when it is not. Barred when it was purged there."""
        ...

    async def refuse_purged(self, alias: str, digest: str) -> None:
        """Barred when it was purged from this upstream's repositories."""
        ...

    async def any_purged(self, alias: str) -> bool:
        """Whether anything was."""
        ...

    async def end_tag(self, repository: str, tag: str, digest: str) -> None:
        """End a tag that still names this here, as what the upstream means by it was purged; not against a rule."""
        ...

    async def seen(self, repository: str, tag: str) -> Seen:
        """See Seen."""
        ...

    async def checked(self, repository: str, tag: str) -> int:
        """The tag was looked at now, and is there; returns the time."""
        ...

    async def gone(self, repository: str, tag: str) -> int:
        """The tag is refused or absent upstream; returns since when."""
        ...

    async def first_seen(self, repository: str, tag: str, digest: str) -> int:
        """Since when this digest was seen under this tag; from now on when it is new. In microseconds."""
        ...

    async def used(self, repository: str, digest: str) -> None:
        """The blob was asked for lately (see USE_SECONDS)."""
        ...

    async def used_image(self, repository: str, digest: str) -> None:
        """The manifest was asked for lately, and so will be the blobs that it names."""
        ...

    async def now(self) -> int:
        """The database's time in microseconds."""
        ...


class Spool(Protocol):
    """The bytes of one blob as they arrive, in a file that all processes of a node can read while it grows."""

    def lead(self) -> bool:
        """Become the one who writes; False while another process is. A leader that dies leads no more."""
        ...

    @property
    def size(self) -> int:
        """Bytes that are there now."""
        ...

    @property
    def verified(self) -> bool:
        """Whether all bytes are there and have the digest."""
        ...

    @property
    def named(self) -> bool:
        """Whether whoever opens the spool of this blob now gets this one: not after `remove`."""
        ...

    @property
    def origin(self) -> str:
        """Where the bytes come from, as who began has said; empty when that is not known."""
        ...

    def come_from(self, origin: str) -> None:
        """Say where the bytes come from, before the first of them."""
        ...

    def append(self, offset: int, data: bytes) -> None:
        """Write at the end, which is `offset`. Only the leader may."""
        ...

    def read(self, offset: int, length: int) -> bytes:
        """What is there, at most `length` bytes."""
        ...

    def verify(self) -> None:
        """Say to all that the bytes are complete and right."""
        ...

    def empty(self) -> None:
        """Take the bytes away: they are wrong."""
        ...

    def remove(self) -> None:
        """Remove the name, as the bytes are stored, or were wrong; whoever reads goes on reading."""
        ...

    def release(self) -> None:
        """Lead no longer."""
        ...


class Spools(Protocol):
    """The spools of a node."""

    def open(self, digest: str) -> Spool:
        """The spool of a blob, made when it is not there."""
        ...

    def turn(self, key: str, *, shared: bool = False) -> AbstractAsyncContextManager[None]:
        """One at a time of all processes of a node, by key; those who share a turn have it together."""
        ...

    def existing(self, digest: str) -> Spool | None:
        """The spool of a blob if it is there."""
        ...


class Leader(NamedTuple):
    """The node that fetches a blob for all, as its row says.

    `node` is where the others reach it, `token` this lease and no other. `size` in bytes, -1 while it is not known.
    `wrong`: what was wrong with the bytes that it got, if it has given up for that.
    """

    node: str
    token: str
    size: int
    wrong: str | None


class LeaseRows(Protocol):
    """Who of all nodes fetches what. A lease lapses by the database's clock unless it is renewed.

    Whoever asks for one has the turn, or the spool, of its own node: what the node itself had before is left over.
    """

    async def take(self, key: str, token: str, size: int, followed: str) -> Leader | None:
        """Lead, with this token; else who leads. That the bytes of the lease `followed` were wrong is told first."""
        ...

    async def take_manifest(self, repository: str, digest: str | None, token: str) -> bool:
        """Lead for a manifest; without a digest for any of the repository, while no other node has one of it."""
        ...

    async def renew(self, key: str, token: str, size: int, arrived: int) -> None:
        """Go on for one more term; `arrived` of `size` bytes are there."""
        ...

    async def give_up(self, key: str, token: str, wrong: str) -> None:
        """What arrived was wrong, and this is how."""
        ...

    async def release(self, key: str, token: str) -> None:
        """It is done, or somebody else may go on."""
        ...


class Peers(Protocol):
    """The other nodes; failures are RemoteFailed."""

    def arriving(
        self, node: str, digest: str, origin: str, start: int, size: int
    ) -> AbstractAsyncContextManager[Arriving]:
        """What arrives there from this origin, from an offset on, as it grows: not verified."""
        ...
