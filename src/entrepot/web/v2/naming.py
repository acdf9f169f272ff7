"""Which repository a request means: by its path, by containerd's `ns`, or, at a mirror, one of a single upstream.

No name is looked up in two places. What is an upstream's can be read and evicted, never pushed to.
"""

from typing import NamedTuple

from entrepot.proxy.upstream import Upstream, Upstreams
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

    def at_mirror(self, port: int) -> bool:
        """Whether what comes by this port comes to the mirror."""
        return self._mirror is not None and self._mirror.port in (None, port)

    def name(self, request: Request, found: Route) -> Named | Answer:
        """The repository that is meant, or why there is none."""
        if self._mirror is not None and self.at_mirror(request.port):
            return self._at_mirror(self._mirror.upstream, request, found)
        asked = request.query.one("ns") if self._upstreams else None
        if asked is not None and found.name and asked.lower() != (request.header(b"host") or "").lower():
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
        route = found
        if found.name:
            route = found._replace(name=self._upstreams.stored_name(f"{upstream.alias}/{found.name}"))
        return Named(route, [], anonymous=True)

    def _read_only(self, request: Request, found: Route) -> Answer | None:
        if found.kind in ("uploads", "upload") or request.method not in (*_READING, "DELETE"):
            alias = found.name.partition("/")[0]
            return _refused(f"{alias} is another registry that is read through this one: push to it directly")
        return None


def _refused(message: str) -> Answer:
    return refusal(405, "UNSUPPORTED", message, headers=[(b"allow", b"GET, HEAD")])
