"""What the cache does when its upstream fails, lies, is slow or has had enough: at every phase of a pull."""

import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from itertools import count
from pathlib import Path

import pytest

from tests.support.faulty_cache import Scene, a_scene
from tests.support.scripted_upstream import PASSWORD, USER, Script, scripted_upstream
from tests.support.serving import Server, digest_of, serving
from tests.support.wire import whole

HELD_BACK = 64 * 1024
_NUMBERS = count()
_ANSWERED: dict[int | str, tuple[int, str]] = {
    404: (404, "UNKNOWN"),
    401: (404, "UNKNOWN"),
    403: (403, "DENIED"),
    429: (429, "TOOMANYREQUESTS"),
    500: (502, "UNAVAILABLE"),
    503: (502, "UNAVAILABLE"),
    "close": (502, "UNAVAILABLE"),
}
FAULTS = [500, 503, 429, "close"]


@pytest.fixture
def scene(faulty: tuple[Server, Script], name: str) -> Iterator[Scene]:
    with a_scene(*faulty, name) as made:
        yield made


@pytest.mark.parametrize(
    ("phase", "fault"),
    [
        *((phase, fault) for phase in ("token", "head", "manifest") for fault in [*FAULTS, "silent", 401, 403, 404]),
        *(("manifest", fault) for fault in ("short", "wrong", "more", "stall")),
        *(("token", fault) for fault in ("short", "wrong", "stall")),
        ("head", "wrong"),
    ],
)
def test_what_is_stored_is_answered_whatever_the_upstream_does(scene: Scene, phase: str, fault: int | str) -> None:
    manifest = scene.script.push("v1", os.urandom(100))
    scene.script.token = "the first"
    assert scene.get("manifests/v1").body == manifest
    if phase == "manifest":
        scene.script.push("v1", os.urandom(100))  # the tag has moved, and what it names now cannot be had
    scene.script.token = "another"
    scene.script.faults[phase] = fault
    answer = scene.get("manifests/v1")
    assert (answer.status, answer.body) == (200, manifest)
    assert answer["warning"].startswith('299 - "this is a stored copy: ')
    assert int(answer["age"]) >= 0
    assert scene.get(f"manifests/{digest_of(manifest)}").header("warning") is None, "a digest is never out of date"


@pytest.mark.parametrize(
    ("phase", "fault"),
    [
        *((phase, fault) for phase in ("token", "manifest", "blob-head", "blob") for fault in _ANSWERED),
        *((phase, fault) for phase in ("manifest", "blob") for fault in ("short", "wrong", "more")),
        *(("token", fault) for fault in ("short", "wrong")),
    ],
)
def test_what_is_not_stored_has_the_upstreams_answer(scene: Scene, phase: str, fault: int | str) -> None:
    status, code = _ANSWERED.get(fault, (502, "UNAVAILABLE"))
    layer = os.urandom(100)
    manifest = scene.script.push("v1", layer)
    target = "manifests/v1"
    if phase.startswith("blob"):
        target = f"blobs/{digest_of(layer)}"
    if phase == "blob":
        scene.get("manifests/v1")
    if phase == "manifest":
        target = f"manifests/{digest_of(manifest)}"
    scene.script.token = "a token" if phase == "token" else ""
    scene.script.faults = {phase: fault}
    if phase == "blob-head" and fault in (401, 403):
        scene.script.faults["blob"] = fault  # a refusal of the HEAD alone says nothing
    answer = scene.get(target)
    kind = "BLOB_" if phase.startswith("blob") else "MANIFEST_"
    assert (answer.status, answer.code) == (status, f"{kind}{code}" if code == "UNKNOWN" else code)
    assert scene.alias.encode() in answer.body, "it says which upstream said what"
    assert (answer.header("retry-after") is not None) == (status == 429)
    if isinstance(fault, int) and phase != "blob-head":
        assert f"says {fault}".encode() in answer.body
        assert f"scripted {fault}".encode() in answer.body


