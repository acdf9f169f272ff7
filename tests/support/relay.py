"""A way to a server that keeps what clients send by it, byte for byte. Run as a program: DIRECTORY LISTEN TARGET.

Addresses are HOST:PORT. What comes by one connection is one file of the directory.
"""

import contextlib
import socket
import sys
import threading
from itertools import count
from pathlib import Path

_PIECE = 64 * 1024


def heads(directory: Path) -> list[bytes]:
    """The heads of all requests so far, which have no bodies, by connections in the order in which they were made."""
    files = sorted(directory.iterdir(), key=lambda file: int(file.name))
    return [head for file in files for head in file.read_bytes().split(b"\r\n\r\n") if head]


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


def _relay(client: socket.socket, target: tuple[str, int], file: Path) -> None:
    with client, contextlib.suppress(OSError), socket.create_connection(target) as server:
        back = threading.Thread(target=_pass, args=(server, client), daemon=True)
        back.start()
        _pass(client, server, file)
        back.join()


def _pass(source: socket.socket, target: socket.socket, file: Path | None = None) -> None:
    """Everything from one side to the other, and its end; it is kept before it is passed on."""
    with contextlib.suppress(OSError):
        while piece := source.recv(_PIECE):
            if file is not None:
                with file.open("ab") as kept:
                    kept.write(piece)
            target.sendall(piece)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def main() -> None:
    """Relay until killed."""
    directory, listen, target = sys.argv[1:]
    with socket.create_server(_address(listen), backlog=50) as listener:
        print("relaying", flush=True)
        for number in count():
            client, _ = listener.accept()
            file = Path(directory, str(number))
            threading.Thread(target=_relay, args=(client, _address(target), file), daemon=True).start()


if __name__ == "__main__":
    main()
