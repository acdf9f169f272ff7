"""Deleting, with a preview and an undo (docs/lifecycle.md).

A deleted manifest answers at no door, but its row and its bytes stay for `lifecycle.undo`; then the collector
(`garbage.py`) forgets it. What goes along with it comes back along with it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

from entrepot.access.caller import Caller
from entrepot.oci.digest import Digest
from entrepot.registry.admission import missing
from entrepot.registry.errors import BlobUnknown, Unsupported
from entrepot.registry.ports import RepositoryRows

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Preview:
    """What a delete would take: digests, tags, bytes that nothing else holds; `holders` are indexes that forbid it,
    `refusals` say which tags' rules do."""

    manifests: list[str]
    tags: list[str]
    holders: list[str]
    refusals: list[str]
    freed: int


@dataclass(frozen=True, slots=True)
class Deleted:
    """What was deleted: the manifest, its children and referrers, and the tags of all of them."""

    manifests: list[str]
    tags: list[str]


@dataclass(frozen=True, slots=True)
class TagDeleted:
    """A tag was deleted; the digest that it named, which keeps answering."""

    digest: str


@dataclass(frozen=True, slots=True)
class Restored:
    """What is back; `left` are tags that were to be left, or whose manifest is gone."""

    manifests: list[str]
    tags: list[str]
    left: list[str]


class DeletionRows(Protocol):
    """What this needs of the database. Each is one durable transaction; None or False: there is no such thing."""

    async def preview(self, repository: str, digest: str, caller: Caller) -> Preview | None:
        """What a delete would do."""
        ...

    async def delete_manifest(
        self,
        repository: str,
        digest: str,
        caller: Caller,
        seen: Iterable[str] | None = None,
        *,
        spare_tags: bool = False,
    ) -> Deleted | None:
        """Delete a manifest with what goes along. Unsupported when an index holds it; Moved when its tags are not
        those that were `seen`, or, with `spare_tags`, when a tag would go along in which no client keeps what belongs
        to one of these manifests, or that a rule of tags covers."""
        ...

    async def delete_tag(
        self, repository: str, tag: str, caller: Caller, seen: str | None = None, kind: str = "tag.delete"
    ) -> TagDeleted | None:
        """Delete a tag, and only the tag; Moved when it does not name the digest that was `seen`. `kind`: for its
        history."""
        ...

    async def undo(
        self, repository: str, digest: str, caller: Caller, names: Mapping[str, str | None]
    ) -> Restored | None:
        """Bring back what went with this manifest, tags under other `names`, or with None not at all. Moved, and
        nothing done, when one of them names something else by now; TagInvalid when a tag of `names` did not go with it.
        """
        ...

    async def restore_tag(self, repository: str, tag: str, digest: str, caller: Caller) -> bool:
        """Let a tag name a manifest that is there; Moved when it names another one."""
        ...

    async def unlink_blob(self, repository: str, digest: str, caller: Caller) -> bool:
        """End the repository's link; Unsupported when a live manifest needs it."""
        ...


class Deletions:
    """Everything that is deleted by hand, and brought back."""

    def __init__(self, rows: DeletionRows, repositories: RepositoryRows, *, enabled: bool) -> None:
        self._rows = rows
        self._repositories = repositories
        self._enabled = enabled

    async def preview(self, repository: str, digest: Digest, caller: Caller) -> Preview:
        """What `delete` would do."""
        return await self._found(await self._rows.preview(repository, str(digest), caller), repository, str(digest))

    async def delete(
        self, repository: str, digest: Digest, caller: Caller, seen: Iterable[str] | None = None
    ) -> Deleted:
        """Delete the manifest, its tags, its children that nobody else wants, and its referrers."""
        self._refuse_when_off()
        deleted = await self._rows.delete_manifest(repository, str(digest), caller, seen)
        return await self._found(deleted, repository, str(digest))

    async def delete_tag(self, repository: str, tag: str, caller: Caller, seen: str | None = None) -> TagDeleted:
        """Delete the tag; its manifest stays and answers by digest."""
        self._refuse_when_off()
        return await self._found(await self._rows.delete_tag(repository, tag, caller, seen), repository, tag)

    async def undo(
        self, repository: str, digest: Digest, caller: Caller, names: Mapping[str, str | None] | None = None
    ) -> Restored:
        """Bring back a deleted manifest with what went along; see the port for `names`."""
        restored = await self._rows.undo(repository, str(digest), caller, names or {})
        return await self._found(restored, repository, str(digest))

    async def restore_tag(self, repository: str, tag: str, digest: Digest, caller: Caller) -> None:
        """Let a tag name what it named before; the manifest must be there, so undo comes first when it was deleted."""
        restored = await self._rows.restore_tag(repository, tag, str(digest), caller)
        await self._found(restored or None, repository, str(digest))

    async def delete_blob(self, repository: str, digest: Digest, caller: Caller) -> None:
        """End this repository's link; other repositories keep theirs."""
        self._refuse_when_off()
        if not await self._rows.unlink_blob(repository, str(digest), caller):
            raise BlobUnknown("this repository has no such blob", {"digest": str(digest)})

    async def _found(self, answer: T | None, repository: str, reference: str) -> T:
        if answer is not None:
            return answer
        raise missing(await self._repositories.find_repository(repository), repository, reference)

    def _refuse_when_off(self) -> None:
        if not self._enabled:
            raise Unsupported("deletion is switched off here: set storage.delete.enabled to true")