@pytest.mark.parametrize("fault", [*_ANSWERED, "short", "wrong"])
def test_a_list_of_tags_is_what_is_stored_and_says_so_or_else_the_upstreams_answer(
    scene: Scene, fault: int | str
) -> None:
    scene.script.push("v1", os.urandom(100))
    assert scene.get("manifests/v1").status == 200
    other = scene._replace(name=f"{scene.name}/other")  # of which nothing is stored
    scene.script.lists = dict.fromkeys((scene.name, other.name), b'{"tags": ["v1", "v2"]}')
    listed = scene.get("tags/list")
    assert (listed.json()["tags"], listed.header("warning")) == (["v1", "v2"], None)
    scene.script.faults["tag"] = fault
    stored = scene.get("tags/list")
    assert (stored.status, stored.json()["tags"]) == (200, ["v1"])
    assert stored["warning"].startswith(f'299 - "this is a stored copy: {scene.alias} ')
    status, code = _ANSWERED.get(fault, (502, "UNAVAILABLE"))
    absent = other.get("tags/list")
    assert (absent.status, absent.code) == (status, f"NAME_{code}" if status == 404 else code)


def test_an_upstream_that_is_silent_is_504_in_the_end(scene: Scene) -> None:
    layer = os.urandom(100)
    scene.script.push("v1", layer)
    scene.get("manifests/v1")
    scene.script.faults = {f"blob {scene.name}": "silent"}
    scene.script.faults |= {f"manifest {scene.name}/head": "silent", f"manifest {scene.name}/body": "stall"}
    scene.script.faults[f"blob-head {scene.name}/size"] = "silent"
    blob = f"blobs/{digest_of(layer)}"
    targets = [f"{scene.name}/{each}" for each in ("head/manifests/v1", "body/manifests/v1", f"size/{blob}", blob)]

    def status(target: str) -> int:
        with scene.cache.connect() as connection:
            return connection.ask(whole("GET", f"/v2/{scene.alias}/{target}", (), None), "GET").status

    with ThreadPoolExecutor(len(targets)) as clients:
        assert list(clients.map(status, targets)) == [504] * len(targets)


@pytest.mark.parametrize("fault", [401, 403, 404])
def test_a_refusal_of_what_is_stored_is_logged_and_counted_apart(scene: Scene, fault: int) -> None:
    scene.script.push("v1", os.urandom(100))
    assert scene.get("manifests/v1").status == 200
    scene.script.faults["head"] = fault
    for _ in range(3):
        assert scene.get("manifests/v1").status == 200
    labels = f'{{credential="{USER}",upstream="{scene.alias}"}}'
    metrics = scene.metrics()
    assert f"entrepot_upstream_denied_total{labels} 3.0" in metrics
    assert f"entrepot_upstream_stale_total{labels} 0.0" in metrics
    assert f"entrepot_upstream_failures_total{labels} 0.0" in metrics, "and no breaker counts it"
    refused = [line for line in scene.cache.log() if line.get("repository") == f"{scene.alias}/{scene.name}"]
    assert {line["event"] for line in refused} == {"an upstream refuses a tag that it had"}


def test_a_refusal_is_followed_at_once_where_it_is_configured_so(scene: Scene) -> None:
    scene.script.push("v1", os.urandom(100))
    target = f"/v2/strict.example/{scene.name}/manifests/v1"
    assert scene.cache.get(target).status == 200
    scene.script.manifests.clear()
    assert scene.cache.get(target).status == 404


@pytest.mark.parametrize("fault", ["wrong", "short", "more", 500, "close"])
def test_a_blob_that_comes_wrong_never_comes_whole_and_never_is_stored(scene: Scene, fault: int | str) -> None:
    layer = os.urandom(500_000)
    scene.script.push("v1", layer)
    scene.get("manifests/v1")
    scene.script.faults["blob"] = fault
    status, got = scene.get_what_comes(f"blobs/{digest_of(layer)}")
    if fault in (500, "close"):
        assert status == 502, "nothing has begun to come"
    else:
        assert status == 502 or (status == 200 and len(got) <= len(layer) - HELD_BACK)
    scene.script.faults.clear()
    right = scene.get(f"blobs/{digest_of(layer)}")
    while right.status == 502 and b"once a second" in right.body:  # the breaker is open
        right = scene.get(f"blobs/{digest_of(layer)}")
    assert (right.status, right.body) == (200, layer)


