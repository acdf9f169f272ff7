"""Purging what came from an upstream: it is gone from the cache, and no door of the cache brings it back."""

import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.http.conftest import BOTH, large
from tests.support.cache_nodes import Reader
from tests.support.hub_world import Person, Visitor, World, serving_world
from tests.support.purges import ask, cut_by, keys_of, layers_of, purge
from tests.support.scripted_upstream import Script, scripted_upstream
from tests.support.serving import OCI_INDEX, OCI_MANIFEST, Registry, Server, a_manifest, descriptor, digest_of, serving
from tests.support.wire import Answer

SENT = 600_000  # bytes that the scripted upstream sends before it waits
READERS = 6  # of both workers


@dataclass
class Scene:
    """A registry with accounts, before a registry of ours (`up.example`, also a mirror, and `other.example`) and a
    scripted one (`slow.example`, and `swr.example`, whose tags are answered while they are looked at)."""

    world: World
    upstream: Server
    script: Script

    @property
    def admin(self) -> Person:
        """Who may purge there."""
        return self.world.administrator

    @property
    def reader(self) -> Visitor:
        """Who pulls."""
        return self.world.by_basic(self.admin)

    def asked(self) -> Counter[tuple[str, str]]:
        """How often the registry of ours was asked for what, as (method, target)."""
        self.upstream.logged(self.upstream.get("/v2/")["x-request-id"])  # one worker writes its log in order
        asked = [line for line in self.upstream.log() if line["event"] == "request" and line["target"] != "/v2/"]
        return Counter((line["method"], line["target"]) for line in asked)

    def doors(self, name: str, target: str) -> Iterator[Answer]:
        """What every door of `up.example` answers for a target of this repository."""
        yield self.reader.get(f"/v2/up.example/{name}/{target}")
        yield self.reader.get(f"/v2/{name}/{target}?ns=up.example")
        yield Registry(self.world.server.mirror_url).get(f"/v2/{name}/{target}")


@contextmanager
def a_scene(directory: Path, **settings: str) -> Iterator[Scene]:
    """All of it, running."""
    with ExitStack() as stack:
        upstream = stack.enter_context(serving(directory / "upstream", workers="1", log__format="json"))
        scripted = stack.enter_context(scripted_upstream())
        configured = {
            "up.example": {"url": upstream.url},
            "other.example": {"url": upstream.url},
            "slow.example": {"url": scripted.url},
            "swr.example": {"url": scripted.url, "fresh": "1s stale-while-revalidate 1h"},
        }
        mirror = {"mirror__upstream": "up.example", "mirror__listen": "127.0.0.1:0"}
        world = serving_world(directory / "cache", upstreams=json.dumps(configured), **mirror, **settings)
        yield Scene(stack.enter_context(world), upstream, scripted.script)


@pytest.fixture(scope="module")
def small_scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """On SQLite and files."""
    with a_scene(tmp_path_factory.mktemp("purge")) as made:
        yield made


@pytest.fixture(scope="module")
def large_scene(tmp_path_factory: pytest.TempPathFactory, postgres_server: str, s3_server: str) -> Iterator[Scene]:
    """On PostgreSQL and object storage."""
    with large(postgres_server, s3_server) as where, a_scene(tmp_path_factory.mktemp("purge"), **where) as made:
        yield made


@pytest.fixture(params=BOTH)
def scene(request: pytest.FixtureRequest) -> Scene:
    """Both; the scripted upstream holds nothing back."""
    made: Scene = request.getfixturevalue("small_scene" if request.param == "sqlite and files" else "large_scene")
    made.script.held, made.script.faults = None, {}
    made.script.resume.clear()
    return made


def refused(answer: Answer, identity: int) -> bool:
    """Whether it says that it was purged, why, and what would bring it back."""
    words = ("was purged from", "a stolen key", f"administrator lift purge {identity}")
    return (answer.status, answer.code) == (403, "DENIED") and all(word in answer.message for word in words)


def purged(scene: Scene, name: str, digest: str) -> int:
    """Purge it; the purge's number."""
    done = purge(scene.world, scene.admin, name, digest, reason="a stolen key")
    identity: int = done["report"]["purge"]["id"]
    return identity


