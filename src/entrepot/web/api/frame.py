"""The frame of `/api/v1`: who asks, how large a body may be, errors, and the document that describes it all."""

from base64 import b64decode
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from fastapi import APIRouter, FastAPI
from starlette.responses import Response

from entrepot import __version__
from entrepot.access.actor import ANONYMOUS, EVERYBODY, Actor
from entrepot.access.credentials import lookup_of
from entrepot.access.errors import AccessError, LoginRefused
from entrepot.access.login import Login
from entrepot.access.request_limits import RequestLimits
from entrepot.web.api.problems import answer_with_problems, problem, problem_of
from entrepot.web.api.shapes import ACTOR, ADDRESS

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

PREFIX = "/api/v1"
_BEARERS = frozenset({"session", "personal", "robot"})
_LARGEST = 1024 * 1024  # bytes of a body: a README has the most
_PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"description": text, "content": {"application/problem+json": {}}}
    for status, text in {
        400: "The request cannot be read.",
        401: "The login is refused, or one is needed.",
        403: "Not allowed.",
        404: "There is no such thing, or none that the caller may know of.",
        405: "Not a thing to do here.",
        409: "It is taken, or already so.",
        413: "The body is too large.",
        422: "The input cannot be used.",
        429: "Too many failed logins.",
        503: "The database or the store cannot do its work now.",
    }.items()
}


class Api:
    """The ASGI application that answers `/api/`."""

    def __init__(self, routes: Sequence[APIRouter], login: Login | None, requests: RequestLimits) -> None:
        """`login` is None where there are no accounts: then everybody may do everything."""
        self._login = login
        self._requests = requests
        self.app = FastAPI(
            title="Entrepot",
            version=__version__,
            summary="The hub: accounts, organizations, teams, repositories, tokens, limits, audit.",
            openapi_url=f"{PREFIX}/openapi.json",
            docs_url=None,
            redoc_url=None,
            responses=_PROBLEMS,
        )
        answer_with_problems(self.app)
        for each in routes:
            self.app.include_router(each, prefix=PREFIX)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        limited = _Limited(receive)
        if b"%00" in scope["raw_path"] or b"%00" in scope["query_string"]:  # PostgreSQL stores none and compares none
            await problem(400, "invalid", "there is no NUL character in any name")(scope, receive, send)
            return
        try:
            scope[ACTOR] = await self._actor(scope)
        except AccessError as error:
            await problem_of(error)(scope, receive, send)
            return
        over = self._requests.of_account(scope[ACTOR].account_id)
        if over is not None:
            headers = {name.decode(): value.decode() for name, value in over.headers}
            await problem(429, "too_many_requests", over.message, headers)(scope, receive, send)
            return
        try:
            await self.app(scope, limited, send)
        except _TooLarge:
            answer: Response = problem(413, "too_large", f"a body has at most {_LARGEST} bytes")
            await answer(scope, receive, send)

    async def _actor(self, scope: Scope) -> Actor:
        """Who asks: by Basic, or by a session or a personal token as Bearer; an access token of /v2/ is none."""
        if self._login is None:
            return EVERYBODY
        headers = [value for name, value in scope["headers"] if name == b"authorization"]
        if not headers:
            return ANONYMOUS
        if len(headers) > 1:
            raise LoginRefused("a request has one Authorization header")
        scheme, _, value = headers[0].decode("latin-1").partition(" ")
        agent = next((text.decode("latin-1") for name, text in scope["headers"] if name == b"user-agent"), "")
        address = scope[ADDRESS]
        if scheme.lower() == "basic":
            user, secret = _basic(value)
            actor = await self._login.basic(user, secret, address, agent)
            if actor.credential_kind == "refresh":
                raise LoginRefused("a refresh token is for /token only")
            return actor
        if scheme.lower() == "bearer" and lookup_of(value.strip()) is not None:
            return await self._login.by_secret(value.strip(), address, agent, _BEARERS)
        raise LoginRefused(
            "log in by Basic with a password or a personal access token, or by Bearer with a session's token"
            " (POST /api/v1/sessions); a token of /v2/ is not for here"
        )


class _TooLarge(Exception):
    """A body that is not read to its end."""


class _Limited:
    """The request's body, up to a size."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._size = 0

    async def __call__(self) -> MutableMapping[str, Any]:
        message = await self._receive()
        self._size += len(message.get("body", b""))
        if self._size > _LARGEST:
            raise _TooLarge
        return message


def _basic(value: str) -> tuple[str, str]:
    try:
        user, colon, secret = b64decode(value.strip(), validate=True).decode().partition(":")
    except ValueError:
        colon = ""
    if not colon:
        raise LoginRefused("the Authorization header is not readable as Basic (RFC 7617)")
    return user, secret
