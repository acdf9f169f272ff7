"""Access tokens of `/v2/`: JWTs of five minutes, signed by ES256, checked without I/O (protocol.md §3.5).

The claims that other registries read are `iss`, `sub`, `aud`, `exp`, `nbf`, `iat`, `jti` and `access`. `entrepot` is
ours: account, credential and payer by id, the pull limit, and each repository's id and rights' version.
"""

import base64
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from cryptography.hazmat.primitives import serialization
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from entrepot.access.actor import Actor
from entrepot.access.errors import TokenInvalid
from entrepot.access.keys import signing_key
from entrepot.access.pulls import PullLimit

LIFETIME = 300
"""Seconds, as Docker Hub's."""

AUDIENCE = "entrepot"
_EARLY = 60  # seconds before its issue that a token holds: clocks differ (protocol.md §6.29)
_LARGEST = 16 * 1024  # characters
_REMEMBERED = 20_000  # verified tokens a worker keeps


@dataclass(frozen=True, slots=True)
class Access:
    """What a token allows on one repository. `id` is 0 when there was none of that name yet."""

    actions: frozenset[str]
    id: int
    rights_version: int
    fetch: bool = True
    """Whether what an upstream has and is not stored here may be fetched."""


@dataclass(frozen=True, slots=True)
class Verified:
    """A token that was signed here and holds until `expires` (seconds since 1970); it is a Grant."""

    name: str
    account_id: int | None
    credential_id: int | None
    password_at: int
    payer_id: int | None
    limit: PullLimit | None
    catalog: bool
    expires: float
    repositories: Mapping[str, Access] = field(default_factory=dict)
    everything: bool = False

    def covers(self, name: str, repository: int, rights_version: int) -> bool:
        """See Grant."""
        access = self.repositories.get(name)
        return (
            access is not None
            and access.id == repository
            and access.rights_version == rights_version
            and "pull" in access.actions
        )

    def names(self, name: str) -> bool:
        """See Grant: only where there was none already, else whoever kept a token could tell "gone" from "private"."""
        return self.allows(name, "pull") and self.repositories[name].id == 0

    def fetches(self, name: str) -> bool:
        """See Grant."""
        access = self.repositories.get(name)
        return access is not None and access.fetch

    def allows(self, name: str, action: str) -> bool:
        """Whether the token was issued for this action on a repository of this name."""
        access = self.repositories.get(name)
        return access is not None and action in access.actions


class SigningKeys:
    """The keys that sign tokens, by version: one signs; it, the one before and those to come are accepted."""

    def __init__(self, root: bytes) -> None:
        self._root = root
        self._keys: dict[int, ECKey] = {}
        self._by_id: dict[str, ECKey] = {}
        self.use([1], 1)

    def use(self, versions: Sequence[int], signing: int) -> bool:
        """Sign by one, accept and publish it with those that follow and the one before; returns whether that changes.

        The one before still has tokens out when a next one is made early.
        """
        ordered = sorted({*versions, signing})
        kept = ordered[max(0, ordered.index(signing) - 1) :]
        before = [*self._keys]
        self._keys = {version: self._keys.get(version) or self._key(version) for version in kept}
        self._by_id = {str(key.kid): key for key in self._keys.values()}
        self.signing = self._keys[signing]
        return before != kept

    def find(self, key_id: str) -> ECKey | None:
        """An accepted key."""
        return self._by_id.get(key_id)

    def published(self) -> dict[str, Any]:
        """The public keys as a JWK set (RFC 7517 §5)."""
        return {"keys": [key.as_dict(private=False, use="sig", alg="ES256") for key in self._keys.values()]}

    def private_keys(self) -> list[Any]:
        """The accepted keys themselves, the newest last."""
        return [key.private_key for key in self._keys.values()]

    def _key(self, version: int) -> ECKey:
        private = signing_key(self._root, version)
        return ECKey.import_key(
            private.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
            {"kid": _key_id(private.public_key())},
        )