def test_a_manifest_that_has_another_digest_is_refused(scene: Scene) -> None:
    manifest = scene.script.push("v1", os.urandom(100))
    scene.script.manifests[digest_of(manifest)] = manifest.replace(b"sha256", b"sha257", 1)
    assert scene.get(f"manifests/{digest_of(manifest)}").status == 502
    scene.script.manifests[digest_of(manifest)] = manifest
    assert scene.get(f"manifests/{digest_of(manifest)}").body == manifest


def test_bytes_come_as_they_arrive_but_for_the_last_which_wait_for_the_digest(scene: Scene) -> None:
    layer = os.urandom(1_000_000)
    scene.script.push("v1", layer)
    scene.get("manifests/v1")
    scene.script.held = 600_000
    target = f"/v2/{scene.alias}/{scene.name}/blobs/{digest_of(layer)}"
    with ThreadPoolExecutor(20) as clients:
        first = HTTPConnection(*scene.cache.address)
        first.request("GET", target)
        response = first.getresponse()
        early = response.read(600_000)
        assert early == layer[:600_000], "before the upstream has sent the rest"
        others = [clients.submit(scene.get, f"blobs/{digest_of(layer)}") for _ in range(19)]
        scene.script.resume.set()
        assert early + response.read() == layer
        assert all(other.result().body == layer for other in others)
        first.close()
    assert scene.script.asked["GET", f"/v2/{scene.name}/blobs/{digest_of(layer)}"] == 1


def test_a_client_that_leaves_does_not_end_the_fetch(scene: Scene) -> None:
    layer = os.urandom(1_000_000)
    scene.script.push("v1", layer)
    scene.get("manifests/v1")
    scene.script.held = 100_000
    leaving = HTTPConnection(*scene.cache.address)
    leaving.request("GET", f"/v2/{scene.alias}/{scene.name}/blobs/{digest_of(layer)}")
    assert leaving.getresponse().status == 200
    leaving.close()
    scene.script.resume.set()
    assert scene.get(f"blobs/{digest_of(layer)}").body == layer
    assert scene.script.asked["GET", f"/v2/{scene.name}/blobs/{digest_of(layer)}"] == 1


def test_a_download_that_breaks_off_is_gone_on_with(scene: Scene) -> None:
    layer = os.urandom(1_000_000)
    scene.script.push("v1", layer)
    scene.get("manifests/v1")
    scene.script.faults["blob"] = "short"
    _, got = scene.get_what_comes(f"blobs/{digest_of(layer)}")
    assert len(got) < len(layer)
    asked = scene.script.asked["GET", f"/v2/{scene.name}/blobs/{digest_of(layer)}"]
    assert asked == 3, "each time from where it was"
    scene.script.faults.clear()
    assert scene.get(f"blobs/{digest_of(layer)}").body == layer


def test_a_download_that_falls_silent_is_gone_on_with(scene: Scene) -> None:
    layer = os.urandom(1_000_000)
    scene.script.push("v1", layer)
    scene.get("manifests/v1")
    scene.script.faults["blob"] = "stall"
    with ThreadPoolExecutor(3) as clients:
        asked = [clients.submit(scene.get_what_comes, f"blobs/{digest_of(layer)}") for _ in range(3)]
        assert [each.result() for each in asked] == [(200, layer)] * 3
    assert not scene.script.resume.is_set()
    assert scene.script.asked["GET", f"/v2/{scene.name}/blobs/{digest_of(layer)}"] == 2
    assert scene.script.ranges_asked == [f"bytes={len(layer) // 2}-"]


def test_a_range_of_a_blob_that_is_not_here_is_answered(scene: Scene) -> None:
    layer = os.urandom(500_000)
    scene.script.push("v1", layer)
    scene.get("manifests/v1")
    target = f"/v2/{scene.alias}/{scene.name}/blobs/{digest_of(layer)}"
    part = scene.cache.get(target, {"Range": "bytes=1000-1999"})
    assert (part.status, part.body, part["content-range"]) == (206, layer[1000:2000], f"bytes 1000-1999/{len(layer)}")


