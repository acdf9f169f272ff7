"""`docker search` (protocol.md, item 19): `/v1/_ping`, and `/v1/search` with what the caller may read.

A client that has logged in sends Basic, or the access token that it got for the catalog.
"""

import json
from collections.abc import Sequence
from typing import Protocol

from entrepot.access.actor import ANONYMOUS, Actor
from entrepot.access.errors import LoginRefused, Throttled, TokenInvalid
from entrepot.access.tokens import Verified
from entrepot.hub.errors import HubError
from entrepot.hub.search import Candidate
from entrepot.web.message import Answer, BadRequest, Headers, Request
from entrepot.web.v2.accounts_gate import read_basic
from entrepot.web.v2.errors import refusal

_JSON = (b"content-type", b"application/json")
_STANDALONE = (b"x-docker-registry-standalone", b"true")  # without it Docker looks for an index elsewhere
_PAGE, _MOST = 25, 100  # results: as Docker asks for, and as many as it ever does


class Logins(Protocol):
    """Who a credential belongs to; LoginRefused and Throttled."""

    async def basic(self, user: str, secret: str, address: str, agent: str) -> Actor:
        """By name and secret."""
        ...

    async def again(self, account_id: int, credential_id: int | None, password_at: int) -> Actor | None:
        """Behind an access token, as it is now."""
        ...


class TokenVerifier(Protocol):
    """What an access token says; TokenInvalid."""

    def verify(self, token: bytes) -> Verified:
        """A token that was signed here and holds."""
        ...


class Finder(Protocol):
    """The search of the hub."""

    async def find(self, actor: Actor, query: str, start: int, limit: int) -> Sequence[Candidate]:
        """The best matches first."""
        ...


class SearchDoor:
    """Docker's first protocol, as far as it is still spoken."""

    route = "search"
    paths = frozenset({"/v1/_ping", "/v1/search"})

    def __init__(self, search: Finder, logins: Logins, tokens: TokenVerifier) -> None:
        self._search = search
        self._logins = logins
        self._tokens = tokens

    async def answer(self, request: Request, address: str) -> Answer:
        """One of the paths."""
        if request.method not in ("GET", "HEAD"):
            return refusal(405, "UNSUPPORTED", "only GET, HEAD", headers=[(b"allow", b"GET, HEAD")])
        if request.path == "/v1/_ping":
            return Answer(200, [_JSON, _STANDALONE], b"true")
        try:
            return await self._found(request, await self._actor(request, address))
        except Throttled as error:
            retry: Headers = [(b"retry-after", b"%d" % error.seconds)]
            return refusal(429, "TOOMANYREQUESTS", error.message, headers=retry)
        except (LoginRefused, TokenInvalid) as error:
            challenge = (b"www-authenticate", b'Basic realm="entrepot"')
            return refusal(401, "UNAUTHORIZED", error.message, headers=[challenge])
        except HubError as error:
            return refusal(400, "UNSUPPORTED", error.message)

    async def _actor(self, request: Request, address: str) -> Actor:
        scheme, _, value = (request.header(b"authorization") or "").partition(" ")
        match scheme.lower():
            case "basic":
                user, secret = read_basic(value.strip())
                if user or secret:
                    return await self._logins.basic(user, secret, address, request.header(b"user-agent") or "")
            case "bearer":
                return await self._by_token(value.strip())
        return ANONYMOUS

    async def _by_token(self, token: str) -> Actor:
        verified = self._tokens.verify(token.encode("latin-1"))
        if verified.account_id is None:
            return ANONYMOUS
        actor = await self._logins.again(verified.account_id, verified.credential_id, verified.password_at)
        if actor is None:
            raise LoginRefused("the account or the credential has ended")
        return actor

    async def _found(self, request: Request, actor: Actor) -> Answer:
        query = request.query.one("q") or ""
        results = await self._search.find(actor, query, 0, _limit(request.query.one("n")))
        body = {
            "query": query,
            "num_results": len(results),
            "results": [
                {
                    "name": each.name,
                    "description": each.description,
                    "star_count": each.stars,
                    "is_official": each.official,
                    "is_automated": False,
                    "is_trusted": False,
                }
                for each in results
            ],
        }
        return Answer(200, [_JSON, (b"cache-control", b"no-store")], json.dumps(body, separators=(",", ":")).encode())


def _limit(text: str | None) -> int:
    if text is None or text == "":
        return _PAGE
    if text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= _MOST:
        return int(text)
    raise BadRequest(f"n is a number of results from 1 to {_MOST}")
