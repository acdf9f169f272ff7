"""Habits of known registries that are read through, one by one at a scripted one."""

import json
import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest

from tests.support.scripted_upstream import PASSWORD, USER, Script, scripted_upstream
from tests.support.serving import OCI_INDEX, OCI_MANIFEST, Server, a_manifest, descriptor, digest_of, serving
from tests.support.wire import Answer

_NUMBERS = count()
_MOST = 40
LOGIN = {"username": USER, "password": PASSWORD, "read": "everyone"}


class Scene(NamedTuple):
    """A cache, its upstream's script, and the alias that is this test's alone."""

    cache: Server
    script: Script
    alias: str
    name: str

    def get(self, path: str) -> Answer:
        """A request for something of this test's repository."""
        return self.cache.get(f"/v2/{self.alias}/{self.name}/{path}")

    @property
    def sent(self) -> set[str]:
        """The schemes by which the registry itself was asked; empty for none."""
        return {header.partition(" ")[0] for path, header in self.script.authorizations if path != "/token"}

    @property
    def shown(self) -> set[str]:
        """The schemes by which the token service was asked."""
        return {header.partition(" ")[0] for path, header in self.script.authorizations if path == "/token"}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Script]]:
    with scripted_upstream() as upstream:
        configured = {f"up{number}.example": {"url": upstream.url, **LOGIN} for number in range(_MOST)}
        directory = tmp_path_factory.mktemp("quirks")
        with serving(directory, upstreams=json.dumps(configured), workers="1") as cache:
            yield cache, upstream.script


@pytest.fixture
def scene(running: tuple[Server, Script], name: str) -> Iterator[Scene]:
    cache, script = running
    script.reset()
    yield Scene(cache, script, f"up{next(_NUMBERS)}.example", name)
    script.resume.set()


def whole_image(scene: Scene, layer: bytes, manifest: bytes) -> None:
    """The image comes byte for byte, by its tag, its digest and its blobs."""
    for reference in ("v1", digest_of(manifest)):
        assert scene.get(f"manifests/{reference}").body == manifest
    assert scene.cache.head(f"/v2/{scene.alias}/{scene.name}/blobs/{digest_of(layer)}").status == 200
    assert scene.get(f"blobs/{digest_of(layer)}").body == layer


@pytest.mark.parametrize(
    "quirk",
    ["no-head", "blob-head-401", "no-digest", "odd-digest", "basic", "access-token", "accept", "no-length", "charset"],
)
def test_an_image_comes_whatever_the_registrys_habits_are(scene: Scene, quirk: str) -> None:
    layer = os.urandom(1000)
    manifest = scene.script.push("v1", layer)
    scene.script.quirks = {quirk}
    scene.script.token = "a token" if quirk == "access-token" else ""
    whole_image(scene, layer, manifest)
    moved = scene.script.push("v1", os.urandom(100))
    assert scene.get("manifests/v1").body == moved, "a tag that moves is seen to move"
    assert scene.sent == {"", {"basic": "Basic", "access-token": "Bearer"}.get(quirk, "")}


def test_a_blob_that_no_manifest_names_is_asked_for_although_its_head_is_refused(scene: Scene) -> None:
    layer = os.urandom(1000)
    scene.script.push("v1", layer)
    scene.script.quirks = {"blob-head-401"}
    assert scene.get(f"blobs/{digest_of(layer)}").body == layer


def test_manifests_may_be_redirected_to_another_host_and_nothing_goes_along(scene: Scene) -> None:
    layer = os.urandom(1000)
    manifest = scene.script.push("v1", layer)
    with scripted_upstream() as region:
        region.script.manifests |= scene.script.manifests
        scene.script.token = "a token"
        scene.script.manifests_at = region.url
        whole_image(scene, layer, manifest)
        assert {header for _, header in region.script.authorizations} == {""}


def test_a_blob_may_be_redirected_although_its_head_is_not(scene: Scene) -> None:
    layer = os.urandom(1000)
    with scripted_upstream() as elsewhere:
        elsewhere.script.blobs[digest_of(layer)] = scene.script.blobs[digest_of(layer)] = layer
        scene.script.blobs_at = elsewhere.url
        assert scene.get(f"blobs/{digest_of(layer)}").body == layer, "that no manifest names"


def test_a_token_is_asked_for_with_the_scope_that_the_challenge_names_too(scene: Scene) -> None:
    scene.script.push("v1", os.urandom(100))
    scene.script.token, scene.script.scope = "a token", "aws"
    scene.script.challenge = 'Bearer realm="{realm}/",service="scripted"'  # as ECR Public's, with a slash at its end
    assert scene.get("manifests/v1").status == 200
    assert scene.script.scopes == [f"repository:{scene.name}:pull", "aws"]


@pytest.mark.parametrize(
    "written",
    [
        'Bearer realm="{realm}",service="scripted",scope=""',
        'Bearer realm="{realm}"',
        "bearer realm={realm}, service=scripted",
        'Basic realm="scripted", Bearer realm="{realm}",service="scripted"',
        'Bearer service="a, \\"quoted\\" name" , realm="{realm}" , error="invalid_token"',
    ],
)
def test_a_challenge_is_understood_however_it_is_written(scene: Scene, written: str) -> None:
    scene.script.token, scene.script.challenge = "a token", written
    manifest = scene.script.push("v1", os.urandom(100))
    assert scene.get("manifests/v1").body == manifest
    assert scene.script.scopes == [f"repository:{scene.name}:pull"]
    assert scene.sent == {"", "Bearer"}


