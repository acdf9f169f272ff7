"""The pull-through cache at its doors: by path, by `ns`, as a mirror; what is stored and what is asked for upstream.

The upstream is a registry of ours; its access log says what it was asked for.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.http.conftest import BOTH, large
from tests.support.serving import (
    OCI_INDEX,
    OCI_MANIFEST,
    Registry,
    Server,
    a_manifest,
    an_image,
    descriptor,
    digest_of,
    serving,
)

MANY = 30


@dataclass
class Scene:
    """A cache and its upstream."""

    cache: Server
    upstream: Server

    def asked(self) -> Counter[tuple[str, str]]:
        """How often the upstream was asked for what, as (method, target)."""
        self.upstream.logged(self.upstream.get("/v2/")["x-request-id"])  # one worker writes its log in order
        asked = [line for line in self.upstream.log() if line["event"] == "request" and line["target"] != "/v2/"]
        return Counter((line["method"], line["target"]) for line in asked)

    def fetched(self, name: str, manifest: bytes, tag: str = "v1") -> int:
        """How often the upstream was asked for this manifest's bytes, by its tag or its digest."""
        asked = self.asked()
        return sum(asked["GET", f"/v2/{name}/manifests/{reference}"] for reference in (tag, digest_of(manifest)))

    def push(self, name: str, tag: str, *layers: bytes) -> bytes:
        """An image at the upstream; returns its manifest."""
        config = json.dumps({"made": os.urandom(8).hex()}).encode()
        for content in (config, *layers):
            self.upstream.push_blob(name, content)
        manifest = an_image(config, *layers)
        assert self.upstream.put_manifest(name, tag, manifest).status == 201
        return manifest


@contextmanager
def a_scene(directory: Path, **settings: str) -> Iterator[Scene]:
    """An upstream, open to all, and a cache in front of it."""
    with serving(directory / "upstream", workers="1") as upstream:
        configured = {
            "up.example": {"url": upstream.url},
            "slow.example": {"url": upstream.url, "fresh": {"v*": "pinned", "*": "1h"}},
        }
        with serving(directory / "cache", accounts=False, upstreams=json.dumps(configured), **settings) as cache:
            yield Scene(cache, upstream)


@pytest.fixture(scope="module")
def small_scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """On SQLite and files."""
    with a_scene(tmp_path_factory.mktemp("cache"), mirror__upstream="up.example", mirror__listen="127.0.0.1:0") as made:
        yield made


@pytest.fixture(scope="module")
def large_scene(tmp_path_factory: pytest.TempPathFactory, postgres_server: str, s3_server: str) -> Iterator[Scene]:
    """On PostgreSQL and object storage."""
    with large(postgres_server, s3_server) as where, a_scene(tmp_path_factory.mktemp("cache"), **where) as made:
        yield made


@pytest.fixture(params=BOTH)
def scene(request: pytest.FixtureRequest) -> Scene:
    """A cache on the embedded store, then one on PostgreSQL and object storage."""
    made: Scene = request.getfixturevalue("small_scene" if request.param == "sqlite and files" else "large_scene")
    return made


def test_an_image_is_pulled_byte_for_byte_and_then_answered_from_here(scene: Scene, name: str) -> None:
    layer = os.urandom(300_000)
    manifest = scene.push(name, "v1", layer)
    for _ in range(2):
        answer = scene.cache.get(f"/v2/up.example/{name}/manifests/v1")
        assert (answer.status, answer.body) == (200, manifest)
        assert scene.cache.get(f"/v2/up.example/{name}/blobs/{digest_of(layer)}").body == layer
        assert scene.cache.head(f"/v2/up.example/{name}/blobs/{digest_of(layer)}")["content-length"] == str(len(layer))
    asked = scene.asked()
    assert scene.fetched(name, manifest) == 1
    assert asked["GET", f"/v2/{name}/blobs/{digest_of(layer)}"] == 1
    assert asked["HEAD", f"/v2/{name}/manifests/v1"] == 1, "a tag is looked at again by HEAD, which costs no pull"


