"""What a request's handler has not yet taken of its body."""

from collections import deque
from typing import Any

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

_MOST = 512 * 1024  # bytes that wait for the handler before the client has to


class Inbox:
    """A cycle's `receive`: the pieces of the body as they came, none copied; the client is paused when it is full."""

    __slots__ = ("_cycle", "_flow", "_held", "_open", "_pieces")

    def __init__(self, cycle: RequestResponseCycle, flow: FlowControl) -> None:
        self._cycle = cycle
        self._flow = flow
        self._pieces: deque[bytes] = deque()
        self._held = 0
        self._open = True

    def put(self, piece: bytes) -> None:
        """One more piece has come."""
        self._pieces.append(piece)
        self._held += len(piece)
        if self._held > _MOST:
            self._flow.pause_reading()
        self._cycle.message_event.set()

    async def receive(self) -> Any:
        """The next ASGI message: one piece, or that there is no more."""
        cycle = self._cycle
        if cycle.waiting_for_100_continue and not cycle.transport.is_closing():
            cycle.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            cycle.waiting_for_100_continue = False
        while not (self._pieces or self._is_over() or (self._open and not cycle.more_body)):
            self._flow.resume_reading()
            cycle.message_event.clear()
            await cycle.message_event.wait()
        if cycle.response_complete or (cycle.disconnected and not self._pieces):
            return {"type": "http.disconnect"}
        piece = self._pieces.popleft() if self._pieces else b""
        self._held -= len(piece)
        if self._held <= _MOST:
            self._flow.resume_reading()
        self._open = bool(self._pieces) or cycle.more_body
        return {"type": "http.request", "body": piece, "more_body": self._open}

    def _is_over(self) -> bool:
        return self._cycle.disconnected or self._cycle.response_complete
