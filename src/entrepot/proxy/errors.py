"""What an upstream's refusal is to a client: the data plane's errors, and three of its own."""

from math import ceil

from entrepot.client.errors import RemoteAbsent, RemoteBusy, RemoteDenied, RemoteError, RemoteSilent
from entrepot.registry.errors import (
    BlobUnknown,
    Denied,
    ManifestUnknown,
    RegistryError,
    UpstreamBusy,
    UpstreamError,
    UpstreamSlow,
)

_LEAST = 1


def as_answer(error: RemoteError, *, blob: bool = False) -> RegistryError:
    """404 and 401 are absence (which of the two is nobody's business), 403 and 429 stay, the rest is 502 or 504."""
    message = error.message
    match error:
        case RemoteBusy():
            return UpstreamBusy(message, max(_LEAST, ceil(error.retry_after or 0)))
        case RemoteDenied() if error.forbidden:
            return Denied(message)
        case RemoteAbsent() | RemoteDenied():
            return BlobUnknown(message) if blob else ManifestUnknown(message)
        case RemoteSilent():
            return UpstreamSlow(message)
        case _:
            return UpstreamError(message)