def test_many_who_ask_at_once_cause_one_fetch_of_each_digest(scene: Scene, name: str) -> None:
    layers = [os.urandom(2_000_000) for _ in range(3)]
    manifest = scene.push(name, "v1", *layers)

    def pull(_: int) -> list[bytes]:
        targets = [f"manifests/{digest_of(manifest)}", *(f"blobs/{digest_of(layer)}" for layer in layers)]
        return [scene.cache.get(f"/v2/up.example/{name}/{target}").body for target in targets]

    with ThreadPoolExecutor(MANY) as clients:
        pulled = list(clients.map(pull, range(MANY)))
    assert all(bodies == [manifest, *layers] for bodies in pulled)
    fetched = {target: count for (method, target), count in scene.asked().items() if method == "GET" and name in target}
    assert set(fetched.values()) == {1}
    assert len(fetched) == 1 + len(layers)


def test_a_tag_that_moves_upstream_moves_here(scene: Scene, name: str) -> None:
    first = scene.push(name, "latest", os.urandom(100))
    assert scene.cache.get(f"/v2/up.example/{name}/manifests/latest").body == first
    second = scene.push(name, "latest", os.urandom(100))
    assert scene.cache.get(f"/v2/up.example/{name}/manifests/latest").body == second
    assert scene.cache.get(f"/v2/up.example/{name}/manifests/{digest_of(first)}").body == first


def test_within_its_freshness_a_tag_is_answered_without_a_look(scene: Scene, name: str) -> None:
    for tag in ("v1", "latest"):
        first = scene.push(name, tag, os.urandom(100))
        assert scene.cache.get(f"/v2/slow.example/{name}/manifests/{tag}").body == first
        scene.push(name, tag, os.urandom(100))
        before = scene.asked()
        assert scene.cache.get(f"/v2/slow.example/{name}/manifests/{tag}").body == first
        assert scene.asked() == before


def test_within_its_freshness_a_whole_pull_asks_the_upstream_for_nothing(scene: Scene, name: str) -> None:
    for tag in ("v1", "latest"):  # pinned, and fresh for an hour
        layers = [os.urandom(100_000), os.urandom(100)]
        manifest = scene.push(name, tag, *layers)
        place, named = f"/v2/slow.example/{name}", json.loads(manifest)
        blobs = [each["digest"] for each in (named["config"], *named["layers"])]
        before = []
        for _ in range(3):
            assert scene.cache.head(f"{place}/manifests/{tag}")["docker-content-digest"] == digest_of(manifest)
            for reference in (tag, digest_of(manifest)):
                assert scene.cache.get(f"{place}/manifests/{reference}").body == manifest
            for blob in blobs:
                assert scene.cache.head(f"{place}/blobs/{blob}").status == 200
                assert digest_of(scene.cache.get(f"{place}/blobs/{blob}").body) == blob
            before.append(scene.asked())
        assert before[0] == before[1] == before[2]


def test_an_index_is_kept_whole_and_its_children_come_when_they_are_asked_for(scene: Scene, name: str) -> None:
    children = [scene.push(name, f"child{number}", os.urandom(100)) for number in range(2)]
    index = a_manifest(
        {"manifests": [descriptor(child, OCI_MANIFEST) for child in children]},
        OCI_INDEX,
    )
    assert scene.upstream.put_manifest(name, "all", index, OCI_INDEX).status == 201
    assert scene.cache.get(f"/v2/up.example/{name}/manifests/all").body == index
    assert scene.asked()["GET", f"/v2/{name}/manifests/{digest_of(children[1])}"] == 0
    assert scene.cache.get(f"/v2/up.example/{name}/manifests/{digest_of(children[1])}").body == children[1]


