"""A hub that allows few pulls, and many who want its images: through the cache all get them, one pull an image.

The upstream is a hub of ours with Docker Hub's token service and limits, which answers 429 to whoever comes directly.
"""

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

import pytest

from tests.http.conftest import BOTH, large
from tests.support.cache_nodes import ALIAS, a_node
from tests.support.hub_world import World, serving_world
from tests.support.serving import OCI_INDEX, OCI_MANIFEST, Server, a_manifest, descriptor, digest_of, serving

_IMAGES = 8
_CLIENTS = 25
_LIMIT = 10


def _images(world: World, number: int) -> dict[str, bytes]:
    """Public images of the hub: name → manifest."""
    made = {}
    for at in range(number):
        name = f"library/image-{at}"
        world.repository(world.administrator, name, "public")
        made[name] = world.by_basic(world.administrator).push_image(name, "v1")
    return made


def _left(world: World) -> int:
    """Anonymous pulls that the hub still allows."""
    answer = world.by_token(None, "library/image-0", actions="pull").head("/v2/library/image-0/manifests/v1")
    return int(str(answer["ratelimit-remaining"]).partition(";")[0])


def _pulled(server: Server, pulls: Sequence[tuple[str, bytes]], at_once: int, *, whole: bool = True) -> list[int]:
    """What each of these pulls got, tag and then digest as a node does, and if `whole` all blobs: the last status;
    wrong bytes are a failure."""

    def pull(name: str, manifest: bytes) -> int:
        by_tag = server.head(f"/v2/{name}/manifests/v1")
        answer = server.get(f"/v2/{name}/manifests/{by_tag['docker-content-digest'] if by_tag.status == 200 else 'v1'}")
        assert answer.status != 200 or digest_of(answer.body) == digest_of(manifest)
        document = json.loads(manifest)
        for each in [document["config"], *document["layers"]] if whole and answer.status == 200 else ():
            blob = server.get(f"/v2/{name}/blobs/{each['digest']}")
            assert (blob.status, digest_of(blob.body)) == (200, each["digest"])
        return answer.status

    with ThreadPoolExecutor(at_once) as clients:
        return list(clients.map(lambda each: pull(*each), pulls))


