"""Several nodes before one upstream: each digest is fetched once, and the others read from the node that fetches it."""

import os
import re
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from entrepot.access.node_key import NodeKey
from tests.http.conftest import large
from tests.support.cache_nodes import ALIAS, SECRET, Reader, Scene, a_node, two_nodes
from tests.support.certificates import new_authority
from tests.support.scripted_upstream import scripted_upstream
from tests.support.serving import Server, digest_of

SENT = 600_000  # bytes that the upstream sends before it waits
PULLS = 8  # of each node at once


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, postgres_server: str, s3_server: str) -> Iterator[Scene]:
    """Two nodes on one database and one bucket, each with a data directory of its own."""
    with large(postgres_server, s3_server) as shared, two_nodes(tmp_path_factory.mktemp("nodes"), shared) as made:
        yield made


@pytest.fixture
def scene(running: Scene) -> Scene:
    """With an upstream that has forgotten everything."""
    script = running.script
    script.resume.set()
    script.resume.clear()
    script.held = None
    script.faults, script.quirks, script.asked = {}, set(), type(script.asked)()
    script.ranges_asked.clear()
    return running


def of(name: str, digest: str) -> str:
    """The target of a blob here."""
    return f"/v2/{ALIAS}/{name}/blobs/{digest}"


def fetched(scene: Scene, name: str, digest: str) -> int:
    """How often the upstream was asked for a blob."""
    return scene.script.asked["GET", f"/v2/{name}/blobs/{digest}"]


def test_two_nodes_fetch_each_digest_once(scene: Scene, name: str) -> None:
    layers = [os.urandom(3_000_000), os.urandom(200_000), os.urandom(1000)]
    manifest = scene.script.push("v1", *layers)

    def pull(at: int) -> list[bytes]:
        node = scene.nodes[at % 2]
        by_tag = node.get(f"/v2/{ALIAS}/{name}/manifests/{'v1' if at % 3 else digest_of(manifest)}")
        return [by_tag.body, *(node.get(of(name, digest_of(layer))).body for layer in layers)]

    with ThreadPoolExecutor(2 * PULLS) as clients:
        assert all(pulled == [manifest, *layers] for pulled in clients.map(pull, range(2 * PULLS)))
    gets = {target: count for (method, target), count in scene.script.asked.items() if method == "GET"}
    blobs = {target: count for target, count in gets.items() if "/blobs/" in target}
    assert blobs == {f"/v2/{name}/blobs/{digest_of(layer)}": 1 for layer in layers}
    assert sum(count for target, count in gets.items() if "/manifests/" in target) == 1


