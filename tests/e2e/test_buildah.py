"""buildah: an image from nothing, and a build on top of a pushed one."""

from pathlib import Path

import pytest

from tests.support.images import busybox_tar
from tests.support.machine import Machine
from tests.support.server import Registry

pytestmark = pytest.mark.needs("buildah", "busybox")


def test_a_pushed_image_is_pulled_built_upon_pushed_again_and_deleted(
    machine: Machine, registry: Registry, directory: Path
) -> None:
    verify = f"--tls-verify={not registry.plain_http}".lower()
    repository, name = "buildah/app", f"{registry.address}/buildah/app"

    def buildah(*arguments: str | Path, status: int | None = 0) -> str:
        return machine.run("buildah", "--storage-driver", "vfs", *arguments, status=status).strip()

    def push(image: str, tag: str) -> str:
        buildah("push", verify, "--digestfile", directory / tag, image, f"docker://{name}:{tag}")
        return (directory / tag).read_text()

    (directory / "busybox.tar").write_bytes(busybox_tar())
    container = buildah("from", "scratch")
    buildah("add", container, directory / "busybox.tar", "/")
    buildah("commit", "--rm", container, "localhost/base")
    base = push("localhost/base", "v1")
    buildah("rmi", "localhost/base")
    (directory / "Containerfile").write_text(f"FROM {name}:v1\nRUN echo built > /built\n")
    buildah("bud", verify, "--isolation", "chroot", "--tag", "localhost/built", "--file", directory / "Containerfile")
    built = push("localhost/built", "v2")
    buildah("rmi", "--all", "--force")

    layers = [manifest.json()["layers"] for manifest in (registry.manifest(repository, tag) for tag in ("v1", "v2"))]
    assert layers[1][: len(layers[0])] == layers[0]
    assert registry.manifest(repository, "v1").digest == base
    container = buildah("from", "--quiet", verify, f"{name}@{built}")
    assert buildah("run", "--isolation", "chroot", container, "--", "cat", "/built") == "built"
    buildah("rm", container)
    for digest in (base, built):
        registry.delete_manifest(repository, digest)
    assert "manifest unknown" in buildah("pull", verify, f"{name}:v2", status=None)
