"""Images as people look after them: their tags' history, what a delete would take, deleting, and bringing back."""

from collections.abc import Sequence

from entrepot.access.actor import Actor
from entrepot.access.caller import Caller, caller_of
from entrepot.access.decision import Action
from entrepot.access.rights import Rights
from entrepot.hub.errors import Invalid
from entrepot.hub.owners import permitted
from entrepot.oci.digest import Digest, InvalidDigest
from entrepot.oci.reference import InvalidTag, check_tag
from entrepot.registry.deletion import Deleted, Deletions, Preview, Restored, TagDeleted
from entrepot.registry.history import History, Move

_NEWEST = 2**62


class Images:
    """Decides who may, and leaves the rest to the registry."""

    def __init__(self, rights: Rights, deletions: Deletions, history: History) -> None:
        self._rights = rights
        self._deletions = deletions
        self._history = history

    async def history(self, actor: Actor, name: str, tag: str, before: int, limit: int) -> Sequence[Move]:
        """The moves of a tag, newest first; `before` is the id of the last of the page before, or 0."""
        await permitted(self._rights, actor, Action.PULL, name)
        return await self._history.moves(name, _tag(tag), before or _NEWEST, limit)

    async def preview(self, actor: Actor, name: str, digest: str, address: str) -> Preview:
        """What deleting an image would take along, and free."""
        return await self._deletions.preview(name, _digest(digest), await self._may_delete(actor, name, address))

    async def delete(self, actor: Actor, name: str, digest: str, seen: Sequence[str] | None, address: str) -> Deleted:
        """Delete an image with what goes along; nothing when its tags are not those that were `seen`."""
        caller = await self._may_delete(actor, name, address)
        return await self._deletions.delete(name, _digest(digest), caller, seen)

    async def undo(self, actor: Actor, name: str, digest: str, address: str) -> Restored:
        """Bring back an image with what went along."""
        return await self._deletions.undo(name, _digest(digest), await self._may_delete(actor, name, address))

    async def delete_tag(self, actor: Actor, name: str, tag: str, seen: str | None, address: str) -> TagDeleted:
        """Delete a tag; nothing when it does not name the digest that was `seen`."""
        caller = await self._may_delete(actor, name, address)
        expected = None if seen is None else str(_digest(seen))
        return await self._deletions.delete_tag(name, _tag(tag), caller, expected)

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