def test_a_purged_image_is_gone_and_no_door_fetches_it_again_until_that_is_lifted(scene: Scene, name: str) -> None:
    manifest = scene.upstream.push_image(name, "v1")
    digest, (layer,) = digest_of(manifest), layers_of(manifest)
    assert all(answer.body == manifest for answer in scene.doors(name, "manifests/v1"))
    assert all(answer.status == 200 for answer in scene.doors(name, f"blobs/{layer}"))
    while not (keys := keys_of(scene.world, layer)):
        pass  # the last bytes are sent before the whole is durable
    identity = purged(scene, f"up.example/{name}", digest)
    assert keys_of(scene.world, layer) == []
    assert scene.world.execute("SELECT key FROM trash WHERE key = :key", key=keys[0]) == []
    assert not [path for path in scene.world.server.blob_files() if keys[0] in path.name]
    before = scene.asked()
    for target in ("manifests/v1", f"manifests/{digest}"):
        assert all(refused(answer, identity) for answer in scene.doors(name, target)), target
        assert scene.reader.head(f"/v2/up.example/{name}/{target}").status == 403
    fetched = scene.asked() - before
    assert all(fetched["GET", f"/v2/{name}/manifests/{reference}"] == 0 for reference in ("v1", digest))
    assert scene.reader.get(f"/v2/other.example/{name}/manifests/v1").body == manifest
    assert ask(scene.world, scene.admin, "DELETE", f"/namespaces/up.example/purges/{identity}").status == 204
    assert all(answer.body == manifest for answer in scene.doors(name, "manifests/v1"))


def test_a_purged_layer_goes_with_its_images_and_is_refused_in_each_of_them(scene: Scene, name: str) -> None:
    manifest = scene.upstream.push_image(name, "v1")
    (layer,) = layers_of(manifest)
    index = a_manifest({"manifests": [descriptor(manifest, OCI_MANIFEST)]}, OCI_INDEX)
    assert scene.upstream.put_manifest(name, "all", index, OCI_INDEX).status == 201
    content = scene.upstream.get(f"/v2/{name}/blobs/{layer}").body
    scene.upstream.push_blob(f"{name}/other", content)
    for target in ("manifests/all", f"manifests/{digest_of(manifest)}", "manifests/v1", f"blobs/{layer}"):
        assert scene.reader.get(f"/v2/up.example/{name}/{target}").status == 200
    looked = purge(scene.world, scene.admin, f"up.example/{name}", layer, confirm=False)
    held = {each["digest"]: each["tags"] for each in looked["holders"]}
    assert held == {digest_of(manifest): ["v1"], digest_of(index): ["all"]}
    identity = purged(scene, f"up.example/{name}", layer)
    assert keys_of(scene.world, layer) == []
    before = scene.asked()
    for target in ("manifests/v1", f"manifests/{digest_of(manifest)}", f"blobs/{layer}") * 3:
        assert all(refused(answer, identity) for answer in scene.doors(name, target)), target
    assert refused(scene.reader.get(f"/v2/up.example/{name}/other/blobs/{layer}"), identity)
    assert scene.reader.head(f"/v2/up.example/{name}/blobs/{layer}").status == 403
    fetched = scene.asked() - before
    assert not [target for _, target in fetched if "/blobs/" in target], "it is not even asked for"
    assert sum(count for (method, _), count in fetched.items() if method == "GET") <= 2, "once a worker, then it knows"
    assert scene.reader.get(f"/v2/other.example/{name}/blobs/{layer}").body == content


def test_an_index_that_names_a_purged_image_goes_with_it_and_comes_not_back(scene: Scene, name: str) -> None:
    manifest = scene.upstream.push_image(name, "v1")
    index = a_manifest({"manifests": [descriptor(manifest, OCI_MANIFEST)]}, OCI_INDEX)
    assert scene.upstream.put_manifest(name, "all", index, OCI_INDEX).status == 201
    for target in ("manifests/all", "manifests/v1"):
        assert scene.reader.get(f"/v2/up.example/{name}/{target}").status == 200
    identity = purged(scene, f"up.example/{name}", digest_of(manifest))
    for target in ("manifests/all", f"manifests/{digest_of(index)}", "manifests/v1"):
        assert all(refused(answer, identity) for answer in scene.doors(name, target)), target