def test_the_other_node_reads_while_the_blob_arrives(scene: Scene, name: str) -> None:
    layer = os.urandom(2_000_000)
    digest = digest_of(layer)
    scene.script.push("v1", layer)
    scene.script.held = SENT
    assert scene.nodes[0].get(f"/v2/{ALIAS}/{name}/manifests/v1").status == 200
    readers = [Reader(node, of(name, digest), SENT // 2) for node in (*scene.nodes, *scene.nodes)]
    part = Reader(scene.nodes[1], of(name, digest), 1000, Range="bytes=1000-1500000")
    assert all(reader.got == layer[: SENT // 2] for reader in readers), "before the upstream has sent more"
    assert (part.status, part.got) == (206, layer[1000:2000])
    scene.script.resume.set()
    assert all(reader.rest() == layer for reader in readers)
    assert part.rest() == layer[1000:1500001]
    assert fetched(scene, name, digest) == 1
    assert from_nodes(scene.nodes[1]) >= 1


def test_a_node_that_comes_late_reads_the_store(scene: Scene, name: str) -> None:
    layer = os.urandom(300_000)
    digest = digest_of(layer)
    scene.script.push("v1", layer)
    for node in scene.nodes:
        assert node.get(f"/v2/{ALIAS}/{name}/manifests/v1").status == 200
        assert node.get(of(name, digest)).body == layer
    assert fetched(scene, name, digest) == 1


def test_wrong_bytes_are_cut_short_on_every_node_and_kept_on_none(scene: Scene, name: str) -> None:
    layer = os.urandom(2_000_000)
    digest = digest_of(layer)
    scene.script.push("v1", layer)
    scene.script.held, scene.script.faults = SENT, {"blob": "wrong"}
    assert scene.nodes[0].get(f"/v2/{ALIAS}/{name}/manifests/v1").status == 200
    readers = [Reader(node, of(name, digest), SENT // 2) for node in (*scene.nodes, *scene.nodes)]
    scene.script.resume.set()
    assert all(len(reader.rest()) <= len(layer) - 64 * 1024 for reader in readers)
    assert fetched(scene, name, digest) == 1, "nobody fetches it again for those who have followed"
    assert all(not (node.data / "arriving" / digest.replace(":", "-")).exists() for node in scene.nodes)
    scene.script.faults = {}
    for node in scene.nodes:  # who comes while the failure is still being told shares it
        while Reader(node, of(name, digest), 0).rest() != layer:
            pass
    assert fetched(scene, name, digest) == 2


def test_that_a_blob_arrives_at_another_node_opens_it_to_nobody(scene: Scene, name: str) -> None:
    layer = os.urandom(2_000_000)
    digest = digest_of(layer)
    scene.script.push("v1", layer)
    scene.script.held = SENT
    assert scene.nodes[0].get(f"/v2/{ALIAS}/{name}/manifests/v1").status == 200
    reader = Reader(scene.nodes[0], of(name, digest), SENT // 2)
    scene.script.faults = {f"blob-head {name}/other": 404}
    assert scene.nodes[1].get(of(f"{name}/other", digest)).status == 404
    scene.script.resume.set()
    assert reader.rest() == layer


def test_what_nodes_ask_each_other_is_answered_only_when_it_is_signed_lately_and_for_this(
    scene: Scene, name: str
) -> None:
    layer = os.urandom(2_000_000)
    digest = digest_of(layer)
    scene.script.push("v1", layer)
    scene.script.held = SENT
    node = scene.nodes[0]
    assert node.get(f"/v2/{ALIAS}/{name}/manifests/v1").status == 200
    reader = Reader(node, of(name, digest), SENT // 2)
    target = f"/nodes/arriving?digest={digest}&origin={ALIAS}&start=1000&size=500000"
    key = NodeKey(SECRET.encode())
    signed = node.get(target, {"Authorization": key.sign("GET", target)})
    assert (signed.status, signed.body) == (200, layer[1000:500_000])
    for credential in (
        "",
        "Basic YWRtaW46YWRtaW4=",
        NodeKey(b"another secret of thirty-two bytes").sign("GET", target),
        NodeKey(SECRET.encode(), lambda: time.time() - 120).sign("GET", target),
        NodeKey(SECRET.encode(), lambda: time.time() + 120).sign("GET", target),
        key.sign("GET", target.replace("1000", "1001")),
        key.sign("POST", target),
    ):
        assert node.get(target, {"Authorization": credential}).status == 403
    for bad in (
        "/nodes/arriving",
        "/nodes/arriving?digest=sha256:12&start=0&size=1",
        "/nodes/arriving?digest=../../secret&start=0&size=1",
        f"/nodes/arriving?digest={digest}&start=-1&size=1",
    ):
        assert node.get(bad, {"Authorization": key.sign("GET", bad)}).status in (400, 403)
    absent = target.replace(digest, digest_of(b"nothing"))
    assert node.get(absent, {"Authorization": key.sign("GET", absent)}).status == 404
    scene.script.resume.set()
    assert reader.rest() == layer


def from_nodes(node: Server, tls: ssl.SSLContext | None = None) -> int:
    """How many blobs a node has read from another one while that fetched them."""
    told = re.search(rb"entrepot_upstream_from_nodes_total\{.*\} (\d+)", Reader(node, "/metrics", 0, tls).rest())
    assert told is not None
    return int(told[1])


@pytest.mark.xdist_group("large")
def test_nodes_speak_tls_with_those_alone_whose_certificates_they_trust(
    tmp_path: Path, postgres_server: str, s3_server: str
) -> None:
    authority = new_authority(tmp_path, "the nodes' authority")
    certificate = authority.certify("127.0.0.1")
    ca, tls = str(authority.root.certificate), ssl.create_default_context(cafile=authority.root.certificate)
    secure = {"http__tls__certificate": str(certificate.certificate), "http__tls__key": str(certificate.key)}
    with (
        large(postgres_server, s3_server) as shared,
        scripted_upstream() as upstream,
        a_node(tmp_path / "a", upstream.url, {**shared, **secure}, cluster__ca=ca) as one,
        a_node(tmp_path / "b", upstream.url, {**shared, **secure}, cluster__ca=ca) as other,
        a_node(tmp_path / "c", upstream.url, {**shared, **secure}) as stranger,
        ThreadPoolExecutor(1) as beside,
    ):
        layer = os.urandom(2_000_000)
        digest = digest_of(layer)
        manifest = upstream.script.push("v1", layer)
        upstream.script.held = SENT
        assert Reader(one, f"/v2/{ALIAS}/library/app/manifests/v1", 0, tls).rest() == manifest
        first, second = (Reader(node, of("library/app", digest), SENT // 2, tls) for node in (one, other))
        assert second.got == layer[: SENT // 2], "while it arrives"
        late = beside.submit(lambda: Reader(stranger, of("library/app", digest), 0, tls).rest())
        upstream.script.resume.set()
        assert [first.rest(), second.rest(), late.result()] == [layer] * 3
        assert [from_nodes(node, tls) for node in (one, other, stranger)] == [0, 1, 0]
        assert upstream.script.asked["GET", f"/v2/library/app/blobs/{digest}"] == 1


def test_an_authority_that_cannot_be_read_is_said_before_the_server_starts(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    command = [sys.executable, "-m", "entrepot", "serve", "--open", "--data-dir", str(tmp_path)]
    environment = {**os.environ, "ENTREPOT_CLUSTER__CA": str(tmp_path / "ca.pem")}
    refused = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (refused.returncode, f"{tmp_path / 'ca.pem'} (cluster.ca)" in refused.stderr) == (1, True)


def test_a_blob_of_which_nobody_says_how_large_it_is_is_fetched_once_by_two_nodes(scene: Scene, name: str) -> None:
    layer = os.urandom(2_000_000)
    digest = digest_of(layer)
    scene.script.blobs[digest] = layer  # no manifest names it
    scene.script.held, scene.script.quirks = SENT, {"no-length"}
    with ThreadPoolExecutor(4) as clients:
        asked = [clients.submit(scene.nodes[at % 2].get, of(name, digest)) for at in range(4)]
        while not fetched(scene, name, digest):
            pass
        scene.script.resume.set()
        assert [each.result().body for each in asked] == [layer] * 4
    assert fetched(scene, name, digest) == 1


def test_a_server_that_is_alone_has_no_door_for_nodes(server: Server) -> None:
    target = f"/nodes/arriving?digest={digest_of(b'')}&start=0&size=1"
    assert server.get(target).status == 404
