"""Lists are byte for byte what docker-registry answers: clients and scripts have grown used to it."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.services import free_ports, require_tools
from tests.support.serving import Registry, digest_of, serving
from tests.support.wire import SECONDS, Answer, whole

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG = b'{"os":"linux"}'
CONTENT = {
    "alpine": ["latest", "3.20", "3.9", "3.10", "Edge", "_x"],
    "a/b": ["v1", "v2"],
    "a/b/c": ["0"],
    "b-b/c": ["v1"],
    "b.b/c": ["v1"],
    "z__z/y-y": ["A", "a", "Z", "z"],
}
TARGETS = [
    "/v2/_catalog", "/v2/_catalog?n=100", "/v2/_catalog?n=2", "/v2/_catalog?n=2&last=a/b", "/v2/_catalog?last=alpine",
]  # fmt: skip


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Registry, Registry]]:
    """Debian's docker-registry and ours, with the same images of the same names and tags."""
    require_tools("docker-registry")
    directory = tmp_path_factory.mktemp("side-by-side")
    with _docker_registry(directory) as theirs, serving(directory / "ours") as ours:
        for registry in (theirs, ours):
            for name, tags in CONTENT.items():
                _push(registry, name, tags)
        yield theirs, ours


@pytest.mark.parametrize("target", TARGETS)
def test_a_catalog_is_the_same_bytes(pair: tuple[Registry, Registry], target: str) -> None:
    theirs, ours = (_ask(registry, whole("GET", target)) for registry in pair)
    assert ours.status == theirs.status == 200
    assert ours.body == theirs.body
    assert ours.header("link") == theirs.header("link")


@pytest.mark.parametrize("name", CONTENT)
def test_a_list_of_tags_is_the_same_bytes_but_in_order(pair: tuple[Registry, Registry], name: str) -> None:
    """docker-registry 2.8.2 lists tags as they lie in the directory; the specification wants them in order."""
    theirs, ours = (_ask(registry, whole("GET", f"/v2/{name}/tags/list")) for registry in pair)
    listed = ",".join(f'"{tag}"' for tag in theirs.json()["tags"]).encode()
    in_order = ",".join(f'"{tag}"' for tag in sorted(CONTENT[name])).encode()
    assert theirs.body.count(listed) == 1
    assert ours.body == theirs.body.replace(listed, in_order)


def test_an_unknown_repository_is_the_same_error(pair: tuple[Registry, Registry]) -> None:
    theirs, ours = (_ask(registry, whole("GET", "/v2/nowhere/tags/list")) for registry in pair)
    assert ours.status == theirs.status == 404
    (their_error,), (our_error,) = theirs.json()["errors"], ours.json()["errors"]
    assert {**our_error, "message": ""} == {**their_error, "message": ""}


def _push(registry: Registry, name: str, tags: list[str]) -> None:
    opened = _ask(registry, whole("POST", f"/v2/{name}/blobs/uploads/", body=b""))
    assert opened.status == 202
    host = "http://localhost"
    location = opened["location"].removeprefix(host)
    joint = "&" if "?" in location else "?"
    put = _ask(registry, whole("PUT", f"{location}{joint}digest={digest_of(CONFIG)}", body=CONFIG), "PUT")
    assert put.status == 201
    config = {"mediaType": "application/vnd.docker.container.image.v1+json", "digest": digest_of(CONFIG), "size": 14}
    document = {"schemaVersion": 2, "mediaType": DOCKER_MANIFEST, "config": config, "layers": []}
    for tag in tags:
        headers = {"Content-Type": DOCKER_MANIFEST}
        body = json.dumps(document).encode()
        assert _ask(registry, whole("PUT", f"/v2/{name}/manifests/{tag}", headers, body), "PUT").status == 201


def _ask(registry: Registry, request: bytes, method: str = "GET") -> Answer:
    with registry.connect() as connection:
        return connection.ask(request, method)


@contextmanager
def _docker_registry(directory: Path) -> Iterator[Registry]:
    port = free_ports(1)
    configuration = directory / "config.yml"
    configuration.write_text(
        f"version: 0.1\nlog: {{level: info}}\nstorage: {{filesystem: {{rootdirectory: {directory}/theirs}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}'}}\n"
    )
    process = subprocess.Popen(
        ["docker-registry", "serve", str(configuration)], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    log = directory / "theirs.log"
    assert process.stderr
    try:
        for line in process.stderr:
            if "listening on" in line:
                break
        else:
            raise AssertionError("docker-registry did not start")
        yield Registry(f"http://127.0.0.1:{port}")
    finally:
        process.terminate()
        log.write_text(process.communicate(timeout=SECONDS)[1])
