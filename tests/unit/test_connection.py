"""A connection whose head comes slowly or not at all, with a clock that the test turns."""

from collections.abc import Callable
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from entrepot.web.metrics import Metrics
from entrepot.web.observer import Observer
from entrepot.web.protocol import Protocol


class _Clock:
    """The part of an event loop that a connection uses while no request is whole."""

    def __init__(self) -> None:
        self.now = 0.0
        self.due: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, seconds: float, call: Callable[[], None]) -> None:
        self.due.append((self.now + seconds, call))

    def turn(self, seconds: float) -> None:
        """Let this much time pass."""
        end = self.now + seconds
        while True:
            when, call = min(self.due, key=lambda entry: entry[0], default=(end + 1, None))
            if call is None or when > end:
                break
            self.due.remove((when, call))
            self.now = when
            call()
        self.now = end


class _Transport:
    """Takes what is written, and notes the end."""

    def __init__(self) -> None:
        self.written = b""
        self.ended = False

    def get_extra_info(self, name: str, default: object = None) -> object:
        return {"peername": ("192.0.2.1", 1), "sockname": ("192.0.2.2", 2)}.get(name, default)

    def write(self, data: bytes) -> None:
        self.written += data

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ended = True

    def is_closing(self) -> bool:
        return self.ended

    def close(self) -> None:
        self.ended = True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> _Clock:
    monkeypatch.setattr(Protocol, "observer", Observer(Metrics(1), None), raising=False)
    return _Clock()


def connect(clock: _Clock) -> tuple[Protocol, _Transport]:
    """A connection that was just made."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("no request is whole")

    config = uvicorn.Config(app, log_config=None, timeout_keep_alive=75)
    config.load()
    transport: Any = _Transport()
    anything: Any = clock
    connection = Protocol(config, ServerState(), {}, anything)
    connection.connection_made(transport)
    return connection, transport


def test_a_head_that_never_ends_is_408_however_steadily_its_bytes_come(clock: _Clock) -> None:
    connection, transport = connect(clock)
    connection.data_received(b"GET /v2/ HTTP/1.1\r\nX-A: ")
    for _ in range(200):
        clock.turn(1)
        connection.data_received(b"a")
    assert transport.ended
    assert transport.written.startswith(b"HTTP/1.1 408 ")
    assert b"did not come to its end in time" in transport.written
    assert transport.written.count(b"HTTP/1.1") == 1


def test_a_head_that_stops_is_408(clock: _Clock) -> None:
    connection, transport = connect(clock)
    connection.data_received(b"GET /v2/ HT")
    clock.turn(300)
    assert transport.ended
    assert transport.written.startswith(b"HTTP/1.1 408 ")


def test_a_connection_that_says_nothing_is_closed_without_a_word(clock: _Clock) -> None:
    _, transport = connect(clock)
    clock.turn(60)
    early = transport.ended
    clock.turn(60)
    assert (early, transport.ended, transport.written) == (False, True, b"")
