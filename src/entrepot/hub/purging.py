"""Purging what leaked, and saying who may have it."""

import asyncio
from collections.abc import Collection, Sequence
from typing import NamedTuple, Protocol

from entrepot.access.actor import Actor
from entrepot.access.caller import Caller, caller_of
from entrepot.access.decision import Action
from entrepot.access.rights import Rights
from entrepot.hub.errors import Forbidden, Invalid, NotThere
from entrepot.hub.owners import owned, permitted
from entrepot.hub.words import text_within
from entrepot.oci.digest import Digest, InvalidDigest
from entrepot.registry.ports import OlderVersions
from entrepot.registry.purging import Bounds

REASON_MAX = 200  # characters
CUT_SECONDS = 0.4  # between two looks of a worker at what was purged
_CUT_BY = 1.0  # seconds in which every worker of every node has cut what it was sending
UNREACHABLE = (
    "copies that were pulled already: every engine, node and cache that is listed under pulls has one",
    "other namespaces of this registry: a purge is of one namespace",
    "backups of the database and of the blob store from before this moment",
    "write-ahead logs and replicas of PostgreSQL, and snapshots of its disks, until they are overwritten",
    "caches and mirrors downstream of this registry",
    "replicas and snapshots of what keeps the blobs",
)
_IN_THE_LOG = (
    "the write-ahead log of this registry's own database, which has purged rows until those end who are reading it now,"
    " such as a backup: it is emptied then, and this report says so no more"
)
_STILL_THERE = "{alias} itself, which has it still and gives it to whoever asks there"


class Holder(NamedTuple):
    """A manifest that a purge takes: it is the digest, names it, belongs to one that does, or refers to one."""

    repository: str
    digest: str
    kind: str
    tags: Sequence[str]


class Purge(NamedTuple):
    """A purge; times in microseconds since 1970. `lifted_at`: since when the digest may come back."""

    id: int
    repository: str
    digest: str
    reason: str
    at: int
    account: str | None
    lifted_at: int | None


class Push(NamedTuple):
    """A tag came to name an image that was purged, or, without a tag, the image was pushed."""

    repository: str
    digest: str
    tag: str | None
    at: int
    until: int | None
    account: str | None
    address: str


class Pulled(NamedTuple):
    """Pulls of an image that was purged, of an hour, by one account from one address by one kind of client."""

    id: int
    repository: str
    digest: str
    tag: str
    account: str | None
    address: str
    agent: str
    requests: int
    first_at: int
    last_at: int


class Cut(NamedTuple):
    """A download that the purge has cut."""

    at: int
    address: str
    target: str


class Shared(NamedTuple):
    """Another image that has a layer of an image that was purged."""

    repository: str
    digest: str
    layer: str


class Exposure(NamedTuple):
    """Who may have what was purged, and what is still to be done. Lists end at a thousand rows.

    `pulled`: how many pulls there were in all, of which `pulls` has the first; counted up to `complete_until`, in
    microseconds. `versions` says what has become of older versions of its objects.
    """

    purge: Purge
    gone: Sequence[Holder]
    pushes: Sequence[Push]
    pulled: int
    pulls: Sequence[Pulled]
    complete_until: int
    cut: Sequence[Cut]
    shared: Sequence[Shared]
    versions: str
    unreachable: Sequence[str]
    advice: Sequence[str]


