"""Connections to one registry and to whom it sends us: pooled, and only to addresses where it may send us.

The registry's own host and its token hosts may have any address. Every other host was learned from an answer (a realm,
a redirect), and an answer is not trusted: such a host may have a private address only when the registry itself has one.
That is looked at when a connection is made, with the very address that is then connected to.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterable
from enum import Enum
from functools import cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import httpcore2

from entrepot.client.errors import RemoteError

_KEPT = 16
_KEPT_SECONDS = 30.0
_TRANSLATED = IPv6Network("64:ff9b::/96")  # NAT64 (RFC 6052): the last 32 bits are an IPv4 address


class Use(Enum):
    """What a connection is for, and how many there may be of those: none of them waits for another kind."""

    HEADS = 64
    BLOBS = 256
    TOKENS = 16


class PrivateAddress(RemoteError):
    """A host that an answer has sent us to is inside of somebody's network. The registry itself has answered."""


class _Guarded(httpcore2.AsyncNetworkBackend):
    """Connects by TCP to addresses that were looked at."""

    def __init__(self, trusted: Iterable[str], own: str) -> None:
        self._backend = httpcore2.AnyIOBackend()
        self._trusted = {host.lower() for host in trusted}
        self._own = own
        self._own_is_private = False

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Try the host's addresses in turn."""
        last: Exception | None = None
        for address in await self._addresses(host, port):
            try:
                return await self._backend.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                last = error
        raise last or httpcore2.ConnectError(f"{host} has no address")

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore2.AsyncNetworkStream:
        """Never asked for."""
        raise NotImplementedError

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await self._backend.sleep(seconds)

    async def check_behind_proxy(self, host: str) -> None:
        """Refuse what `connect_tcp` would, as far as it can be told from here: behind a proxy it is the proxy that
        connects, and names may be known to it alone."""
        if host.lower() == self._own or host.lower() in self._trusted:
            return
        with contextlib.suppress(httpcore2.ConnectError):
            await self._addresses(self._own, 0)
        with contextlib.suppress(httpcore2.ConnectError):
            await self._addresses(host, 0)

    async def _addresses(self, host: str, port: int) -> list[str]:
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise httpcore2.ConnectError(f"{host} cannot be resolved: {error.strerror}") from error
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        if host.lower() == self._own:
            self._own_is_private = any(not is_public(address) for address in addresses)
        elif host.lower() not in self._trusted and not self._own_is_private:
            addresses = [address for address in addresses if is_public(address)]
            if not addresses:
                raise PrivateAddress(f"{self._own} sends us to {host}, which is in a private network")
        return addresses


def is_public(address: str) -> bool:
    """Whether an address is of the internet, whatever IPv6 clothes an IPv4 address wears."""
    parsed: IPv4Address | IPv6Address = ip_address(address)
    if isinstance(parsed, IPv6Address):
        if parsed in _TRANSLATED:
            parsed = IPv4Address(int(parsed) & 0xFFFFFFFF)
        else:
            parsed = parsed.ipv4_mapped or parsed.sixtofour or parsed
    return parsed.is_global and not parsed.is_multicast


@cache
def tls_context(authority: Path | None, certificate: Path | None, key: Path | None, *, verify: bool) -> ssl.SSLContext:
    """TLS as a client: the system's authorities and `authority`; `certificate` and `key` to show who we are."""
    context = ssl.create_default_context()
    if authority is not None:
        context.load_verify_locations(authority)
    if certificate is not None:
        context.load_cert_chain(certificate, key)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class Connections:
    """The connections to the registry at `url` and to the hosts that its answers name, each directly or by a proxy."""

    def __init__(
        self, url: str, trusted: Iterable[str], context: ssl.SSLContext | None, proxy: str | None = None
    ) -> None:
        """`proxy`: an URL; empty for none; None for what the environment says of a host (HTTPS_PROXY, NO_PROXY...)."""
        self._proxy = proxy
        self._context = context
        self._guard = _Guarded(trusted, (urlsplit(url).hostname or "").lower())
        self._pools: dict[tuple[str, Use], httpcore2.AsyncConnectionPool] = {}

    async def handle_async_request(self, request: httpcore2.Request, use: Use) -> httpcore2.Response:
        """Send it the way that its host is reached."""
        host, scheme = request.url.host.decode("ascii"), request.url.scheme.decode("ascii")
        proxy = _proxy_for(scheme, host) if self._proxy is None else self._proxy
        if proxy:
            await self._guard.check_behind_proxy(host)
        return await self._pool(proxy or "", use).handle_async_request(request)

    async def aclose(self) -> None:
        """Close all of them."""
        for pool in self._pools.values():
            await pool.aclose()

    def _pool(self, proxy: str, use: Use) -> httpcore2.AsyncConnectionPool:
        pool = self._pools.get((proxy, use))
        if pool is None:
            pool = self._pools[proxy, use] = self._open(proxy, use)
        return pool

    def _open(self, proxy: str, use: Use) -> httpcore2.AsyncConnectionPool:
        limits: dict[str, Any] = {
            "ssl_context": self._context,
            "max_connections": use.value,
            "max_keepalive_connections": _KEPT,
            "keepalive_expiry": _KEPT_SECONDS,
        }
        if not proxy:
            return httpcore2.AsyncConnectionPool(network_backend=self._guard, **limits)
        parts = urlsplit(proxy)
        login = (unquote(parts.username), unquote(parts.password or "")) if parts.username else None
        plain = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        return httpcore2.AsyncHTTPProxy(plain, proxy_auth=login, **limits)


def _proxy_for(scheme: str, host: str) -> str | None:
    proxies = getproxies()
    if not proxies or proxy_bypass(host):
        return None
    proxy = proxies.get(scheme) or proxies.get("all")
    return proxy if proxy is None or "://" in proxy else f"http://{proxy}"
