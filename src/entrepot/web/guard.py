"""Who may talk to an open registry: no web page, and through proxies only those that are trusted.

A browser on the same machine can send requests to 127.0.0.1 for any page it shows, and DNS rebinding gives such a
page an answer under its own name; so on loopback the Host must be one we know, and a change never comes from a
foreign Origin.
"""

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit

from entrepot.web.forwarding import Hop, hops

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_LOOPBACK_NAMES = frozenset({"localhost", "ip6-localhost", "localhost.localdomain"})


class Guard:
    """The rules of one listening address."""

    def __init__(
        self,
        *,
        loopback: bool,
        hosts: Sequence[str],
        public_url: str | None,
        trusted_proxies: Sequence[str],
        forwarded_header: str = "x-forwarded-for",
    ) -> None:
        """`loopback`: we listen on loopback only. `hosts`: other names that may stand in Host.

        `forwarded_header`: the one that the proxies write, `x-forwarded-for` or `forwarded`. The other may come from
        anybody, through a proxy that does not know it.
        """
        self._loopback = loopback
        self._hosts = {host.lower() for host in hosts}
        if public_url:
            self._hosts.add((urlsplit(public_url).hostname or "").lower())
        self._public = _origin(public_url) if public_url else None
        self._proxies = [ip_network(proxy, strict=False) for proxy in trusted_proxies]
        self._header = forwarded_header.encode()
        self._known: set[str] = set()

    def host_refusal(self, host: str | None) -> str | None:
        """Why a request for this Host is refused; None when it may come in."""
        if not self._loopback or host is None or host in self._known:
            return None
        name = _hostname(host)
        if name in self._hosts or name in _LOOPBACK_NAMES or name.endswith(".localhost") or _is_loopback(name):
            if len(self._known) < 256:
                self._known.add(host)
            return None
        return f"this registry listens on loopback and does not know the host {name[:100]!r}: add it to http.hosts"

    def origin_refusal(self, method: str, origin: str | None, host: str | None) -> str | None:
        """Why a state-changing request of this Origin is refused; None when it may come in."""
        if method in _SAFE or origin is None:
            return None
        theirs = _origin(origin)
        if theirs is not None and (theirs == self._public or (host and theirs[1] == host.lower())):
            return None
        return "a page of another origin may not change anything here"

    def address(self, peer: str, headers: Iterable[tuple[bytes, bytes]]) -> str:
        """The client's address: the peer's, or what trusted proxies say, read from the right."""
        for client, _ in self._hops(peer, headers):
            if "%" in client or not _is_address(client):  # a zone may hold any character
                return peer
            peer = client
            if not self.trusts(client):
                break
        return peer

    def scheme(self, peer: str, headers: Sequence[tuple[bytes, bytes]]) -> str | None:
        """By what the client has come to the proxy next to us, http or https; None when no trusted one says it."""
        if self._header == b"forwarded":
            said = next((hop.scheme for hop in self._hops(peer, headers)), "")
        else:
            values = [value for name, value in headers if name == b"x-forwarded-proto"]
            said = values[0].decode("latin-1") if len(values) == 1 and self.trusts(peer) else ""
        return said if said in ("http", "https") else None

    def _hops(self, peer: str, headers: Iterable[tuple[bytes, bytes]]) -> Iterator[Hop]:
        if not self._proxies or not self.trusts(peer):
            return iter(())
        values = [value for name, value in headers if name == self._header]
        return hops(values, standard=self._header == b"forwarded") if values else iter(())

    def trusts(self, address: str) -> bool:
        """Whether this is one of the trusted proxies."""
        if not self._proxies:
            return False
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        return any(parsed in proxy for proxy in self._proxies if proxy.version == parsed.version)


def _hostname(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _is_loopback(name: str) -> bool:
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def _origin(url: str) -> tuple[str, str] | None:
    """Scheme and host[:port] of an origin; None when it is opaque or unreadable."""
    try:
        parts = urlsplit(url.strip())
    except ValueError:
        return None
    return (parts.scheme.lower(), parts.netloc.lower()) if parts.scheme and parts.netloc else None
