"""Docker Engine: push, pull, build, run; what it says about layers that the registry has; its own authorities."""

import os
from uuid import uuid4

import pytest

from tests.e2e.conftest import DockerHost
from tests.support.docker_hub import PRIVATE_ADDRESS
from tests.support.engine import import_busybox
from tests.support.server import Registry, start_registry

pytestmark = pytest.mark.needs("dockerd", "runc", "busybox", "ip")

# Layers are random, so that no compression shortens them and what a server receives can be counted.
BIG_LAYER_BYTES = 3_000_000
SMALL_LAYER_BYTES = 200_000


@pytest.fixture
def base(docker_host: DockerHost) -> str:
    """The name of a local image of one layer that no registry has."""
    name = f"local/{uuid4().hex}"
    import_busybox(docker_host.machine, name)
    return name


def _build(docker_host: DockerHost, image: str, dockerfile: str, **files: bytes) -> None:
    directory = docker_host.machine.new_directory("build")
    (directory / "Dockerfile").write_text(dockerfile)
    for name, content in files.items():
        (directory / name).write_bytes(content)
    docker_host.docker("build", "--tag", image, str(directory))


def _pushed(docker_host: DockerHost, image: str) -> tuple[str, list[str]]:
    """Push; returns the digest that Docker prints and the last word it has on each layer."""
    lines = docker_host.docker("push", image).splitlines()
    digest = next(word for line in lines if "digest: " in line for word in line.split() if word.startswith("sha256:"))
    ends = ("Pushed", "Layer already exists", "Mounted from ")
    return digest, [said for line in lines for _, _, said in [line.partition(": ")] if said.startswith(ends)]


def _stored_bytes(registry: Registry) -> int:
    """How many bytes the files of the registry's data directory have, its database apart."""
    files = (path for path in registry.data_directory.rglob("*") if path.is_file())
    return sum(path.stat().st_size for path in files if ".db" not in path.name and ".sqlite" not in path.name)


def test_a_pushed_image_pulls_back_runs_and_is_deleted(docker_host: DockerHost, base: str) -> None:
    registry, docker = docker_host.plain, docker_host.docker
    image = f"{registry.address}/docker/app:v1"
    _build(docker_host, image, f"FROM {base}\nCOPY greeting /greeting\n", greeting=b"hello from a layer")
    digest, _ = _pushed(docker_host, image)
    assert registry.manifest("docker/app", "v1").digest == digest
    identity = docker("image", "inspect", "--format", "{{.Id}}", image)
    docker("rmi", image, base)
    assert f"Digest: {digest}" in docker("pull", image)
    assert docker("image", "inspect", "--format", "{{.Id}}", image) == identity
    assert docker("run", "--rm", image, "/bin/cat", "/greeting") == "hello from a layer"
    assert "Image is up to date" in docker("pull", f"{registry.address}/docker/app@{digest}")
    docker("rmi", "--force", image)
    registry.delete_manifest("docker/app", digest)
    assert "manifest unknown" in docker("pull", image, status=1)


def test_an_image_built_upon_a_pulled_one_shares_its_layers(docker_host: DockerHost, base: str) -> None:
    registry, docker = docker_host.plain, docker_host.docker
    lower, upper = (f"{registry.address}/docker/{name}:v1" for name in ("lower", "upper"))
    docker("tag", base, lower)
    _pushed(docker_host, lower)
    docker("rmi", base, lower)
    _build(docker_host, upper, f"FROM {lower}\nRUN echo built > /built\n")
    _, said = _pushed(docker_host, upper)
    assert sorted(said) == ["Mounted from docker/lower", "Pushed"]
    layers = [registry.manifest(f"docker/{name}", "v1").json()["layers"] for name in ("lower", "upper")]
    assert layers[1][:1] == layers[0]
    docker("rmi", upper, lower)
    docker("pull", upper)
    assert docker("run", "--rm", upper, "/bin/cat", "/built") == "built\n"


def test_of_a_second_version_the_server_receives_only_the_changed_layer(docker_host: DockerHost, base: str) -> None:
    registry = docker_host.plain
    image = f"{registry.address}/docker/versions"
    dockerfile = f"FROM {base}\nCOPY big /big\nCOPY small /small\n"
    big = os.urandom(BIG_LAYER_BYTES)
    _build(docker_host, f"{image}:v1", dockerfile, big=big, small=os.urandom(SMALL_LAYER_BYTES))
    _, said = _pushed(docker_host, f"{image}:v1")
    assert said == ["Pushed"] * 3
    assert _pushed(docker_host, f"{image}:v1")[1] == ["Layer already exists"] * 3
    before = _stored_bytes(registry)
    _build(docker_host, f"{image}:v2", dockerfile, big=big, small=os.urandom(SMALL_LAYER_BYTES))
    _, said = _pushed(docker_host, f"{image}:v2")
    assert sorted(said) == ["Layer already exists", "Layer already exists", "Pushed"]
    grown = _stored_bytes(registry) - before
    assert SMALL_LAYER_BYTES <= grown < SMALL_LAYER_BYTES * 1.2


def test_another_repository_gets_every_layer_mounted(docker_host: DockerHost, base: str) -> None:
    registry, docker = docker_host.plain, docker_host.docker
    first, second = (f"{registry.address}/docker/{name}:v1" for name in ("mount-from", "mount-to"))
    _build(docker_host, first, f"FROM {base}\nCOPY big /big\n", big=os.urandom(BIG_LAYER_BYTES))
    _pushed(docker_host, first)
    docker("tag", first, second)
    before = _stored_bytes(registry)
    digest, said = _pushed(docker_host, second)
    assert said == ["Mounted from docker/mount-from"] * 2
    assert _stored_bytes(registry) - before < SMALL_LAYER_BYTES, "the config at most"
    docker("rmi", first, second)
    registry.delete_manifest("docker/mount-from", registry.manifest("docker/mount-from", "v1").digest)
    assert f"Digest: {digest}" in docker("pull", second)


def test_a_registry_with_its_own_authority_is_trusted_by_certs_d(docker_host: DockerHost, base: str) -> None:
    registry, docker = docker_host.private, docker_host.docker
    image = f"{registry.address}/docker/tls:v1"
    docker("tag", base, image)
    assert "certificate signed by unknown authority" in docker("push", image, status=1)
    trusted = docker_host.machine.path(f"/etc/docker/certs.d/{registry.address}/ca.crt")
    trusted.parent.mkdir(parents=True)
    trusted.write_bytes(docker_host.private_authority.root.certificate.read_bytes())
    digest, said = _pushed(docker_host, image)
    assert said == ["Pushed"]
    docker("rmi", image, base)
    assert f"Digest: {digest}" in docker("pull", image)


def test_tls_towards_a_plain_port_is_answered_with_the_sentence_that_people_search_for(
    docker_host: DockerHost, base: str
) -> None:
    plain = start_registry(docker_host.machine, "open-to-network", listen=f"{PRIVATE_ADDRESS}:0")
    docker_host.docker("tag", base, f"{plain.address}/docker/plain:v1")
    refused = docker_host.docker("push", f"{plain.address}/docker/plain:v1", status=1)
    assert "server gave HTTP response to HTTPS client" in refused
