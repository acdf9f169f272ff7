"""Engines come to the cache by the very files that `entrepot mirror config` prints.

It stands in front of three kinds of registry: Debian's docker-registry, distribution 3, and an Entrepot with accounts
and a pull limit.
"""

import json
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from tests.support.docker_hub import PRIVATE_ADDRESS, as_administrator
from tests.support.engine import start_docker
from tests.support.hub import start_hub
from tests.support.images import Layout, busybox_tar
from tests.support.machine import Machine
from tests.support.server import Registry, entrepot_command, start_registry

pytestmark = pytest.mark.needs("docker-registry", "registry", "crane", "busybox")

KINDS = ("docker-registry", "registry", "entrepot")
CONFIG = """\
version: 0.1
http: {{addr: "127.0.0.1:{port}"}}
storage: {{filesystem: {{rootdirectory: "{directory}"}}}}
"""


@dataclass(frozen=True)
class Upstream:
    """A registry that has an image, `library/app:v1`; its digest."""

    url: str
    digest: str


def an_upstream(machine: Machine, kind: str) -> Upstream:
    """A registry of this kind with an image."""
    environment = None
    if kind == "entrepot":
        hub = start_hub(machine, f"upstream-{kind}", settings={"ENTREPOT_LIMITS__PULLS__ANONYMOUS": "10"})
        address, environment = hub.address, as_administrator(machine, hub)
    else:
        directory = machine.new_directory("upstream")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        (directory / "config.yml").write_text(CONFIG.format(port=port, directory=directory / "data"))
        command = (kind, "serve", directory / "config.yml")
        quiet = {"OTEL_TRACES_EXPORTER": "none"}
        machine.start(f"upstream-{kind}", *command, ready="listening on", environment=quiet)
        address = f"127.0.0.1:{port}"
    layout = Layout(machine.new_directory("layout"))
    image = layout.image([busybox_tar({"content": kind.encode()})])
    layout.tag(image, "v1")
    machine.run("crane", "push", layout.directory, f"{address}/library/app:v1", environment=environment)
    return Upstream(f"http://{address}", str(image["digest"]))


def printed(machine: Machine, program: str, settings: dict[str, str], *flags: str) -> str:
    """What `entrepot mirror config` prints."""
    return machine.run(*entrepot_command(), "mirror", "config", program, *flags, environment=settings)


@pytest.fixture(scope="module")
def settings(machine: Machine) -> tuple[dict[str, str], dict[str, Upstream]]:
    """Those of a cache of all kinds, and the upstreams by alias."""
    upstreams = {f"{kind}.example": an_upstream(machine, kind) for kind in KINDS}
    configured = {alias: {"url": upstream.url} for alias, upstream in upstreams.items()}
    return {"ENTREPOT_UPSTREAMS": json.dumps(configured)}, upstreams


@pytest.fixture(scope="module")
def cache(machine: Machine, settings: tuple[dict[str, str], dict[str, Upstream]]) -> Iterator[Registry]:
    """The cache."""
    made = start_registry(machine, "engines-cache", settings=settings[0])
    yield made
    made.process.stop()


@pytest.mark.needs("containerd")
def test_containerd_by_its_hosts_file(
    machine: Machine,
    containerd: Callable[..., str],
    cache: Registry,
    settings: tuple[dict[str, str], dict[str, Upstream]],
) -> None:
    hosts = machine.new_directory("hosts")
    (hosts / "_default").mkdir()
    (hosts / "_default" / "hosts.toml").write_text(printed(machine, "containerd", settings[0], "--url", cache.url))
    for alias, upstream in settings[1].items():
        name = f"{alias}/library/app:v1"
        containerd("images", "pull", "--hosts-dir", hosts, "--snapshotter", "native", name)
        assert upstream.digest in containerd("images", "ls", f"name=={name}")


@pytest.mark.needs("podman")
def test_podman_by_its_registries_file(
    machine: Machine, cache: Registry, settings: tuple[dict[str, str], dict[str, Upstream]]
) -> None:
    file = machine.new_directory("podman") / "registries.conf"
    file.write_text(printed(machine, "podman", settings[0], "--url", cache.url))
    podman = ("podman", "--storage-driver", "vfs")
    for alias, upstream in settings[1].items():
        name = f"{alias}/library/app:v1"
        machine.run(*podman, "pull", name, environment={"CONTAINERS_REGISTRIES_CONF": str(file)})
        assert machine.run(*podman, "image", "inspect", name, "--format", "{{.Digest}}").strip() == upstream.digest


@pytest.mark.needs("podman")
def test_podman_by_the_file_of_a_whole_server_that_is_a_mirror(
    machine: Machine, settings: tuple[dict[str, str], dict[str, Upstream]]
) -> None:
    upstream = settings[1]["docker-registry.example"]
    whole = {"REGISTRY_PROXY_REMOTEURL": upstream.url}
    mirror = start_registry(machine, "engines-mirror", settings=whole)
    file = machine.new_directory("podman") / "registries.conf"
    file.write_text(printed(machine, "podman", whole, "--url", mirror.url))
    name = f"{upstream.url.removeprefix('http://')}/library/app:v1"
    podman = ("podman", "--storage-driver", "vfs")
    machine.run(*podman, "pull", name, environment={"CONTAINERS_REGISTRIES_CONF": str(file)})
    assert machine.run(*podman, "image", "inspect", name, "--format", "{{.Digest}}").strip() == upstream.digest
    mirror.process.stop()
    lines = [json.loads(line) for line in mirror.process.log.read_text().splitlines() if line[:1] == "{"]
    pulled = [line for line in lines if str(line.get("target")).startswith("/v2/library/app/manifests/")]
    assert {line["status"] for line in pulled} == {200}, "it came through the mirror"


@pytest.mark.needs("skopeo", "buildah")
def test_skopeo_and_buildah_by_path(
    machine: Machine, cache: Registry, settings: tuple[dict[str, str], dict[str, Upstream]]
) -> None:
    for alias, upstream in settings[1].items():
        image = f"{cache.address}/{alias}/library/app:v1"
        inspected = machine.run("skopeo", "inspect", "--tls-verify=false", f"docker://{image}")
        assert json.loads(inspected)["Digest"] == upstream.digest
        machine.run("buildah", "--storage-driver", "vfs", "pull", "--tls-verify=false", image)
        assert "PASS" in machine.run("crane", "validate", "--remote", image)


@pytest.mark.needs("dockerd", "runc", "ip")
def test_docker_by_its_daemon_file() -> None:
    with Machine(PRIVATE_ADDRESS) as machine:
        upstreams = {kind: an_upstream(machine, kind) for kind in KINDS}
        common = {"ENTREPOT_MIRROR__LISTEN": "127.0.0.1:5001"}
        file = machine.path("/etc/docker/daemon.json")
        file.parent.mkdir(exist_ok=True)
        file.write_text(printed(machine, "docker", {**common, "ENTREPOT_UPSTREAMS": '{"docker.io": {}}'}))
        start_docker(machine)
        for kind, upstream in upstreams.items():
            own = {**common, "ENTREPOT_UPSTREAMS": json.dumps({"docker.io": {"url": upstream.url}})}
            cache = start_registry(machine, f"cache-of-{kind}", settings=own)
            assert f"Digest: {upstream.digest}" in machine.run("docker", "pull", "app:v1")
            assert machine.run("docker", "run", "--rm", "--network=none", "app:v1", "cat", "/content") == kind
            machine.run("docker", "rmi", "app:v1")
            cache.process.stop()
