"""Files by sendfile(2), straight from the page cache to the socket.

The transport's own `loop.sendfile` makes a task and pauses the reader for each file; for a megabyte that costs more
than the sending. This tries at once; only when the socket is full it waits, on a descriptor of its own.

The head is sent with MSG_MORE, so that it leaves in one segment with the first bytes of the file. Alone it would be a
small segment, from which the client's kernel concludes that segments are small, and keeps its receive window small:
measured, a megabyte then costs the client nearly twice the time.
"""

import asyncio
import os
import socket
from collections.abc import Callable

_TURN = 4 * 1024 * 1024  # bytes before other connections have their turn


class FileSender:
    """Sends parts of files over one plain TCP connection, one after the other."""

    __slots__ = ("_done", "_file", "_left", "_loop", "_offset", "_socket", "_transport", "_waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop, transport: asyncio.Transport) -> None:
        self._loop = loop
        self._transport = transport
        # The loop watches what it is told to, but not a transport's own descriptor.
        self._socket: socket.socket = transport.get_extra_info("socket").dup()
        self._waiting = False
        self._file = -1
        self._offset = self._left = 0
        self._done: Callable[[bool], None] | None = None

    def send(self, head: bytes, file: tuple[str, int, int], done: Callable[[bool], None]) -> None:
        """Send a head and a part of a file, as (path, first byte, length).

        `done` is called once, with whether all of it was sent. OSError, with nothing sent, when the file cannot be
        opened.
        """
        path, self._offset, self._left = file
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._done = done
        if self._transport.get_write_buffer_size() == 0:
            try:
                sent = self._socket.send(head, socket.MSG_MORE if self._left else 0)
            except OSError:
                sent = 0  # full, or gone: the transport waits, or tells
            if sent == len(head):
                self._step()
                return
            head = head[sent:]
        self._transport.write(head)
        self._wait()

    def stop(self) -> None:
        """What is being sent has no receiver any more."""
        if self._done is not None:
            self._end(sent=False)

    def close(self) -> None:
        """The connection is gone."""
        self.stop()
        self._socket.close()

    def _step(self) -> None:
        if self._transport.get_write_buffer_size():
            return  # the rest of the head is before us
        turn = _TURN
        try:
            while self._left and turn > 0:
                sent = os.sendfile(self._socket.fileno(), self._file, self._offset, min(self._left, turn))
                if sent == 0:
                    self._end(sent=False)  # the file is shorter than its row
                    return
                self._offset += sent
                self._left -= sent
                turn -= sent
        except (BlockingIOError, InterruptedError):
            self._wait()
            return
        except OSError:
            self._end(sent=False)
            return
        if self._left:
            self._wait()
        else:
            self._end(sent=True)

    def _wait(self) -> None:
        """Until the socket takes more."""
        if not self._waiting:
            self._waiting = True
            self._loop.add_writer(self._socket, self._step)

    def _end(self, *, sent: bool) -> None:
        done, self._done = self._done, None
        assert done is not None
        os.close(self._file)
        if self._waiting:
            self._waiting = False
            self._loop.remove_writer(self._socket)
        done(sent)
