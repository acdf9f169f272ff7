"""containerd, by its own client ctr."""

from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest

from tests.support.images import Layout, busybox_tar, layout_digests, tar
from tests.support.machine import Machine
from tests.support.server import Registry

pytestmark = pytest.mark.needs("containerd", "runc", "busybox")

Ctr = Callable[..., str]


def test_a_pushed_image_pulls_back_runs_and_is_deleted(
    containerd: Ctr, machine: Machine, registry: Registry, layout: Layout, directory: Path
) -> None:
    image = layout.image([busybox_tar(), tar({"greeting": b"hello from a layer"})])
    layout.tag(image, "v1")
    archive, exported = directory / "image.tar", directory / "exported"
    machine.run("tar", "--directory", layout.directory, "--create", "--file", archive, ".")
    repository = f"containerd/app-{uuid4().hex}"
    name = f"{registry.address}/{repository}:v1"
    plain = ["--plain-http"] if registry.plain_http else []
    containerd("images", "import", "--index-name", name, "--snapshotter", "native", archive)
    containerd("images", "push", *plain, name)
    assert registry.manifest(repository, "v1").status == 200
    containerd("images", "remove", "--sync", name)
    containerd("images", "pull", *plain, "--snapshotter", "native", name)
    containerd("images", "export", directory / "exported.tar", name)
    exported.mkdir()
    machine.run("tar", "--directory", exported, "--extract", "--file", directory / "exported.tar")
    assert layout_digests(layout.directory) <= layout_digests(exported)
    ran = containerd("run", "--rm", "--snapshotter", "native", name, uuid4().hex, "/bin/cat", "/greeting")
    assert ran == "hello from a layer"
    containerd("images", "remove", "--sync", name)
    registry.delete_manifest(repository, registry.manifest(repository, "v1").digest)
    with pytest.raises(AssertionError, match="not found"):
        containerd("images", "pull", *plain, "--snapshotter", "native", name)
