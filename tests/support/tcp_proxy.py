"""A way to a real server that a test can cut, silence and mend while programs use it."""

import contextlib
import socket
import threading
from types import TracebackType
from typing import Self

_PIECE = 256 * 1024


class TcpProxy:
    """Passes every connection to its loopback port on to a server, byte for byte, until it is cut."""

    def __init__(self, host: str, port: int, listener: socket.socket | None = None) -> None:
        """`listener`: where it listens, if not on a port of its own."""
        self._target = (host, port)
        self._open = True
        self._heard = threading.Event()
        self._heard.set()
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._listener = listener or socket.create_server(("127.0.0.1", 0), backlog=200)
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        """Break every connection, and each new one as soon as it is made."""
        with self._lock:
            self._open = False
            self._heard.set()
            for each in self._sockets:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def silence(self) -> None:
        """Keep every connection, and let no byte through."""
        self._heard.clear()

    def mend(self) -> None:
        """Let bytes and new connections through again."""
        with self._lock:
            self._open = True
        self._heard.set()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError), socket.create_connection(self._target) as server:
            for each in (client, server):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                if not self._open:
                    return
                self._sockets |= {client, server}
            back = threading.Thread(target=self._pass, args=(server, client), daemon=True)
            back.start()
            self._pass(client, server)
            back.join()
            with self._lock:
                self._sockets -= {client, server}

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        """Everything from one side to the other, and its end."""
        with contextlib.suppress(OSError):
            while piece := source.recv(_PIECE):
                self._heard.wait()
                target.sendall(piece)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)
