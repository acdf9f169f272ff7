"""What the data plane needs of the world: bytes, and rows. Adapters in `storage/` and `database/` satisfy these."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from entrepot.access.caller import Caller
from entrepot.access.grant import Grant
from entrepot.oci.digest import Hash


class OlderVersions(NamedTuple):
    """What becomes of older versions of bytes that are deleted: whether some may stay, and a sentence for people."""

    stay: bool
    words: str


class Bytes(Protocol):
    """Where bytes live, each under a key that is never used twice. A key is `[a-z0-9.-]{1,80}`, made by the data plane.

    Failures are StorageError, StorageFull when there is no space left; a key that is not there is FileNotFoundError.
    Nothing is overwritten and nothing is renamed: what was written under a key stays as it is until it is deleted.
    """

    name: str
    """The store's name, kept in each row beside the key."""

    async def write(self, key: str, chunks: AsyncIterator[bytes], hashes: Sequence[Hash]) -> int:
        """Write all chunks under a new key, feed each hash, and return the size in bytes.

        The bytes need not be durable yet. When `chunks` raises, what was written is removed and the error goes on.
        At most 16 MiB are held in memory.
        """
        ...

    async def join(self, key: str, parts: Sequence[str]) -> int:
        """Write the parts, one after another, under a new key; return the size. The parts stay."""
        ...

    async def sync(self, key: str) -> None:
        """Return when these bytes survive a power cut."""
        ...

    async def size(self, key: str) -> int:
        """The size in bytes of what is there now."""
        ...

    def read(self, key: str, start: int = 0, length: int | None = None) -> AsyncGenerator[bytes, None]:
        """The bytes from `start`, `length` of them or all, in chunks of at most 1 MiB."""
        ...

    async def delete(self, key: str) -> None:
        """Remove these bytes; it is no error when they are not there."""
        ...

    async def older_versions(self) -> OlderVersions:
        """What `delete` does about older versions, as far as that can be seen now."""
        ...

    def keys(self) -> AsyncGenerator[str, None]:
        """Every key that has bytes, in no order; what comes or goes meanwhile may be among them or not."""
        ...

    def path(self, key: str) -> str | None:
        """The file that holds these bytes, where there is one: a transport can send it without copying."""
        ...

    async def signed_url(self, key: str) -> str | None:
        """An URL by which anybody can GET these bytes for some minutes, where redirects are switched on."""
        ...

    async def identity(self) -> str | None:
        """The text that `mark` has written, if any."""
        ...

    async def mark(self, identity: str) -> None:
        """Write, durably, whose bytes these are."""
        ...

    async def check(self) -> None:
        """Return when the store answers (for readiness)."""
        ...

    async def close(self) -> None:
        """Release what is held."""
        ...


class BlobReader(Protocol):
    """Reads a blob that may still be arriving."""

    def __call__(self, start: int, length: int | None) -> AsyncGenerator[bytes, None]:
        """The bytes from `start`, `length` of them or all."""
        ...


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """A blob of a repository. `repository_id` and `rights_version` are what a grant must cover (access/grant.py).

    `reader` reads one that is still arriving from an upstream, which has no key yet.
    """

    digest: str
    size: int
    store: str
    key: str
    repository_id: int
    rights_version: int
    reader: BlobReader | None = None


class Stale(NamedTuple):
    """Why an answer may be out of date, and how many seconds ago it was not; None when that is not known."""

    reason: str
    age: int | None


@dataclass(frozen=True, slots=True)
class StoredManifest:
    """A manifest of a repository; `content` is byte for byte what was pushed.

    `repository_id` and `rights_version` are what a grant must cover (access/grant.py). `kind` is image, index, referrer
    or attestation; `exempt`: pulls of this repository are charged to nobody. `stale`: the upstream that it comes from
    may by now have another one.
    """

    id: int
    digest: str
    media_type: str
    content: bytes
    repository_id: int
    rights_version: int
    kind: str
    exempt: bool
    stale: Stale | None = None


@dataclass(frozen=True, slots=True)
class StoredRepository:
    """A repository, whether it holds anything or not."""

    id: int
    rights_version: int
    holding: bool


