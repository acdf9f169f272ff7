"""e8, e12 and `_catalog`: lists over HTTP.

Tags and repositories are answered byte for byte as docker-registry does: compact JSON, a newline at its end.
"""

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, urlencode

from entrepot.oci.digest import Digest
from entrepot.oci.mediatype import OCI_INDEX
from entrepot.proxy.listings import ProxiedListings
from entrepot.proxy.upstream import Upstreams
from entrepot.registry.errors import ManifestUnknown, NameUnknown, PageInvalid, RegistryError
from entrepot.registry.listings import MAX_PAGE, Listings
from entrepot.registry.ports import Stale
from entrepot.web.message import Answer, Headers, Request
from entrepot.web.v2.parse import page_from
from entrepot.web.v2.stale import stale_headers
from entrepot.web.v2.visit import Visit

_JSON = (b"content-type", b"application/json")


class ListingDoor:
    """Tags, repositories, referrers."""

    def __init__(self, listings: Listings, upstreams: Upstreams, proxied: ProxiedListings) -> None:
        self._listings = listings
        self._upstreams = upstreams
        self._proxied = proxied

    async def tags(self, request: Request, name: str, visit: Visit) -> Answer:
        """`tags/list` in byte order."""
        last, count = page_from(request)
        place = self._upstreams.place(name)
        if place is not None:
            await self._listings.admit(name, visit.grant)
            asked = (("n", count), ("last", last))
            query = urlencode([(key, value) for key, value in asked if value not in (None, "")])
            theirs = await self._proxied.tags(place, query)
            if not isinstance(theirs, RegistryError):
                headers = [_JSON, *_next(request, theirs.tags, theirs.more, count)]
                return Answer(200, headers, _tag_page(name, theirs.tags))
            return await self._stored_tags(request, name, visit, theirs)
        page = await self._listings.tags(name, last, count, visit.grant)
        body = _tag_page(name, page.names)
        return Answer(200, [_JSON, *_next(request, page.names, page.more, count)], body)

    async def _stored_tags(self, request: Request, name: str, visit: Visit, instead_of: RegistryError) -> Answer:
        """What is stored of a repository whose upstream does not list its tags; nothing stored is no list either."""
        last, count = page_from(request)
        try:
            page = await self._listings.tags(name, last, count, visit.grant)
        except NameUnknown as error:
            raise (error if isinstance(instead_of, ManifestUnknown) else instead_of) from None
        headers = [
            _JSON,
            *_next(request, page.names, page.more, count),
            *stale_headers(Stale(instead_of.message, None)),
        ]
        return Answer(200, headers, _tag_page(name, page.names))

    async def catalog(self, request: Request, visit: Visit) -> Answer:
        """`_catalog` in byte order."""
        last, count = page_from(request)
        page = await self._listings.repositories(last, count, visit.names)
        body = _compact({"repositories": page.names})
        return Answer(200, [_JSON, *_next(request, page.names, page.more, count)], body)

    async def referrers(self, request: Request, name: str, digest: Digest, visit: Visit) -> Answer:
        """An index of the manifests that name this digest as their subject; empty for what is not here.

        Of an upstream that does not say it, what is stored; where nothing is, that is no answer: an empty list would
        say that there is no signature.
        """
        # A media type has no space: one is a `+` that the client did not percent-encode.
        artifact_type = (request.query.one("artifactType") or "").replace(" ", "+") or None
        after, rest = request.query.one("after") or "0", request.query.one("next")
        if not after.isascii() or not after.isdigit() or len(after) > 18:
            raise PageInvalid("after must be the number that the Link header gave")
        place = self._upstreams.place(name)
        instead_of: RegistryError | None = None
        if place is not None and after == "0":
            await self._listings.admit(name, visit.grant)
            theirs = (
                await self._proxied.referrers(name, place, digest, artifact_type, visit.grant)
                if rest is None
                else await self._proxied.more_referrers(place, digest, rest, artifact_type)
            )
            if not isinstance(theirs, RegistryError):
                return _referrers(request, theirs.descriptors, artifact_type, ("next", theirs.next_query))
            if not isinstance(theirs, ManifestUnknown):  # that there are none is an answer
                instead_of = theirs
        found = await self._listings.referrers(name, digest, artifact_type, int(after), visit.grant)
        more = ("after", found.next_after)
        if instead_of is None:
            return _referrers(request, found.descriptors, artifact_type, more)
        descriptors = found.descriptors or await self._proxied.stored_by_tag(name, digest, artifact_type)
        if not descriptors:
            raise instead_of
        answer = _referrers(request, descriptors, artifact_type, more)
        answer.headers.extend(stale_headers(Stale(instead_of.message, None)))
        return answer


def _referrers(
    request: Request,
    descriptors: list[dict[str, Any]],
    artifact_type: str | None,
    more: tuple[str, object],
) -> Answer:
    """`more`: the parameter that asks for the rest, and its value, None at the end."""
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": descriptors}
    headers: Headers = [(b"content-type", OCI_INDEX.encode())]
    if artifact_type is not None:
        headers.append((b"oci-filters-applied", b"artifactType"))
    if more[1] is not None:
        headers.append(_link(request, [("artifactType", artifact_type), more]))
    return Answer(200, headers, json.dumps(index, separators=(",", ":"), ensure_ascii=False).encode())


def _tag_page(name: str, tags: list[str]) -> bytes:
    return _compact({"name": name, "tags": tags})


def _compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def _next(request: Request, names: list[str], more: bool, count: int | None) -> Headers:
    if not more or not names:
        return []
    limit = MAX_PAGE if count is None else min(count, MAX_PAGE)
    return [_link(request, [("last", names[-1]), ("n", limit)])]


def _link(request: Request, parameters: Sequence[tuple[str, object]]) -> tuple[bytes, bytes]:
    """To the next page by the same door: `ns` says which upstream is meant."""
    asked = [*parameters, ("ns", request.query.one("ns"))]
    query = urlencode([(key, value) for key, value in asked if value is not None], quote_via=quote, safe="")
    return b"link", f'<{request.path}?{query}>; rel="next"'.encode()
