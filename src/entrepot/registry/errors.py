"""What can go wrong in the data plane. These know no HTTP: `web/v2/errors.py` gives each its code and status.

RegistryError
├── NameInvalid, TagInvalid, DigestInvalid, SizeInvalid, RangeInvalid, PageInvalid
├── NameUnknown, BlobUnknown, ManifestUnknown, UploadUnknown
├── ManifestInvalid ── ManifestTooLarge, ManifestUnverified
├── ManifestBlobUnknown
├── UploadInvalid ── UploadOutOfOrder, BodyTimedOut
├── BodyLost
├── Unsupported, Denied, Unauthorized, Moved
├── UpstreamError ── UpstreamSlow, UpstreamBusy
└── StorageError ── StorageFull
"""

from collections.abc import Mapping


class RegistryError(Exception):
    """Any refusal of the data plane: a sentence for people, a detail for machines."""

    def __init__(self, message: str = "", detail: Mapping[str, object] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail


class NameInvalid(RegistryError):
    """The repository name breaks the grammar."""


class TagInvalid(RegistryError):
    """The tag breaks the grammar."""


class DigestInvalid(RegistryError):
    """The digest breaks the grammar, or the content does not have it."""


class SizeInvalid(RegistryError):
    """The body is shorter or longer than announced."""


class RangeInvalid(RegistryError):
    """The Content-Range or Range header cannot be read."""


class PageInvalid(RegistryError):
    """The page parameters of a listing cannot be used."""


class NameUnknown(RegistryError):
    """No such repository."""


class BlobUnknown(RegistryError):
    """No such blob in this repository."""


class ManifestUnknown(RegistryError):
    """No such manifest or tag in this repository."""


class UploadUnknown(RegistryError):
    """No such upload session in this repository."""


class ManifestInvalid(RegistryError):
    """The manifest cannot be accepted; the message says what to change."""


class ManifestTooLarge(ManifestInvalid):
    """The manifest is over 4 MiB."""


class ManifestUnverified(ManifestInvalid):
    """The manifest is of a kind that is no longer accepted."""


class ManifestBlobUnknown(RegistryError):
    """The manifest names a config or a layer that this repository does not have."""


class UploadInvalid(RegistryError):
    """The request does not fit the upload session."""


class UploadOutOfOrder(UploadInvalid):
    """The chunk does not start at the session's offset, or another request was first. `offset` is the true one."""

    def __init__(self, upload: str, offset: int, message: str) -> None:
        super().__init__(message, {"offset": offset})
        self.upload = upload
        self.offset = offset


class BodyTimedOut(UploadInvalid):
    """The body sent no byte for too long; what came is kept."""

    def __init__(self, upload: str, offset: int, message: str) -> None:
        super().__init__(message, {"offset": offset})
        self.upload = upload
        self.offset = offset


class BodyLost(RegistryError):
    """The body sent no byte for too long, and nothing of it is kept."""


class BodyInterrupted(Exception):
    """A request body ended before its end: the client fell silent (`timed_out`) or went away."""

    def __init__(self, *, timed_out: bool) -> None:
        super().__init__("timed out" if timed_out else "the client went away")
        self.timed_out = timed_out


class Unsupported(RegistryError):
    """The operation is switched off or not offered here."""


class Denied(RegistryError):
    """Policy forbids it."""


class Barred(Denied):
    """It was purged, and cannot come back until that is lifted."""


class Unauthorized(RegistryError):
    """The grant is not for this repository, which may not even exist: nothing of it is told."""


class Moved(RegistryError):
    """What was to be changed is not what the caller has seen: somebody else was first."""


class UpstreamError(RegistryError):
    """The registry that this comes from cannot be reached, or answers with an error, and nothing is stored here."""


class UpstreamSlow(UpstreamError):
    """The registry that this comes from did not answer in time, and nothing is stored here."""


class UpstreamBusy(UpstreamError):
    """The registry that this comes from has had too many requests, and nothing is stored here."""

    def __init__(self, message: str = "", seconds: int = 1) -> None:
        """`seconds` after which to ask again."""
        super().__init__(message)
        self.seconds = seconds


class StorageError(RegistryError):
    """The database or the byte store cannot do its work right now."""


class BytesUnreadable(StorageError):
    """These very bytes cannot be read, as on a bad sector; whatever else the store has may be whole."""


class StorageFull(StorageError):
    """No space is left."""