class PurgeRows(Protocol):
    """What this needs of the database."""

    async def holders(self, repository: str, digest: str, caller: Caller) -> Sequence[Holder]:
        """What a purge of this digest would take from the namespace of the repository, or from its upstream's
        repositories, or where there are no accounts from all; empty when nothing has it.

        Denied when some of it is in repositories that the caller may not purge from, or an immutable tag names it.
        """
        ...

    async def purge(
        self, repository: str, digest: str, reason: str, caller: Caller
    ) -> tuple[int, Sequence[tuple[str, str]]] | None:
        """Take it all, and bar the digest: the purge's id, and (store, key) of bytes that nothing names any more.

        None when nothing has it; from an upstream's repositories it is barred all the same.
        """
        ...

    async def overwrite(self) -> None:
        """Leave nothing of it in the database's own files, as far as that can be done without waiting."""
        ...

    def overwritten(self) -> bool:
        """Whether nothing of any purge is left there by now."""
        ...

    async def purges(self, bounds: Bounds, after: int, limit: int) -> Sequence[Purge]:
        """The purges of exactly these bounds, by id."""
        ...

    async def one(self, bounds: Bounds, identity: int) -> Purge | None:
        """One of those."""
        ...

    async def exposure(self, purge: Purge) -> Exposure:
        """What is known of it, without advice."""
        ...

    async def pulls(self, purge: int, after: int, limit: int) -> Sequence[Pulled]:
        """Pulls of what it took, with ids over `after`, by id."""
        ...

    async def lift(self, bounds: Bounds, identity: int, caller: Caller) -> bool:
        """Let the digest come back; False when there is no such purge, or it was lifted."""
        ...


class Removal(Protocol):
    """What this needs of the stores of bytes."""

    async def remove(self, keys: Sequence[tuple[str, str]]) -> None:
        """Remove bytes by (store, key). StorageError before it begins when it may not."""
        ...

    async def older_versions(self) -> Sequence[OlderVersions]:
        """What becomes of older versions of them, in each store."""
        ...


class Purging:
    """Purging, reports, lifting."""

    def __init__(
        self,
        rows: PurgeRows,
        rights: Rights,
        removal: Removal,
        aliases: Collection[str],
        *,
        counts_pulls: bool,
    ) -> None:
        """`aliases`: of the upstreams. `counts_pulls`: whether pulls are noted, as they are with accounts."""
        self._aliases = aliases
        self._counts_pulls = counts_pulls
        self._rows = rows
        self._rights = rights
        self._removal = removal

    async def preview(self, actor: Actor, name: str, digest: str, address: str) -> Sequence[Holder]:
        """What a purge would take."""
        _, caller = await self._allowed(actor, name, address)
        return await self._rows.holders(name, _digest(digest), caller)

    async def purge(self, actor: Actor, name: str, digest: str, reason: str, address: str) -> Exposure:
        """Purge an image or a layer from the namespace. When this returns, nobody gets a byte of it here."""
        bounds, caller = await self._allowed(actor, name, address)
        text_within(reason, REASON_MAX, "reason")
        await self._removal.remove([])
        done = await self._rows.purge(name, _digest(digest), reason, caller)
        if done is None:
            raise NotThere(f"{name} has no image or layer {digest}", "digest")
        identity, keys = done
        await self._remove(keys)
        await asyncio.sleep(_CUT_BY)  # the downloads that are cut meanwhile are in the report
        again = await self._rows.purge(name, _digest(digest), reason, caller)  # what a push had not yet committed
        await self._remove(again[1] if again is not None else ())
        return await self._report(bounds, identity)

    async def _remove(self, keys: Sequence[tuple[str, str]]) -> None:
        """Bytes that nothing names any more; rows are overwritten whatever becomes of these."""
        try:
            await self._removal.remove(keys)
        finally:
            await self._rows.overwrite()

    async def list(self, actor: Actor, namespace: str, after: int, limit: int) -> Sequence[Purge]:
        """A page of the purges of a namespace, or of an upstream by its alias; without one, of the installation."""
        bounds, _ = await self._bounds(actor, namespace, "")
        return await self._rows.purges(bounds, after, limit)

    async def report(self, actor: Actor, namespace: str, identity: int) -> Exposure:
        """The report of a purge, as it is known now."""
        bounds, _ = await self._bounds(actor, namespace, "")
        return await self._report(bounds, identity)

    async def pulls(self, actor: Actor, namespace: str, identity: int, after: int, limit: int) -> Sequence[Pulled]:
        """A page of all pulls of what a purge took."""
        bounds, _ = await self._bounds(actor, namespace, "")
        await self._one(bounds, identity)
        return await self._rows.pulls(identity, after, limit)

    async def lift(self, actor: Actor, namespace: str, identity: int, address: str) -> None:
        """Let the digest come back, which is for administrators of the installation alone."""
        bounds, caller = await self._bounds(actor, namespace, address)
        if not actor.administers:
            raise Forbidden("only administrators of this registry, who logged in with a password, lift a purge")
        if not await self._rows.lift(bounds, identity, caller):
            raise NotThere(f"{namespace or 'this registry'} has no purge {identity} that bars anything")

    async def _allowed(self, actor: Actor, name: str, address: str) -> tuple[Bounds, Caller]:
        facts, decision = await permitted(self._rights, actor, Action.DELETE, name, archived_too=True)
        caller = caller_of(actor, address, Action.DELETE, decision)
        if actor.everybody:
            return Bounds(), caller
        if facts.upstream:
            return Bounds(upstream=name.partition("/")[0]), caller
        return Bounds(facts.namespace_id), caller

    async def _bounds(self, actor: Actor, namespace: str, address: str) -> tuple[Bounds, Caller]:
        """Those of a namespace or an upstream; without a name of the installation: of purges without accounts."""
        if not namespace or namespace in self._aliases:
            if not actor.administers:
                raise Forbidden(
                    "purges of the whole installation, and of upstreams, are for administrators who logged in"
                    " with a password"
                )
            return Bounds(upstream=namespace or None), caller_of(actor, address)
        facts, caller = await owned(self._rights, actor, namespace, address, organization=False)
        assert facts.namespace_id is not None
        return Bounds(facts.namespace_id), caller

    async def _one(self, bounds: Bounds, identity: int) -> Purge:
        purge = await self._rows.one(bounds, identity)
        if purge is None:
            raise NotThere(f"there is no purge {identity} here")
        return purge

    async def _report(self, bounds: Bounds, identity: int) -> Exposure:
        exposure = await self._rows.exposure(await self._one(bounds, identity))
        advice = _advice(exposure, bounds.upstream, counted=self._counts_pulls)
        versions = await self._removal.older_versions()
        unreachable = [*UNREACHABLE, *(each.words for each in versions if each.stay)]
        if not self._rows.overwritten():
            unreachable.append(_IN_THE_LOG)
        if bounds.upstream:
            unreachable.append(_STILL_THERE.format(alias=bounds.upstream))
        words = "; ".join(each.words for each in versions)
        return exposure._replace(versions=words, unreachable=unreachable, advice=advice)


