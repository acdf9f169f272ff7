"""`WWW-Authenticate`: which way another registry wants to be asked (RFC 9110 §11.6.1, protocol.md §3.1)."""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

_PART = re.compile(r'([A-Za-z0-9_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s",]+))\s*,?\s*')
_SCHEME = re.compile(r"\s*(bearer|basic)(?:\s+|$)", re.IGNORECASE)


class Challenge(NamedTuple):
    """A scheme, `bearer` or `basic`, and its parameters with their names in lower case."""

    scheme: str
    parameters: Mapping[str, str]


def read_challenge(values: Sequence[str]) -> Challenge | None:
    """The Bearer challenge among these header values, else the Basic one, else None."""
    found: dict[str, Challenge] = {}
    for value in values:
        match = _SCHEME.match(value)
        while match:
            position = match.end()
            parameters: dict[str, str] = {}
            while part := _PART.match(value, position):
                parameters[part[1].lower()] = re.sub(r"\\(.)", r"\1", part[2]) if part[2] is not None else part[3]
                position = part.end()
            found.setdefault(match[1].lower(), Challenge(match[1].lower(), parameters))
            match = _SCHEME.match(value, position)
    return found.get("bearer") or found.get("basic")
