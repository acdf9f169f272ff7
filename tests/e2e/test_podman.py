"""podman: push, pull and manifest lists. (Its `run` needs limits that a test machine may not give.)"""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.images import busybox_tar
from tests.support.machine import Machine
from tests.support.server import Registry

pytestmark = pytest.mark.needs("podman", "busybox")

Podman = Callable[..., str]


@pytest.fixture
def podman(machine: Machine) -> Podman:
    """podman with its storage in the machine, and one image in it: localhost/busybox."""

    def run(*arguments: str | Path, status: int | None = 0, stdin: bytes = b"") -> str:
        return machine.run("podman", "--storage-driver", "vfs", *arguments, status=status, stdin=stdin).strip()

    run("import", "-", "localhost/busybox", stdin=busybox_tar())
    return run


def test_a_pushed_image_pulls_back_and_is_deleted(podman: Podman, registry: Registry, directory: Path) -> None:
    verify = f"--tls-verify={not registry.plain_http}".lower()
    name = f"{registry.address}/podman/busybox:v1"
    podman("push", verify, "--digestfile", directory / "digest", "localhost/busybox", name)
    digest = (directory / "digest").read_text()
    assert registry.manifest("podman/busybox", "v1").digest == digest
    identity = podman("image", "inspect", "localhost/busybox", "--format", "{{.Id}}")
    podman("rmi", "localhost/busybox")
    podman("pull", verify, name)
    assert podman("image", "inspect", name, "--format", "{{.Digest}} {{.Id}}") == f"{digest} {identity}"
    listed = json.loads(
        podman("search", verify, "--list-tags", "--format", "json", f"{registry.address}/podman/busybox")
    )
    assert listed[0]["Tags"] == ["v1"]
    podman("rmi", name)
    registry.delete_manifest("podman/busybox", digest)
    assert "manifest unknown" in podman("pull", verify, name, status=None)


def test_a_manifest_list_is_pushed_with_its_images(podman: Podman, registry: Registry, directory: Path) -> None:
    verify = f"--tls-verify={not registry.plain_http}".lower()
    name = f"{registry.address}/podman/list:v1"
    podman("manifest", "create", "localhost/list")
    podman("manifest", "add", "--arch", "arm64", "localhost/list", "containers-storage:localhost/busybox")
    podman(
        "manifest", "push", verify, "--all", "--digestfile", directory / "digest", "localhost/list", f"docker://{name}"
    )
    podman("manifest", "rm", "localhost/list")
    pushed = registry.manifest("podman/list", "v1")
    assert pushed.digest == (directory / "digest").read_text()
    (child,) = pushed.json()["manifests"]
    assert child["platform"]["architecture"] == "arm64"
    assert registry.manifest("podman/list", child["digest"]).status == 200
    podman("pull", verify, "--arch", "arm64", name)
    podman("rmi", name)
    registry.delete_manifest("podman/list", pushed.digest)
