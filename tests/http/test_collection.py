"""Garbage collection at the doors: a server with phases of seconds, on the embedded store and on PostgreSQL and S3."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.http.conftest import BOTH, large
from tests.support.hub_world import World
from tests.support.s3 import Bucket
from tests.support.serving import OCI_INDEX, OCI_MANIFEST, Server, a_manifest, an_image, digest_of, serving

PHASES = {"lifecycle__undo": "1", "lifecycle__grace": "1", "lifecycle__quarantine": "1"}


class Collected:
    """A server that collects, the settings that a command needs to come to the same data, and a look at the bytes."""

    def __init__(self, server: Server, settings: dict[str, str]) -> None:
        self.server = server
        self._settings = settings

    def names(self) -> set[str]:
        """The names of all stored files or objects."""
        if "storage__s3__bucket" in self._settings:
            return set(Bucket(self._settings["storage__s3__endpoint"], self._settings["storage__s3__bucket"]).objects())
        return {path.name for path in self.server.blob_files()}

    def pushed(self, name: str, content: bytes) -> tuple[str, set[str]]:
        """Push a blob; its digest, and the names of what that has stored."""
        before = self.names()
        return self.server.push_blob(name, content), self.names() - before

    def gc(self, *words: str) -> str:
        """What `entrepot gc` prints."""
        environment = {f"ENTREPOT_{key.upper()}": value for key, value in self._settings.items()}
        command = [sys.executable, "-m", "entrepot", "gc", *words]
        environment |= {"ENTREPOT_DATA_DIR": str(self.server.data), "ENTREPOT_OPEN": "true", "PATH": "/usr/bin:/bin"}
        ended = subprocess.run(command, env=environment, check=False, capture_output=True, text=True, timeout=60)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout


@pytest.fixture(scope="module", params=BOTH)
def collected(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collected]:
    """Such a server of each kind."""
    directory: Path = tmp_path_factory.mktemp("collected")
    if request.param == "sqlite and files":
        with serving(directory, accounts=False, **PHASES) as server:
            yield Collected(server, PHASES)
        return
    with large(request.getfixturevalue("postgres_server"), request.getfixturevalue("s3_server")) as where:
        settings = {**where, **PHASES}
        with serving(directory, accounts=False, **settings) as server:
            yield Collected(server, settings)


def test_a_deleted_image_goes_with_its_bytes_and_what_others_need_stays(collected: Collected, name: str) -> None:
    server = collected.server
    config, shared, own = f"{name} config".encode(), f"{name} shared".encode(), f"{name} own".encode()
    for content in (config, shared):
        server.push_blob(name, content)
    _, stored = collected.pushed(name, own)
    kept, gone = an_image(config, shared), an_image(config, shared, own)
    for tag, manifest in (("kept", kept), ("gone", gone)):
        assert server.put_manifest(name, tag, manifest).status == 201
    assert server.delete(f"/v2/{name}/manifests/{digest_of(gone)}").status == 202
    assert stored
    _until(lambda: not stored & collected.names())
    assert server.get(f"/v2/{name}/blobs/{digest_of(own)}").status == 404
    for content in (config, shared):
        assert server.get(f"/v2/{name}/blobs/{digest_of(content)}").body == content
    assert server.get(f"/v2/{name}/manifests/kept").body == kept


def test_a_manifest_that_lost_its_tag_stays(collected: Collected, name: str) -> None:
    server = collected.server
    first = server.push_image(name, "latest")
    server.push_image(name, "latest")
    digest, stored = collected.pushed(name, f"{name} loose".encode())
    _until(lambda: not stored & collected.names())
    assert server.head(f"/v2/{name}/blobs/{digest}").status == 404
    assert server.get(f"/v2/{name}/manifests/{digest_of(first)}").body == first


def test_an_untagged_image_is_deleted_with_a_warning_that_says_how(collected: Collected, name: str) -> None:
    server = collected.server
    manifest = server.push_image(name, "v1")
    answer = server.delete(f"/v2/{name}/manifests/v1")
    assert answer.status == 202
    assert f"DELETE /v2/{name}/manifests/{digest_of(manifest)}" in answer["warning"]
    assert server.get(f"/v2/{name}/manifests/{digest_of(manifest)}").body == manifest


def test_what_is_forgotten_is_pulled_as_of_no_time_and_its_tag_says_what_it_was_and_when_and_why_it_went(
    collected: Collected, name: str
) -> None:
    server = collected.server
    digest = digest_of(server.push_image(name, "v1"))
    target = f"/v2/{name}/manifests/v1?at={quote(datetime.now(UTC).isoformat())}"
    assert server.get(target)["docker-content-digest"] == digest
    assert server.delete(f"/v2/{name}/manifests/{digest}").status == 202
    _until(lambda: server.get(target).status == 404)
    gone = server.get(target)
    assert gone.code == "MANIFEST_UNKNOWN"
    assert f"v1 named {digest} at that time: that was deleted on 20" in gone.message
    detail = gone.json()["errors"][0]["detail"]
    assert (detail["digest"], detail["why"]) == (digest, "deleted")
    moves = server.get(f"/api/v1/repositories/{name}/-/tags/v1/history").json()["items"]
    assert [(each["kind"], each["old"], each["new"]) for each in moves] == [
        ("tag.delete", digest, None),
        ("tag.move", None, digest),
    ]


def test_what_is_held_is_405_and_names_the_holder(collected: Collected, name: str) -> None:
    server = collected.server
    child = server.push_image(name, "v1")
    children = [{"mediaType": OCI_MANIFEST, "digest": digest_of(child), "size": len(child)}]
    index = a_manifest({"manifests": children}, OCI_INDEX)
    assert server.put_manifest(name, "multi", index, OCI_INDEX).status == 201
    answer = server.delete(f"/v2/{name}/manifests/{digest_of(child)}")
    assert (answer.status, answer.code) == (405, "UNSUPPORTED")
    assert digest_of(index) in answer.message
    layer = server.get(f"/v2/{name}/manifests/v1").json()["layers"][0]["digest"]
    answer = server.delete(f"/v2/{name}/blobs/{layer}")
    assert (answer.status, answer.code) == (405, "UNSUPPORTED")
    assert digest_of(child) in answer.message


def test_a_look_or_a_mount_brings_back_what_is_in_quarantine_and_finds_nothing_of_what_is_being_removed(
    world: World, name: str
) -> None:
    olga = world.person()
    client, place = world.by_basic(olga), world.repository(olga, f"{olga.name}/app")
    looked, mounted, read, going = (client.push_blob(place, f"{name} {number}".encode()) for number in range(4))
    put = "UPDATE blobs SET state = :state, since = now_us() WHERE digest = :digest"
    for digest in (looked, mounted, read, going):
        world.execute(put, state="removing" if digest == going else "quarantined", digest=digest)

    def mount(digest: str) -> int:
        return client.request("POST", f"/v2/{place}-copy/blobs/uploads/?mount={digest}&from={place}").status

    assert client.head(f"/v2/{place}/blobs/{looked}").status == 200
    assert client.get(f"/v2/{place}/blobs/{read}").body == f"{name} 2".encode()
    assert mount(mounted) == 201
    for digest in (looked, mounted, read):
        assert world.execute("SELECT state FROM blobs WHERE digest = :digest", digest=digest) == [("loose",)]
    assert client.head(f"/v2/{place}/blobs/{going}").status == 404
    assert client.get(f"/v2/{place}/blobs/{going}").status == 404
    assert mount(going) == 202
    assert client.push_blob(place, f"{name} 3".encode()) == going
    assert client.get(f"/v2/{place}/blobs/{going}").body == f"{name} 3".encode()


def test_the_command_says_what_would_go_and_why_and_pauses(collected: Collected, name: str) -> None:
    assert "paused" in collected.gc("pause")
    digest = collected.server.push_blob(name, f"{name} loose".encode())
    report = collected.gc("--dry-run")
    line = next(line for line in report.splitlines() if line.startswith(digest))
    assert "loose" in line
    assert "no manifest names it" in line
    assert "nothing was changed" in report
    assert collected.server.head(f"/v2/{name}/blobs/{digest}").status == 200
    assert "going on" in collected.gc("resume")
    assert "removed" in collected.gc()


def test_the_command_says_what_goes_with_deleted_images_and_repositories_and_what_that_frees(
    collected: Collected, name: str
) -> None:
    server = collected.server
    assert "paused" in collected.gc("pause")
    config, shared, own, other = (f"{name} {each}".encode() for each in ("config", "shared", "own", "other"))
    for place, contents in ((name, (config, shared, own)), (f"{name}/b", (config, other))):
        for content in contents:
            server.push_blob(place, content)
    kept, gone, there = an_image(config, shared), an_image(config, shared, own), an_image(config, other)
    for place, tag, manifest in ((name, "kept", kept), (name, "gone", gone), (f"{name}/b", "v1", there)):
        assert server.put_manifest(place, tag, manifest).status == 201
    assert server.delete(f"/v2/{name}/manifests/{digest_of(gone)}").status == 202
    assert server.delete(f"/api/v1/repositories/{name}/b").status == 204
    *lines, last = collected.gc("--dry-run").splitlines()
    told = {digest: (state, int(size), why) for digest, state, size, _, why in (line.split("\t") for line in lines)}
    assert told[digest_of(gone)] == ("deleted", len(gone), f"deleted from {name}")
    assert told[digest_of(there)] == ("deleted", len(there), f"deleted from {name}/b")
    for content in (own, other):
        assert told[digest_of(content)] == ("held", len(content), "only what is deleted names it")
    assert not {digest_of(each) for each in (kept, config, shared)} & set(told)
    assert last == f"{len(lines)} would go, {sum(size for _, size, _ in told.values())} bytes; nothing was changed"
    assert "going on" in collected.gc("resume")


def _until(true: Callable[[], bool]) -> None:
    """Wait for what the collector does by its own clock; nothing says when it has."""
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.2)
