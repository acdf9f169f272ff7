"""oras: artifacts of any type, and what refers to what."""

import json
from pathlib import Path

import pytest

from tests.support.machine import Machine
from tests.support.server import Registry

pytestmark = pytest.mark.needs("oras")


class Oras:
    """The oras program towards one registry, run in a directory of its own."""

    def __init__(self, machine: Machine, registry: Registry, directory: Path) -> None:
        self._machine, self._registry, self._directory = machine, registry, directory

    def __call__(self, *arguments: str, status: int | None = 0) -> str:
        """Run a command; {} in an argument stands for the registry's address."""
        filled = [argument.replace("{}", self._registry.address) for argument in arguments]
        if self._registry.plain_http:
            copies = arguments[0] == "cp"  # the one command with two registries
            filled += ["--from-plain-http", "--to-plain-http"] if copies else ["--plain-http"]
        return self._machine.run("oras", *filled, status=status, directory=self._directory)

    def digest(self, name: str) -> str:
        """The digest of a manifest in the registry."""
        return str(json.loads(self("manifest", "fetch", "--descriptor", name))["digest"])


@pytest.fixture
def oras(machine: Machine, registry: Registry, directory: Path) -> Oras:
    return Oras(machine, registry, directory)


def test_a_pushed_artifact_pulls_back_byte_for_byte_and_is_deleted(
    oras: Oras, registry: Registry, directory: Path
) -> None:
    (directory / "report.txt").write_text("all is well")
    (directory / "tree" / "branch").mkdir(parents=True)
    (directory / "tree" / "branch" / "leaf").write_text("green")
    oras(
        "push",
        "--artifact-type",
        "application/vnd.example.report",
        "{}/oras/report:v1",
        "report.txt:text/plain",
        "tree",
    )
    digest = oras.digest("{}/oras/report:v1")
    oras("pull", "--output", "pulled", f"{{}}/oras/report@{digest}")
    assert (directory / "pulled" / "report.txt").read_text() == "all is well"
    assert (directory / "pulled" / "tree" / "branch" / "leaf").read_text() == "green"
    assert oras("repo", "tags", "{}/oras/report").split() == ["v1"]
    assert "oras/report" in oras("repo", "ls", "{}").split()
    oras("manifest", "delete", "--force", "{}/oras/report:v1")
    assert "not found" in oras("manifest", "fetch", "{}/oras/report:v1", status=None)
    assert registry.tags("oras/report") == []


def test_what_is_attached_is_discovered_by_type_and_goes_with_its_manifest(
    oras: Oras, registry: Registry, directory: Path
) -> None:
    for name in ("image", "sbom", "signature"):
        (directory / name).write_text(name)
    oras("push", "{}/oras/image:v1", "image")
    subject = oras.digest("{}/oras/image:v1")
    oras("attach", "--artifact-type", "application/vnd.example.sbom", "{}/oras/image:v1", "sbom")
    oras("attach", "--artifact-type", "application/vnd.example.signature", "{}/oras/image:v1", "signature")

    def discovered(*flags: str) -> dict[str, str]:
        found = json.loads(oras("discover", "--format", "json", *flags, "{}/oras/image:v1"))
        return {referrer["artifactType"]: referrer["digest"] for referrer in found["referrers"] or ()}

    assert set(discovered()) == {"application/vnd.example.sbom", "application/vnd.example.signature"}
    sbom = discovered("--artifact-type", "application/vnd.example.sbom")
    assert set(sbom) == {"application/vnd.example.sbom"}
    assert registry.tags("oras/image") == ["v1"], "the server keeps the referrers; no fallback tag is needed"
    oras("pull", "--output", "pulled", f"{{}}/oras/image@{sbom['application/vnd.example.sbom']}")
    assert (directory / "pulled" / "sbom").read_text() == "sbom"
    oras("manifest", "delete", "--force", f"{{}}/oras/image@{sbom['application/vnd.example.sbom']}")
    assert set(discovered()) == {"application/vnd.example.signature"}
    for digest in (*discovered().values(), subject):
        registry.delete_manifest("oras/image", digest)


def test_a_blob_is_pushed_fetched_and_deleted(oras: Oras, directory: Path) -> None:
    (directory / "blob").write_bytes(bytes(range(256)) * 1000)
    pushed = json.loads(oras("blob", "push", "--descriptor", "{}/oras/blobs", "blob"))
    name = f"{{}}/oras/blobs@{pushed['digest']}"
    oras("blob", "fetch", "--output", "fetched", name)
    assert (directory / "fetched").read_bytes() == (directory / "blob").read_bytes()
    oras("blob", "delete", "--force", name)
    assert "not found" in oras("blob", "fetch", "--output", "again", name, status=None)


def test_a_copy_with_its_referrers_has_the_same_digests(oras: Oras, directory: Path) -> None:
    for name in ("image", "sbom"):
        (directory / name).write_text(name)
    oras("push", "{}/oras/source:v1", "image")
    oras("attach", "--artifact-type", "application/vnd.example.sbom", "{}/oras/source:v1", "sbom")
    oras("cp", "--recursive", "{}/oras/source:v1", "{}/oras/target:v1")
    assert oras.digest("{}/oras/target:v1") == oras.digest("{}/oras/source:v1")
    found = [json.loads(oras("discover", "--format", "json", f"{{}}/oras/{name}:v1")) for name in ("source", "target")]
    assert found[0]["referrers"][0]["digest"] == found[1]["referrers"][0]["digest"]