@dataclass(frozen=True, slots=True)
class NewManifest:
    """A manifest to be stored, as `manifests.py` understood it.

    `required` are the blobs that must be linked in the repository; `references` all that it names, as (digest, kind).
    """

    digest: str
    media_type: str
    content: bytes
    artifact_type: str | None
    annotations: str | None
    subject: str | None
    kind: str
    required: tuple[str, ...]
    references: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Body:
    """One request body of an upload that has joined it."""

    key: str
    size: int


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload session. `generation` counts the joins; `digest` is that of the first body, when it is the only one."""

    id: str
    repository_id: int
    store: str
    offset: int
    generation: int
    algorithm: str | None
    digest: str | None


class RepositoryRows(Protocol):
    """Which repositories there are."""

    async def find_repository(self, repository: str) -> StoredRepository | None:
        """The repository of this name."""
        ...


class BlobRows(Protocol):
    """Which repository may read which blob."""

    async def find_blob(self, repository: str, digest: str) -> StoredBlob | None:
        """The blob, when it is linked in this repository."""
        ...

    async def mount_blob(self, repository: str, digest: str, source: str | None, caller: Caller, grant: Grant) -> bool:
        """Link a blob that `source` has and `grant` covers; False when not. Durable when it returns.

        Without a source any repository will do, for a grant of everything; for another one none does.
        """
        ...


class UploadRows(Protocol):
    """Upload sessions."""

    async def open_upload(
        self, repository: str, upload: str, store: str, algorithm: str | None, lifetime: int, caller: Caller
    ) -> None:
        """Write a new session, and the repository when it is new. `lifetime` is in seconds."""
        ...

    async def find_upload(self, repository: str, upload: str) -> Upload | None:
        """The session, when it belongs to this repository and has not expired."""
        ...

    async def upload_bodies(self, upload: str) -> list[Body]:
        """The bodies that have joined, in order."""
        ...

    async def claim_body(self, upload: str, key: str, lifetime: int = 0) -> bool:
        """Write down the key of a body before its first byte; False when the session has ended.

        A session whose time is half over, or more, then lives `lifetime` seconds from now.
        """
        ...

    async def renew_upload(self, upload: str, lifetime: int) -> None:
        """Bytes of the session are arriving: it lives `lifetime` seconds from now."""
        ...

    async def reserve(self, upload: Upload, size: int, *, more: bool) -> int | None:
        """Promise the session that it may have `size` bytes in all; Denied when its namespace may not store as many.

        Returns how many it may have; with `more` a little more than asked for, where there is room. None without limit.
        """
        ...

    async def discard_body(self, upload: Upload, key: str) -> None:
        """A claimed body that does not join: its key goes to the trash."""
        ...

    async def join_body(self, upload: Upload, key: str, size: int, digest: str | None, lifetime: int) -> bool:
        """Append a body by compare-and-set on (offset, generation); False when another request was first.

        A session that is joined lives `lifetime` seconds from now.
        """
        ...

    async def shorten_upload(self, upload: Upload, bodies: Sequence[Body]) -> None:
        """After a power cut: the session now consists of these bodies."""
        ...

    async def close_upload(self, upload: Upload, digest: str, size: int, key: str, caller: Caller) -> bool:
        """Make `key` the blob (or, when the digest is stored already, throw the key away), link it, end the session.

        All by one transaction that is durable when it returns; False when the session has moved on or ended.
        Keys of the session other than the blob's go to the trash.
        """
        ...

    async def cancel_upload(self, repository: str, upload: str) -> bool:
        """End a session; its keys go to the trash. False when there is none."""
        ...


class ManifestRows(RepositoryRows, Protocol):
    """Manifests, tags and referrers."""

    async def find_manifest(self, repository: str, reference: str) -> StoredManifest | None:
        """By tag or digest."""
        ...

    async def put_manifest(
        self, repository: str, manifest: NewManifest, tags: Sequence[str], caller: Caller, *, durable: bool = True
    ) -> list[str]:
        """Store a manifest and move the tags to it in one transaction; `durable`: it survives a power cut.

        Returns the digests of `manifest.required` that the repository does not have; then nothing was changed.
        """
        ...

    async def tags(self, repository: str, after: str, limit: int) -> list[str]:
        """Up to `limit` tags that sort after `after`, in byte order."""
        ...

    async def repositories(self, after: str, limit: int) -> list[str]:
        """Up to `limit` repositories that hold something, after `after`, in byte order."""
        ...

    async def referrers(
        self, repository: str, subject: str, artifact_type: str | None, after: int, limit: int
    ) -> list["Referrer"]:
        """Manifests whose subject this is, with an id over `after`, by id."""
        ...


@dataclass(frozen=True, slots=True)
class Referrer:
    """A manifest that names a subject; `annotations` is a JSON object as text."""

    id: int
    media_type: str
    digest: str
    size: int
    artifact_type: str | None
    annotations: str | None


class Housekeeping(Protocol):
    """What the background needs: uploads past their time, and keys to remove."""

    async def store_identity(self, store: str, fresh: str) -> str:
        """What the database knows this store by: `fresh` when it sees the store for the first time.

        Its generation is 0 then, if no blob is in this store.
        """
        ...

    async def raise_generation(self, store: str) -> str:
        """What the database knows this store by from now on: it is one generation older, durably."""
        ...

    async def rename_store(self, store: str, fresh: str) -> str:
        """What the database knows this store by from now on: `fresh`, durably."""
        ...

    async def newest_keys(self, store: str) -> list[str]:
        """The keys of a few blobs whose bytes should be in this store."""
        ...

    async def unnamed(self, store: str, keys: Sequence[str]) -> Sequence[str]:
        """Those of at most 100 keys that no blob, no upload and no trash names."""
        ...

    async def expire_uploads(self, limit: int) -> int:
        """End up to `limit` sessions past their time; returns how many."""
        ...

    async def trashed(self, limit: int) -> list[tuple[str, str]]:
        """(store, key) of bytes that nothing names any more."""
        ...

    async def empty_trash(self, keys: Sequence[tuple[str, str]]) -> None:
        """Forget these: their bytes are gone."""
        ...
