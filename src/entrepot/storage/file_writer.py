"""Writing one new file from chunks of any size.

A long body bypasses the page cache (O_DIRECT, open(2)): nothing is copied into cache pages that the final sync would
have to wait for, and pushes do not drive out what pulls read. Measured: 200 MiB take a third of the time and a fifth of
the CPU. File systems without O_DIRECT get ordinary writes.
"""

import errno
import fcntl
import mmap
import os
from collections.abc import Sequence

BLOCK = 1024 * 1024  # bytes written at once; a multiple of every device's block size
_SPARE = 8


class Buffers:
    """Page-aligned buffers of one block, used again and again."""

    def __init__(self) -> None:
        self._spare: list[mmap.mmap] = []

    def take(self) -> mmap.mmap:
        """A buffer; its content is whatever was there."""
        return self._spare.pop() if self._spare else mmap.mmap(-1, BLOCK)

    def give_back(self, buffer: mmap.mmap) -> None:
        """Done with it."""
        if len(self._spare) < _SPARE:
            self._spare.append(buffer)
        else:
            buffer.close()


class FileWriter:
    """One file being written, from its first byte. Its methods block: call them in a thread unless it is little."""

    def __init__(self, descriptor: int, buffers: Buffers) -> None:
        self._descriptor = descriptor
        self._buffers = buffers
        self._buffer: mmap.mmap | None = None
        self._filled = 0
        self._direct = False
        self.size = 0

    def add(self, chunks: Sequence[bytes]) -> None:
        """Write more, in whole blocks; the rest is held until the next call."""
        if self._buffer is None:
            self._buffer = self._buffers.take()
            self._direct = _set_direct(self._descriptor, on=True)
        for chunk in chunks:
            rest = memoryview(chunk)
            while rest:
                taken = min(len(rest), BLOCK - self._filled)
                self._buffer[self._filled : self._filled + taken] = rest[:taken]
                self._filled += taken
                rest = rest[taken:]
                if self._filled == BLOCK:
                    self._write_block(self._buffer)
                    self._filled = 0

    def finish(self, chunks: Sequence[bytes]) -> None:
        """Write the last chunks; `size` is then the size of the file in bytes."""
        if self._buffer is not None:
            self.add(chunks)
            if self._direct:
                _set_direct(self._descriptor, on=False)  # the end is no multiple of a block
            chunks = [self._buffer[: self._filled]]
        for chunk in chunks:
            self._write(chunk)

    def release(self) -> None:
        """Give the buffer back."""
        if self._buffer is not None:
            self._buffers.give_back(self._buffer)
            self._buffer = None

    def _write_block(self, block: mmap.mmap) -> None:
        if self._direct:
            try:
                written = os.write(self._descriptor, block)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                written = 0
            if written == BLOCK:
                self.size += BLOCK
                return
            _set_direct(self._descriptor, on=False)
            self._direct = False
            os.lseek(self._descriptor, self.size, os.SEEK_SET)
        self._write(block)

    def _write(self, chunk: bytes | mmap.mmap) -> None:
        with memoryview(chunk) as view:
            done = 0
            while done < len(view):
                with view[done:] as rest:
                    done += os.write(self._descriptor, rest)
        self.size += done


def _set_direct(descriptor: int, *, on: bool) -> bool:
    """Switch O_DIRECT; False when the file system does not know it."""
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | os.O_DIRECT if on else flags & ~os.O_DIRECT)
    except OSError:
        return False
    return on
