"""Another node of this registry, to read what arrives there from an upstream."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import quote, urlsplit

import httpcore2

from entrepot.client.connections import tls_context
from entrepot.client.errors import RemoteFailed, RemoteUnreachable
from entrepot.client.remote import Arriving

ARRIVING = "/nodes/arriving"
"""The path; `digest`, `origin`, `start` and `size` are its parameters."""

_CONNECT_SECONDS = 2.0
_READ_SECONDS = 4.0  # that a node may be silent: it is asked again, if it still has the lease
_MOST = 256  # connections to all nodes


class NodeClient:
    """The other nodes, by the address that each of them has written into its lease."""

    def __init__(self, sign: Callable[[str, str], str], authority: Path | None = None) -> None:
        """`sign` gives the Authorization of a method and a target; `authority` certifies nodes, as the system's do."""
        self._sign = sign
        self._authority = authority
        self._plain = httpcore2.AsyncConnectionPool(max_connections=_MOST)
        self._secure: httpcore2.AsyncConnectionPool | None = None

    async def close(self) -> None:
        """Close all connections."""
        await self._plain.aclose()
        if self._secure is not None:
            await self._secure.aclose()

    @asynccontextmanager
    async def arriving(
        self, node: str, digest: str, origin: str, start: int, size: int
    ) -> AsyncGenerator[Arriving, None]:
        """What arrives at `node`, from an offset on, as it grows: not verified. `size` is that of the whole."""
        target = f"{ARRIVING}?digest={digest}&origin={quote(origin, safe='')}&start={start}&size={size}"
        headers = [(b"Host", urlsplit(node).netloc.encode()), (b"Authorization", self._sign("GET", target).encode())]
        times = {"connect": _CONNECT_SECONDS, "read": _READ_SECONDS, "write": _READ_SECONDS, "pool": _READ_SECONDS}
        request = httpcore2.Request("GET", f"{node}{target}", headers=headers, extensions={"timeout": times})
        response: httpcore2.Response | None = None
        try:
            response = await self._pool(node).handle_async_request(request)
            if response.status != 200:
                raise RemoteFailed(f"the node {node} says {response.status}")
            yield Arriving(start, size, response.aiter_stream())
        except (httpcore2.NetworkError, httpcore2.ProtocolError, httpcore2.TimeoutException, OSError) as error:
            raise RemoteUnreachable(f"the node {node} does not send what it fetches: {error!r}") from error
        finally:
            if response is not None:
                with suppress(httpcore2.NetworkError, httpcore2.ProtocolError, httpcore2.TimeoutException, OSError):
                    await response.aclose()

    def _pool(self, node: str) -> httpcore2.AsyncConnectionPool:
        if not node.startswith("https:"):
            return self._plain
        if self._secure is None:
            self._secure = httpcore2.AsyncConnectionPool(
                tls_context(self._authority, None, None, verify=True), max_connections=_MOST
            )
        return self._secure
