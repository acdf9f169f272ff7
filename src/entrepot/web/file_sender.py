"""Files by sendfile(2), straight from the page cache to the socket.

The transport's own `loop.sendfile` makes a task and pauses the reader for each file; for a megabyte that costs more
than the sending. This tries at once; only when the socket is full it waits, on a descriptor of its own.
"""

import asyncio
import os
from collections.abc import Callable

_TURN = 4 * 1024 * 1024  # bytes before other connections have their turn


class FileSender:
    """Sends one part of a file over a plain TCP transport whose buffer is empty or will be."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        transport: asyncio.Transport,
        file: tuple[str, int, int],
        done: Callable[[bool], None],
    ) -> None:
        """`file` is (path, first byte, length); `done` is called once, with whether all of it was sent.

        OSError when the file cannot be opened.
        """
        path, self._offset, self._left = file
        self._loop = loop
        self._transport = transport
        self._done = done
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._socket: int = transport.get_extra_info("socket").fileno()
        self._waiting = -1
        self._ended = False

    def start(self) -> None:
        """Send what the socket takes now, and the rest as it drains."""
        if self._transport.get_write_buffer_size():
            self._wait()
        else:
            self._step()

    def stop(self) -> None:
        """The connection is gone."""
        self._end(sent=False)

    def _step(self) -> None:
        if self._ended:
            return
        if self._transport.get_write_buffer_size():
            self._wait()
            return
        turn = _TURN
        try:
            while self._left and turn > 0:
                sent = os.sendfile(self._socket, self._file, self._offset, min(self._left, _TURN))
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
        """Until the socket takes more. The loop watches a duplicate, as the transport owns the original."""
        if self._waiting < 0:
            self._waiting = os.dup(self._socket)
            self._loop.add_writer(self._waiting, self._step)

    def _end(self, *, sent: bool) -> None:
        if self._ended:
            return
        self._ended = True
        os.close(self._file)
        if self._waiting >= 0:
            self._loop.remove_writer(self._waiting)
            os.close(self._waiting)
        self._done(sent)
