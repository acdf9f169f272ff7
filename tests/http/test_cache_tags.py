"""Tags of upstreams at the doors: how fresh they are, what is remembered of absent ones, and what may be read."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest

from tests.support.scripted_upstream import Script, scripted_upstream
from tests.support.serving import Registry, Server, digest_of, serving

UPSTREAMS: dict[str, dict[str, object]] = {
    "always.example": {},
    "swr.example": {"fresh": "always stale-while-revalidate 1h"},
    "pattern.example": {"fresh": {"v*": "pinned", "nightly": "1h, stale-while-revalidate 2h", "*": "always"}},
    "some.example": {"allow": ["library/*", "acme/app"], "deny": ["library/secret*"]},
    "late.example": {"delay": "3d"},
}


class Scene(NamedTuple):
    """A cache of one worker, its upstream's script, and a repository there that is this test's alone."""

    cache: Server
    script: Script
    name: str

    def digest(self, alias: str, tag: str = "v1") -> str:
        """What a tag is answered with."""
        return str(self.cache.get(f"/v2/{alias}/{self.name}/manifests/{tag}").header("docker-content-digest"))

    def looks(self, tag: str = "v1") -> int:
        """How often the upstream was asked for a tag, by HEAD or GET."""
        target = f"/v2/{self.name}/manifests/{tag}"
        return self.script.asked["HEAD", target] + self.script.asked["GET", target]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Script]]:
    with scripted_upstream() as upstream:
        configured = {alias: {"url": upstream.url, **keys} for alias, keys in UPSTREAMS.items()}
        directory = tmp_path_factory.mktemp("tags")
        with serving(directory, upstreams=json.dumps(configured), workers="1") as cache:
            yield cache, upstream.script


@pytest.fixture
def scene(running: tuple[Server, Script], name: str) -> Scene:
    cache, script = running
    script.reset()
    return Scene(cache, script, name)


def test_a_tag_that_has_just_become_old_is_answered_at_once_and_looked_at_meanwhile(scene: Scene) -> None:
    first = scene.script.push("v1", os.urandom(100))
    assert scene.digest("swr.example") == digest_of(first)
    scene.script.faults["head"] = "silent"
    second = scene.script.push("v1", os.urandom(100))
    for _ in range(5):
        answer = scene.cache.get(f"/v2/swr.example/{scene.name}/manifests/v1")
        assert (answer.body, answer.header("warning")) == (first, None), "nobody waits for the look"
    while scene.looks() < 2:
        continue
    scene.script.faults.clear()
    scene.script.resume.set()
    while scene.digest("swr.example") != digest_of(second):
        continue
    assert scene.cache.get(f"/v2/swr.example/{scene.name}/manifests/{digest_of(first)}").status == 200


def test_each_tag_is_as_fresh_as_the_first_pattern_that_it_fits(scene: Scene) -> None:
    first = {tag: scene.script.push(tag, os.urandom(100)) for tag in ("v1", "nightly", "latest")}
    for tag, manifest in first.items():
        assert scene.digest("pattern.example", tag) == digest_of(manifest)
    looks = {tag: scene.looks(tag) for tag in first}
    second = {tag: scene.script.push(tag, os.urandom(100)) for tag in first}
    assert scene.digest("pattern.example", "v1") == digest_of(first["v1"])
    assert scene.digest("pattern.example", "nightly") == digest_of(first["nightly"])
    assert scene.digest("pattern.example", "latest") == digest_of(second["latest"])
    assert {tag: scene.looks(tag) - looks[tag] for tag in first} == {"v1": 0, "nightly": 0, "latest": 1}


def test_a_tag_that_is_not_there_is_not_asked_for_again_for_a_while(scene: Scene) -> None:
    for _ in range(5):
        assert scene.cache.get(f"/v2/always.example/{scene.name}/manifests/v1").status == 404
    assert scene.looks() <= 2, "by HEAD and GET at the most"


def test_only_repositories_that_are_allowed_and_not_denied_are_read(scene: Scene) -> None:
    manifest = scene.script.push("v1", os.urandom(100))
    blob = digest_of(next(iter(scene.script.blobs.values())))
    for path, status in (("library/app", 200), ("acme/app", 200), ("acme/other", 403), ("library/secret-1", 403)):
        for target in ("manifests/v1", f"manifests/{digest_of(manifest)}", f"blobs/{blob}"):
            answer = scene.cache.get(f"/v2/some.example/{path}/{target}")
            assert answer.status == status, (path, target)
            assert status == 200 or (answer.code, path in answer.message) == ("DENIED", True)
        assert scene.cache.head(f"/v2/some.example/{path}/blobs/{blob}").status == status
    for path in ("acme/other", "library/secret-1"):
        assert scene.cache.get(f"/v2/some.example/{path}/tags/list").status == 403
        assert scene.cache.get(f"/v2/some.example/{path}/referrers/{digest_of(manifest)}").status == 403
    asked = {target for _, target in scene.script.asked}
    assert not [target for target in asked if "acme/other" in target or "secret" in target]


def test_what_is_denied_later_is_not_answered_from_what_is_stored(tmp_path: Path) -> None:
    with scripted_upstream() as upstream:
        manifest = upstream.script.push("v1", os.urandom(100))
        at = {"url": upstream.url, "fresh": "pinned"}
        targets = [f"/v2/up.example/library/app/manifests/{each}" for each in ("v1", digest_of(manifest))]
        with serving(tmp_path, upstreams=json.dumps({"up.example": at})) as cache:
            assert [cache.get(target).status for target in targets] == [200, 200]
        with serving(tmp_path, upstreams=json.dumps({"up.example": {**at, "deny": ["library/app"]}})) as cache:
            assert [cache.get(target).status for target in targets] == [403, 403]


@pytest.mark.parametrize("quirk", ["", "no-digest", "no-head"])
def test_a_fresh_digest_waits_for_the_delay_whatever_a_look_tells(scene: Scene, quirk: str) -> None:
    scene.script.quirks = {quirk}
    manifest = scene.script.push("v1", os.urandom(100))
    for _ in range(2):
        answer = scene.cache.get(f"/v2/late.example/{scene.name}/manifests/v1")
        assert (answer.status, answer.code) == (403, "DENIED")
        assert digest_of(manifest) in answer.message
        assert "answered from 20" in answer.message, "with the date"
    assert scene.cache.get(f"/v2/late.example/{scene.name}/manifests/{digest_of(manifest)}").body == manifest


def test_a_tag_that_moves_names_its_old_digest_until_the_new_one_is_old_enough(tmp_path: Path) -> None:
    with scripted_upstream() as upstream:
        at, target = {"url": upstream.url}, "/v2/up.example/library/app/manifests/v1"
        first = upstream.script.push("v1", os.urandom(100))
        with serving(tmp_path, upstreams=json.dumps({"up.example": at})) as cache:
            assert cache.get(target).body == first
        second = upstream.script.push("v1", os.urandom(100))
        with serving(tmp_path, upstreams=json.dumps({"up.example": {**at, "delay": "3d"}})) as cache:
            for _ in range(2):
                answer = cache.get(target)
                assert answer.body == first
                assert digest_of(second) in answer["warning"], "and why"
            by_digest = target.replace("v1", digest_of(second))
            assert cache.get(by_digest).body == second
            assert cache.get(target).body == first
        with serving(tmp_path, upstreams=json.dumps({"up.example": {**at, "delay": "1s"}})) as cache:
            while cache.get(target).body != second:
                pass


def test_the_names_of_docker_hub_are_one(tmp_path: Path) -> None:
    with scripted_upstream() as upstream:
        manifest = upstream.script.push("v1", os.urandom(100))
        configured = json.dumps({"registry-1.docker.io": {"url": upstream.url, "fresh": "1h"}})
        with serving(tmp_path, upstreams=configured) as cache:
            for host in ("docker.io", "index.docker.io", "registry-1.docker.io"):
                assert cache.get(f"/v2/{host}/library/app/manifests/v1").body == manifest
                answer = cache.get(f"/v2/library/app/manifests/v1?ns={host}")
                assert (answer.body, answer["oci-namespace"]) == (manifest, host)
                assert cache.request("POST", f"/v2/{host}/library/app/blobs/uploads/", body=b"").status == 405
                assert cache.get(f"/v2/{host}/app/manifests/v1").body == manifest, "as its users call it"
                assert cache.get(f"/v2/app/manifests/v1?ns={host}").body == manifest
            assert upstream.script.asked["GET", "/v2/library/app/manifests/v1"] == 1
            assert cache.get("/v2/_catalog").json()["repositories"] == ["docker.io/library/app"]


def test_a_mirror_has_nothing_of_another_registry_by_ns_either(tmp_path: Path) -> None:
    """A containerd that sends the wants of all registries to a mirror of one would get another's image of the name."""
    with scripted_upstream() as upstream:
        manifest = upstream.script.push("v1", os.urandom(100))
        blob = next(iter(upstream.script.blobs))
        upstreams = json.dumps({"up.example": {"url": upstream.url}, "other.example": {"url": upstream.url}})
        with serving(
            tmp_path, upstreams=upstreams, mirror__upstream="up.example", mirror__listen="127.0.0.1:0"
        ) as cache:
            mirror = Registry(cache.mirror_url)
            for ns in ("other.example", "elsewhere.example", "", "127.0.0.1"):
                for target in ("manifests/v1", f"manifests/{digest_of(manifest)}", f"blobs/{blob}", "tags/list"):
                    refused = mirror.get(f"/v2/library/app/{target}?ns={ns}")
                    assert (refused.status, refused.code) == (404, "NAME_UNKNOWN")
                    assert "this is a mirror of up.example" in refused.message
            assert not upstream.script.asked
            host = urlsplit(upstream.url).netloc
            for ns in ("up.example", "UP.example", host, "docker.io", "registry-1.docker.io"):
                answer = mirror.get(f"/v2/library/app/manifests/v1?ns={ns}")
                assert (answer.body, answer["oci-namespace"]) == (manifest, ns), "Docker Engine says that it is its Hub"
            own = mirror.get("/v2/library/app/manifests/v1?ns=mirror.test:5001", {"Host": "mirror.test:5001"})
            assert (own.body, own.header("oci-namespace")) == (manifest, None)
            assert mirror.get(f"/v2/library/app/manifests/{digest_of(manifest)}?ns=other.example").status == 404


