"""A purge that one node carries out cuts what every node is sending, and what any of them is fetching."""

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.http.conftest import large
from tests.support.cache_nodes import ALIAS, Reader, Scene, two_nodes
from tests.support.purges import cut_by
from tests.support.serving import Server, digest_of

MIB = 1024 * 1024
SENT = 600_000  # bytes that the upstream sends before it waits
EACH = 3  # downloads of each node


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, postgres_server: str, s3_server: str) -> Iterator[Scene]:
    """Two nodes on one PostgreSQL and one bucket, each with a data directory of its own, open to everybody."""
    with large(postgres_server, s3_server) as shared, two_nodes(tmp_path_factory.mktemp("nodes"), shared) as made:
        yield made


def purge(server: Server, name: str, digest: str) -> Any:
    """Purge it at this node; the report."""
    body = json.dumps({"digest": digest, "confirm": True}).encode()
    headers = {"Content-Type": "application/json"}
    answer = server.request("POST", f"/api/v1/repositories/{name}/-/purge", headers, body)
    assert answer.status == 200, answer
    return answer.json()["report"]


def test_slow_downloads_of_every_node_are_cut_and_in_the_report(scene: Scene, name: str) -> None:
    content = os.urandom(MIB) * 48  # more than the buffers between us hold
    layer = scene.nodes[0].push_blob(name, content)
    spared = scene.nodes[0].push_blob(name, content[:-1])
    target = f"/v2/{name}/blobs/{layer}"
    readers = [Reader(node, target, 1000) for node in scene.nodes for _ in range(EACH)]
    untouched = [Reader(node, f"/v2/{name}/blobs/{spared}", 1000) for node in scene.nodes]
    assert all((reader.status, reader.got) == (200, content[:1000]) for reader in readers)
    report = purge(scene.nodes[0], name, layer)
    assert cut_by(scene.nodes[1], f"/purges/{report['purge']['id']}", len(readers)) == [target] * len(readers)
    assert all(len(reader.rest()) < len(content) for reader in readers)
    assert all(node.get(target).status == 404 for node in scene.nodes)
    assert all(reader.rest() == content[:-1] for reader in untouched)


def test_what_arrives_from_an_upstream_is_cut_on_every_node_and_kept_on_none(scene: Scene, name: str) -> None:
    layer = os.urandom(2_000_000)
    digest = digest_of(layer)
    scene.script.push("v1", layer)
    scene.script.held = SENT
    assert scene.nodes[0].get(f"/v2/{ALIAS}/{name}/manifests/v1").status == 200
    target = f"/v2/{ALIAS}/{name}/blobs/{digest}"
    readers = [Reader(node, target, SENT // 2) for node in scene.nodes for _ in range(EACH)]
    assert all(reader.got == layer[: SENT // 2] for reader in readers)
    report = purge(scene.nodes[1], f"{ALIAS}/{name}", digest)
    assert cut_by(scene.nodes[1], f"/purges/{report['purge']['id']}", len(readers)) == [target] * len(readers)
    assert all(len(reader.rest()) <= SENT for reader in readers)
    while [node for node in scene.nodes if (node.data / "arriving" / digest.replace(":", "-")).exists()]:
        pass
    scene.script.resume.set()
    for node in scene.nodes:
        for refused in (node.get(target), node.get(f"/v2/{ALIAS}/{name}/manifests/v1")):
            assert (refused.status, "was purged from this registry" in refused.message) == (403, True)
    assert scene.script.asked["GET", f"/v2/{name}/blobs/{digest}"] == 1