def _advice(exposure: Exposure, upstream: str | None, *, counted: bool) -> list[str]:
    """The answer to "is it safe now?"."""
    known = (
        f"it was pulled {exposure.pulled} times that are known of" if exposure.pulled else "no pull of it is known of"
    )
    if not counted:
        known = "without accounts nobody has noted who pulled it: all who could reach this registry may have it"
    rebuilt = sorted({f"{each.repository}:{push.tag}" for each in exposure.gone for push in exposure.pushes
                      if push.tag and push.repository == each.repository})  # fmt: skip
    words = [
        f"No, not by the purge alone: this registry gives it to nobody any more, but {known}."
        " Whatever was secret in it has to be treated as public: rotate it first.",
        "Rebuild without it: list the file in .dockerignore, or hand the secret over with RUN --mount=type=secret;"
        " deleting it in a later layer leaves it in the image."
        if upstream is None
        else f"Whoever publishes it at {upstream} has to withdraw it there, and publish a version without it.",
    ]
    if rebuilt:
        first = "Push and redeploy what named it" if upstream is None else "Redeploy without it what runs"
        words.append(f"{first}: {', '.join(rebuilt[:20])}.")
    if exposure.shared:
        words.append("Look at the images that share its layers: if the secret is in such a layer, purge that layer.")
    return words


def _digest(text: str) -> str:
    try:
        return str(Digest.parse(text))
    except InvalidDigest as error:
        raise Invalid(str(error), "digest") from None
