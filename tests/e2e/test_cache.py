"""Real clients pull through the cache: containerd by one hosts.toml, podman by its mirrors, skopeo and buildah by path.

Upstreams are Debian's docker-registry and an Entrepot with accounts and a pull limit.
"""

import json
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import DockerHost
from tests.support.hub import Hub, start_hub
from tests.support.images import Layout, tar
from tests.support.machine import Machine
from tests.support.server import Registry, start_registry

OLD_CONFIG = """\
version: 0.1
http: {{addr: "127.0.0.1:{port}"}}
storage: {{filesystem: {{rootdirectory: "{directory}"}}}}
"""
LIMIT = 10


@pytest.fixture(scope="module")
def old(machine: Machine) -> str:
    """The address of docker-registry 2.8.2."""
    directory = machine.new_directory("old")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (directory / "config.yml").write_text(OLD_CONFIG.format(port=port, directory=directory / "data"))
    machine.start("docker-registry", "docker-registry", "serve", directory / "config.yml", ready="listening on")
    return f"127.0.0.1:{port}"


@pytest.fixture(scope="module")
def limited(machine: Machine) -> Hub:
    """An Entrepot with accounts, where an address pulls ten images in six hours."""
    return start_hub(machine, "limited-hub", settings={"ENTREPOT_LIMITS__PULLS__ANONYMOUS": str(LIMIT)})


@pytest.fixture(scope="module")
def cache(machine: Machine, old: str, limited: Hub) -> Iterator[Registry]:
    """The cache in front of both."""
    upstreams = {"old.example": {"url": f"http://{old}"}, "hub.example": {"url": limited.registry.url}}
    made = start_registry(machine, "cache", settings={"ENTREPOT_UPSTREAMS": json.dumps(upstreams)})
    yield made
    made.process.stop()


def _pushed(machine: Machine, name: str, content: str, environment: dict[str, str] | None = None) -> str:
    """Push an image with this content; its digest."""
    layout = Layout(machine.new_directory("layout"))
    image = layout.image([tar({"content": content.encode()})])
    layout.tag(image, "v1")
    machine.run("crane", "push", layout.directory, name, environment=environment)
    return str(image["digest"])


def _as_admin(machine: Machine, hub: Hub) -> dict[str, str]:
    environment = {"DOCKER_CONFIG": str(machine.new_directory("admin"))}
    admin = hub.administrator
    login = ("crane", "auth", "login", hub.address, "-u", admin.name, "--password-stdin")
    machine.run(*login, stdin=admin.secret.encode(), environment=environment)
    return environment


@pytest.mark.needs("containerd", "crane", "docker-registry")
def test_containerd_pulls_by_ns_from_all_upstreams_with_one_file(
    machine: Machine, containerd: Callable[..., str], cache: Registry, limited: Hub, old: str
) -> None:
    hosts = machine.new_directory("hosts")
    (hosts / "_default").mkdir()
    (hosts / "_default" / "hosts.toml").write_text(f'[host."{cache.url}"]\ncapabilities = ["pull", "resolve"]\n')
    of_old = _pushed(machine, f"{old}/team/app:v1", "by containerd")
    of_hub = _pushed(machine, f"{limited.address}/library/containerd:v1", "of the hub", _as_admin(machine, limited))
    pull = ("images", "pull", "--hosts-dir", hosts, "--snapshotter", "native")
    for name, digest in (("old.example/team/app:v1", of_old), ("hub.example/library/containerd:v1", of_hub)):
        containerd(*pull, name)
        assert digest in containerd("images", "ls", f"name=={name}")
    assert "StatusNotFound" in containerd(*pull, "elsewhere.example/a/b:v1", status=None)


@pytest.mark.needs("podman", "crane", "docker-registry")
def test_podman_pulls_through_its_mirror(machine: Machine, cache: Registry, old: str) -> None:
    digest = _pushed(machine, f"{old}/team/podman:v1", "by podman")
    configuration = machine.new_directory("podman") / "registries.conf"
    location = f'location = "{cache.address}/old.example"\ninsecure = true\n'
    configuration.write_text(f'[[registry]]\nlocation = "old.example"\n[[registry.mirror]]\n{location}')
    podman = ("podman", "--storage-driver", "vfs")
    environment = {"CONTAINERS_REGISTRIES_CONF": str(configuration)}
    machine.run(*podman, "pull", "old.example/team/podman:v1", environment=environment)
    inspect = (*podman, "image", "inspect", "old.example/team/podman:v1", "--format", "{{.Digest}}")
    assert machine.run(*inspect).strip() == digest


