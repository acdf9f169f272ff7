"""Images that are always here, and those that go: at the doors of caches over both stores."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.http.conftest import BOTH, large
from tests.support.scripted_upstream import Script, scripted_upstream
from tests.support.serving import OCI_INDEX, OCI_MANIFEST, Server, a_manifest, descriptor, digest_of, serving


@pytest.fixture(params=BOTH)
def store(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """Settings of a cache on the embedded store, then of one on PostgreSQL and object storage."""
    if request.param == "sqlite and files":
        yield {}
        return
    with large(request.getfixturevalue("postgres_server"), request.getfixturevalue("s3_server")) as settings:
        yield settings


def an_index(script: Script, tag: str, **layers: bytes) -> None:
    """An image for several platforms of linux, each with its layer."""
    children = [
        descriptor(script.push(f"child-{name}", layer), OCI_MANIFEST, platform={"os": "linux", "architecture": name})
        for name, layer in layers.items()
    ]
    index = a_manifest({"manifests": children}, OCI_INDEX)
    script.manifests |= {tag: index, digest_of(index): index}
    script.types[digest_of(index)] = OCI_INDEX


def arrived(cache: Server, script: Script, name: str, *layers: bytes) -> None:
    """Wait until these have been fetched, and stand in the store."""
    for layer in layers:
        while not script.asked["GET", f"/v2/{name}/blobs/{digest_of(layer)}"]:
            continue
        assert cache.get(f"/v2/up.example/{name}/blobs/{digest_of(layer)}").body == layer


def test_what_is_listed_is_fetched_at_the_start_without_anybody_asking(tmp_path: Path, store: dict[str, str]) -> None:
    kept, other = os.urandom(40_000), os.urandom(40_000)
    with scripted_upstream() as upstream:
        script = upstream.script
        an_index(script, "v1", amd64=kept, arm64=other)
        (tmp_path / "images").write_text("# what the cluster runs\nup.example/library/app:v1  # always\n")
        settings = {
            "upstreams": json.dumps({"up.example": {"url": upstream.url}}),
            "cache__images_file": str(tmp_path / "images"),
            "cache__platforms": '["linux/amd64"]',
            **store,
        }
        with serving(tmp_path / "cache", accounts=False, **settings) as cache:
            arrived(cache, script, "library/app", kept)
            assert not script.asked["GET", f"/v2/library/app/blobs/{digest_of(other)}"], "of the other platform"
        script.faults = dict.fromkeys(("head", "manifest", "blob-head", "blob"), "close")
        with serving(tmp_path / "cache", accounts=False, **settings) as cache:
            assert cache.get("/v2/up.example/library/app/manifests/v1").status == 200
            assert cache.get(f"/v2/up.example/library/app/blobs/{digest_of(kept)}").body == kept


def test_an_image_that_cannot_be_had_is_logged_and_the_others_come(tmp_path: Path) -> None:
    layer = os.urandom(1000)
    with scripted_upstream() as upstream:
        upstream.script.push("v1", layer)
        images = ["up.example/library/app:absent", "elsewhere.example/a/b:v1", "up.example/library/app:v1"]
        configured = json.dumps({"up.example": {"url": upstream.url}})
        with serving(tmp_path, upstreams=configured, cache__images=json.dumps(images)) as cache:
            arrived(cache, upstream.script, "library/app", layer)
            said = {line["event"] for line in cache.log() if line.get("level") == "warning"}
            assert said == {"an image to keep is of no upstream", "an image to keep cannot be had"}
