"""Whose turn it is to fetch a manifest: of the workers of a node, and of all nodes where there are several."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

from entrepot.proxy.nodes import Nodes
from entrepot.proxy.ports import Spools


class Turns:
    """The turns of this node, alone or among others."""

    def __init__(self, spools: Spools, nodes: Nodes | None) -> None:
        self._spools = spools
        self._nodes = nodes

    @asynccontextmanager
    async def manifest(self, repository: str, digest: str | None) -> AsyncGenerator[None, None]:
        """Fetch a manifest of this digest, and nobody else does; None for one of which only the tag is known.

        That one may be any of the repository, so nothing else of the repository is fetched meanwhile. Whoever has the
        turn looks whether it was stored while it waited.
        """
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._spools.turn(repository, shared=digest is not None))
            if digest is not None:
                await stack.enter_async_context(self._spools.turn(f"{repository}@{digest}"))
            if self._nodes is not None:
                await stack.enter_async_context(self._nodes.turn(repository, digest))
            yield
