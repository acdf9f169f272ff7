"""`/token`, in Docker's form (GET) and OAuth2's (POST), and the keys that its tokens are signed by (protocol.md §3).

Rights that are not there are no error: the token simply does not have them, and the registry says so when it is used.
"""

import json
from collections.abc import Callable, Mapping
from urllib.parse import parse_qsl

from entrepot.access.actor import ANONYMOUS, Actor
from entrepot.access.certificates import certificate_chain
from entrepot.access.errors import LoginRefused, Throttled
from entrepot.access.issuing import Issued, TokenService
from entrepot.access.login import Login
from entrepot.access.refresh import RefreshTokens
from entrepot.access.scopes import parse_scopes
from entrepot.access.tokens import SigningKeys
from entrepot.registry.errors import BodyInterrupted
from entrepot.web.message import Answer, BadRequest, Headers, Request
from entrepot.web.v2.accounts_gate import has_controls, read_basic
from entrepot.web.v2.errors import refusal

_REFRESH = frozenset({"refresh"})
_JSON = (b"content-type", b"application/json")
_PRIVATE = (b"cache-control", b"no-store")
_MOST = 64 * 1024  # bytes of a form
_CLIENT = 100  # characters of a client's name that are kept


class TokenDoor:
    """The token endpoint."""

    route = "token"
    paths = frozenset({"/token", "/token/jwks.json", "/token/certificates.pem"})

    def __init__(
        self,
        login: Login,
        service: TokenService,
        refresh: RefreshTokens,
        keys: SigningKeys,
        issued: Callable[[], None],
    ) -> None:
        """`issued` is told of each token."""
        self._issued = issued
        self._login = login
        self._service = service
        self._refresh = refresh
        self._keys = keys

    async def answer(self, request: Request, address: str) -> Answer:
        """One of the paths."""
        if request.path != "/token":
            if request.method not in ("GET", "HEAD"):
                return _not_allowed("GET, HEAD")
            return self._published(request.path)
        try:
            match request.method:
                case "GET":
                    return await self._get(request, address)
                case "POST":
                    return await self._post(request, address)
        except Throttled as error:
            retry: Headers = [(b"retry-after", b"%d" % error.seconds), _PRIVATE]
            return refusal(429, "TOOMANYREQUESTS", error.message, headers=retry)
        except LoginRefused as error:
            challenge = (b"www-authenticate", b'Basic realm="entrepot"')
            return refusal(401, "UNAUTHORIZED", error.message, headers=[challenge, _PRIVATE])
        except BadRequest as error:
            return refusal(400, "UNSUPPORTED", str(error))
        return _not_allowed("GET, POST")

    def _published(self, path: str) -> Answer:
        cached = (b"cache-control", b"max-age=300")
        if path == "/token/jwks.json":
            return Answer(200, [(b"content-type", b"application/jwk-set+json"), cached], _body(self._keys.published()))
        pem = certificate_chain(self._keys.private_keys())
        return Answer(200, [(b"content-type", b"application/x-pem-file"), cached], pem)

    async def _get(self, request: Request, address: str) -> Answer:
        actor = ANONYMOUS
        header = request.header(b"authorization")
        if header is not None and header[:6].lower() == "basic ":
            user, secret = read_basic(header[6:].strip())
            if user or secret:
                actor = await self._login.basic(user, secret, address, request.header(b"user-agent") or "")
        query = request.query
        service = query.one("service") or ""
        self._issued()
        issued = await self._service.issue(actor, parse_scopes(query.all("scope")), service)
        refresh = None
        if (query.one("offline_token") or "").lower() in ("true", "1"):
            refresh = await self._offline(actor, query.one("client_id") or "", service, address)
        return _answer(issued, refresh, with_scope=False)

    async def _post(self, request: Request, address: str) -> Answer:
        form = await _form(request)
        agent = request.header(b"user-agent") or ""
        refresh: str | None = None
        match form.get("grant_type"):
            case "password":
                user, secret = form.get("username", ""), form.get("password", "")
                actor = await self._login.basic(user, secret, address, agent)
            case "refresh_token":
                refresh = form.get("refresh_token", "")
                actor = await self._login.by_secret(refresh, address, agent, _REFRESH)
            case _:
                return _oauth_error("unsupported_grant_type", "grant_type is password or refresh_token")
        service = form.get("service", "")
        self._issued()
        issued = await self._service.issue(actor, parse_scopes([form.get("scope", "")]), service)
        if refresh is None and form.get("access_type") == "offline":
            refresh = await self._offline(actor, form.get("client_id", ""), service, address)
        return _answer(issued, refresh, with_scope=True)

    async def _offline(self, actor: Actor, client: str, service: str, address: str) -> str | None:
        if actor.anonymous or actor.credential_kind == "refresh":  # one of another would outlive what obtained that
            return None
        return await self._refresh.obtain(actor, client[:_CLIENT] or "unnamed", service[:_CLIENT], address)


def _answer(issued: Issued, refresh: str | None, *, with_scope: bool) -> Answer:
    body: dict[str, object] = {
        "token": issued.token,
        "access_token": issued.token,
        "expires_in": issued.expires_in,
        "issued_at": issued.issued_at,
    }
    if with_scope:
        body |= {"scope": issued.scope, "token_type": "Bearer"}
    if refresh is not None:
        body["refresh_token"] = refresh
    return Answer(200, [_JSON, _PRIVATE], _body(body))


def _body(value: Mapping[str, object]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


async def _form(request: Request) -> dict[str, str]:
    kind = (request.header(b"content-type") or "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise BadRequest("the token endpoint reads application/x-www-form-urlencoded (RFC 6749 §4.3.2)")
    content = b""
    try:
        async for chunk in request.chunks():
            content += chunk
            if len(content) > _MOST:
                raise BadRequest(f"a form has at most {_MOST} bytes")
        pairs = parse_qsl(content.decode(), keep_blank_values=True, max_num_fields=100)
    except (BodyInterrupted, ValueError):
        raise BadRequest("the form cannot be read") from None
    form: dict[str, str] = {}
    for key, value in pairs:
        if has_controls(value):
            raise BadRequest("the form has control characters")
        form[key] = f"{form[key]} {value}" if key == "scope" and key in form else value
    return form


def _oauth_error(code: str, text: str) -> Answer:
    """An error in the form of RFC 6749 §5.2."""
    return Answer(400, [_JSON, _PRIVATE], _body({"error": code, "error_description": text}))


def _not_allowed(methods: str) -> Answer:
    return refusal(405, "UNSUPPORTED", f"only {methods}", headers=[(b"allow", methods.encode())])