def test_a_tag_that_moves_to_what_was_purged_is_refused_and_names_nothing_older(scene: Scene, name: str) -> None:
    for alias in ("slow.example", "swr.example"):
        first, place = scene.script.push("v1", os.urandom(100)), f"/v2/{alias}/{name}/manifests"
        assert scene.reader.get(f"{place}/v1").body == first
        leaked = scene.script.push("leaked", os.urandom(100))
        assert scene.reader.get(f"{place}/leaked").body == leaked
        identity = purged(scene, f"{alias}/{name}", digest_of(leaked))
        scene.script.manifests["v1"] = leaked
        while alias == "swr.example" and scene.reader.get(f"{place}/v1").body == first:
            pass  # until it has been looked at
        assert all(refused(scene.reader.get(f"{place}/v1"), identity) for _ in range(4)), "by both workers"
        assert scene.reader.get(f"{place}/{digest_of(first)}").body == first
        scene.script.faults = {"head": 500, "manifest": 500}
        down = Reader(scene.world.server, f"{place}/v1", 0, **scene.admin.basic)
        assert (down.status, first in down.rest()) == (502, False), "an upstream that is down changes nothing"
        scene.script.faults = {}


def test_what_nobody_has_pulled_yet_can_be_barred(scene: Scene, name: str) -> None:
    scene.script.push("v1", os.urandom(100))
    assert scene.reader.get(f"/v2/slow.example/{name}/manifests/v1").status == 200
    content = os.urandom(100)
    leaked = scene.script.push("leaked", content)
    identity = purged(scene, f"slow.example/{name}", digest_of(content))
    for target in ("manifests/leaked", f"manifests/{digest_of(leaked)}", f"blobs/{digest_of(content)}"):
        assert refused(scene.reader.get(f"/v2/slow.example/{name}/{target}"), identity)


def test_what_is_arriving_is_cut_for_all_who_read_it_and_kept_nowhere(scene: Scene, name: str) -> None:
    layer, server = os.urandom(2_000_000), scene.world.server
    digest = digest_of(layer)
    scene.script.push("v1", layer)
    scene.script.held = SENT
    assert scene.reader.get(f"/v2/slow.example/{name}/manifests/v1").status == 200
    target = f"/v2/slow.example/{name}/blobs/{digest}"
    readers = [Reader(server, target, SENT // 2, **scene.admin.basic) for _ in range(READERS)]
    report = purge(scene.world, scene.admin, f"slow.example/{name}", digest, reason="a stolen key")["report"]
    assert all(len(reader.rest()) <= SENT for reader in readers)
    place = f"/namespaces/slow.example/purges/{report['purge']['id']}"
    assert cut_by(server, place, READERS, **scene.admin.basic) == [target] * READERS
    while (server.data / "arriving" / digest.replace(":", "-")).exists():
        pass
    scene.script.resume.set()
    assert refused(scene.reader.get(target), report["purge"]["id"])
    assert keys_of(scene.world, digest) == []
    assert scene.script.asked["GET", f"/v2/{name}/blobs/{digest}"] == 1


def test_only_administrators_purge_there_and_see_what_was_purged(scene: Scene, name: str) -> None:
    manifest, alice = scene.upstream.push_image(name, "v1"), scene.world.person()
    assert scene.reader.get(f"/v2/up.example/{name}/manifests/v1").status == 200
    body = {"digest": digest_of(manifest), "confirm": True}
    assert ask(scene.world, alice, "POST", f"/repositories/up.example/{name}/-/purge", body).status == 403
    assert scene.reader.get(f"/v2/up.example/{name}/manifests/v1").body == manifest
    report = purge(scene.world, scene.admin, f"up.example/{name}", digest_of(manifest))["report"]
    assert any("up.example itself" in each for each in report["unreachable"])
    place = "/namespaces/up.example/purges"
    for path in (place, f"{place}/{report['purge']['id']}"):
        assert ask(scene.world, alice, "GET", path).status == 403
        assert digest_of(manifest) in ask(scene.world, scene.admin, "GET", path).body.decode()
    assert ask(scene.world, alice, "DELETE", f"{place}/{report['purge']['id']}").status == 403