def test_the_password_goes_to_the_token_service_and_nothing_goes_along_with_a_redirect(scene: Scene) -> None:
    layer = os.urandom(1000)
    with scripted_upstream() as elsewhere:
        elsewhere.script.blobs[digest_of(layer)] = layer
        scene.script.push("v1", layer)
        scene.script.token = "an-access-token"
        scene.script.blobs_at = elsewhere.url
        scene.get("manifests/v1")
        assert scene.get(f"blobs/{digest_of(layer)}").body == layer
        assert [header for _, header in elsewhere.script.authorizations] == [""]
    sent = {header.partition(" ")[0] for path, header in scene.script.authorizations if path != "/token"}
    assert sent <= {"", "Bearer"}
    log = scene.cache.log_file.read_text()
    assert PASSWORD not in log
    assert "an-access-token" not in log


def test_one_who_has_had_enough_is_left_alone_and_nothing_that_is_stored_is_refused(scene: Scene) -> None:
    first = scene.script.push("v1", os.urandom(100))
    assert scene.get("manifests/v1").body == first
    second = scene.script.push("v1", os.urandom(100))
    scene.script.headers = {"ratelimit-limit": "10;w=21600", "ratelimit-remaining": "1;w=21600"}
    answer = scene.get("manifests/v1")
    assert (answer.body, answer.header("warning") is not None) == (first, True), "what is left is for what is not here"
    (told,) = [line for line in scene.cache.log() if line.get("upstream") == scene.alias]
    assert (told["event"], told["left"], told["limit"]) == ("few pulls are left at an upstream", 1, 10)
    assert f'entrepot_upstream_scarce{{credential="{USER}",upstream="{scene.alias}"}} 1.0' in scene.metrics()
    scene.script.headers = {"ratelimit-limit": "10;w=21600", "ratelimit-remaining": "9;w=21600"}
    assert scene.get("manifests/v1").body == second


def test_a_tags_new_digest_waits_for_the_delay_and_the_old_one_is_answered(scene: Scene) -> None:
    manifest = scene.script.push("v1", os.urandom(100))
    refused = scene.cache.get(f"/v2/late.example/{scene.name}/manifests/v1")
    assert (refused.status, refused.code) == (403, "DENIED")
    assert digest_of(manifest).encode() in refused.body
    assert scene.cache.get(f"/v2/late.example/{scene.name}/manifests/{digest_of(manifest)}").body == manifest


@pytest.mark.parametrize("fault", [400, 401, 403, 404, 410, 451])
def test_refusals_never_keep_the_next_request_from_the_upstream(scene: Scene, fault: int) -> None:
    scene.script.faults["manifest"] = fault
    digests = [digest_of(os.urandom(8)) for _ in range(20)]
    assert {scene.get(f"manifests/{digest}").status for digest in digests} <= {403, 404, 502}
    assert all(scene.script.asked["GET", f"/v2/{scene.name}/manifests/{digest}"] for digest in digests)


@pytest.mark.parametrize("fault", [500, 503, "close"])
def test_one_who_fails_is_asked_once_a_second_and_believed_when_he_answers(scene: Scene, fault: int | str) -> None:
    manifest = scene.script.push("v1", os.urandom(100))
    scene.script.faults["manifest"] = fault
    begun = time.monotonic()
    for _ in range(50):
        assert scene.get(f"manifests/{digest_of(os.urandom(8))}").status == 502
    seconds = time.monotonic() - begun
    assert scene.script.asked.total() <= 3 + seconds + 1
    scene.script.faults.clear()
    while (answer := scene.get(f"manifests/{digest_of(manifest)}")).status != 200:
        assert b"is asked once a second" in answer.body
    assert answer.body == manifest


def test_a_cache_starts_without_its_upstream_and_answers_what_it_has(tmp_path: Path) -> None:
    with scripted_upstream() as upstream:
        configured = json.dumps({"up.example": {"url": upstream.url}})
        manifest = upstream.script.push("v1", os.urandom(100))
        with serving(tmp_path, accounts=False, upstreams=configured) as cache:
            assert cache.get("/v2/up.example/library/app/manifests/v1").body == manifest
    with serving(tmp_path, accounts=False, upstreams=configured) as cache:
        answer = cache.get("/v2/up.example/library/app/manifests/v1")
        assert (answer.body, answer.status) == (manifest, 200)
        assert "cannot be reached" in answer["warning"]
