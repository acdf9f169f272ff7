"""What other nodes of this registry ask this one for: a blob that arrives here from an upstream, by its digest alone.

The request is signed with a key that only nodes have; who may read the blob was decided by the node that asks.
"""

import re
from collections.abc import AsyncGenerator
from typing import Protocol

from entrepot.oci.digest import Digest, InvalidDigest
from entrepot.web.message import Answer, Request

_TEXT = (b"content-type", b"text/plain; charset=utf-8")
_BYTES = (b"content-type", b"application/octet-stream")
_NUMBER = re.compile(r"[0-9]{1,15}")


class Arriving(Protocol):
    """What arrives at this node."""

    async def read(self, digest: str, origin: str, start: int, size: int) -> AsyncGenerator[bytes, None] | None:
        """The bytes from `start` to `size` as they arrive; None when nothing arrives from this origin."""
        ...


class Signatures(Protocol):
    """Requests that nodes have signed."""

    def accepts(self, method: str, target: str, authorization: str | None) -> bool:
        """Whether a node has signed this request, lately."""
        ...


class NodeDoor:
    """For the other nodes."""

    route = "nodes"

    def __init__(self, path: str, arriving: Arriving, signatures: Signatures) -> None:
        self.paths = frozenset({path})
        self._arriving = arriving
        self._signatures = signatures

    async def answer(self, request: Request, address: str) -> Answer:
        """GET with `digest`, `origin`, `start` and `size`; nothing else, and to nobody else."""
        target = request.path + "?" + request.scope["query_string"].decode("latin-1")
        if not self._signatures.accepts(request.method, target, request.header(b"authorization")):
            return Answer(403, [_TEXT], b"only for nodes of this registry that have its secret_key and the time\n")
        start, size = request.query.one("start") or "", request.query.one("size") or ""
        try:
            digest = Digest.parse(request.query.one("digest") or "")
        except InvalidDigest:
            digest = None
        if request.method != "GET" or digest is None or not _NUMBER.fullmatch(start) or not _NUMBER.fullmatch(size):
            return Answer(400, [_TEXT], b"GET with digest, origin, start and size\n")
        origin = request.query.one("origin") or ""
        stream = await self._arriving.read(str(digest), origin, int(start), int(size))
        if stream is None:
            return Answer(404, [_TEXT], b"it does not arrive here\n")
        return Answer(200, [_BYTES], stream=stream, length=max(0, int(size) - int(start)))
