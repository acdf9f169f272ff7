"""Images as people look after them: their tags' history, what a delete would take, deleting, and bringing back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from entrepot.access.actor import Actor
from entrepot.access.caller import Caller, caller_of
from entrepot.access.decision import Action, decide
from entrepot.access.rights import Rights
from entrepot.hub.errors import Invalid
from entrepot.hub.owners import permitted
from entrepot.oci.digest import Digest, InvalidDigest
from entrepot.oci.reference import InvalidTag, check_tag
from entrepot.registry.deletion import Deleted, Deletions, Preview, Restored, TagDeleted
from entrepot.registry.errors import Denied, ManifestUnknown, Moved, NameUnknown, RegistryError, Unsupported
from entrepot.registry.history import History, Move

BULK = 200
"""Deletes in one request, at most."""
_NEWEST = 2**62
_OUTCOMES = {
    Moved: "moved",
    ManifestUnknown: "absent",
    NameUnknown: "absent",
    Denied: "refused",
    Unsupported: "refused",
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """One delete of many: a tag that was seen to name the digest, or, without a tag, the image with what goes along."""

    digest: str
    tag: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of it: `deleted`, `moved` (it is not what was seen), `absent`, or `refused`, with the reason."""

    tag: str | None
    digest: str
    outcome: str
    detail: str = ""
    manifests: Sequence[str] = ()
    tags: Sequence[str] = ()


class Images:
    """Decides who may, and leaves the rest to the registry."""

    def __init__(self, rights: Rights, deletions: Deletions, history: History) -> None:
        self._rights = rights
        self._deletions = deletions
        self._history = history

    async def history(self, actor: Actor, name: str, tag: str, before: int, limit: int) -> Sequence[Move]:
        """The moves of a tag, newest first; `before` is the id of the last of the page before, or 0.

        Addresses are for those who may delete.
        """
        facts, _ = await permitted(self._rights, actor, Action.PULL, name)
        moves = await self._history.moves(name, _tag(tag), before or _NEWEST, limit)
        if decide(actor, Action.DELETE, replace(facts, archived=False)).allowed:
            return moves
        return [move._replace(address=None) for move in moves]

    async def preview(self, actor: Actor, name: str, digest: str, address: str) -> Preview:
        """What deleting an image would take along, and free."""
        return await self._deletions.preview(name, _digest(digest), await self._may_delete(actor, name, address))

    async def delete(self, actor: Actor, name: str, digest: str, seen: Sequence[str] | None, address: str) -> Deleted:
        """Delete an image with what goes along; nothing when its tags are not those that were `seen`."""
        caller = await self._may_delete(actor, name, address)
        return await self._deletions.delete(name, _digest(digest), caller, seen)

    async def undo(
        self, actor: Actor, name: str, digest: str, names: Mapping[str, str | None], address: str
    ) -> Restored:
        """Bring back an image with what went along, its tags under other `names`, or with None not at all."""
        caller = await self._may_delete(actor, name, address)
        checked = {tag: None if new is None else _tag(new) for tag, new in names.items()}
        return await self._deletions.undo(name, _digest(digest), caller, checked)

    async def delete_tag(self, actor: Actor, name: str, tag: str, seen: str | None, address: str) -> TagDeleted:
        """Delete a tag; nothing when it does not name the digest that was `seen`."""
        caller = await self._may_delete(actor, name, address)
        expected = None if seen is None else str(_digest(seen))
        return await self._deletions.delete_tag(name, _tag(tag), caller, expected)

    async def delete_many(self, actor: Actor, name: str, wanted: Sequence[Wanted], address: str) -> Sequence[Outcome]:
        """Each delete by itself, in this order, whatever becomes of the others."""
        if len(wanted) > BULK:
            raise Invalid(f"at most {BULK} can be deleted at once, not {len(wanted)}", "items")
        caller = await self._may_delete(actor, name, address)
        read = [(None if each.tag is None else _tag(each.tag), _digest(each.digest)) for each in wanted]
        return [await self._delete_one(name, tag, digest, caller) for tag, digest in read]

    async def _delete_one(self, name: str, tag: str | None, digest: Digest, caller: Caller) -> Outcome:
        try:
            if tag is not None:
                await self._deletions.delete_tag(name, tag, caller, str(digest))
                return Outcome(tag, str(digest), "deleted", tags=[tag])
            gone = await self._deletions.delete(name, digest, caller)
            return Outcome(tag, str(digest), "deleted", manifests=gone.manifests, tags=gone.tags)
        except RegistryError as error:
            for kind, outcome in _OUTCOMES.items():
                if isinstance(error, kind):
                    return Outcome(tag, str(digest), outcome, error.message)
            raise

    async def restore_tag(self, actor: Actor, name: str, tag: str, digest: str, address: str) -> None:
        """Let a free tag name an image that is there."""
        _, decision = await permitted(self._rights, actor, Action.PUSH, name)
        caller = caller_of(actor, address, Action.PUSH, decision)
        await self._deletions.restore_tag(name, _tag(tag), _digest(digest), caller)

    async def _may_delete(self, actor: Actor, name: str, address: str) -> Caller:
        _, decision = await permitted(self._rights, actor, Action.DELETE, name)
        return caller_of(actor, address, Action.DELETE, decision)


def _digest(text: str) -> Digest:
    try:
        return Digest.parse(text)
    except InvalidDigest as error:
        raise Invalid(str(error), "digest") from None


def _tag(text: str) -> str:
    try:
        return check_tag(text)
    except InvalidTag as error:
        raise Invalid(str(error), "tag") from None
