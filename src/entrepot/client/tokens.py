"""Getting access tokens from another registry's token service, and keeping them until they end: by GET with a password
or as anybody (protocol.md §3.2), by POST with an identity token (§3.3)."""

import asyncio
import json
import time
from base64 import b64encode
from collections.abc import Awaitable, Callable
from typing import NamedTuple
from urllib.parse import urlencode, urlsplit

import structlog

from entrepot.client.answers import UNREADABLE
from entrepot.client.challenge import Challenge
from entrepot.client.errors import NoLogin, RemoteUnusable

_ASSUMED = 60.0  # seconds that a token holds which does not say (distribution-spec's token page)
_EARLY = 10.0  # seconds before its end that a token is not used any more
_MOST = 2000  # tokens kept
_log = structlog.get_logger()
_IDENTITY_TOKEN = ("<token>", "")  # user names for what is no password (Docker's convention; containerd's)


class Login(NamedTuple):
    """A user's name and password, or `<token>` and an identity token: one that only a token service takes."""

    user: str
    secret: str

    @property
    def is_identity_token(self) -> bool:
        """Whether `secret` is what OAuth calls a refresh token (ACR's logins are)."""
        return self.user in _IDENTITY_TOKEN

    @property
    def basic(self) -> bytes:
        """As RFC 7617 writes it. NoLogin for an identity token."""
        if self.is_identity_token:
            raise NoLogin("it asks for a user name and a password, and its login is an identity token")
        return b"Basic " + b64encode(f"{self.user}:{self.secret}".encode())


class _Token(NamedTuple):
    value: bytes
    until: float


Ask = Callable[[str, bytes | None, bytes | None], Awaitable[bytes]]
"""GETs an URL with this Authorization, or POSTs this form to it; returns the body of a 200, and raises RemoteError for
any other answer."""


class RemoteTokens:
    """The tokens of one registry, by scope."""

    def __init__(self, name: str, url: str, token_hosts: frozenset[str], ask: Ask) -> None:
        """`name` and `url` of the registry; `token_hosts`: other hosts that may be given its password."""
        parts = urlsplit(url)
        self._plain = parts.scheme == "http"
        self._trusted = token_hosts | {(parts.hostname or "").lower()}
        self._name = name
        self._ask = ask
        self._withheld = False
        self._tokens: dict[tuple[str, str, str, Login | None], _Token] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    def forget(self, value: bytes) -> None:
        """This token was refused."""
        self._tokens = {key: token for key, token in self._tokens.items() if token.value != value}

    async def get(self, challenge: Challenge, scope: str, login: Login | None) -> bytes:
        """A token that answers this challenge, for this scope; several who need one wait for the same."""
        realm = challenge.parameters.get("realm", "")
        parts = urlsplit(realm)
        if parts.scheme != "https" and not (self._plain and parts.scheme == "http"):
            raise RemoteUnusable(f"{self._name}: its token service {realm[:200]!r} is not reached by https")
        host = (parts.hostname or "").lower()
        if login is not None and host not in self._trusted:
            login = None  # a password goes only where it belongs: this service is asked as anybody
            self._tell_withheld(host)
        service = challenge.parameters.get("service", "")
        key = (realm, service, scope, login)
        if len(self._locks) >= 2 * _MOST:  # of scopes that gave no token; who waits for one goes on with it
            self._locks.clear()
        async with self._locks.setdefault(scope, asyncio.Lock()):
            known = self._tokens.get(key)
            if known is not None and known.until > time.monotonic():
                return known.value
            token = await self._fetch(realm, service, scope, login)
            if len(self._tokens) >= _MOST:
                self._tokens.clear()
                self._locks.clear()
            self._tokens[key] = token
            return token.value

    def _tell_withheld(self, host: str) -> None:
        """Once: hosts that answers name may be many."""
        if not self._withheld:
            self._withheld = True
            _log.warning(
                "a password is not sent to a token service on another host: name it in token_hosts if that is right",
                upstream=self._name,
                host=host[:255],
            )

    async def _fetch(self, realm: str, service: str, scope: str, login: Login | None) -> _Token:
        query = [("service", service)] if service else []
        if login is not None and login.is_identity_token:
            form = [("grant_type", "refresh_token"), *query, ("client_id", "entrepot"), ("scope", scope)]
            body = await self._ask(realm, None, urlencode([*form, ("refresh_token", login.secret)]).encode())
        else:
            query += [("scope", each) for each in scope.split()]
            separator = "&" if urlsplit(realm).query else "?"
            authorization = login.basic if login is not None else None
            body = await self._ask(f"{realm}{separator}{urlencode(query)}", authorization, None)
        try:
            answer = json.loads(body)
            value = answer.get("token") or answer["access_token"]
            lifetime = float(answer.get("expires_in") or _ASSUMED)
            if not isinstance(value, str) or not value.isascii() or not value.isprintable():
                raise ValueError(value)
        except (*UNREADABLE, KeyError, AttributeError):
            raise RemoteUnusable(f"{self._name}: its token service gave no token") from None
        return _Token(b"Bearer " + value.encode(), time.monotonic() + max(_ASSUMED, lifetime) - _EARLY)
