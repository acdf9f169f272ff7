"""A layer of 1 GiB, pushed and pulled once."""

import hashlib
import os
import tarfile
from pathlib import Path

import pytest

from tests.support.images import OCI_LAYER, Layout
from tests.support.machine import Machine
from tests.support.server import Registry

pytestmark = pytest.mark.needs("skopeo")

LAYER_BYTES = 1 << 30
RANDOM_EVERY_BYTES = 1 << 20
RANDOM_BYTES = 4096


def _write_tar(path: Path) -> None:
    """A tar of one file of 1 GiB: a hole with some random bytes in every MiB, so that it takes no room on the disk."""
    with path.open("wb") as archive:
        entry = tarfile.TarInfo("large")
        entry.size = LAYER_BYTES
        archive.write(entry.tobuf())
        for offset in range(0, LAYER_BYTES, RANDOM_EVERY_BYTES):
            archive.seek(tarfile.BLOCKSIZE + offset)
            archive.write(os.urandom(RANDOM_BYTES))
        archive.truncate(tarfile.BLOCKSIZE + LAYER_BYTES + 2 * tarfile.BLOCKSIZE)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def test_a_layer_of_one_gibibyte_is_pushed_and_pulled_back(
    machine: Machine, plain_registry: Registry, layout: Layout, directory: Path
) -> None:
    _write_tar(directory / "layer.tar")
    digest = _digest(directory / "layer.tar")
    size = (directory / "layer.tar").stat().st_size
    (directory / "layer.tar").rename(layout.path(digest))
    image = layout.image_of([digest], [{"mediaType": OCI_LAYER, "digest": digest, "size": size}])
    layout.tag(image, "v1")
    name = f"docker://{plain_registry.address}/large/layer:v1"
    as_it_is = ("--preserve-digests", "--dest-tls-verify=false", "--src-tls-verify=false")
    machine.run("skopeo", "copy", *as_it_is, f"oci:{layout.directory}:v1", name)
    assert plain_registry.manifest("large/layer", "v1").digest == image["digest"]
    machine.run("skopeo", "copy", *as_it_is, name, f"oci:{directory / 'pulled'}:v1")
    assert _digest(directory / "pulled" / "blobs" / "sha256" / digest.removeprefix("sha256:")) == digest
    plain_registry.delete_manifest("large/layer", image["digest"])
