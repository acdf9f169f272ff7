"""Each error of the data plane: its code, its status. The one table; a test demands a row for every class."""

import json
from typing import NamedTuple

from entrepot.registry import errors
from entrepot.web.message import Answer, Headers


class Wire(NamedTuple):
    """How an error looks on the wire (distribution-spec, "Error codes")."""

    code: str
    status: int


TABLE: dict[type[errors.RegistryError], Wire] = {
    errors.RegistryError: Wire("UNKNOWN", 500),
    errors.NameInvalid: Wire("NAME_INVALID", 400),
    errors.TagInvalid: Wire("MANIFEST_INVALID", 400),
    errors.DigestInvalid: Wire("DIGEST_INVALID", 400),
    errors.SizeInvalid: Wire("SIZE_INVALID", 400),
    errors.RangeInvalid: Wire("BLOB_UPLOAD_INVALID", 416),
    errors.PageInvalid: Wire("PAGINATION_NUMBER_INVALID", 400),
    errors.NameUnknown: Wire("NAME_UNKNOWN", 404),
    errors.BlobUnknown: Wire("BLOB_UNKNOWN", 404),
    errors.ManifestUnknown: Wire("MANIFEST_UNKNOWN", 404),
    errors.UploadUnknown: Wire("BLOB_UPLOAD_UNKNOWN", 404),
    errors.ManifestInvalid: Wire("MANIFEST_INVALID", 400),
    errors.ManifestTooLarge: Wire("SIZE_INVALID", 413),
    errors.ManifestUnverified: Wire("MANIFEST_INVALID", 400),
    errors.ManifestBlobUnknown: Wire("MANIFEST_BLOB_UNKNOWN", 400),
    errors.UploadInvalid: Wire("BLOB_UPLOAD_INVALID", 400),
    errors.UploadOutOfOrder: Wire("BLOB_UPLOAD_INVALID", 416),
    errors.BodyTimedOut: Wire("BLOB_UPLOAD_INVALID", 408),
    errors.BodyLost: Wire("SIZE_INVALID", 408),
    errors.Unsupported: Wire("UNSUPPORTED", 405),
    errors.Denied: Wire("DENIED", 403),
    errors.Barred: Wire("DENIED", 403),
    errors.Unauthorized: Wire("UNAUTHORIZED", 401),
    errors.Moved: Wire("DENIED", 409),
    errors.UpstreamError: Wire("UNAVAILABLE", 502),
    errors.UpstreamSlow: Wire("UNAVAILABLE", 504),
    errors.UpstreamBusy: Wire("TOOMANYREQUESTS", 429),
    errors.StorageError: Wire("UNAVAILABLE", 503),
    errors.BytesUnreadable: Wire("UNAVAILABLE", 503),
    errors.StorageFull: Wire("UNAVAILABLE", 507),
}
_RETRY_SECONDS = b"5"


def answer(error: errors.RegistryError, headers: Headers | None = None) -> Answer:
    """The answer for an error of the data plane."""
    wire = TABLE[type(error)]
    extra: Headers = list(headers or [])
    if wire.status in (503, 507):
        extra.append((b"retry-after", _RETRY_SECONDS))
    if isinstance(error, errors.UpstreamBusy):
        extra.append((b"retry-after", b"%d" % error.seconds))
    return refusal(wire.status, wire.code, error.message or (type(error).__doc__ or ""), error.detail, extra)


def refusal(status: int, code: str, message: str, detail: object = None, headers: Headers | None = None) -> Answer:
    """An answer in the specification's error form."""
    entry: dict[str, object] = {"code": code, "message": message}
    if detail is not None:
        entry["detail"] = detail
    body = json.dumps({"errors": [entry]}, separators=(",", ":")).encode() + b"\n"
    return Answer(status, [(b"content-type", b"application/json"), *(headers or [])], body)
