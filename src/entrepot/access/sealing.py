"""Secrets that stand in a configuration file so that only this registry reads them: AES-256-GCM (NIST SP 800-38D) by a
key that is derived from the root secret."""

import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as BinasciiError

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from entrepot.access.keys import derive

_SEALED = "sealed:1:"
_PURPOSE = "sealed configuration 1"
_NONCE = 12  # bytes


class NotOurs(ValueError):
    """It was sealed with another root secret, or changed since."""


def is_sealed(text: str) -> bool:
    """Whether it looks like what `seal` gives."""
    return text.startswith(_SEALED)


def seal(root: bytes, secret: str) -> str:
    """The secret in a form that tells nothing but its length."""
    nonce = secrets.token_bytes(_NONCE)
    sealed = AESGCM(derive(root, _PURPOSE)).encrypt(nonce, secret.encode(), None)
    return _SEALED + urlsafe_b64encode(nonce + sealed).decode()


def unseal(root: bytes, text: str) -> str:
    """The secret; NotOurs."""
    try:
        content = urlsafe_b64decode(text.removeprefix(_SEALED))
        return AESGCM(derive(root, _PURPOSE)).decrypt(content[:_NONCE], content[_NONCE:], None).decode()
    except (InvalidTag, ValueError, BinasciiError):
        raise NotOurs("it was sealed with another root secret, or changed since") from None
