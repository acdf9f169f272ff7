"""What an upstream's refusal is to a client: the data plane's errors, and three of its own."""

from math import ceil

from entrepot.client.errors import RemoteAbsent, RemoteBusy, RemoteDenied, RemoteError, RemoteSilent
from entrepot.proxy.upstream import Place
from entrepot.registry.errors import (
    BlobUnknown,
    Denied,
    ManifestUnknown,
    RegistryError,
    UpstreamBusy,
    UpstreamError,
    UpstreamSlow,
)

ANSWER_SECONDS = 14.0
"""What an upstream has for an answer about what is not stored here, however many requests it takes."""

_LEAST = 1


def check_allowed(place: Place) -> None:
    """Denied for a repository that the upstream's `allow` and `deny` keep out."""
    if not place.upstream.allows(place.path):
        raise Denied(f"{place.path} of {place.upstream.alias} may not be read through this registry")


def not_for(name: str, place: Place) -> Denied:
    """The refusal of what is not stored, to those who may only read what is."""
    alias = place.upstream.alias
    return Denied(f"this of {name} is not stored here: those may have it fetched from {alias} whom its `fetch` names")


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
