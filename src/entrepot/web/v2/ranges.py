"""Ranges: of downloads (RFC 9110 §14) and of upload chunks (distribution-spec, "Pushing a blob in chunks")."""

import re

from entrepot.registry.errors import RangeInvalid
from entrepot.registry.uploads import Span

_UPLOAD = re.compile(r"(?:bytes[ =])?([0-9]{1,18})-([0-9]{1,18})(?:/.*)?")
_DOWNLOAD = re.compile(r"([0-9]{0,40})-([0-9]{0,40})")  # some clients end an open range with 2**64 - 1
_MOST = 64  # ranges of one request; more is answered with the whole


class Unsatisfiable(Exception):
    """No byte of any range is there."""


def upload_span(header: str | None) -> Span | None:
    """The Content-Range of an upload; some clients write `bytes ` before it or `/total` after it."""
    if header is None:
        return None
    match = _UPLOAD.fullmatch(header.strip())
    if match is None:
        raise RangeInvalid("a Content-Range of an upload is FIRST-LAST, in bytes, both counted from 0")
    first, last = int(match[1]), int(match[2])
    if last < first:
        raise RangeInvalid("the Content-Range ends before it starts")
    return Span(first, last - first + 1)


def download_spans(header: str | None, size: int) -> list[tuple[int, int]] | None:
    """What a Range header asks of `size` bytes, as (first byte, length); None for the whole.

    Ranges that overlap so much that they come to more than the whole get the whole (RFC 9110 §14.2). Unsatisfiable
    when no range touches the bytes. `500-0`, which RFC 9110 lets a server ignore, counts as such too: the conformance
    suite asks for 416.
    """
    if header is None:
        return None
    unit, separator, text = header.partition("=")
    if not separator or unit.strip().lower() != "bytes":
        return None
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or len(parts) > _MOST:
        return None
    spans: list[tuple[int, int]] = []
    for part in parts:
        match = _DOWNLOAD.fullmatch(part)
        if match is None or part == "-":
            return None
        span = _span(match[1], match[2], size)
        if span is not None:
            spans.append(span)
    if not spans:
        raise Unsatisfiable
    return spans if sum(length for _, length in spans) <= size else None


def _span(first: str, last: str, size: int) -> tuple[int, int] | None:
    if not first:
        length = min(int(last), size)
        return (size - length, length) if length else None
    start = int(first)
    end = min(int(last), size - 1) if last else size - 1
    if start >= size or end < start:
        return None
    return start, end - start + 1
