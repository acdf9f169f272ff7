"""The gate of a registry with accounts: tokens, Basic, and the challenge that tells clients where to get a token.

A token is checked without I/O. Pulls are let in by what it says, and the data plane compares it with what is stored;
pushes and deletes ask the database again, as they write anyway, so that what was taken away is gone at once.
"""

import time
import unicodedata
from base64 import b64decode
from binascii import Error as BinasciiError
from typing import NamedTuple

from entrepot.access.actor import ANONYMOUS, Actor
from entrepot.access.caller import Caller, caller_of
from entrepot.access.decision import Action, Decision
from entrepot.access.errors import LoginRefused, Throttled, TokenInvalid
from entrepot.access.grant import NOTHING, Grant, OneRepository
from entrepot.access.limits import Limits
from entrepot.access.login import Login
from entrepot.access.names import PREVIEW
from entrepot.access.pulls import PullCounter, PullLimit
from entrepot.access.request_limits import RequestLimits
from entrepot.access.rights import Rights
from entrepot.access.throttling import subject_address
from entrepot.access.tokens import Tokens, Verified
from entrepot.oci.reference import InvalidName, check_name
from entrepot.web.message import BadRequest, Headers, Request
from entrepot.web.origin import Origin
from entrepot.web.v2.errors import refusal
from entrepot.web.v2.pulls import limit_headers
from entrepot.web.v2.routes import Route
from entrepot.web.v2.visit import Refused, Visit

_REMEMBERED = 10_000  # visits a worker keeps, with their tokens: 7 MB
_READING = ("GET", "HEAD")
_WANTED = {Action.PULL: "pull", Action.PUSH: "pull,push", Action.DELETE: "delete"}  # distribution's mapping


class _Need(NamedTuple):
    """What a request needs: an action on a repository, and perhaps a repository to mount from."""

    action: Action
    name: str
    source: str | None = None

    @property
    def scope(self) -> str:
        """As a challenge writes it (protocol.md §3.1)."""
        more = f" repository:{self.source}:pull" if self.source else ""
        return f"repository:{self.name}:{_WANTED[self.action]}{more}"


class _Remembered(NamedTuple):
    """A visit by a token that was verified, until it ends or all tokens are to be verified anew."""

    visit: Visit
    until: float
    epoch: int


