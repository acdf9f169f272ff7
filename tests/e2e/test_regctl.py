"""regctl (regclient): chunked uploads, anonymous mounts, artifacts."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.images import AMD64, ARM64, Layout, layout_digests, sha256, tar
from tests.support.machine import Machine
from tests.support.server import Registry

pytestmark = pytest.mark.needs("regctl")

CHUNK_BYTES = 65_536
Regctl = Callable[..., str]


@pytest.fixture
def regctl(machine: Machine, registry: Registry) -> Regctl:
    """regctl towards the registry, told to send every blob above CHUNK_BYTES in chunks of that size."""

    def run(*arguments: str | Path, status: int | None = 0, stdin: bytes = b"") -> str:
        return machine.run("regctl", *arguments, status=status, stdin=stdin).strip()

    tls = "disabled" if registry.plain_http else "enabled"
    chunks = ("--blob-chunk", str(CHUNK_BYTES), "--blob-max", str(CHUNK_BYTES))
    run("registry", "set", "--tls", tls, *chunks, registry.address)
    return run


def test_a_blob_sent_in_chunks_comes_back_byte_for_byte(regctl: Regctl, registry: Registry) -> None:
    content = bytes(range(256)) * 2_000  # eight chunks, the last one short
    digest = regctl("blob", "put", f"{registry.address}/regctl/chunks", stdin=content)
    assert digest == sha256(content)
    assert registry.blob_sha256("regctl/chunks", digest) == digest
    regctl("blob", "delete", f"{registry.address}/regctl/chunks", digest)
    assert registry.request("HEAD", f"/v2/regctl/chunks/blobs/{digest}").status == 404


def test_an_index_is_copied_in_and_across_and_out_again_and_deleted(
    regctl: Regctl, registry: Registry, layout: Layout, directory: Path
) -> None:
    images = [layout.image([tar({"arch": platform["architecture"].encode()})], platform) for platform in (AMD64, ARM64)]
    index = layout.index(images)
    layout.tag(index, "v1")
    first, second = f"{registry.address}/regctl/first:v1", f"{registry.address}/regctl/second:v1"
    regctl("image", "copy", f"ocidir://{layout.directory}:v1", first)
    regctl("image", "copy", first, second)
    assert regctl("image", "digest", second) == index["digest"]
    assert regctl("tag", "ls", f"{registry.address}/regctl/second") == "v1"
    regctl("image", "copy", second, f"ocidir://{directory / 'pulled'}:v1")
    assert layout_digests(directory / "pulled") == layout_digests(layout.directory)
    regctl("tag", "delete", second)
    assert registry.tags("regctl/second") == []
    regctl("manifest", "delete", f"{registry.address}/regctl/first@{index['digest']}")
    assert registry.manifest("regctl/first", "v1").status == 404


def test_an_artifact_about_an_image_is_listed_and_fetched(regctl: Regctl, registry: Registry, layout: Layout) -> None:
    image = layout.image([tar({"base": b"base"})])
    layout.tag(image, "v1")
    name = f"{registry.address}/regctl/image:v1"
    regctl("image", "copy", f"ocidir://{layout.directory}:v1", name)
    regctl("artifact", "put", "--artifact-type", "application/vnd.example.note", "--subject", name, stdin=b"a note")
    listed = json.loads(regctl("artifact", "list", name, "--format", "{{jsonPretty .}}"))
    assert [note["artifactType"] for note in listed["descriptors"]] == ["application/vnd.example.note"]
    note = listed["descriptors"][0]["digest"]
    assert regctl("artifact", "get", f"{registry.address}/regctl/image@{note}") == "a note"
    registry.delete_manifest("regctl/image", note)
    registry.delete_manifest("regctl/image", image["digest"])
