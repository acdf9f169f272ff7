"""What real clients push outlives a whole collection, past every period, with all its parts."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.test_indexes import attestation, push_buildkit_cache
from tests.support.images import AMD64, ARM64, Layout, layout_digests, tar
from tests.support.machine import Machine
from tests.support.server import Registry, entrepot_command, start_registry
from tests.support.tools import COSIGN_3

pytestmark = pytest.mark.needs("crane", "skopeo", "cosign", "cosign3/cosign")

# Long enough for a client to push a manifest after its layers, on a machine that is busy.
PHASES = {f"ENTREPOT_LIFECYCLE__{phase}": "5" for phase in ("UNDO", "GRACE", "QUARANTINE")}
COSIGN = {
    "cosign": ["--tlog-upload=false"],
    COSIGN_3: ["--tlog-upload=false", "--use-signing-config=false"],
}


@dataclass(frozen=True)
class Collecting:
    """Entrepot whose phases are seconds, with its settings."""

    registry: Registry
    settings: Mapping[str, str]

    def garbage(self) -> str:
        """What `entrepot gc --dry-run` says."""
        data = {"ENTREPOT_DATA_DIR": str(self.registry.data_directory), "ENTREPOT_OPEN": "true"}
        command = [*entrepot_command(), "gc", "--dry-run"]
        return self.registry.machine.run(*command, environment={**data, **self.settings})


@pytest.fixture(params=["sqlite and files", "postgresql and s3"])
def collecting(request: pytest.FixtureRequest, machine: Machine) -> Iterator[Collecting]:
    """Such a server of each kind."""
    settings = dict(PHASES)
    if request.param == "postgresql and s3":
        settings |= request.getfixturevalue("distributed_settings")
    made = start_registry(machine, f"collecting-{request.param.partition(' ')[0]}", settings=settings)
    yield Collecting(made, settings)
    made.process.stop()


def test_no_image_loses_a_part(collecting: Collecting, machine: Machine, layout: Layout, directory: Path) -> None:
    registry = collecting.registry
    shared = tar({"shared": b"a layer of all of them"})
    images = [layout.image([shared, tar({"arch": name.encode()})], arch) for name, arch in _PLATFORMS]
    index = layout.index([*images, *(attestation(layout, image) for image in images)])
    layout.tag(index, "v1")
    first, second = f"{registry.address}/collected/app", f"{registry.address}/collected/copy"
    machine.run("crane", "push", layout.directory, f"{first}:v1")
    machine.run("crane", "copy", "--all-tags", first, second)
    signed = zip(COSIGN, (f"{each}@{index['digest']}" for each in (first, second)), strict=True)
    verifies = [_signed(machine, directory / str(number), *each) for number, each in enumerate(signed)]
    _, cache = push_buildkit_cache(registry, "collected/cache")
    _litter_and_wait(collecting, machine, shared)

    verify = f"--src-tls-verify={not registry.plain_http}".lower()
    for number, name in enumerate((first, second)):
        copied = machine.new_directory(f"copied-{number}")
        machine.run("skopeo", "copy", "--all", verify, f"docker://{name}:v1", f"oci:{copied}:v1")
        assert layout_digests(copied) == layout_digests(layout.directory)
    for each in verifies:
        assert index["digest"] in each()
    for entry in cache:
        assert registry.blob_sha256("collected/cache", entry["digest"]) == entry["digest"]


_PLATFORMS = (("amd64", AMD64), ("arm64", ARM64))


def _signed(machine: Machine, directory: Path, program: str, image: str) -> Callable[[], str]:
    """Sign by a version of cosign, 2 as a tag and 3 as a referrer; what verifies it."""
    directory.mkdir()
    environment, plain = {"COSIGN_PASSWORD": ""}, "--allow-http-registry"
    machine.run(program, "generate-key-pair", directory=directory, environment=environment)
    sign = [program, "sign", "--yes", "--key", "cosign.key", *COSIGN[program], plain, image]
    machine.run(*sign, directory=directory, environment=environment)
    verify = [program, "verify", "--key", "cosign.pub", "--insecure-ignore-tlog=true", plain, image]
    return lambda: machine.run(*verify, directory=directory, environment=environment)


def _litter_and_wait(collecting: Collecting, machine: Machine, shared: bytes) -> None:
    """Delete an image that shares a layer with the others: when nothing of it is left, all periods are over."""
    registry = collecting.registry
    layout = Layout(machine.new_directory("litter"))
    image = layout.image([shared, tar({"litter": b"of nobody"})])
    layout.tag(image, "v1")
    for repository in ("collected/app", "collected/litter"):
        machine.run("crane", "push", layout.directory, f"{registry.address}/{repository}:litter")
        registry.delete_manifest(repository, image["digest"])
    end = time.monotonic() + 120
    while not collecting.garbage().startswith("0 would go"):
        assert time.monotonic() < end, collecting.garbage()
        time.sleep(0.5)
