"""crane (go-containerregistry)."""

from pathlib import Path

import pytest

from tests.support.images import AMD64, ARM64, Layout, layout_digests, tar
from tests.support.machine import Machine
from tests.support.server import Registry

pytestmark = pytest.mark.needs("crane")


def _crane(machine: Machine, *arguments: str | Path, status: int | None = 0) -> str:
    return machine.run("crane", *arguments, status=status).strip()


def _two_layers(layout: Layout) -> str:
    """Write an image into the layout and return its digest."""
    image = layout.image([tar({"base": b"base"}), tar({"top": b"top"})])
    layout.tag(image, "v1")
    return str(image["digest"])


def test_a_pushed_image_pulls_back_byte_for_byte_and_is_deleted(
    machine: Machine, registry: Registry, layout: Layout, directory: Path
) -> None:
    digest = _two_layers(layout)
    name = f"{registry.address}/crane/app"
    _crane(machine, "push", layout.directory, f"{name}:v1")
    assert _crane(machine, "digest", f"{name}:v1") == digest
    assert "PASS" in _crane(machine, "validate", "--remote", f"{name}:v1")
    _crane(machine, "pull", "--format", "oci", f"{name}:v1", directory)
    assert layout_digests(directory) == layout_digests(layout.directory)
    assert _crane(machine, "ls", name) == "v1"
    assert "crane/app" in _crane(machine, "catalog", registry.address).splitlines()
    _crane(machine, "delete", f"{name}@{digest}")
    assert "MANIFEST_UNKNOWN" in _crane(machine, "manifest", f"{name}:v1", status=None)
    assert _crane(machine, "ls", name) == ""


def test_a_copy_to_another_repository_has_the_same_digest(machine: Machine, registry: Registry, layout: Layout) -> None:
    digest = _two_layers(layout)
    source, target = f"{registry.address}/crane/source:v1", f"{registry.address}/crane/copied/target:v2"
    _crane(machine, "push", layout.directory, source)
    _crane(machine, "copy", source, target)
    assert _crane(machine, "digest", target) == digest
    assert "PASS" in _crane(machine, "validate", "--remote", target)
    registry.delete_manifest("crane/source", digest)
    assert "PASS" in _crane(machine, "validate", "--remote", target)
    registry.delete_manifest("crane/copied/target", digest)


def test_an_index_of_two_platforms_is_pushed_whole_and_each_platform_pulls(
    machine: Machine, registry: Registry, layout: Layout, directory: Path
) -> None:
    images = [layout.image([tar({"arch": platform["architecture"].encode()})], platform) for platform in (AMD64, ARM64)]
    index = layout.index(images)
    layout.tag(index, "v1")
    name = f"{registry.address}/crane/platforms:v1"
    _crane(machine, "push", layout.directory, name)
    for image, platform in zip(images, ("linux/amd64", "linux/arm64"), strict=True):
        assert _crane(machine, "digest", "--platform", platform, name) == image["digest"]
    assert "PASS" in _crane(machine, "validate", "--remote", name)
    _crane(machine, "pull", "--format", "oci", name, directory)
    assert {image["digest"] for image in images} <= layout_digests(directory)
    registry.delete_manifest("crane/platforms", index["digest"])
    for image in images:  # they had no tag and no other index
        assert registry.manifest("crane/platforms", image["digest"]).status == 404


def test_catalog_and_tags_are_listed_over_several_pages(
    machine: Machine, plain_registry: Registry, layout: Layout
) -> None:
    digest = _two_layers(layout)
    name = f"{plain_registry.address}/crane/pages"
    tags = [f"v{number}" for number in range(5)]
    _crane(machine, "push", layout.directory, f"{name}:v0")
    for tag in tags[1:]:
        _crane(machine, "tag", f"{name}:v0", tag)
    page = plain_registry.request("GET", "/v2/crane/pages/tags/list?n=2")
    assert page.json() == {"name": "crane/pages", "tags": tags[:2]}
    assert 'rel="next"' in page.headers["Link"]
    assert _crane(machine, "ls", name).splitlines() == tags
    _crane(machine, "delete", f"{name}@{digest}")
    assert plain_registry.tags("crane/pages") == []