class AccountsGate:
    """See Gate."""

    def __init__(
        self,
        tokens: Tokens,
        login: Login,
        rights: Rights,
        limits: Limits,
        counter: PullCounter,
        requests: RequestLimits,
        origin: Origin,
    ) -> None:
        self._tokens = tokens
        self._login = login
        self._rights = rights
        self._limits = limits
        self._counter = counter
        self._requests = requests
        self._origin = origin
        self._visits: dict[bytes, _Remembered] = {}

    def remembered(self, authorization: bytes | None, address: str) -> Visit | None:
        """See Gate."""
        if authorization is None or self._counter.waits:
            return None
        found = self._visits.get(authorization)
        if found is not None and found.until > time.time() and found.visit.caller.address == address:
            return found.visit if found.epoch == self._tokens.epoch else None
        if authorization[:7] not in (b"Bearer ", b"bearer "):
            return None
        verified = self._tokens.known(authorization[7:])
        if verified is None:
            return None
        if len(self._visits) >= _REMEMBERED:
            self._visits.clear()
        visit = _token_visit(verified, address)
        self._visits[authorization] = _Remembered(visit, verified.expires, self._tokens.epoch)
        return visit

    async def admit(self, request: Request, found: Route, address: str) -> Visit:
        """See Gate."""
        visit = await self._admitted(request, found, address)
        over = self._requests.of_account(visit.caller.account_id)
        if over is not None:
            raise Refused(refusal(429, "TOOMANYREQUESTS", over.message, headers=over.headers))
        return visit

    async def _admitted(self, request: Request, found: Route, address: str) -> Visit:
        scheme, value = _authorization(request)
        if scheme == "bearer":
            try:
                verified = self._tokens.verify(value.encode("latin-1"))
            except TokenInvalid as error:
                raise await self._challenge(request, found, address, "invalid_token", error.message) from None
            return await self._by_token(request, found, address, verified)
        if scheme == "basic":
            return await self._by_actor(request, found, address, await self._basic(request, value, address))
        raise await self._challenge(request, found, address)

    async def again(self, request: Request, found: Route, address: str) -> Visit:
        """See Gate. Only a token that was issued when there was no repository of this name is worth a second look."""
        need = _need(request, found)
        scheme, value = _authorization(request)
        if scheme == "bearer" and need is not None and need.action is Action.PULL:
            verified = self._tokens.verify(value.encode("latin-1"))
            access = verified.repositories.get(need.name)
            actor = await self._actor(verified) if access is not None and access.id == 0 else None
            if actor is not None:
                decision = await self._rights.decide(actor, Action.PULL, need.name)
                if decision.allowed:
                    return _token_visit(verified, address, grant=_one(need.name, decision))
        raise await self._challenge(request, found, address, "insufficient_scope")

    async def _by_token(self, request: Request, found: Route, address: str, verified: Verified) -> Visit:
        need = _need(request, found)
        if found.kind == "catalog":
            if not verified.catalog:
                raise await self._challenge(request, found, address, "insufficient_scope")
            actor = await self._actor(verified)
            return self._catalog(_token_visit(verified, address), ANONYMOUS if actor is None else actor)
        if need is None:
            return _token_visit(verified, address)
        if not verified.allows(need.name, need.action.word):
            raise await self._insufficient(request, found, address, need, verified)
        if need.action is Action.PULL:
            return _token_visit(verified, address)
        actor = await self._actor(verified)
        if actor is None:
            raise await self._challenge(request, found, address, "invalid_token", "the account or credential has ended")
        decision = await self._rights.decide(actor, need.action, need.name)
        if not decision.allowed or not _same(verified, need.name, decision):
            raise await self._refuse(request, found, address, decision)
        grant = await self._of_source(actor, need) or verified
        return _token_visit(verified, address, grant=grant, caller=caller_of(actor, address, need.action, decision))

    async def _by_actor(self, request: Request, found: Route, address: str, actor: Actor) -> Visit:
        limit = await self._limits.of(actor)
        visit = _visit(NOTHING, caller_of(actor, address), limit, actor.payer_id, address)
        if found.kind == "catalog":
            return self._catalog(visit, actor)
        need = _need(request, found)
        if need is None:
            return visit
        if need.name == PREVIEW and need.action is Action.PULL:
            return visit
        decision = await self._rights.decide(actor, need.action, need.name)
        if not decision.allowed:
            raise await self._refuse(request, found, address, decision)
        grant = await self._of_source(actor, need) or _one(need.name, decision)
        return _visit(grant, caller_of(actor, address, need.action, decision), limit, actor.payer_id, address)

    async def _of_source(self, actor: Actor, need: _Need) -> Grant | None:
        """What a mount may take from: what this credential may pull, whether its token was asked for that or not."""
        if need.source is None:
            return None
        return _one(need.source, await self._rights.decide(actor, Action.PULL, need.source))

    def _catalog(self, visit: Visit, actor: Actor) -> Visit:
        async def names(after: str, limit: int) -> list[str]:
            return await self._rights.visible(actor, after, limit, holding=True)

        return Visit(visit.grant, visit.caller, names=names)

    async def _actor(self, verified: Verified) -> Actor | None:
        """Who the token was issued to, as the database has it now."""
        if verified.account_id is None:
            return ANONYMOUS
        return await self._login.again(verified.account_id, verified.credential_id, verified.password_at)

    async def _basic(self, request: Request, value: str, address: str) -> Actor:
        user, secret = read_basic(value)
        if not user and not secret:
            return ANONYMOUS
        try:
            return await self._login.basic(user, secret, address, request.header(b"user-agent") or "")
        except Throttled as error:
            retry: Headers = [(b"retry-after", b"%d" % error.seconds)]
            raise Refused(refusal(429, "TOOMANYREQUESTS", error.message, headers=retry)) from None
        except LoginRefused as error:
            challenge = (b"www-authenticate", self._bearer(request, "", ""))
            raise Refused(refusal(401, "UNAUTHORIZED", error.message, headers=[challenge])) from None

    async def _insufficient(
        self, request: Request, found: Route, address: str, need: _Need, verified: Verified
    ) -> Refused:
        """A token that is too small: another one helps, unless policy forbids the thing to whoever may see it."""
        actor = await self._actor(verified)
        if actor is not None and need.action is not Action.PULL:
            decision = await self._rights.decide(actor, need.action, need.name)
            if decision.policy:
                return await self._refuse(request, found, address, decision)
        return await self._challenge(request, found, address, "insufficient_scope")

    async def _refuse(self, request: Request, found: Route, address: str, decision: Decision) -> Refused:
        if decision.policy:
            return Refused(refusal(403, "DENIED", decision.reason))
        return await self._challenge(request, found, address, "insufficient_scope")

    async def _challenge(
        self, request: Request, found: Route, address: str, error: str = "", message: str = "authentication required"
    ) -> Refused:
        """401 with where to get which token; for a manifest it also says what is left of the address's limit."""
        need = _need(request, found)
        scope = need.scope if need is not None else "registry:catalog:*" if found.kind == "catalog" else ""
        headers: Headers = [(b"www-authenticate", self._bearer(request, scope, error))]
        limit = self._limits.of_address()
        if found.kind == "manifests" and request.method in _READING and limit is not None:
            visit = _visit(NOTHING, Caller(address=address), limit, None, address)
            headers += limit_headers(visit, (await self._counter.look(visit.subject, limit)).remaining)
        detail = None
        if need is not None:
            detail = [{"Type": "repository", "Class": "", "Name": need.name, "Action": need.action.word}]
        return Refused(refusal(401, "UNAUTHORIZED", message, detail, headers))

    def _bearer(self, request: Request, scope: str, error: str) -> bytes:
        base, host = self._origin.of(request)
        parts = [f'realm="{base}/token"', f'service="{host}"']
        if scope:
            parts.append(f'scope="{scope}"')
        if error:
            parts.append(f'error="{error}"')
        return ("Bearer " + ",".join(parts)).encode("latin-1", "replace")


