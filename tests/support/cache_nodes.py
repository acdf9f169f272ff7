"""Nodes that read through the same upstream together, and clients of them that read while a blob arrives."""

import json
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPSConnection, IncompleteRead
from pathlib import Path
from typing import NamedTuple

from tests.support.scripted_upstream import Script, scripted_upstream
from tests.support.services import free_ports
from tests.support.serving import Server, serving

SECRET = "0123456789abcdef0123456789abcdef"
ALIAS = "up.example"


@contextmanager
def a_node(
    directory: Path, upstream: str, shared: Mapping[str, str], *, port: int = 0, advertise: str = "", **settings: str
) -> Iterator[Server]:
    """A server that is one of several; `upstream` is the URL of ALIAS, `shared` the database and the store of all."""
    port = port or free_ports(1)
    scheme = "https" if "http__tls__certificate" in shared else "http"
    configured = {
        "http__listen": f"127.0.0.1:{port}",
        "cluster__advertise": advertise or f"{scheme}://127.0.0.1:{port}",
        "secret_key": SECRET,
        "upstreams": json.dumps({ALIAS: {"url": upstream}}),
    }
    with serving(directory, accounts=False, **{**configured, **shared, **settings}) as server:
        yield server


class Scene(NamedTuple):
    """Two nodes and the script of their upstream."""

    nodes: tuple[Server, Server]
    script: Script


@contextmanager
def two_nodes(directory: Path, shared: Mapping[str, str]) -> Iterator[Scene]:
    """Two nodes on one database and one bucket (`shared`), each with a data directory of its own."""
    with (
        scripted_upstream() as upstream,
        a_node(directory / "a", upstream.url, shared) as one,
        a_node(directory / "b", upstream.url, shared) as other,
    ):
        yield Scene((one, other), upstream.script)


class Reader:
    """A client that has the head of its answer and the first bytes."""

    def __init__(
        self, server: Server, target: str, first: int, tls: ssl.SSLContext | None = None, /, **headers: str
    ) -> None:
        """`first`: how many bytes to wait for; `tls` where the server speaks it."""
        secure = HTTPSConnection(*server.address, timeout=60, context=tls) if tls is not None else None
        self._connection = secure or HTTPConnection(*server.address, timeout=60)
        self._connection.request("GET", target, headers=headers)
        self._response = self._connection.getresponse()
        self.status = self._response.status
        self.got = self._response.read(first)

    def rest(self) -> bytes:
        """All that comes."""
        try:
            return self.got + self._response.read()
        except (IncompleteRead, ConnectionError) as error:
            return self.got + getattr(error, "partial", b"")
        finally:
            self._connection.close()


def leader_of(server: Server, digest: str) -> int:
    """The worker that has the lock of a spool file."""
    inode = (server.data / "arriving" / digest.replace(":", "-")).stat().st_ino
    for line in Path("/proc/locks").read_text().splitlines():
        fields = line.split()
        if fields[1] == "FLOCK" and fields[5].rpartition(":")[2] == str(inode):
            return int(fields[4])
    raise AssertionError("nobody fetches")
