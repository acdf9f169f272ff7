"""Reading another registry's answers: what their status stands for, and what their headers and errors say."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpcore2

from entrepot.client.errors import (
    RemoteAbsent,
    RemoteBusy,
    RemoteCrowded,
    RemoteDenied,
    RemoteFailed,
    RemoteSilent,
    RemoteUnreachable,
    RemoteUnusable,
)

BROKEN = (httpcore2.NetworkError, httpcore2.ProtocolError, httpcore2.UnsupportedProtocol, OSError)
"""What the transport raises when there is no connection, or it breaks."""

UNREADABLE = (ValueError, TypeError, OverflowError, RecursionError)
"""What reading an answer raises that was made to be unreadable: an URL, a host, a number, a nest of brackets."""

_RETRY_CAP = 6 * 3600.0
_LINKS = re.compile(r"<([^>]*)>([^<]*)")
_NEXT = re.compile(r";\s*rel\s*=\s*(?:\"[^\"]*\bnext\b|next\b)", re.IGNORECASE)


def check(name: str, status: int, headers: Mapping[str, str], body: bytes, repository: str) -> None:
    """Raise what a status stands for, as said by the registry `name`; nothing for 200."""
    if status == 200:
        return
    what = f"{name} says {status}" + (f" for {repository}" if repository else "")
    said = _said(body)
    message = f"{what}: {said}" if said else what
    if status == 404:
        raise RemoteAbsent(message)
    if status in (401, 403):
        raise RemoteDenied(message, forbidden=status == 403)
    if status == 429:
        raise RemoteBusy(message, retry_after(headers.get("retry-after")))
    raise RemoteFailed(message) if status >= 500 else RemoteUnusable(message)


class TransportErrors:
    """The transport's errors as ours."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, httpcore2.PoolTimeout):
            raise RemoteCrowded(f"too many requests to {self._name} are under way here: ask again") from error
        if isinstance(error, httpcore2.TimeoutException):
            raise RemoteSilent(f"{self._name} does not answer") from error
        if isinstance(error, BROKEN):
            detail = str(error)
            raise RemoteUnreachable(f"{self._name} cannot be reached" + (f": {detail}" if detail else "")) from error
        if isinstance(error, UNREADABLE):
            raise RemoteUnusable(f"{self._name} answers with what cannot be read: {error}") from error


def retry_after(value: str | None) -> float | None:
    """Seconds of a Retry-After, which is a number or a date, or, against RFC 9110, a number with a unit; None for
    what cannot be read. At most six hours."""
    if value is None:
        return None
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|ms|µs|us|)\s*", value)
    if match:
        unit = {"": 1.0, "s": 1.0, "ms": 1e-3, "µs": 1e-6, "us": 1e-6}[match[2]]
        return min(float(match[1]) * unit, _RETRY_CAP)
    try:
        seconds = (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
    except UNREADABLE:
        return None
    return min(max(seconds, 0.0), _RETRY_CAP)


def headers_of(response: httpcore2.Response) -> dict[str, str]:
    """The headers with their names in lower case; of several of one name the last."""
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}


def media_type_of(headers: Mapping[str, str]) -> str:
    """The Content-Type without its parameters."""
    return headers.get("content-type", "").partition(";")[0].strip()


def next_query(response: httpcore2.Response) -> str | None:
    """The query of the `Link` to the next page (RFC 8288); None when there is none.

    Nothing else of the link is used: behind a proxy its host is often wrong, and an answer does not say whom to ask.
    """
    for name, value in response.headers:
        for target, parameters in _LINKS.findall(value.decode("latin-1")) if name.lower() == b"link" else ():
            if _NEXT.search(parameters):
                return target.partition("#")[0].partition("?")[2] or None
    return None


def _said(body: bytes) -> str:
    """The first message of an error in the specification's form, without what is not printable."""
    found = re.search(rb'"(?:message|details)"\s*:\s*"((?:[^"\\]|\\.){1,300})', body)
    if found is None:
        return ""
    return "".join(character for character in found[1].decode("utf-8", "replace") if character.isprintable())
