"""Digests: `algorithm:encoded` (image-spec, descriptor.md#digests)."""

import hashlib
import re
from dataclasses import dataclass
from typing import Protocol


class Hash(Protocol):
    """What we use of a hashlib object."""

    def update(self, data: bytes | bytearray | memoryview, /) -> None:
        """Go on with these bytes."""
        ...

    def hexdigest(self) -> str:
        """The hash of what came so far, in small hexadecimal letters."""
        ...

    def copy(self) -> "Hash":
        """One that goes on apart from this one."""
        ...


CANONICAL = "sha256"
_ENCODED = {"sha256": re.compile(r"[a-f0-9]{64}"), "sha512": re.compile(r"[a-f0-9]{128}")}
ALGORITHMS = tuple(_ENCODED)


class InvalidDigest(ValueError):
    """The text is no digest that we can check; the message says why."""


@dataclass(frozen=True, slots=True)
class Digest:
    """A digest by a registered algorithm; `str()` gives the wire form."""

    algorithm: str
    encoded: str

    @classmethod
    def parse(cls, text: str) -> "Digest":
        """Parse the wire form; InvalidDigest for an unknown algorithm, or a wrong length or case."""
        algorithm, separator, encoded = text.partition(":")
        pattern = _ENCODED.get(algorithm)
        if not separator or pattern is None:
            raise InvalidDigest(f"a digest is {' or '.join(f'{name}:HEX' for name in ALGORITHMS)}, not {text[:100]!r}")
        if pattern.fullmatch(encoded) is None:
            length = hashlib.new(algorithm).digest_size * 2
            raise InvalidDigest(f"a {algorithm} digest has {length} lower-case hexadecimal digits")
        return cls(algorithm, encoded)

    @classmethod
    def of(cls, content: bytes, algorithm: str = CANONICAL) -> "Digest":
        """The digest of these bytes."""
        return cls(algorithm, hashlib.new(algorithm, content).hexdigest())

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.encoded}"


def hasher(algorithm: str) -> Hash:
    """A fresh hash for a registered algorithm; InvalidDigest for any other."""
    if algorithm not in _ENCODED:
        raise InvalidDigest(f"digest algorithm {algorithm[:40]!r} is not supported; use {' or '.join(ALGORITHMS)}")
    return hashlib.new(algorithm)