def read_basic(value: str) -> tuple[str, str]:
    """User and password of Basic (RFC 7617); BadRequest when it is not that."""
    try:
        user, colon, secret = b64decode(value, validate=True).decode().partition(":")
    except (BinasciiError, ValueError):
        raise BadRequest("the Authorization header is not readable as Basic (RFC 7617)") from None
    if not colon or has_controls(user + secret):
        raise BadRequest("the Authorization header is not readable as Basic (RFC 7617)")
    return user, secret


def has_controls(text: str) -> bool:
    """Whether there are control characters, which neither names nor passwords have (RFC 7617 §2)."""
    return any(unicodedata.category(character) == "Cc" for character in text)


def _authorization(request: Request) -> tuple[str, str]:
    scheme, _, value = (request.header(b"authorization") or "").partition(" ")
    return scheme.lower(), value.strip()


def _need(request: Request, found: Route) -> _Need | None:
    """What a request to a repository needs (protocol.md §3.1); to cancel an upload is to push."""
    if not found.name:
        return None
    if request.method in _READING and found.kind != "upload":
        return _Need(Action.PULL, found.name)
    if request.method == "DELETE" and found.kind != "upload":
        return _Need(Action.DELETE, found.name)
    source = request.query.one("from") if request.query.one("mount") is not None else None
    return _Need(Action.PUSH, found.name, source if source and _is_name(source) else None)


def _is_name(text: str) -> bool:
    try:
        return bool(check_name(text))
    except InvalidName:
        return False


def _token_visit(
    verified: Verified, address: str, *, grant: Grant | None = None, caller: Caller | None = None
) -> Visit:
    if caller is None:
        caller = Caller(verified.account_id, address, verified.credential_id)
    return _visit(grant or verified, caller, verified.limit, verified.payer_id, address)


def _visit(grant: Grant, caller: Caller, limit: PullLimit | None, payer: int | None, address: str) -> Visit:
    if limit is None:
        return Visit(grant, caller)
    source = subject_address(address) if payer is None else str(payer)
    subject = f"address:{source}" if payer is None else f"account:{source}"
    headers = (
        (b"ratelimit-limit", b"%d;w=%d" % (limit.limit, limit.window)),
        (b"docker-ratelimit-source", source.encode()),
    )
    return Visit(grant, caller, limit, subject, headers)


def _one(name: str, decision: Decision) -> OneRepository:
    if decision.basis is None:
        return NOTHING
    return OneRepository(name, decision.basis.repository_id, decision.basis.rights_version, decision.fetches)


def _same(verified: Verified, name: str, decision: Decision) -> bool:
    """Whether the token was issued for what now has this name; one for a name without a repository may make it."""
    access = verified.repositories[name]
    if access.id == 0 or decision.basis is None:
        return True
    return (access.id, access.rights_version) == (decision.basis.repository_id, decision.basis.rights_version)