@pytest.fixture(params=BOTH)
def store(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """Settings of a cache on the embedded store, then of one on PostgreSQL and object storage."""
    if request.param == "sqlite and files":
        yield {}
        return
    with large(request.getfixturevalue("postgres_server"), request.getfixturevalue("s3_server")) as settings:
        yield settings


def test_two_hundred_pulls_are_eight_at_a_hub_that_allows_ten(tmp_path: Path, store: dict[str, str]) -> None:
    with serving_world(tmp_path / "hub", limits__pulls__anonymous=str(_LIMIT)) as hub:
        images = _images(hub, _IMAGES)
        hub.server.asks_from = None  # the cache has no proxy before it, and it is its address that is counted
        upstreams = json.dumps({"hub.example": {"url": hub.server.url}})
        with serving(tmp_path / "cache", accounts=False, upstreams=upstreams, **store) as cache:
            pulls = [(f"hub.example/{name}", manifest) for name, manifest in images.items()] * _CLIENTS
            assert set(_pulled(cache, pulls, _CLIENTS)) == {200}
            assert _left(hub) == _LIMIT - _IMAGES


@pytest.mark.xdist_group("large")
def test_two_hundred_pulls_at_two_nodes_are_eight_too(tmp_path: Path, postgres_server: str, s3_server: str) -> None:
    with (
        serving_world(tmp_path / "hub", limits__pulls__anonymous=str(_LIMIT)) as hub,
        large(postgres_server, s3_server) as shared,
        a_node(tmp_path / "a", hub.server.url, shared) as one,
        a_node(tmp_path / "b", hub.server.url, shared) as other,
        ThreadPoolExecutor(2) as both,
    ):
        images = _images(hub, _IMAGES)
        hub.server.asks_from = None
        pulls = [(f"{ALIAS}/{name}", manifest) for name, manifest in images.items()] * (_CLIENTS // 2 + 1)
        assert set(chain(*both.map(lambda node: _pulled(node, pulls, _CLIENTS // 2), (one, other)))) == {200}
        assert _left(hub) == _LIMIT - _IMAGES


@pytest.mark.parametrize("nodes", [10, 100])
def test_a_cluster_pulls_each_image_once(tmp_path: Path, nodes: int) -> None:
    """20 pods a node want 2 images each at Docker Hub's 100 pulls; directly they are refused. A node asks for the
    manifest for each pod, and for the blobs once."""
    with serving_world(tmp_path / "hub", limits__pulls__anonymous="100") as hub:
        images = _images(hub, 2)
        hub.server.asks_from = None
        with serving(tmp_path / "cache", upstreams=json.dumps({"hub.example": {"url": hub.server.url}})) as cache:
            pulls = [(f"hub.example/{name}", manifest) for name, manifest in images.items()] * nodes
            assert set(_pulled(cache, pulls, 20)) == {200}
            assert set(_pulled(cache, pulls * 19, 20, whole=False)) == {200}
        assert _left(hub) == 98
        node = hub.by_token(None, *images, actions="pull")
        direct = [node.get(f"/v2/{name}/manifests/v1").status for name in images for _ in range(60)]
        assert (direct.count(200), direct.count(429)) == (98, 22)


def test_an_image_for_several_platforms_is_one_pull_for_each_that_is_wanted(
    tmp_path: Path, store: dict[str, str]
) -> None:
    with serving_world(tmp_path / "hub", limits__pulls__anonymous=str(_LIMIT)) as hub:
        images = _images(hub, 1)
        pusher = hub.by_basic(hub.administrator)
        (name,) = images
        children = [pusher.push_image(name, f"child-{number}") for number in range(3)]
        index = a_manifest({"manifests": [descriptor(child, OCI_MANIFEST) for child in children]}, OCI_INDEX)
        assert pusher.put_manifest(name, "all", index, OCI_INDEX).status == 201
        hub.server.asks_from = None
        upstreams = json.dumps({"hub.example": {"url": hub.server.url}})
        with serving(tmp_path / "cache", accounts=False, upstreams=upstreams, **store) as cache:
            wanted = children[:2]

            def pull(child: bytes) -> bool:
                place = f"/v2/hub.example/{name}"
                assert cache.get(f"{place}/manifests/all").body == index
                assert cache.get(f"{place}/manifests/{digest_of(child)}").body == child
                layer = json.loads(child)["layers"][0]["digest"]
                return digest_of(cache.get(f"{place}/blobs/{layer}").body) == str(layer)

            with ThreadPoolExecutor(_CLIENTS) as clients:
                assert all(clients.map(pull, wanted * _CLIENTS))
            assert _left(hub) == _LIMIT - len(wanted), "nobody wanted the third"


def test_a_hub_that_has_had_enough_is_429_for_what_is_new_and_what_is_stored_is_answered(
    tmp_path: Path, store: dict[str, str]
) -> None:
    with serving_world(tmp_path / "hub", limits__pulls__anonymous="1") as hub:
        images = _images(hub, 3)
        hub.server.asks_from = None
        upstreams = json.dumps({"hub.example": {"url": hub.server.url}})
        first, *others = images
        target = f"/v2/hub.example/{first}/manifests/v1"
        with serving(tmp_path / "cache", accounts=False, upstreams=upstreams, **store) as cache:
            assert cache.get(target).body == images[first]
            for name in others:
                for reference in ("v1", digest_of(images[name])):
                    refused = cache.get(f"/v2/hub.example/{name}/manifests/{reference}")
                    assert (refused.status, refused.code) == (429, "TOOMANYREQUESTS")
                    assert "hub.example" in refused.message
                    assert int(refused["retry-after"]) >= 1
            hub.by_basic(hub.administrator).push_image(first, "v1")
            stored = cache.get(target)
            assert (stored.status, stored.body) == (200, images[first])
            assert stored["warning"].startswith('299 - "this is a stored copy: ')
            assert cache.get(target.replace("v1", digest_of(images[first]))).header("warning") is None
            layer = json.loads(images[first])["layers"][0]["digest"]
            assert digest_of(cache.get(f"/v2/hub.example/{first}/blobs/{layer}").body) == layer, "blobs are no pulls"