def test_a_whole_server_that_is_a_mirror_has_nothing_else_and_asks_nobody_who_he_is(tmp_path: Path) -> None:
    """As REGISTRY_PROXY_REMOTEURL makes it."""
    with serving(tmp_path) as before:
        before.push_image("library/hosted", "v1")
    with scripted_upstream() as upstream:
        layer = os.urandom(1000)
        manifest = upstream.script.push("v1", layer)
        at = json.dumps({"up.example": {"url": upstream.url}, "other.example": {"url": upstream.url}})
        with serving(tmp_path, upstreams=at, mirror__upstream="up.example", mirror__everywhere="true") as mirror:
            secret = "c29tZWJvZHk6c2VjcmV0"
            for credentials in (f"Basic {secret}", f"Bearer {secret}", f"{secret} {secret}", "Basic ?", ""):
                sent = {"Authorization": credentials}
                for _ in range(2):  # fetched, then stored
                    assert mirror.get("/v2/", sent).status == 200
                    assert mirror.get("/v2/library/app/manifests/v1", sent).body == manifest
                    assert mirror.get(f"/v2/library/app/blobs/{digest_of(layer)}", sent).body == layer
            assert {header for _, header in upstream.script.authorizations} == {""}
            assert secret not in mirror.log_file.read_text()
            for method, target in (
                ("POST", "/v2/library/app/blobs/uploads/"),
                ("PUT", "/v2/library/app/manifests/v2"),
                ("DELETE", "/v2/library/app/manifests/v1"),
                ("DELETE", f"/v2/library/app/manifests/{digest_of(manifest)}"),
                ("DELETE", f"/v2/library/app/blobs/{digest_of(layer)}"),
            ):
                refused = mirror.request(method, target, body=b"")
                assert (refused.status, refused.code) == (405, "UNSUPPORTED")
            upstream.script.manifests.clear()
            for target in ("/v2/library/hosted/manifests/v1", "/v2/_catalog", "/token", "/api/v1/upstreams"):
                assert mirror.get(target).status == 404
            other = mirror.get("/v2/other.example/library/app/manifests/v1")
            assert (other.status, upstream.script.asked["GET", "/v2/library/app/manifests/v1"]) == (404, 1)
