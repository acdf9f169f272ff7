"""The node, or the worker, that fetches a blob dies or cannot be reached, while clients of another node read it."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.http.conftest import large
from tests.support.cache_nodes import ALIAS, Reader, a_node, leader_of
from tests.support.scripted_upstream import Upstream, scripted_upstream
from tests.support.services import free_ports
from tests.support.serving import Server, digest_of
from tests.support.tcp_proxy import TcpProxy

SENT = 600_000  # bytes that the upstream sends before it waits
MANIFEST = f"/v2/{ALIAS}/library/app/manifests/v1"


@pytest.fixture
def shared(postgres_server: str, s3_server: str) -> Iterator[dict[str, str]]:
    """A database and a bucket for all nodes."""
    with large(postgres_server, s3_server) as settings:
        yield settings


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """An upstream that stops in the middle of each blob."""
    with scripted_upstream() as running:
        running.script.held = SENT
        yield running


def an_arriving_blob(upstream: Upstream, *nodes: Server) -> tuple[bytes, list[Reader]]:
    """A blob of which a part has arrived, first at the first node; with a reader at each."""
    layer = os.urandom(2_000_000)
    upstream.script.push("v1", layer)
    target = f"/v2/{ALIAS}/library/app/blobs/{digest_of(layer)}"
    assert nodes[0].get(MANIFEST).status == 200
    readers = [Reader(node, target, SENT // 2) for node in nodes]
    assert all(reader.got == layer[: SENT // 2] for reader in readers)
    return layer, readers


def go_on(upstream: Upstream) -> None:
    """The upstream sends whatever it is asked for."""
    upstream.script.held = None
    upstream.script.resume.set()


def fetched(upstream: Upstream, layer: bytes) -> tuple[int, list[int]]:
    """How often the upstream was asked for the blob, and where ranges began."""
    count = upstream.script.asked["GET", f"/v2/library/app/blobs/{digest_of(layer)}"]
    return count, [int(each.removeprefix("bytes=").rstrip("-")) for each in upstream.script.ranges_asked]


def kill(server: Server) -> None:
    """SIGKILL to a whole node."""
    for process in (server.process.pid, *server.workers()):
        os.kill(process, signal.SIGKILL)
    server.process.wait()


def test_when_the_node_that_fetches_dies_another_goes_on_for_what_is_missing(
    tmp_path: Path, shared: dict[str, str], upstream: Upstream
) -> None:
    with a_node(tmp_path / "a", upstream.url, shared) as one, a_node(tmp_path / "b", upstream.url, shared) as other:
        layer, (cut, reader, again) = an_arriving_blob(upstream, one, other, other)
        kill(one)
        go_on(upstream)
        assert reader.rest() == layer
        assert again.rest() == layer
        assert layer.startswith(cut.rest())
        count, ranges = fetched(upstream, layer)
        assert count == 2
        assert ranges
        assert ranges[0] >= SENT // 2, "what had come from the node that died is not fetched again"
        assert other.get(f"/v2/{ALIAS}/library/app/blobs/{digest_of(layer)}").body == layer


def test_when_the_worker_that_fetches_dies_its_node_goes_on_and_the_others_read_from_it(
    tmp_path: Path, shared: dict[str, str], upstream: Upstream
) -> None:
    with a_node(tmp_path / "a", upstream.url, shared) as one, a_node(tmp_path / "b", upstream.url, shared) as other:
        layer, readers = an_arriving_blob(upstream, *[one] * 12, *[other] * 2)
        os.kill(leader_of(one, digest_of(layer)), signal.SIGKILL)
        go_on(upstream)
        bodies = [reader.rest() for reader in readers]
        assert bodies[12:] == [layer] * 2, "whoever reads at the other node notices nothing"
        assert layer in bodies[:12]
        count, ranges = fetched(upstream, layer)
        assert (count, len(ranges)) == (2, 1)
        assert ranges[0] >= SENT // 2


def test_a_node_that_is_stopped_finishes_what_another_reads_from_it(
    tmp_path: Path, shared: dict[str, str], upstream: Upstream
) -> None:
    with a_node(tmp_path / "a", upstream.url, shared) as one, a_node(tmp_path / "b", upstream.url, shared) as other:
        layer, (first, reader) = an_arriving_blob(upstream, one, other)
        one.process.send_signal(signal.SIGTERM)
        go_on(upstream)
        assert (reader.rest(), first.rest()) == (layer, layer)
        assert one.process.wait(60) == 0
        assert fetched(upstream, layer) == (1, [])


@pytest.mark.parametrize("trouble", ["cut", "silence"])
def test_a_node_that_cannot_be_reached_keeps_its_lease_and_the_others_get_the_rest_from_the_store(
    tmp_path: Path, shared: dict[str, str], upstream: Upstream, trouble: str
) -> None:
    port = free_ports(1)
    with (
        TcpProxy("127.0.0.1", port) as way,
        a_node(tmp_path / "a", upstream.url, shared, port=port, advertise=f"http://127.0.0.1:{way.port}") as one,
        a_node(tmp_path / "b", upstream.url, shared) as other,
    ):
        layer, (first, reader) = an_arriving_blob(upstream, one, other)
        getattr(way, trouble)()
        go_on(upstream)
        assert reader.rest() == layer
        assert first.rest() == layer
        assert fetched(upstream, layer) == (1, [])
