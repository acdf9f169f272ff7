"""Every key that this registry uses is derived from one root secret (HKDF, RFC 5869), each for its own purpose."""

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

SHORTEST = 32
"""Bytes of a root secret, at least."""

_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # NIST SP 800-186 §3.2.1.3


def derive(root: bytes, purpose: str, length: int = 32) -> bytes:
    """A key for one purpose; knowing it tells nothing of the root or of other keys."""
    return HKDF(algorithm=SHA256(), length=length, salt=None, info=f"entrepot {purpose}".encode()).derive(root)


def signing_key(root: bytes, version: int) -> ec.EllipticCurvePrivateKey:
    """The P-256 key that signs tokens in this version; the same on every node that has the root."""
    scalar = int.from_bytes(derive(root, f"token signing {version}", 48)) % (_P256_ORDER - 1) + 1
    return ec.derive_private_key(scalar, ec.SECP256R1())
