"""cosign: signatures as tags (2) and as referrers (3)."""

from pathlib import Path

import pytest

from tests.support.images import Layout, tar
from tests.support.machine import Machine
from tests.support.server import Registry
from tests.support.tools import COSIGN_3

# No transparency log: it is a service of the internet.
VERSIONS = {
    "2": ("cosign", ["--tlog-upload=false"]),
    "3": (COSIGN_3, ["--tlog-upload=false", "--use-signing-config=false"]),
}


@pytest.mark.needs("cosign", "cosign3/cosign", "crane")
@pytest.mark.parametrize("version", VERSIONS)
def test_an_image_verifies_as_long_as_its_signature_is_there(
    version: str, machine: Machine, registry: Registry, layout: Layout, directory: Path
) -> None:
    program, offline = VERSIONS[version]
    plain = ["--allow-http-registry"] if registry.plain_http else []
    image = layout.image([tar({"version": version.encode()})])
    layout.tag(image, "v1")
    repository = f"cosign/v{version}"
    machine.run("crane", "push", layout.directory, f"{registry.address}/{repository}:v1")
    signed = f"{registry.address}/{repository}@{image['digest']}"

    def cosign(*arguments: str, status: int | None = 0) -> str:
        return machine.run(program, *arguments, status=status, directory=directory, environment={"COSIGN_PASSWORD": ""})

    def verify(status: int | None = 0) -> str:
        return cosign("verify", "--key", "cosign.pub", "--insecure-ignore-tlog=true", *plain, signed, status=status)

    cosign("generate-key-pair")
    verify(status=None)
    cosign("sign", "--yes", "--key", "cosign.key", *offline, *plain, signed)
    assert image["digest"] in verify()
    signature = _signature(registry, repository, image["digest"], by_tag=version == "2")
    registry.delete_manifest(repository, signature)
    verify(status=None)
    registry.delete_manifest(repository, image["digest"])


def _signature(registry: Registry, repository: str, image: str, *, by_tag: bool) -> str:
    """The digest of the one signature of an image: under a tag made from its digest, or a referrer and no tag."""
    tags = [tag for tag in registry.tags(repository) if tag != "v1"]
    if by_tag:
        assert tags == [f"{image.replace(':', '-')}.sig"]
        return registry.manifest(repository, tags[0]).digest
    assert tags == []
    (referrer,) = registry.request("GET", f"/v2/{repository}/referrers/{image}").json()["manifests"]
    return str(referrer["digest"])
