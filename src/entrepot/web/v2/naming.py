"""Which repository a request means: by its path, by containerd's `ns`, or, at a mirror, one of a single upstream.

No name is looked up in two places. What is an upstream's can be read and evicted, never pushed to.
"""

from typing import NamedTuple
from urllib.parse import urlsplit

from entrepot.proxy.upstream import DOCKER_HUB, Upstream, Upstreams, canonical_alias
from entrepot.web.message import Answer, Headers, Request
from entrepot.web.v2.errors import refusal
from entrepot.web.v2.routes import Route

_READING = ("GET", "HEAD")


class Mirror(NamedTuple):
    """An upstream that is served as if it were this registry: on a port of its own, or (None) on every port."""

    upstream: Upstream
    port: int | None


class Named(NamedTuple):
    """A route with the repository's stored name, headers of the answer, and whether nobody is asked who it is."""

    route: Route
    headers: Headers
    anonymous: bool


class Naming:
    """The doors to upstreams' repositories."""

    def __init__(self, upstreams: Upstreams, mirror: Mirror | None) -> None:
        self._upstreams = upstreams
        self._mirror = mirror
        self._mirrored = _hosts(mirror.upstream) if mirror is not None else frozenset()

    def at_mirror(self, port: int) -> bool:
        """Whether what comes by this port comes to the mirror."""
        return self._mirror is not None and self._mirror.port in (None, port)

    def name(self, request: Request, found: Route) -> Named | Answer:
        """The repository that is meant, or why there is none."""
        if self._mirror is not None and self.at_mirror(request.port):
            return self._at_mirror(self._mirror.upstream, request, found)
        asked = _asked(request) if self._upstreams else None
        if asked is not None and found.name:
            upstream = self._upstreams.of_host(asked)
            if upstream is None:
                return refusal(404, "NAME_UNKNOWN", "no such upstream is configured: add it to `upstreams`")
            route = found._replace(name=self._upstreams.stored_name(f"{upstream.alias}/{found.name}"))
            headers = [(b"oci-namespace", asked.encode("latin-1", "replace"))]
            return self._read_only(request, route) or Named(route, headers, anonymous=False)
        found = found._replace(name=self._upstreams.stored_name(found.name)) if found.name else found
        if self._upstreams.place(found.name) is not None:
            return self._read_only(request, found) or Named(found, [], anonymous=False)
        return Named(found, [], anonymous=False)

    def _at_mirror(self, upstream: Upstream, request: Request, found: Route) -> Named | Answer:
        if found.kind == "catalog":
            return refusal(404, "UNSUPPORTED", f"this is a mirror of {upstream.alias}, which has no catalog")
        if request.method not in _READING or found.kind in ("uploads", "upload"):
            return _refused(f"this is a mirror of {upstream.alias}: push to the registry itself")
        headers: Headers = []
        asked = _asked(request)
        if asked is not None and found.name:
            if canonical_alias(asked) not in self._mirrored:  # under the same name it would be somebody else's image
                return refusal(404, "NAME_UNKNOWN", f"this is a mirror of {upstream.alias}, and of no other registry")
            headers = [(b"oci-namespace", asked.encode("latin-1", "replace"))]
        route = found
        if found.name:
            route = found._replace(name=self._upstreams.stored_name(f"{upstream.alias}/{found.name}"))
        return Named(route, headers, anonymous=True)

    def _read_only(self, request: Request, found: Route) -> Answer | None:
        if found.kind in ("uploads", "upload") or request.method not in (*_READING, "DELETE"):
            alias = found.name.partition("/")[0]
            return _refused(f"{alias} is another registry that is read through this one: push to it directly")
        return None


def _hosts(upstream: Upstream) -> frozenset[str]:
    """The aliases of the registries that a mirror of this one is asked for: Docker Engine asks its mirrors for Docker
    Hub's images, whatever they mirror."""
    return frozenset({upstream.alias, canonical_alias(urlsplit(upstream.url).netloc), DOCKER_HUB})


def _asked(request: Request) -> str | None:
    """The registry that containerd's `ns` names; None when that is this one, or when it does not say any."""
    asked = request.query.one("ns")
    return None if asked is None or asked.lower() == (request.header(b"host") or "").lower() else asked


def _refused(message: str) -> Answer:
    return refusal(405, "UNSUPPORTED", message, headers=[(b"allow", b"GET, HEAD")])