@pytest.mark.needs("skopeo", "buildah", "crane", "docker-registry")
def test_by_path_any_client_pulls_and_compares(machine: Machine, cache: Registry, old: str) -> None:
    digest = _pushed(machine, f"{old}/team/skopeo:v1", "by skopeo")
    image = f"{cache.address}/old.example/team/skopeo:v1"
    inspected = machine.run("skopeo", "inspect", "--tls-verify=false", f"docker://{image}")
    assert json.loads(inspected)["Digest"] == digest
    assert json.loads(inspected)["RepoTags"] == ["v1"]
    assert "PASS" in machine.run("crane", "validate", "--remote", image)
    machine.run("buildah", "--storage-driver", "vfs", "pull", "--tls-verify=false", image)
    assert machine.run("crane", "digest", f"{image}@{digest}").strip() == digest
    refused = machine.run("crane", "copy", f"{old}/team/skopeo:v1", f"{cache.address}/old.example/new:v1", status=None)
    assert "UNSUPPORTED" in refused or "405" in refused


@pytest.mark.needs("crane")
def test_an_upstream_that_allows_ten_pulls_serves_many_more(machine: Machine, cache: Registry, limited: Hub) -> None:
    admin = _as_admin(machine, limited)
    names = [f"library/limited-{number}" for number in range(4)]
    for name in names:
        _pushed(machine, f"{limited.address}/{name}:v1", name, admin)
    for _ in range(4):
        for name in names:
            assert machine.run("crane", "manifest", f"{cache.address}/hub.example/{name}:v1")
    head = machine.run(
        "bash", "-c",
        f"T=$(curl -s '{limited.registry.url}/token?scope=repository:ratelimitpreview/test:pull'"
        " | python3 -c \"import sys,json; print(json.load(sys.stdin)['token'])\");"
        f" curl -sI -H \"Authorization: Bearer $T\" {limited.registry.url}/v2/ratelimitpreview/test/manifests/latest",
    )  # fmt: skip
    (remaining,) = re.findall(r"ratelimit-remaining: (\d+)", head)
    assert LIMIT - int(remaining) <= 2 + len(names), "one an image, and what containerd has pulled"


@pytest.mark.needs("crane", "skopeo", "dockerd", "runc", "busybox", "ip")
def test_when_the_upstream_has_had_enough_clients_get_what_is_stored_and_are_told_of_the_rest(
    docker_host: DockerHost,
) -> None:
    machine = docker_host.machine
    hub = start_hub(machine, "exhausted-hub", settings={"ENTREPOT_LIMITS__PULLS__ANONYMOUS": "1"})
    admin = _as_admin(machine, hub)
    stored, other = (_pushed(machine, f"{hub.address}/library/{each}:v1", each, admin) for each in ("stored", "other"))
    upstreams = json.dumps({"hub.example": {"url": hub.registry.url}})
    cache = start_registry(machine, "cache-of-exhausted", settings={"ENTREPOT_UPSTREAMS": upstreams})
    image = f"{cache.address}/hub.example/library/stored:v1"
    assert "PASS" in machine.run("crane", "validate", "--remote", image)
    refused = machine.run("crane", "manifest", f"{cache.address}/hub.example/library/other@{other}", status=None)
    assert "TOOMANYREQUESTS" in refused
    assert "hub.example says 429 for library/other" in refused
    assert "PASS" in machine.run("crane", "validate", "--remote", image)
    inspected = machine.run("skopeo", "inspect", "--tls-verify=false", f"docker://{image}")
    assert json.loads(inspected)["Digest"] == stored
    assert f"Digest: {stored}" in docker_host.docker("pull", image)
    refused = docker_host.docker("pull", f"{cache.address}/hub.example/library/other:v1", status=1)
    assert "toomanyrequests: hub.example has had too many pulls: it is asked again in" in refused
    cache.process.stop()


@pytest.mark.needs("crane")
def test_a_cache_with_a_login_reads_private_repositories_for_those_with_accounts(
    machine: Machine, limited: Hub, directory: Path
) -> None:
    alice = limited.person()
    limited.repository(alice, f"{alice.name}/secret", "private")
    environment = _as_admin(machine, limited)
    digest = _pushed(machine, f"{limited.address}/{alice.name}/secret:v1", "private", environment)
    password = directory / "password"
    password.write_text(limited.personal_token(alice).secret + "\n")
    upstream = {"url": limited.registry.url, "username": alice.name, "password_file": str(password)}
    upstreams = json.dumps({"private.example": upstream})
    cache = start_hub(machine, "private-cache", settings={"ENTREPOT_UPSTREAMS": upstreams})
    image = f"{cache.address}/private.example/{alice.name}/secret:v1"
    assert "UNAUTHORIZED" in machine.run("crane", "manifest", image, status=None)
    assert machine.run("crane", "digest", image, environment=_as_admin(machine, cache)).strip() == digest
