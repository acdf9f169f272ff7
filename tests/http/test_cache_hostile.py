"""What a hostile upstream, or a hostile client of one, cannot do to the cache: wedge it, or reach what is others'."""

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.cache_nodes import Reader
from tests.support.faulty_cache import Scene, a_scene
from tests.support.scripted_upstream import Script
from tests.support.serving import Server, a_manifest, digest_of
from tests.support.wire import whole


@pytest.fixture
def scene(faulty: tuple[Server, Script], name: str) -> Iterator[Scene]:
    with a_scene(*faulty, name) as made:
        yield made


def another(scene: Scene, manifest: bytes | None = None) -> Scene:
    """A repository of another upstream, which has this manifest as its `v1`, and none of the blobs."""
    other = scene.another(f"{scene.name}/other")
    scene.script.faults |= {f"{phase} {other.name}": 404 for phase in ("blob", "blob-head")}
    if manifest is not None:
        scene.script.manifests |= {"other": manifest, digest_of(manifest): manifest}
    assert other.get("manifests/v1" if manifest is None else "manifests/other").status == 200
    return other


def test_that_a_manifest_names_what_is_stored_for_others_opens_nothing(scene: Scene) -> None:
    layer = os.urandom(1000)
    digest = digest_of(layer)
    scene.script.push("v1", layer)
    assert scene.get("manifests/v1").status == 200
    assert scene.get(f"blobs/{digest}").body == layer
    other = another(scene)
    assert other.get(f"blobs/{digest}").status == 404, "its own upstream has no such blob"
    scene.script.faults = {}
    assert other.get(f"blobs/{digest}").body == layer
    asked = scene.script.asked
    assert (asked["HEAD", f"/v2/{other.name}/blobs/{digest}"], asked["GET", f"/v2/{other.name}/blobs/{digest}"]) == (
        2,
        0,
    )


def test_nor_what_arrives_for_others(scene: Scene) -> None:
    layer = os.urandom(1_000_000)
    digest = digest_of(layer)
    scene.script.push("v1", layer)
    scene.script.held = 300_000
    assert scene.get("manifests/v1").status == 200
    reader = Reader(scene.cache, f"/v2/{scene.alias}/{scene.name}/blobs/{digest}", 100_000)
    other = another(scene)
    assert other.get(f"blobs/{digest}").status == 404
    scene.script.resume.set()
    assert reader.rest() == layer


def test_what_another_repository_is_told_of_a_blob_is_nobody_elses_answer(scene: Scene) -> None:
    layer = os.urandom(300_000)
    digest = digest_of(layer)
    manifest = scene.script.push("v1", layer)
    assert scene.get("manifests/v1").status == 200
    lying = json.loads(manifest)
    lying["layers"][0]["size"] = 5
    other = another(scene, a_manifest(lying))
    scene.script.faults = {f"blob {other.name}": "silent"}  # and then it has another size than is said there
    with ThreadPoolExecutor(2) as clients:
        wrong = clients.submit(other.get, f"blobs/{digest}")
        while not scene.script.asked["GET", f"/v2/{other.name}/blobs/{digest}"]:
            pass
        right = clients.submit(scene.get, f"blobs/{digest}")
        assert scene.get("manifests/v1").status == 200
        scene.script.resume.set()
        assert wrong.result().status == 502
        assert right.result().body == layer


@pytest.mark.parametrize("fault", [403, 500, "wrong"])
def test_tokens_that_are_refused_use_up_no_connection(scene: Scene, fault: int | str) -> None:
    manifest = scene.script.push("v1", os.urandom(100))
    scene.script.token, scene.script.faults = "a token", {"token": fault}
    for number in range(70):  # more than there are connections
        with scene.cache.connect() as connection:
            target = f"/v2/{scene.alias}/namespace-{number}/app/manifests/v1"
            assert connection.ask(whole("GET", target, (), None), "GET").status in (403, 404, 502)
    scene.script.faults = {}
    while (answer := scene.get("manifests/v1")).status == 502 and fault == 500:
        pass  # for a second it is taken for down
    assert (answer.status, answer.body) == (200, manifest)


_UNREADABLE: dict[str, dict[str, Any]] = {
    "a redirect to a port that is none": {"manifests_at": "http://cdn.example:99999"},
    "a redirect to an address that is none": {"manifests_at": "http://[x"},
    "a redirect to a host that has no name": {"manifests_at": f"http://{'a' * 70}.example"},
    "a token service that is nowhere": {"token": "another", "realm": "http://[x/"},
    "a token for longer than there is time": {"token": "another", "lifetime": 10**400},
    "a wait for longer than there are years": {
        "faults": {"head": 429, "manifest": 429},
        "headers": {"Retry-After": "Mon, 01 Jan 99999999999999 00:00:00 GMT"},
    },
}


@pytest.mark.parametrize("said", _UNREADABLE.values(), ids=_UNREADABLE)
def test_an_answer_that_cannot_be_read_is_the_upstreams_fault_and_costs_nothing_that_is_stored(
    scene: Scene, said: dict[str, Any]
) -> None:
    manifest = scene.script.push("v1", os.urandom(100))
    scene.script.push("v2", os.urandom(100))
    assert scene.get("manifests/v1").body == manifest
    vars(scene.script).update(said)
    stored = scene.get("manifests/v1")
    assert (stored.status, stored.body) == (200, manifest)
    assert stored["warning"].startswith('299 - "this is a stored copy: ')
    assert scene.get("manifests/v2").status == (429 if "faults" in said else 502)


def test_a_page_in_place_of_a_manifest_is_none(scene: Scene) -> None:
    manifest = scene.script.push("v1", os.urandom(100))
    assert scene.get("manifests/v1").body == manifest
    scene.script.manifests["v1"] = scene.script.manifests["v2"] = b"<html>log in to the network first</html>"
    scene.script.quirks = {"no-digest"}
    stored = scene.get("manifests/v1")
    assert (stored.status, stored.body) == (200, manifest)
    assert "sends what is no manifest" in stored["warning"]
    assert scene.get("manifests/v2").status == 502