def test_repositories_under_one_first_name_have_a_token_service_of_their_own(scene: Scene) -> None:
    scene.script.token, scene.script.quirks = "a token", {"token-each"}
    layer = os.urandom(100)
    manifest = scene.script.push("v1", layer)
    for _ in range(2):
        for key in ("docker-remote", "docker-local", "docker-remote"):
            at = scene._replace(name=f"{key}/{scene.name}")
            whole_image(at, layer, manifest)
    assert {path for _, path in scene.script.asked if "token" in path} == {
        "/docker-remote/token",
        "/docker-local/token",
    }


def test_a_password_is_never_posted_so_a_token_service_need_not_understand_that(scene: Scene) -> None:
    scene.script.token, scene.script.faults = "a token", {"token-post": 401}
    manifest = scene.script.push("v1", os.urandom(100))
    assert scene.get("manifests/v1").body == manifest
    assert ("POST", "/token") not in scene.script.asked


def test_nothing_goes_along_when_the_token_service_sends_us_elsewhere(scene: Scene) -> None:
    manifest = scene.script.push("v1", os.urandom(100))
    with scripted_upstream() as elsewhere:
        scene.script.token = elsewhere.script.token = "a token"
        scene.script.token_at = elsewhere.url
        assert scene.get("manifests/v1").body == manifest
        assert scene.shown == {"Basic"}
        assert elsewhere.script.authorizations == [("/token", "")]


def test_tokens_are_kept_until_they_end(scene: Scene) -> None:
    layers = [os.urandom(100) for _ in range(4)]
    scene.script.push("v1", *layers)
    scene.script.token = "a token"
    for target in ("manifests/v1", "manifests/v1", *(f"blobs/{digest_of(layer)}" for layer in layers)):
        assert scene.get(target).status == 200
    assert scene.script.asked["GET", "/token"] == 1
    scene.script.token = "another token"
    assert scene.get("manifests/v1").status == 200
    assert scene.script.asked["GET", "/token"] == 2, "one that was refused is kept no longer"


def test_the_password_is_shown_to_a_token_service_elsewhere_only_when_that_is_configured(tmp_path: Path) -> None:
    with scripted_upstream() as upstream:
        elsewhere = f"http://localhost:{urlsplit(upstream.url).port}/token"  # the same machine by another name
        upstream.script.token, upstream.script.realm = "a token", elsewhere
        manifest = upstream.script.push("v1", os.urandom(100))
        at = {"url": upstream.url, **LOGIN}
        configured = {"not.example": at, "told.example": {**at, "token_hosts": ["localhost"]}}
        with serving(tmp_path, upstreams=json.dumps(configured), workers="1") as cache:
            for alias, scheme in (("not.example", ""), ("told.example", "Basic")):
                upstream.script.authorizations.clear()
                assert cache.get(f"/v2/{alias}/library/app/manifests/v1").body == manifest
                assert Scene(cache, upstream.script, alias, "library/app").shown == {scheme}
            told = [(line["upstream"], line["host"]) for line in cache.log() if "token_hosts" in line["event"]]
            assert told == [("not.example", "localhost")], "who wonders why the login has no effect finds it in the log"


@pytest.mark.parametrize(("status", "code"), [(404, "MANIFEST_UNKNOWN"), (403, "DENIED"), (429, "TOOMANYREQUESTS")])
def test_an_error_that_is_a_page_is_an_error(scene: Scene, status: int, code: str) -> None:
    scene.script.quirks = {"html"}
    scene.script.faults["manifest"] = status
    answer = scene.get("manifests/v1")
    assert (answer.status, answer.code) == (status, code)
    assert b"<html>" not in answer.body


def test_a_wait_of_microseconds_is_not_believed(scene: Scene) -> None:
    scene.script.faults["manifest"] = 429
    for written in ("35µs", "0.000035", "nonsense", "Thu, 01 Jan 1970 00:00:00 GMT", "99999999"):
        scene.script.headers = {"Retry-After": written}
        answer = scene.get(f"manifests/{digest_of(written.encode())}")
        assert answer.status == 429
        assert 1 <= int(answer["retry-after"]) <= 7 * 3600
        scene = scene._replace(alias=f"up{next(_NUMBERS)}.example")


def test_one_who_says_how_long_is_left_alone_so_long(scene: Scene) -> None:
    stored = scene.script.push("v1", os.urandom(100))
    assert scene.get("manifests/v1").body == stored
    scene.script.faults["head"] = 429
    scene.script.headers = {"Retry-After": "3600"}
    assert scene.get("manifests/v1").body == stored
    asked = scene.script.asked.total()
    scene.script.faults.clear()
    assert scene.get("manifests/v1").header("warning"), "what is stored is answered"
    assert scene.get("manifests/absent").status == 429
    assert scene.get(f"manifests/{digest_of(b'absent')}").status == 429
    assert scene.script.asked.total() == asked


def test_referrers_are_a_list_whatever_type_they_are_sent_with(scene: Scene) -> None:
    manifest = scene.script.push("v1", os.urandom(100))
    signature = descriptor(b"signature", OCI_MANIFEST)
    scene.script.referrers[digest_of(manifest)] = a_manifest({"manifests": [signature]}, OCI_INDEX)
    listed = scene.get(f"referrers/{digest_of(manifest)}")
    assert listed["content-type"] == OCI_INDEX
    assert listed.json()["manifests"] == [signature]
