"""e8, e12 and `_catalog`: lists over HTTP.

Tags and repositories are answered byte for byte as docker-registry does: compact JSON, a newline at its end.
"""

import json
from urllib.parse import quote, urlencode

from entrepot.client.remote import Listing
from entrepot.oci.digest import Digest
from entrepot.oci.mediatype import OCI_INDEX
from entrepot.proxy.listings import ProxiedListings
from entrepot.proxy.upstream import Upstreams
from entrepot.registry.errors import PageInvalid
from entrepot.registry.listings import MAX_PAGE, Listings
from entrepot.web.message import Answer, Headers, Request
from entrepot.web.v2.parse import page_from
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
        query = urlencode([(key, value) for key, value in (("n", count), ("last", last)) if value not in (None, "")])
        theirs = await self._theirs(name, "tags/list", query, visit)
        if theirs is not None:
            tags = _tags_in(theirs.content)
            if tags is not None:
                more = theirs.link is not None
                return Answer(200, [_JSON, *_next(request.path, tags, more, count)], _tag_page(name, tags))
        page = await self._listings.tags(name, last, count, visit.grant)
        body = _tag_page(name, page.names)
        return Answer(200, [_JSON, *_next(request.path, page.names, page.more, count)], body)

    async def _theirs(self, name: str, path: str, query: str, visit: Visit) -> Listing | None:
        """What the upstream of this repository lists; None for a hosted one, and when it does not answer."""
        place = self._upstreams.place(name)
        if place is None:
            return None
        await self._listings.admit(name, visit.grant)
        return await self._proxied.ask(place, f"{path}?{query}" if query else path)

    async def catalog(self, request: Request, visit: Visit) -> Answer:
        """`_catalog` in byte order."""
        last, count = page_from(request)
        page = await self._listings.repositories(last, count, visit.names)
        body = _compact({"repositories": page.names})
        return Answer(200, [_JSON, *_next("/v2/_catalog", page.names, page.more, count)], body)

    async def referrers(self, request: Request, name: str, digest: Digest, visit: Visit) -> Answer:
        """An index of the manifests that name this digest as their subject; empty for what is not here."""
        # A media type has no space: one is a `+` that the client did not percent-encode.
        artifact_type = (request.query.one("artifactType") or "").replace(" ", "+") or None
        after = request.query.one("after") or "0"
        if not after.isascii() or not after.isdigit() or len(after) > 18:
            raise PageInvalid("after must be the number that the Link header gave")
        query = urlencode({"artifactType": artifact_type}) if artifact_type else ""
        theirs = await self._theirs(name, f"referrers/{digest}", query, visit)
        if theirs is not None and _is_index(theirs.content):  # Harbor has once said another type
            return Answer(200, [(b"content-type", OCI_INDEX.encode())], theirs.content)
        found = await self._listings.referrers(name, digest, artifact_type, int(after), visit.grant)
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": found.descriptors}
        headers: Headers = [(b"content-type", OCI_INDEX.encode())]
        if artifact_type is not None:
            headers.append((b"oci-filters-applied", b"artifactType"))
        if found.next_after is not None:
            kind = f"artifactType={quote(artifact_type, safe='')}&" if artifact_type else ""
            link = f'</v2/{name}/referrers/{digest}?{kind}after={found.next_after}>; rel="next"'
            headers.append((b"link", link.encode()))
        return Answer(200, headers, json.dumps(index, separators=(",", ":"), ensure_ascii=False).encode())


def _tag_page(name: str, tags: list[str]) -> bytes:
    return _compact({"name": name, "tags": tags})


def _tags_in(content: bytes) -> list[str] | None:
    """The tags of another registry's page; None when it is none."""
    try:
        tags = json.loads(content).get("tags") or []
    except (ValueError, AttributeError):
        return None
    return tags if isinstance(tags, list) and all(isinstance(tag, str) for tag in tags) else None


def _is_index(content: bytes) -> bool:
    """Whether this is a list of referrers, whatever type it was sent with."""
    try:
        document = json.loads(content)
    except ValueError:
        return False
    return isinstance(document, dict) and isinstance(document.get("manifests"), list)


def _compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def _next(path: str, names: list[str], more: bool, count: int | None) -> Headers:
    if not more or not names:
        return []
    limit = MAX_PAGE if count is None else min(count, MAX_PAGE)
    return [(b"link", f'<{path}?last={quote(names[-1], safe="")}&n={limit}>; rel="next"'.encode())]