def test_by_ns_the_same_stored_repository_is_read(scene: Scene, name: str) -> None:
    manifest = scene.push(name, "v1", os.urandom(100))
    by_ns = scene.cache.get(f"/v2/{name}/manifests/v1?ns=up.example")
    assert (by_ns.body, by_ns["oci-namespace"]) == (manifest, "up.example")
    assert scene.cache.get(f"/v2/up.example/{name}/manifests/v1").body == manifest
    assert scene.fetched(name, manifest) == 1
    unknown = scene.cache.get(f"/v2/{name}/manifests/v1?ns=elsewhere.example")
    assert (unknown.status, unknown.code) == (404, "NAME_UNKNOWN")


def test_nothing_is_pushed_to_an_upstream_and_a_delete_evicts(scene: Scene, name: str) -> None:
    manifest = scene.push(name, "v1", os.urandom(100))
    place = f"/v2/up.example/{name}"
    assert scene.cache.get(f"{place}/manifests/v1").status == 200
    refused = [
        scene.cache.request("POST", f"{place}/blobs/uploads/", body=b""),
        scene.cache.request("POST", f"{place}/blobs/uploads/?mount={digest_of(b'')}&from=a/b", body=b""),
        scene.cache.request("PUT", f"{place}/manifests/v2", {"Content-Type": OCI_INDEX}, manifest),
    ]
    assert [(answer.status, answer.code) for answer in refused] == [(405, "UNSUPPORTED")] * 3
    assert scene.cache.delete(f"{place}/manifests/{digest_of(manifest)}").status == 202
    assert scene.cache.get(f"{place}/manifests/v1").body == manifest
    assert scene.fetched(name, manifest) == 2


def test_that_a_blob_is_here_for_one_repository_opens_it_in_no_other(scene: Scene, name: str) -> None:
    layer = os.urandom(1000)
    scene.push(name, "v1", layer)
    scene.push(f"{name}/other", "v1", b"something else")
    assert scene.cache.get(f"/v2/up.example/{name}/blobs/{digest_of(layer)}").body == layer
    assert scene.cache.get(f"/v2/up.example/{name}/other/blobs/{digest_of(layer)}").status == 404
    assert scene.cache.get(f"/v2/up.example/{name}/nowhere/blobs/{digest_of(layer)}").status == 404


def test_lists_of_tags_and_referrers_are_the_upstreams(scene: Scene, name: str) -> None:
    manifest = scene.push(name, "v1", os.urandom(100))
    scene.push(name, "v2", os.urandom(100))
    assert scene.cache.get(f"/v2/up.example/{name}/tags/list").json() == {
        "name": f"up.example/{name}",
        "tags": ["v1", "v2"],
    }
    subject = {
        "mediaType": OCI_MANIFEST,
        "digest": digest_of(manifest),
        "size": len(manifest),
    }
    signature = scene.upstream.push_artifact(name, subject=subject)
    referrers = scene.cache.get(f"/v2/up.example/{name}/referrers/{digest_of(manifest)}")
    assert [each["digest"] for each in referrers.json()["manifests"]] == [signature["digest"]]
    assert scene.cache.get(f"/v2/up.example/{name}/manifests/{signature['digest']}").status == 200


def test_a_mirror_reads_one_upstream_and_nothing_else(small_scene: Scene, name: str) -> None:
    mirror = Registry(small_scene.cache.mirror_url)
    manifest = small_scene.push(name, "v1", os.urandom(100))
    small_scene.cache.push_image(f"{name}/hosted", "v1")
    secret = {"Authorization": "Basic c29tZWJvZHk6c2VjcmV0"}
    assert mirror.get("/v2/", secret).status == 200
    assert mirror.get(f"/v2/{name}/manifests/v1", secret).body == manifest
    assert mirror.get(f"/v2/{name}/hosted/manifests/v1").status == 404
    assert mirror.get("/v2/_catalog").status == 404
    refused = mirror.request("POST", f"/v2/{name}/blobs/uploads/", secret, b"")
    assert (refused.status, refused.code) == (405, "UNSUPPORTED")
    assert mirror.delete(f"/v2/{name}/manifests/v1").status == 405
    assert "c29tZWJvZHk6c2VjcmV0" not in small_scene.cache.log_file.read_text()
    assert mirror.get(f"/v2/{name}/tags/list").json()["tags"] == ["v1"]


