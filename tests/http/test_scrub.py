"""The scrub of a running server: it finds what is damaged without being asked, and mends it from an upstream."""

import json
import os
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.http.conftest import BOTH, large
from tests.support.serving import Server, an_image, serving
from tests.support.verified import Verified, until

ALL_THE_TIME = {"lifecycle__scrub": "1s"}


@pytest.fixture
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A registry that is read through the other one."""
    with serving(tmp_path_factory.mktemp("upstream"), workers="1") as server:
        yield server


@pytest.fixture(params=BOTH)
def scrubbed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, upstream: Server
) -> Iterator[Verified]:
    """A server of each kind that reads everything each second."""
    directory = tmp_path_factory.mktemp("scrubbed")
    settings = {**ALL_THE_TIME, "upstreams": json.dumps({"up.example": {"url": upstream.url}})}
    if request.param == "sqlite and files":
        with serving(directory, accounts=False, **settings) as server:
            yield Verified(server, settings)
        return
    with (
        large(request.getfixturevalue("postgres_server"), request.getfixturevalue("s3_server")) as where,
        serving(directory, accounts=False, **where, **settings) as server,
    ):
        yield Verified(server, {**where, **settings})


def test_what_is_damaged_is_found_by_itself_counted_and_mended_by_a_push(scrubbed: Verified, name: str) -> None:
    server = scrubbed.server
    layer, other = os.urandom(1000), os.urandom(1000)
    digest, key = scrubbed.pushed(name, layer)
    gone, lost = scrubbed.pushed(name, other)
    scrubbed.damage(key, layer[::-1])
    scrubbed.remove(lost)
    until(lambda: _counts(server) == (1, 1))
    assert server.head(f"/v2/{name}/blobs/{digest}").status == 404
    assert server.head(f"/v2/{name}/blobs/{gone}").status == 404
    reported = server.get("/api/v1/scrub").json()
    assert (reported["damaged"], reported["missing"], reported["orphans"]) == (1, 1, 0)
    wrong = {each["digest"]: each for each in _items(server, "/scrub/blobs")}
    assert (wrong[digest]["kind"], wrong[gone]["kind"]) == ("damaged", "missing")
    assert all((each["size"], each["repositories"]) == (1000, [name]) for each in wrong.values())
    server.push_blob(name, layer)
    server.push_blob(name, other)
    assert server.get(f"/v2/{name}/blobs/{digest}").body == layer
    until(lambda: _counts(server) == (0, 0))
    assert _items(server, "/scrub/blobs") == []


def test_orphans_that_were_sighted_are_reported(scrubbed: Verified) -> None:
    server = scrubbed.server
    scrubbed.put("0" * 32, b"nobody's")
    assert scrubbed.verify("--remove-orphans")[0] == 1
    assert server.get("/api/v1/scrub").json()["orphans"] == 1
    (orphan,) = _items(server, "/scrub/orphans")
    assert (orphan["key"], orphan["since"] > "2026", orphan["quarantined_at"]) == ("0" * 32, True, None)


def test_what_an_upstream_has_is_fetched_again_for_everybody_who_has_it(
    scrubbed: Verified, upstream: Server, name: str
) -> None:
    server = scrubbed.server
    layer, digest = _image_of(upstream, name)
    _, key = scrubbed.pushed("hosted/here", layer)
    cached = f"/v2/up.example/{name}"
    assert server.get(f"{cached}/manifests/v1").status == 200
    scrubbed.damage(key, layer[::-1])
    until(lambda: server.get(f"/v2/hosted/here/blobs/{digest}").body == layer)
    assert scrubbed.verify("--rehash")[0] == 0


def test_what_an_upstreams_repository_has_is_fetched_again_when_it_is_asked_for(
    scrubbed: Verified, upstream: Server, name: str
) -> None:
    server = scrubbed.server
    layer, digest = _image_of(upstream, name)
    cached = f"/v2/up.example/{name}"
    assert server.get(f"{cached}/manifests/v1").status == 200
    before = scrubbed.stored()
    assert server.get(f"{cached}/blobs/{digest}").body == layer
    until(lambda: len(scrubbed.stored() - before) == 1)
    (key,) = scrubbed.stored() - before
    scrubbed.damage(key, layer[::-1])
    scrubbed.verify("--rehash")
    assert server.get(f"{cached}/blobs/{digest}").body == layer


def test_bytes_of_another_database_are_never_taken_for_loss(scrubbed: Verified, name: str) -> None:
    server = scrubbed.server
    layer = os.urandom(1000)
    digest, key = scrubbed.pushed(name, layer)
    until(lambda: scrubbed.verify()[0] == 0)  # by now they know each other
    if scrubbed.bucket is not None:
        scrubbed.bucket.put("store", b"somebody else's 1")
    else:
        (server.data / "store").write_text("somebody else's 1\n")
    scrubbed.remove(key)
    until(lambda: any(line.get("job") == "scrub" and "do not belong" in line["error"] for line in server.log()))
    assert _counts(server) == (0, 0)
    assert server.head(f"/v2/{name}/blobs/{digest}").status == 200


def _image_of(upstream: Server, name: str) -> tuple[bytes, str]:
    """Push an image as v1; its layer, and the layer's digest."""
    config, layer = b"{}", os.urandom(200_000)
    upstream.push_blob(name, config)
    digest = upstream.push_blob(name, layer)
    assert upstream.put_manifest(name, "v1", an_image(config, layer)).status == 201
    return layer, digest


def _items(server: Server, path: str) -> list[dict[str, Any]]:
    """All items of a list, a page for each."""
    items: list[dict[str, Any]] = []
    after = ""
    while True:
        found = server.get(f"/api/v1{path}?limit=1{after}").json()
        items += found["items"]
        if found["next"] is None:
            return items
        after = f"&after={found['next']}"


def _counts(server: Server) -> tuple[int, int]:
    text = server.get("/metrics").body.decode()
    found = re.findall(r"^entrepot_blobs_(damaged|missing) (\d+)", text, re.MULTILINE)
    counts = {kind: int(count) for kind, count in found}
    return counts["damaged"], counts["missing"]
