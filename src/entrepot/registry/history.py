"""The history of tags, and pulling as of a time (docs/lifecycle.md)."""

from datetime import UTC, datetime
from typing import NamedTuple, Protocol

from entrepot.access.grant import Grant
from entrepot.registry.admission import admitted, missing
from entrepot.registry.errors import ManifestUnknown, Unauthorized
from entrepot.registry.ports import RepositoryRows, StoredManifest

RETENTION = "retention"
"""How the reason of what a policy deletes begins."""


class Move(NamedTuple):
    """A tag came to name something else: `at` in microseconds since 1970 and strictly rising, digests from `old` to
    `new` (None: nothing). `kind` says why: tag.move is a push, tag.delete, tag.restore, tag.retention, tag.expire,
    tag.purge."""

    id: int
    at: int
    kind: str
    old: str | None
    new: str | None
    account: str | None
    address: str | None


class End(NamedTuple):
    """How a manifest went: `at` in microseconds, `kind` manifest.delete or manifest.purge, `reason` as its change has
    it: of a retention rule which one."""

    at: int
    kind: str
    reason: str | None


class Past(NamedTuple):
    """What a tag named, or a repository had, at a time: None when nothing; the manifest while it is kept, deleted or
    not; else how that went."""

    repository_id: int
    rights_version: int
    digest: str | None
    manifest: StoredManifest | None
    end: End | None


class HistoryRows(Protocol):
    """What this needs of the database."""

    async def moves(self, repository: str, tag: str, before: int, limit: int) -> list[Move]:
        """Up to `limit` moves with ids below `before`, newest first."""
        ...

    async def past(self, repository: str, tag: str, at: int) -> Past | None:
        """What the tag named at this time; None when there is no such repository."""
        ...

    async def past_manifest(self, repository: str, digest: str, at: int) -> Past | None:
        """This manifest, if nobody had deleted it at this time; None when there is no such repository."""
        ...


class History:
    """What tags have named."""

    def __init__(self, rows: HistoryRows, repositories: RepositoryRows) -> None:
        self._rows = rows
        self._repositories = repositories

    async def moves(self, repository: str, tag: str, before: int, limit: int) -> list[Move]:
        """A page of a tag's moves, newest first."""
        return await self._rows.moves(repository, tag, before, limit)

    async def find(self, repository: str, tag: str, at: int, grant: Grant) -> StoredManifest:
        """What the tag named at this time, in microseconds. ManifestUnknown says when it went, if it did."""
        past = await self._rows.past(repository, tag, at)
        return await self._kept(past, repository, tag, grant)

    async def find_digest(self, repository: str, digest: str, at: int, grant: Grant) -> StoredManifest:
        """The same by digest: what an index named that is deleted by now is deleted with it."""
        past = await self._rows.past_manifest(repository, digest, at)
        return await self._kept(past, repository, digest, grant)

    async def _kept(self, past: Past | None, repository: str, reference: str, grant: Grant) -> StoredManifest:
        if past is None:
            raise missing(await admitted(self._repositories, repository, grant), repository, reference)
        if not grant.covers(repository, past.repository_id, past.rights_version):
            raise Unauthorized
        if past.manifest is not None:
            return past.manifest
        if past.digest is None:
            raise ManifestUnknown(f"{reference} named nothing at that time", {"reference": reference})
        when, why = (None, "deleted") if past.end is None else (_iso(past.end.at), _why(past.end))
        raise ManifestUnknown(
            f"{reference} named {past.digest} at that time: that was {why}{f' on {when}' if when else ''}, and can no"
            " longer be brought back",
            {"reference": reference, "digest": past.digest, "deleted_at": when, "why": why},
        )


def _why(end: End) -> str:
    if end.kind == "manifest.purge":
        return "purged"
    return f"deleted by {end.reason}" if end.reason and end.reason.startswith(RETENTION) else "deleted"


def _iso(at: int) -> str:
    return datetime.fromtimestamp(at / 1_000_000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
