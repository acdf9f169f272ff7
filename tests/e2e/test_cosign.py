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
def test_a_signed_image_verifies_and_another_does_not(
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
    signature_tags = [tag for tag in registry.tags(repository) if tag != "v1"]
    if version == "2":
        assert signature_tags == [f"{image['digest'].replace(':', '-')}.sig"]
    else:
        assert signature_tags == [], "the server keeps the referrers; no fallback tag is needed"
    machine.run("crane", "delete", signed)
    verify(status=None)
