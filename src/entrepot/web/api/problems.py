"""Errors of the API, as problem details (RFC 9457). One table says which error has which status."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, NamedTuple

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from entrepot.access import errors as access
from entrepot.hub import errors as hub
from entrepot.registry import errors as registry

_TYPE = "application/problem+json"
_MOST_PROBLEMS = 20  # named of one request


class Problem(NamedTuple):
    """How an error looks: its status, and a word for machines."""

    status: int
    code: str


TABLE: Mapping[type[Exception], Problem] = {
    hub.HubError: Problem(500, "internal"),
    hub.Invalid: Problem(422, "invalid"),
    hub.NotThere: Problem(404, "not_found"),
    hub.Forbidden: Problem(403, "forbidden"),
    hub.Taken: Problem(409, "taken"),
    hub.LimitReached: Problem(403, "limit_reached"),
    hub.ReadThrough: Problem(405, "read_through"),
    access.AccessError: Problem(500, "internal"),
    access.LoginRefused: Problem(401, "unauthorized"),
    access.Throttled: Problem(429, "throttled"),
    access.TokenInvalid: Problem(401, "unauthorized"),
    registry.Denied: Problem(403, "denied"),
    registry.Unauthorized: Problem(404, "not_found"),
    registry.NameUnknown: Problem(404, "not_found"),
    registry.ManifestUnknown: Problem(404, "not_found"),
    registry.TagInvalid: Problem(422, "invalid"),
    registry.Unsupported: Problem(409, "held"),
    registry.Moved: Problem(409, "moved"),
    registry.UpstreamError: Problem(502, "upstream"),
    registry.UpstreamSlow: Problem(504, "upstream"),
    registry.UpstreamBusy: Problem(429, "upstream"),
    registry.StorageError: Problem(503, "unavailable"),
    registry.StorageFull: Problem(507, "storage_full"),
}
_CHALLENGE = {"WWW-Authenticate": 'Basic realm="entrepot"'}
_RETRY_SECONDS = "5"


def problem(status: int, code: str, detail: str, headers: Mapping[str, str] | None = None, **more: Any) -> JSONResponse:
    """A problem; `detail` is a sentence for people."""
    content = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "code": code}
    extra = {**(_CHALLENGE if status == 401 else {}), **(headers or {})}
    return JSONResponse({**content, "detail": detail, **more}, status, extra, _TYPE)


def problem_of(error: Exception) -> JSONResponse:
    """The problem for an error that the table knows, by its class or one above it."""
    for kind in type(error).__mro__:
        if kind in TABLE:
            break
    else:
        raise error
    status, code = TABLE[kind]
    headers: dict[str, str] = {}
    if isinstance(error, access.Throttled):
        headers["Retry-After"] = str(error.seconds)
    elif status == 405:
        headers["Allow"] = "GET"
    elif status in (503, 507):
        headers["Retry-After"] = _RETRY_SECONDS
    field = getattr(error, "field", None)
    text = getattr(error, "message", "") or (type(error).__doc__ or "")
    return problem(status, code, text, headers, **({"field": field} if field else {}))


def answer_with_problems(app: FastAPI) -> None:
    """Make every error of this application a problem."""

    async def known(request: Request, error: Exception) -> JSONResponse:
        return problem_of(error)

    async def invalid(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        problems = [
            {"field": ".".join(str(part) for part in each["loc"][1:]), "problem": each["msg"]}
            for each in error.errors()[:_MOST_PROBLEMS]
        ]
        named = f"{problems[0]['field'] or 'the body'}: {problems[0]['problem']}" if problems else "it cannot be read"
        return problem(422, "invalid", f"the request cannot be used: {named}", problems=problems)

    async def framework(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "invalid")
        return problem(error.status_code, code, f"{error.detail}: {request.method} {request.url.path}", error.headers)

    for kind in (hub.HubError, access.AccessError, registry.RegistryError):
        app.add_exception_handler(kind, known)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, framework)
