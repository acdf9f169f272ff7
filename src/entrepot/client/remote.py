"""Another registry, to read from: manifests, blobs and lists, byte for byte as it sends them.

Redirects are followed here, one by one, so that no password or token goes to another host than the one it is for.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, urljoin, urlsplit

import httpcore2

from entrepot.client.answers import BROKEN, TransportErrors, check, headers_of, media_type_of, next_query
from entrepot.client.challenge import Challenge, read_challenge
from entrepot.client.connections import Connections, Use, tls_context
from entrepot.client.errors import (
    NoLogin,
    RemoteDenied,
    RemoteLied,
    RemoteSilent,
    RemoteUnreachable,
    RemoteUnusable,
)
from entrepot.client.logins import NOBODY, Logins
from entrepot.client.tokens import RemoteTokens
from entrepot.oci.digest import Digest, InvalidDigest
from entrepot.oci.manifest import MAX_SIZE
from entrepot.oci.mediatype import IMAGES, INDEXES

ACCEPT = ", ".join([*sorted(IMAGES | INDEXES), "*/*"]).encode()
HEAD_SECONDS = 14.0  # for a whole answer's head: tokens and redirects included
_CONNECT_SECONDS = 5.0
_READ_SECONDS = 30.0  # that a body may be silent
_AS_IT_IS = "/:?=&@%+,;!$'()*"  # of a path and its query (RFC 3986 §3.4)
_REDIRECTS = 5
_MOST_CHALLENGES = 2000
_LISTING = 8 * 1024 * 1024  # bytes
_ERROR = 4096  # bytes of an error's body that are read
_TOKEN = 64 * 1024  # bytes of a token service's answer
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


@dataclass(frozen=True, slots=True)
class Where:
    """How to reach a registry. `url` is its origin; `name` what errors call it."""

    name: str
    url: str
    logins: Logins = NOBODY
    token_hosts: frozenset[str] = frozenset()
    authority: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    verify: bool = True
    proxy: str | None = None
    """The proxy to go through; empty for none, None for what the environment says."""


class Described(NamedTuple):
    """The head of a manifest: its digest, None when the registry does not say it."""

    digest: str | None
    media_type: str


class Fetched(NamedTuple):
    """A manifest as it came."""

    content: bytes
    media_type: str


class Arriving(NamedTuple):
    """A blob on its way: `chunks` begin at `start` of `size` bytes in all (None when that is not said)."""

    start: int
    size: int | None
    chunks: AsyncIterator[bytes]


class Listing(NamedTuple):
    """A list as JSON bytes; the query that asks for the rest of it, None at the end; the filters that it has gone
    through (`OCI-Filters-Applied`)."""

    content: bytes
    next_query: str | None = None
    filters: str = ""


Heard = Callable[[int, Mapping[str, str]], None]
"""Is told the status and the headers (names in lower case) of each answer about a manifest."""


class Remote:
    """One registry."""

    def __init__(self, where: Where, heard: Heard = lambda status, headers: None) -> None:
        self._where = where
        self._heard = heard
        context = tls_context(where.authority, where.certificate, where.key, verify=where.verify)
        self._pool = Connections(where.url, where.token_hosts, context, where.proxy)
        self._tokens = RemoteTokens(where.name, where.url, where.token_hosts, self._ask_for_token)
        self._challenges: dict[str, Challenge] = {}

    async def close(self) -> None:
        """Close all connections."""
        await self._pool.aclose()

    async def describe(self, repository: str, reference: str) -> Described:
        """HEAD of a manifest, which no registry counts as a pull; old ones (ECR) know no HEAD and are asked by GET."""
        async with self._asked("HEAD", repository, f"manifests/{reference}", accept=ACCEPT) as response:
            headers = headers_of(response)
            self._heard(response.status, headers)
            if response.status != 405:
                self._check(response.status, headers, b"", repository)
                return Described(_digest_in(headers), media_type_of(headers))
        fetched = await self.manifest(repository, reference)
        return Described(str(Digest.of(fetched.content)), fetched.media_type)

    async def manifest(self, repository: str, reference: str) -> Fetched:
        """GET of a manifest; at most 4 MiB."""
        async with self._asked("GET", repository, f"manifests/{reference}", accept=ACCEPT) as response:
            headers = headers_of(response)
            self._heard(response.status, headers)
            if response.status != 200:
                self._check(response.status, headers, await self._body(response, _ERROR), repository)
            content = await self._body(response, MAX_SIZE + 1)
            if len(content) > MAX_SIZE:
                raise RemoteLied(f"{self._where.name} sends a manifest of more than {MAX_SIZE} bytes")
            announced = headers.get("content-length", "")
            if announced.isdigit() and len(content) != int(announced):
                raise RemoteUnreachable(f"{self._where.name} broke off in the middle of a manifest")
            return Fetched(content, media_type_of(headers))

    async def blob_size(self, repository: str, digest: str) -> int | None:
        """HEAD of a blob: its size in bytes, None when that is not said. A refusal of the HEAD says nothing of the GET
        (ECR: 401 or 405 where a GET is redirected), whose head is then looked at."""
        async with self._asked("HEAD", repository, f"blobs/{digest}") as response:
            headers = headers_of(response)
            if response.status not in (401, 403, 405):
                self._check(response.status, headers, b"", repository)
                length = headers.get("content-length", "")
                return int(length) if length.isdigit() else None
        async with self.blob(repository, digest) as arriving:
            return arriving.size

    @asynccontextmanager
    async def blob(self, repository: str, digest: str, start: int = 0) -> AsyncGenerator[Arriving, None]:
        """GET of a blob from an offset on, which may be its end. A registry that knows no ranges sends all: see
        `Arriving.start`."""
        wanted = b"bytes=%d-" % start if start else None
        asked = self._asked("GET", repository, f"blobs/{digest}", bytes_range=wanted, use=Use.BLOBS)
        async with asked as response:
            headers = headers_of(response)
            if response.status == 416 and headers.get("content-range", "") == f"bytes */{start}":
                yield Arriving(start, start, _nothing())
                return
            if response.status not in (200, 206):
                self._check(response.status, headers, await self._body(response, _ERROR), repository)
            length = headers.get("content-length", "")
            size = int(length) if length.isdigit() else None
            first = 0
            if response.status == 206:
                found = _RANGE.fullmatch(headers.get("content-range", ""))
                if found is None or int(found[1]) != start:
                    raise RemoteUnusable(f"{self._where.name} answered another range than was asked for")
                first, size = start, int(found[3])
            yield Arriving(first, size, self._chunks(response))

    async def listing(self, repository: str, path: str) -> Listing:
        """GET of `tags/list` or `referrers/DIGEST`, with their parameters."""
        async with self._asked("GET", repository, path) as response:
            headers = headers_of(response)
            if response.status != 200:
                self._check(response.status, headers, await self._body(response, _ERROR), repository)
            content = await self._body(response, _LISTING)
            return Listing(content, next_query(response), headers.get("oci-filters-applied", ""))

    @asynccontextmanager
    async def _asked(
        self,
        method: str,
        repository: str,
        path: str,
        *,
        accept: bytes | None = None,
        bytes_range: bytes | None = None,
        use: Use = Use.HEADS,
    ) -> AsyncGenerator[httpcore2.Response, None]:
        """The answer to a request, after what had to be asked before; its head comes within HEAD_SECONDS."""
        url = f"{self._where.url}/v2/{repository}/{quote(path, safe=_AS_IT_IS)}"
        headers = [(b"User-Agent", b"entrepot"), (b"Accept-Encoding", b"identity")]
        if accept is not None:
            headers.append((b"Accept", accept))
        if bytes_range is not None:
            headers.append((b"Range", bytes_range))
        try:
            async with asyncio.timeout(HEAD_SECONDS):
                with self._errors():
                    response = await self._authorized(method, url, headers, repository, use)
        except TimeoutError:
            raise RemoteSilent(f"{self._where.name} did not answer within {HEAD_SECONDS:.0f} seconds") from None
        try:
            yield response
        finally:
            await _quietly_close(response)

    async def _authorized(
        self, method: str, url: str, headers: Sequence[tuple[bytes, bytes]], repository: str, use: Use
    ) -> httpcore2.Response:
        authorization = await self._authorization(repository)
        response = await self._following(method, url, headers, authorization, use)
        if response.status != 401:
            return response
        challenge = read_challenge([value.decode("latin-1") for name, value in response.headers if _is_challenge(name)])
        if challenge is None:
            return response
        if authorization is not None:
            self._tokens.forget(authorization)
            self._where.logins.refused()
        if len(self._challenges) >= _MOST_CHALLENGES:
            self._challenges.clear()
        self._challenges[_head(repository)] = challenge
        try:
            again = await self._authorization(repository)
        except BaseException:
            await _quietly_close(response)
            raise
        if again is None or (again == authorization and challenge.scheme == "basic"):
            return response
        await _quietly_close(response)
        return await self._following(method, url, headers, again, use)

    async def _authorization(self, repository: str) -> bytes | None:
        """What the last challenge has taught us to send; None before the first. Repositories under one first component
        share it: Artifactory has a token service for each."""
        challenge = self._challenges.get(_head(repository))
        if challenge is None:
            return None
        login = await self._where.logins.get()
        if challenge.scheme == "basic":
            return None if login is None else login.basic
        scope, own = f"repository:{repository}:pull", challenge.parameters.get("scope", "")
        if own and not own.startswith("repository:"):
            scope = f"{scope} {own}"  # ECR Public wants its `aws` too
        return await self._tokens.get(challenge, scope, login)

    async def _following(
        self,
        method: str,
        url: str,
        headers: Sequence[tuple[bytes, bytes]],
        authorization: bytes | None,
        use: Use,
    ) -> httpcore2.Response:
        """Ask, and go where the answers send us; what authorizes stays with its origin."""
        origin = _origin(url)
        for _ in range(_REDIRECTS + 1):
            sent = list(headers)
            if authorization is not None and _origin(url) == origin:
                sent.append((b"Authorization", authorization))
            response = await self._send(method, url, sent, use)
            if response.status not in (301, 302, 303, 307, 308):
                return response
            location = next(
                (value.decode("latin-1") for name, value in response.headers if name.lower() == b"location"), ""
            )
            await _quietly_close(response)
            url = urljoin(url, location)
            scheme = urlsplit(url).scheme
            if scheme != "https" and not (scheme == "http" and self._where.url.startswith("http:")):
                raise RemoteUnusable(f"{self._where.name} redirects to where https is not spoken")
        raise RemoteUnusable(f"{self._where.name} redirects in circles")

    async def _send(
        self,
        method: str,
        url: str,
        headers: Sequence[tuple[bytes, bytes]],
        use: Use,
        body: bytes | None = None,
    ) -> httpcore2.Response:
        parts = urlsplit(url)
        request = httpcore2.Request(
            method,
            url,
            headers=[(b"Host", parts.netloc.rpartition("@")[2].encode()), *headers],
            content=body,
            extensions={"timeout": {"connect": _CONNECT_SECONDS, "read": _READ_SECONDS, "write": 10.0, "pool": 10.0}},
        )
        with self._errors():
            return await self._pool.handle_async_request(request, use)

    async def _ask_for_token(self, url: str, authorization: bytes | None, form: bytes | None) -> bytes:
        """By POST when there is a `form`, which has a secret in it and so goes along no redirect."""
        if form is not None:
            return await self._post_for_token(url, form)
        response = await self._following("GET", url, [], authorization, Use.TOKENS)
        try:
            body = await self._body(response, _TOKEN)
            if response.status == 401 and authorization is not None:
                self._where.logins.refused()
            self._check(response.status, headers_of(response), body)
            return body
        finally:
            await _quietly_close(response)

    async def _post_for_token(self, url: str, form: bytes) -> bytes:
        headers = [(b"Content-Type", b"application/x-www-form-urlencoded"), (b"Content-Length", b"%d" % len(form))]
        response = await self._send("POST", url, headers, Use.TOKENS, form)
        try:
            body = await self._body(response, _TOKEN)
            if response.status in (404, 405):
                raise NoLogin(f"the token service of {self._where.name} takes no identity tokens, only passwords")
            if response.status in (400, 401):  # 400 is OAuth's way to refuse it (RFC 6749 §5.2)
                self._where.logins.refused()
                raise RemoteDenied(f"{self._where.name} says {response.status} to the identity token", forbidden=False)
            self._check(response.status, headers_of(response), body)
            return body
        finally:
            await _quietly_close(response)

    async def _body(self, response: httpcore2.Response, limit: int) -> bytes:
        parts: list[bytes] = []
        size = 0
        async for chunk in self._chunks(response):
            parts.append(chunk)
            size += len(chunk)
            if size > limit:
                break
        return b"".join(parts)[:limit]

    async def _chunks(self, response: httpcore2.Response) -> AsyncGenerator[bytes, None]:
        with self._errors():
            async for chunk in response.aiter_stream():
                yield chunk

    def _errors(self) -> TransportErrors:
        return TransportErrors(self._where.name)

    def _check(self, status: int, headers: Mapping[str, str], body: bytes, repository: str = "") -> None:
        check(self._where.name, status, headers, body, repository)


def _digest_in(headers: Mapping[str, str]) -> str | None:
    """The digest that is said, if it is one."""
    try:
        return str(Digest.parse(headers.get("docker-content-digest", "")))
    except InvalidDigest:
        return None


def _head(repository: str) -> str:
    return repository.partition("/")[0]


def _is_challenge(name: bytes) -> bool:
    return name.lower() == b"www-authenticate"


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").lower(), parts.port


async def _nothing() -> AsyncGenerator[bytes, None]:
    none: Sequence[bytes] = ()
    for chunk in none:
        yield chunk


async def _quietly_close(response: httpcore2.Response) -> None:
    """Give the connection back, or throw it away: neither is worth an error."""
    try:
        await response.aclose()
    except (*BROKEN, httpcore2.TimeoutException):
        return
