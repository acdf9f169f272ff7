"""A worker's server: uvicorn on its sockets."""

import asyncio
import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from typing import Protocol as Port

import uvicorn

from entrepot.web.app import App
from entrepot.web.fast_door import FastDoor
from entrepot.web.observer import Observer
from entrepot.web.protocol import Protocol
from entrepot.web.tls import tls_context

_KEEP_ALIVE = 75  # seconds of silence between requests, as nginx
_GRACE = 30  # seconds for requests in flight when the server stops


class Lifeline(Port):
    """What ties a worker to its parent."""

    @property
    def parent(self) -> int:
        """A pipe that ends when the parent dies."""
        ...

    def announce(self) -> None:
        """Tell the parent that this worker listens."""
        ...


async def listen(
    app: App,
    fast_door: FastDoor | None,
    observer: Observer,
    listeners: Sequence[socket.socket],
    certificate: tuple[str, str] | None,
    lifeline: Lifeline,
) -> None:
    """Serve until SIGTERM or the parent's death; returns when what was in flight is answered."""
    Protocol.fast_door = fast_door
    Protocol.observer = observer
    config = uvicorn.Config(
        app,
        http=Protocol,
        ws="none",
        loop="asyncio",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=_GRACE,
    )
    config.load()
    if certificate is not None:
        config.ssl = tls_context(*certificate)
    server = _Server(config, lifeline)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, server.stop)
    loop.add_reader(lifeline.parent, server.stop)
    try:
        await server.serve(sockets=list(listeners))
    finally:
        loop.remove_reader(lifeline.parent)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, lifeline: Lifeline) -> None:
        super().__init__(config)
        self._lifeline = lifeline

    def stop(self) -> None:
        """Take no new connection, finish what is in flight."""
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._lifeline.announce()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The worker's own handler is in place."""
        yield

    def _log_started_message(self, *arguments: Any) -> None:
        """The parent prints the one line."""
