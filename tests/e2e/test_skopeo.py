"""skopeo (containers/image), and the OCI layouts of umoci that it pushes."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.support.images import AMD64, ARM64, OCI_LAYER, Layout, layout_digests, sha256, tar
from tests.support.machine import Machine
from tests.support.server import Registry

pytestmark = pytest.mark.needs("skopeo")


def _push(machine: Machine, registry: Registry, source: str, target: str, *flags: str) -> None:
    verify = f"--dest-tls-verify={not registry.plain_http}".lower()
    machine.run("skopeo", "copy", verify, *flags, source, f"docker://{registry.address}/{target}")


def _pull(machine: Machine, registry: Registry, source: str, target: str, *flags: str) -> None:
    verify = f"--src-tls-verify={not registry.plain_http}".lower()
    machine.run("skopeo", "copy", verify, *flags, f"docker://{registry.address}/{source}", target)


def _skopeo(
    machine: Machine, registry: Registry, command: str, target: str, *flags: str, status: int | None = 0
) -> str:
    verify = f"--tls-verify={not registry.plain_http}".lower()
    return machine.run("skopeo", command, verify, *flags, f"docker://{registry.address}/{target}", status=status)


def test_a_pushed_image_pulls_back_byte_for_byte_and_is_deleted(
    machine: Machine, registry: Registry, layout: Layout, directory: Path
) -> None:
    image = layout.image([tar({"base": b"base"}), tar({"top": b"top"})])
    layout.tag(image, "v1")
    _push(machine, registry, f"oci:{layout.directory}:v1", "skopeo/app:v1")
    inspected = json.loads(_skopeo(machine, registry, "inspect", "skopeo/app:v1"))
    assert inspected["Digest"] == image["digest"]
    assert json.loads(_skopeo(machine, registry, "list-tags", "skopeo/app"))["Tags"] == ["v1"]
    _pull(machine, registry, f"skopeo/app@{image['digest']}", f"oci:{directory}:v1")
    assert layout_digests(directory) == layout_digests(layout.directory)
    _skopeo(machine, registry, "delete", "skopeo/app:v1")
    assert "manifest unknown" in _skopeo(machine, registry, "inspect", "skopeo/app:v1", status=None)


def test_an_image_of_docker_schema_2_keeps_its_digest(
    machine: Machine, registry: Registry, layout: Layout, directory: Path
) -> None:
    layout.tag(layout.image([tar({"base": b"base"})]), "v1")
    _push(machine, registry, f"oci:{layout.directory}:v1", "skopeo/schema2:v1", "--format", "v2s2")
    answer = registry.manifest("skopeo/schema2", "v1")
    assert answer.headers["Content-Type"] == "application/vnd.docker.distribution.manifest.v2+json"
    _pull(machine, registry, "skopeo/schema2:v1", f"dir:{directory}")
    assert (directory / "manifest.json").read_bytes() == answer.body
    registry.delete_manifest("skopeo/schema2", answer.digest)


def test_an_index_of_two_platforms_is_copied_whole(
    machine: Machine, registry: Registry, layout: Layout, directory: Path
) -> None:
    images = [layout.image([tar({"arch": platform["architecture"].encode()})], platform) for platform in (AMD64, ARM64)]
    index = layout.index(images)
    layout.tag(index, "v1")
    _push(machine, registry, f"oci:{layout.directory}:v1", "skopeo/platforms:v1", "--all")
    assert registry.manifest("skopeo/platforms", "v1").digest == index["digest"]
    _pull(machine, registry, "skopeo/platforms:v1", f"oci:{directory}:v1", "--all")
    assert layout_digests(directory) == layout_digests(layout.directory)
    registry.delete_manifest("skopeo/platforms", index["digest"])


@pytest.mark.needs("zstd")
def test_zstd_layers_pull_back_byte_for_byte(
    machine: Machine, registry: Registry, layout: Layout, directory: Path
) -> None:
    archive = tar({"base": b"base" * 10_000})
    zstd = subprocess.run(["zstd", "--stdout"], input=archive, capture_output=True, check=True).stdout
    image = layout.image_of([sha256(archive)], [layout.blob(zstd, f"{OCI_LAYER}+zstd")])
    layout.tag(image, "v1")
    _push(machine, registry, f"oci:{layout.directory}:v1", "skopeo/zstd:v1")
    _pull(machine, registry, "skopeo/zstd:v1", f"oci:{directory}:v1")
    assert layout_digests(directory) == layout_digests(layout.directory)
    registry.delete_manifest("skopeo/zstd", image["digest"])


def test_a_copy_within_the_registry_mounts_the_layers(
    machine: Machine, plain_registry: Registry, layout: Layout
) -> None:
    image = layout.image([tar({"base": b"base"})])
    layout.tag(image, "v1")
    _push(machine, plain_registry, f"oci:{layout.directory}:v1", "skopeo/from:v1")
    source = f"docker://{plain_registry.address}/skopeo/from:v1"
    _push(machine, plain_registry, source, "skopeo/to:v1", "--src-tls-verify=false")
    plain_registry.delete_manifest("skopeo/from", image["digest"])
    assert plain_registry.manifest("skopeo/to", "v1").digest == image["digest"]
    plain_registry.delete_manifest("skopeo/to", image["digest"])


@pytest.mark.needs("umoci")
def test_a_layout_of_umoci_is_pushed_pulled_and_unpacked(machine: Machine, registry: Registry, directory: Path) -> None:
    made, pulled = directory / "made", directory / "pulled"
    content = directory / "greeting"
    content.write_text("hello")
    machine.run("umoci", "init", "--layout", made)
    machine.run("umoci", "new", "--image", f"{made}:v1")
    machine.run("umoci", "insert", "--rootless", "--image", f"{made}:v1", content, "/greeting")
    machine.run("umoci", "config", "--image", f"{made}:v1", "--config.cmd", "/greeting")
    _push(machine, registry, f"oci:{made}:v1", "umoci/app:v1")
    _pull(machine, registry, "umoci/app:v1", f"oci:{pulled}:v1")
    machine.run("umoci", "gc", "--layout", made)  # what the steps on the way to v1 left
    assert layout_digests(pulled) == layout_digests(made)
    machine.run("umoci", "unpack", "--rootless", "--image", f"{pulled}:v1", directory / "bundle")
    assert (directory / "bundle" / "rootfs" / "greeting").read_text() == "hello"
    registry.delete_manifest("umoci/app", registry.manifest("umoci/app", "v1").digest)