def test_a_name_that_is_hosted_already_does_not_become_an_upstreams(tmp_path: Path, name: str) -> None:
    with serving(tmp_path) as server:
        server.push_image(f"docker.io/{name}", "v1")
    command = [sys.executable, "-m", "entrepot", "serve", "--open", "--listen", "127.0.0.1:0"]
    environment = {**os.environ, "ENTREPOT_UPSTREAMS": '{"docker.io": {}}', "ENTREPOT_DATA_DIR": str(tmp_path / "data")}
    refused = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert refused.returncode == 1
    assert f"the repository docker.io/{name} is hosted here" in refused.stderr


def test_warming_has_the_cache_read_what_is_named(small_scene: Scene, name: str, tmp_path: Path) -> None:
    layer = os.urandom(100_000)
    manifest = small_scene.push(name, "v1", layer)
    (tmp_path / "images").write_text(f"# what the cluster runs\nup.example/{name}:v1\n")
    command = [sys.executable, "-m", "entrepot", "mirror", "warm", "--url", small_scene.cache.url]
    done = subprocess.run(
        [*command, "--file", str(tmp_path / "images")], capture_output=True, text=True, timeout=60, check=True
    )
    assert f"up.example/{name}:v1: " in done.stdout
    before = small_scene.asked()
    assert small_scene.cache.get(f"/v2/up.example/{name}/manifests/{digest_of(manifest)}").body == manifest
    assert small_scene.cache.get(f"/v2/up.example/{name}/blobs/{digest_of(layer)}").body == layer
    assert small_scene.asked() == before
    absent = subprocess.run([*command, f"up.example/{name}:absent"], capture_output=True, text=True, check=False)
    assert absent.returncode == 1
    assert "404" in absent.stderr


def test_a_mirror_is_warmed_too(small_scene: Scene, name: str) -> None:
    manifest = small_scene.push(name, "v1", b"a layer of a mirror")
    image, url = f"up.example/{name}:v1", small_scene.cache.mirror_url
    command = [sys.executable, "-m", "entrepot", "mirror", "warm", "--mirror", "--url", url, image]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.startswith(f"{image}: ")
    before = small_scene.asked()
    assert small_scene.cache.get(f"/v2/up.example/{name}/manifests/{digest_of(manifest)}").body == manifest
    assert small_scene.asked() == before


def test_of_an_image_for_several_platforms_warming_reads_the_one_that_is_wanted(small_scene: Scene, name: str) -> None:
    layers = {"amd64": os.urandom(1000), "arm64": os.urandom(1000)}
    children = {each: small_scene.push(name, f"child-{each}", layer) for each, layer in layers.items()}
    described = [
        descriptor(child, OCI_MANIFEST, platform={"os": "linux", "architecture": each})
        for each, child in children.items()
    ]
    index = a_manifest({"manifests": described}, OCI_INDEX)
    assert small_scene.upstream.put_manifest(name, "v1", index, OCI_INDEX).status == 201
    image = f"up.example/{name}:v1@{digest_of(index)}"
    command = [sys.executable, "-m", "entrepot", "mirror", "warm", "--url", small_scene.cache.url]
    subprocess.run([*command, "--platform", "linux/arm64", image], timeout=60, check=True)
    asked = {target for method, target in small_scene.asked() if method == "GET" and name in target}
    wanted = [digest_of(index), digest_of(children["arm64"])]
    assert {target for target in asked if "/manifests/" in target} == {
        f"/v2/{name}/manifests/{each}" for each in wanted
    }
    assert f"/v2/{name}/blobs/{digest_of(layers['arm64'])}" in asked
    assert f"/v2/{name}/blobs/{digest_of(layers['amd64'])}" not in asked
