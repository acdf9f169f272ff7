"""Secrets that this registry makes: personal access tokens, robots' tokens, refresh tokens, sessions, invitations.

A secret is a prefix that secret scanners know, 12 characters by which its row is found, and 43 that prove it: 256
random bits, so that a fast keyed hash is enough and nobody can guess. The row keeps the hash, never the secret.
"""

import hmac
import re
import secrets
import string
from dataclasses import dataclass
from hashlib import sha256, sha512

PREFIXES = {"personal": "entp_", "robot": "entb_", "refresh": "entr_", "session": "ents_", "invitation": "enti_"}
_LETTERS = string.ascii_letters + string.digits
_LOOKUP = 12  # characters: 71 bits
_PROOF = 43  # characters: 256 bits
_SECRET = re.compile(rf"(ent[pbrsi]_)([A-Za-z0-9]{{{_LOOKUP}}})[A-Za-z0-9]{{{_PROOF}}}")


@dataclass(frozen=True, slots=True)
class NewSecret:
    """A secret, shown once, and what is stored of it."""

    text: str
    lookup: str
    hash: str


class Secrets:
    """Makes secrets and recognises them, under one key."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def make(self, kind: str) -> NewSecret:
        """A new secret of a kind of PREFIXES."""
        lookup, proof = ("".join(secrets.choice(_LETTERS) for _ in range(length)) for length in (_LOOKUP, _PROOF))
        text = PREFIXES[kind] + lookup + proof
        return NewSecret(text, PREFIXES[kind] + lookup, self.hash(text))

    def derived(self, kind: str, lookup: str) -> NewSecret:
        """The secret that belongs to this lookup: it can be shown again although it is stored nowhere."""
        number = int.from_bytes(hmac.new(self._key, f"{kind} {lookup}".encode(), sha512).digest())
        letters: list[str] = []
        for _ in range(_PROOF):
            number, rest = divmod(number, len(_LETTERS))
            letters.append(_LETTERS[rest])
        text = lookup + "".join(letters)
        return NewSecret(text, lookup, self.hash(text))

    def hash(self, text: str) -> str:
        """What is stored of a secret."""
        return hmac.new(self._key, text.encode(), sha256).hexdigest()

    def matches(self, text: str, stored: str) -> bool:
        """Whether this secret is the stored one; takes the same time for every wrong one."""
        return hmac.compare_digest(self.hash(text), stored)


def lookup_of(text: str) -> str | None:
    """By what the row of a secret is found; None when the text is no secret of ours (but perhaps a password)."""
    match = _SECRET.fullmatch(text)
    return None if match is None else match[1] + match[2]