class Tokens:
    """Issues and verifies."""

    def __init__(self, keys: SigningKeys, issuer: str) -> None:
        self._keys = keys
        self._issuer = issuer
        self._known: dict[bytes, Verified] = {}
        self.epoch = 0

    def issue(
        self,
        actor: Actor,
        repositories: Mapping[str, Access],
        *,
        audience: str = AUDIENCE,
        catalog: Sequence[str] = (),
        limit: PullLimit | None = None,
    ) -> tuple[str, int]:
        """A token for this actor, and when it was issued (seconds since 1970)."""
        now = int(time.time())
        access = [
            {"type": "repository", "name": name, "actions": sorted(each.actions)}
            for name, each in repositories.items()
            if each.actions
        ]
        if catalog:
            access.append({"type": "registry", "name": "catalog", "actions": list(catalog)})
        claims: dict[str, Any] = {
            "iss": self._issuer,
            "sub": actor.name,
            "aud": audience,
            "exp": now + LIFETIME,
            "nbf": now - _EARLY,
            "iat": now,
            "jti": secrets.token_urlsafe(12),
            "access": access,
            "entrepot": {
                "account": actor.account_id,
                "credential": actor.credential_id,
                "password_at": actor.password_at,
                "payer": actor.payer_id,
                "limit": None if limit is None else [limit.limit, limit.window],
                "repositories": {
                    name: [each.id, each.rights_version, each.fetch] for name, each in repositories.items()
                },
            },
        }
        key = self._keys.signing
        return jwt.encode({"alg": "ES256", "kid": str(key.kid), "typ": "JWT"}, claims, key, algorithms=["ES256"]), now

    def known(self, token: bytes) -> Verified | None:
        """A token that was verified before and still holds."""
        found = self._known.get(sha256(token).digest())
        return found if found is not None and found.expires > time.time() else None

    def verify(self, token: bytes) -> Verified:
        """What a token says; TokenInvalid for one that is not ours, not for us, too old, or from the future."""
        found = self.known(token)
        if found is not None:
            return found
        if len(token) > _LARGEST:
            raise TokenInvalid("the token is too large")
        try:
            decoded = jwt.decode(token.decode("ascii"), self._find_key, algorithms=["ES256"])
        except (JoseError, ValueError, TypeError, KeyError, UnicodeDecodeError):
            raise TokenInvalid("the token is not one of this registry") from None
        verified = self._read(decoded.claims)
        if len(self._known) >= _REMEMBERED:
            self._forget(time.time())
        self._known[sha256(token).digest()] = verified
        return verified

    def forget(self) -> None:
        """Verify every token again: the keys have changed. Who remembers what a token said looks at `epoch`."""
        self._known.clear()
        self.epoch += 1

    def _find_key(self, token: Any) -> ECKey:
        key = self._keys.find(str(token.headers().get("kid")))
        if key is None:
            raise TokenInvalid("the token is signed by a key that is not, or no longer, in use")
        return key

    def _forget(self, now: float) -> None:
        self._known = {key: each for key, each in self._known.items() if each.expires > now}
        if len(self._known) >= _REMEMBERED:
            self._known.clear()

    def _read(self, claims: Mapping[str, Any]) -> Verified:
        now = time.time()
        if claims.get("aud") != AUDIENCE or claims.get("iss") != self._issuer:
            raise TokenInvalid("the token is for another registry")
        if not _number(claims.get("nbf")) <= now < _number(claims.get("exp")):
            raise TokenInvalid("the token's time is over, or has not come")
        ours = claims["entrepot"]
        places = ours["repositories"]
        repositories = {
            each["name"]: Access(frozenset(each["actions"]), *places[each["name"]])
            for each in claims["access"]
            if each["type"] == "repository"
        }
        limit = ours["limit"]
        return Verified(
            name=claims["sub"],
            account_id=ours["account"],
            credential_id=ours["credential"],
            password_at=ours["password_at"],
            payer_id=ours["payer"],
            limit=None if limit is None else PullLimit(*limit),
            catalog=any(each["type"] == "registry" for each in claims["access"]),
            expires=float(claims["exp"]),
            repositories=repositories,
        )


def _number(value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    raise TokenInvalid("the token has no time")


def _key_id(public: Any) -> str:
    """A key's id as docker-registry 2 computes it (libtrust): SHA-256 of the DER, cut to 240 bits, in base32."""
    der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    text = base64.b32encode(sha256(der).digest()[:30]).decode()
    return ":".join(text[start : start + 4] for start in range(0, len(text), 4))
