"""Tokens that look like this registry's and are not: each in its own way."""

import base64
import hmac
import json
import time
from collections.abc import Callable
from hashlib import sha256
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc.jwk import ECKey

from entrepot.access.keys import signing_key
from entrepot.access.tokens import SigningKeys
from tests.support.hub_world import World, claims_of

OWN_KEY = ec.generate_private_key(ec.SECP256R1())
Forge = Callable[[World, str], str]


def part(value: object) -> str:
    """A part of a token."""
    content = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def sign(header: object, claims: object, key: ec.EllipticCurvePrivateKey) -> str:
    """ES256 by hand (RFC 7518 §3.4), whatever the header says."""
    text = f"{part(header)}.{part(claims)}"
    r, s = decode_dss_signature(key.sign(text.encode(), ec.ECDSA(SHA256())))
    return f"{text}.{part(r.to_bytes(32) + s.to_bytes(32))}"


def own_header(world: World) -> dict[str, Any]:
    """As this registry writes it."""
    return {"alg": "ES256", "kid": str(SigningKeys(world.root).signing.kid), "typ": "JWT"}


def claiming(**claims: object) -> Forge:
    """Signed by our key, with other claims; None leaves one out."""

    def forge(world: World, token: str) -> str:
        merged = {key: value for key, value in (claims_of(token) | claims).items() if value is not None}
        return sign(own_header(world), merged, signing_key(world.root, 1))

    return forge


def headed(**header: object) -> Forge:
    """Signed by our key, with another header."""

    def forge(world: World, token: str) -> str:
        return sign(own_header(world) | header, claims_of(token), signing_key(world.root, 1))

    return forge


def by_own_key(**header: object) -> Forge:
    """Signed by a key that anybody can make, under the id of ours or as the header says."""

    def forge(world: World, token: str) -> str:
        return sign(own_header(world) | header, claims_of(token), OWN_KEY)

    return forge


def unsigned(world: World, token: str) -> str:
    """`alg: none` (RFC 8725 §2.1)."""
    return f"{part({'alg': 'none', 'typ': 'JWT'})}.{token.split('.')[1]}."


def by_the_public_key(world: World, token: str) -> str:
    """HS256 with what everybody can read as its secret (RFC 8725 §2.1)."""
    key = signing_key(world.root, 1).public_key()
    secret = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    text = f"{part(own_header(world) | {'alg': 'HS256'})}.{token.split('.')[1]}"
    return f"{text}.{part(hmac.digest(secret, text.encode(), sha256))}"


def of_another_registry(world: World, token: str) -> str:
    """Of the same make, with another root secret."""
    root = b"another root secret, as long as!"
    return sign(own_header(world) | {"kid": str(SigningKeys(root).signing.kid)}, claims_of(token), signing_key(root, 1))


def tampered(change: Callable[[bytes], bytes]) -> Forge:
    """Other claims under the old signature."""

    def forge(_: World, token: str) -> str:
        head, claims, signature = token.split(".")
        return f"{head}.{part(change(base64.urlsafe_b64decode(claims + '=' * (-len(claims) % 4))))}.{signature}"

    return forge


JWK = ECKey.import_key(OWN_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)).as_dict()
NOW = int(time.time())
FORGERIES: dict[str, Forge] = {
    "unsigned": unsigned,
    "unsigned, and it says so in capitals": lambda w, t: unsigned(w, t).replace(part("none"), part("NONE")),
    "by the public key as a shared secret": by_the_public_key,
    "by another key": by_own_key(),
    "by an unknown key": by_own_key(kid="mine"),
    "by a key without an id": by_own_key(kid=None),
    "by a key that it brings": by_own_key(kid="mine", jwk=JWK),
    "by a certificate that it brings": by_own_key(kid="mine", x5c=["AAAA"]),
    "by a key that is elsewhere": by_own_key(kid="mine", jku="http://127.0.0.1/keys", x5u="http://127.0.0.1/chain"),
    "with an extension that must be understood": headed(crit=["exp2"], exp2=1),
    "with a payload that is not encoded": headed(crit=["b64"], b64=False),
    "of another algorithm": headed(alg="RS256"),
    "of no algorithm": headed(alg=None),
    "of another registry": of_another_registry,
    "of another issuer": claiming(iss="https://elsewhere.example"),
    "for another audience": claiming(aud="relying.example"),
    "for several audiences": claiming(aud=["relying.example", "other.example"]),
    "for no audience": claiming(aud=None),
    "expired": claiming(exp=NOW - 1),
    "without an end": claiming(exp=None),
    "with an end that is text": claiming(exp="9999999999"),
    "of the future": claiming(nbf=NOW + 3600, exp=NOW + 7200),
    "without a beginning": claiming(nbf=None),
    "with a claim twice": tampered(lambda claims: claims[:-1] + b"," + claims[1:]),
    "with another end": tampered(lambda claims: claims.replace(b'"exp":', b'"exp":9')),
    "cut": lambda _, token: token[:-7],
    "without a signature": lambda _, token: token.rpartition(".")[0] + ".",
    "of two parts": lambda _, token: token.rpartition(".")[0],
    "of five parts": lambda _, token: f"{token}.{part(b'x')}.{part(b'y')}",
    "with a header that is a list": lambda _, token: f"{part([1])}.{token.partition('.')[2]}",
    "with a header that is deep": lambda _, token: f"{part(b'[' * 9000)}.{token.partition('.')[2]}",
    "no token at all": lambda _, __: "x",
    "empty": lambda _, __: "",
    "of other letters": lambda _, token: "é" + token[1:],
    "too large": claiming(pad="x" * 20_000),
}
