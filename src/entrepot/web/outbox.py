"""What a request's handler sends."""

import asyncio
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from entrepot.web.app import CUT, SENDFILE
from entrepot.web.file_sender import FileSender


class Outbox:
    """A cycle's `send`: holds the head back until the first piece of the body, and sends files."""

    __slots__ = ("_base", "_cycle", "_file_sender", "_head", "_linger")

    def __init__(
        self, cycle: RequestResponseCycle, file_sender: Callable[[], FileSender], linger: Callable[[], None]
    ) -> None:
        """`file_sender` gives the connection's; `linger` closes the connection behind an unread body."""
        self._cycle = cycle
        self._file_sender = file_sender
        self._linger = linger
        self._base = cycle.send
        self._head: list[bytes] | None = None

    async def send(self, message: Any) -> None:
        """One ASGI message; ConnectionResetError when the client has gone, so that nobody reads on for it."""
        cycle = self._cycle
        if cycle.disconnected:
            raise ConnectionResetError
        if message["type"] == CUT:
            cycle.disconnected = True
            if message["at_once"]:
                cycle.transport.abort()
            else:
                cycle.transport.close()
            return
        if message["type"] == SENDFILE:
            await self._send_file(message)
            return
        if not cycle.response_started:
            self._hold_head(message)
            return
        if self._head is not None:
            head, self._head = self._head, None
            body = message.get("body", b"")
            if not message.get("more_body", False) and len(body) <= 65536:
                self._finish(head, body)
                return
            cycle.transport.write(b"".join(head))
        await self._base(message)

    def _hold_head(self, message: Any) -> None:
        cycle = self._cycle
        if cycle.waiting_for_100_continue:
            cycle.keep_alive = False  # the client still holds its body; nobody can tell what it sends next
        cycle.response_started = True
        cycle.waiting_for_100_continue = False
        head = [STATUS_LINE[message["status"]]]
        cycle.chunked_encoding = False
        for name, value in (*cycle.default_headers, *message["headers"]):
            if name == b"content-length":
                cycle.expected_content_length = int(value)
            elif name == b"connection":
                cycle.keep_alive = False
                continue
            head += (name, b": ", value, b"\r\n")
        if not cycle.keep_alive:
            head.append(b"connection: close\r\n")
        head.append(b"\r\n")
        self._head = head

    def _finish(self, head: list[bytes], body: bytes) -> None:
        cycle = self._cycle
        if cycle.scope["method"] != "HEAD":
            if len(body) != cycle.expected_content_length:
                raise RuntimeError("the body is not as long as its Content-Length")
            head.append(body)
        cycle.transport.write(b"".join(head))
        self._complete()

    async def _send_file(self, message: Any) -> None:
        cycle = self._cycle
        assert self._head is not None
        finished: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        def done(sent: bool) -> None:
            if not finished.done():
                finished.set_result(sent)

        head, self._head = b"".join(self._head), None
        sender = self._file_sender()
        sender.send(head, message["file"], done)
        try:
            sent = await finished
        finally:
            sender.stop()
        if sent:
            self._complete()
        else:
            cycle.disconnected = True
            cycle.transport.abort()

    def _complete(self) -> None:
        cycle = self._cycle
        cycle.response_complete = True
        cycle.message_event.set()
        if not cycle.keep_alive and cycle.more_body:
            self._linger()
        elif not cycle.keep_alive:
            cycle.transport.close()
        cycle.on_response()
