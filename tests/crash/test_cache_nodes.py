"""The node, or the worker, that fetches a blob dies or cannot be reached, while clients of another node read it."""

import os
import signal
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
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


def signal_all(server: Server, number: int) -> None:
    """A signal to all processes of a node."""
    for process in (server.process.pid, *server.workers()):
        os.kill(process, number)


def test_when_the_node_that_fetches_dies_one_of_the_others_goes_on_for_what_is_missing(
    tmp_path: Path, shared: dict[str, str], upstream: Upstream
) -> None:
    with (
        a_node(tmp_path / "a", upstream.url, shared) as one,
        a_node(tmp_path / "b", upstream.url, shared) as other,
        a_node(tmp_path / "c", upstream.url, shared) as third,
    ):
        layer, (cut, *readers) = an_arriving_blob(upstream, one, other, other, third)
        signal_all(one, signal.SIGKILL)
        go_on(upstream)
        assert [reader.rest() == layer for reader in readers] == [True] * 3
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


def test_when_a_node_is_frozen_its_lease_lapses_and_when_it_thaws_it_does_no_harm(
    tmp_path: Path, shared: dict[str, str], upstream: Upstream
) -> None:
    with a_node(tmp_path / "a", upstream.url, shared) as one, a_node(tmp_path / "b", upstream.url, shared) as other:
        layer, (first, reader) = an_arriving_blob(upstream, one, other)
        signal_all(one, signal.SIGSTOP)
        try:
            go_on(upstream)
            assert reader.rest() == layer
        finally:
            signal_all(one, signal.SIGCONT)
        assert first.rest() == layer
        count, ranges = fetched(upstream, layer)
        assert ranges
        assert count == 1 + len(ranges), "only what was missing is fetched again"
        again = f"/v2/{ALIAS}/library/app/blobs/{digest_of(layer)}"
        assert [node.get(again).body == layer for node in (one, other)] == [True] * 2


def test_who_comes_to_a_node_that_cannot_reach_the_leader_is_told_to_come_again_and_fetches_nothing(
    tmp_path: Path, shared: dict[str, str], upstream: Upstream
) -> None:
    port = free_ports(1)
    with (
        TcpProxy("127.0.0.1", port) as way,
        a_node(tmp_path / "a", upstream.url, shared, port=port, advertise=f"http://127.0.0.1:{way.port}") as one,
        a_node(tmp_path / "b", upstream.url, shared) as other,
    ):
        layer, (first,) = an_arriving_blob(upstream, one)
        way.cut()
        target = f"/v2/{ALIAS}/library/app/blobs/{digest_of(layer)}"
        late = Reader(other, target, 0)
        assert late.status == 504
        late.rest()
        go_on(upstream)
        assert first.rest() == layer
        assert other.get(target).body == layer
        assert fetched(upstream, layer) == (1, [])


def test_when_a_node_dies_that_fetches_a_manifest_another_fetches_it(
    tmp_path: Path, shared: dict[str, str], upstream: Upstream
) -> None:
    manifest = upstream.script.push("v1", b"layer")
    upstream.script.faults = {"manifest": "silent"}
    with (
        a_node(tmp_path / "a", upstream.url, shared) as one,
        a_node(tmp_path / "b", upstream.url, shared) as other,
        closing(HTTPConnection(*one.address)) as asking,
    ):
        asking.request("GET", MANIFEST)
        while not upstream.script.asked["GET", "/v2/library/app/manifests/v1"]:
            pass
        signal_all(one, signal.SIGKILL)
        upstream.script.faults = {}
        assert other.get(MANIFEST).body == manifest
        assert upstream.script.asked["GET", "/v2/library/app/manifests/v1"] == 2
