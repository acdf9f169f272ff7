"""Part 5 of the walk-through: a pull-through cache in front of Docker Hub, by one `docker run`.

Entrepot with accounts and Docker Hub's limits stands in for Docker Hub. Docker Engine is logged out, then logged in; a
relay before the cache keeps what it sends there.
"""

import json
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.docker_hub import HUB_HOSTS, PRIVATE_ADDRESS, DockerHub, docker_hub, resolve
from tests.support.engine import start_docker
from tests.support.machine import Process
from tests.support.relay import heads
from tests.support.tools import CHECKOUT

pytestmark = pytest.mark.needs("dockerd", "runc", "busybox", "crane", "ip")

WORKERS = 2  # of the hub
REGISTRY_IMAGE = CHECKOUT / "dist" / "entrepot-registry.tar"
CACHE_HOST = "registry-cache.internal.mycompany.com"
CACHE_ADDRESS = "127.0.0.2"  # where the relay is; containers' ports are published at PRIVATE_ADDRESS alone
DOCKER = ("--dns", PRIVATE_ADDRESS, "--ip", PRIVATE_ADDRESS)
RUN_A_CACHE = (
    "docker run --detach --publish 5000:5000 --name docker-hub-pull-cache --restart always"
    " --volume pull-cache-data:/var/lib/registry"
    " --env REGISTRY_PROXY_REMOTEURL=https://registry-1.docker.io entrepot:registry"
)
DAEMON = {"registry-mirrors": [f"http://{CACHE_HOST}:5000"]}
# The same image with the tests' authority in the system's store.
WITH_AUTHORITY = "FROM entrepot:registry\nCOPY ca-certificates.crt /etc/ssl/certs/ca-certificates.crt\n"


@pytest.fixture(scope="module")
def typed() -> Iterator[DockerHub]:
    """Docker Engine whose containers find Docker Hub's names; restarted by the test."""
    with docker_hub({"ENTREPOT_LIMITS__PULLS": "docker-hub"}, *DOCKER) as made:
        machine = made.machine
        resolve(machine, CACHE_ADDRESS, CACHE_HOST)
        server = [sys.executable, str(CHECKOUT / "tests" / "support" / "names.py"), PRIVATE_ADDRESS, *HUB_HOSTS]
        machine.start("names", *server, ready="names are answered")
        if not REGISTRY_IMAGE.exists():
            subprocess.run(["make", "image"], cwd=CHECKOUT, check=True)
        made(f"docker load --input {REGISTRY_IMAGE}")
        directory = machine.new_directory("image")
        (directory / "Dockerfile").write_text(WITH_AUTHORITY)
        authorities = machine.path("/etc/ssl/certs/ca-certificates.crt").read_bytes()
        (directory / "ca-certificates.crt").write_bytes(authorities)
        made(f"docker build --tag entrepot:registry {directory}")
        yield made


@pytest.fixture(scope="module")
def sent(typed: DockerHub) -> Path:
    """What Docker Engine sends to the cache."""
    directory = typed.machine.new_directory("sent")
    relay = (sys.executable, CHECKOUT / "tests" / "support" / "relay.py", directory)
    addresses = (f"{CACHE_ADDRESS}:5000", f"{PRIVATE_ADDRESS}:5000")
    typed.machine.start("relay", *relay, *addresses, ready="relaying")
    return directory


def _with_mirror(typed: DockerHub) -> Process:
    """Write daemon.json and restart dockerd, which starts the cache's container again."""
    file = typed.machine.path("/etc/docker/daemon.json")
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(DAEMON))
    typed.docker.stop()
    return start_docker(typed.machine, *DOCKER)


def _counted(typed: DockerHub) -> int:
    """How many GETs of nginx's manifests the hub has answered, and so counted."""
    hub = typed.hub.registry
    marked: dict[str, str] = {}
    while len(marked) < WORKERS:  # a worker writes its lines in order, some moments after its answers
        marker = hub.request("GET", "/v2/").headers["X-Request-Id"]
        marked[marker.partition("-")[0]] = marker
    lines: list[dict[str, object]] = []
    while not {line.get("id") for line in lines} >= set(marked.values()):
        text = hub.process.log.read_text()
        lines = [json.loads(line) for line in text.splitlines() if line[:1] == "{" and line[-1:] == "}"]
    asked = [line for line in lines if str(line.get("target")).startswith("/v2/library/nginx/manifests/")]
    return len([line for line in asked if (line["method"], line["status"]) == ("GET", 200)])


def _requests(sent: Path, manifest: str) -> int:
    """How often the cache was asked for a manifest by its digest: by Docker Engine alone, which never said for whom."""
    asked = heads(sent)
    assert all(b"\r\nUser-Agent: docker/" in head for head in asked), "these are the heads of its requests"
    assert [head for head in asked if b"authorization" in head.lower()] == []
    return len([head for head in asked if head.startswith(f"GET /v2/library/nginx/manifests/{manifest} ".encode())])


def test_part_5_a_pull_through_cache(typed: DockerHub, sent: Path) -> None:
    nginx = typed.publish("nginx", "library/nginx:latest")
    alice = typed.hub.person("alice")
    typed(RUN_A_CACHE)
    typed("grep --max-count=1 'entrepot: ready' <(docker logs --follow docker-hub-pull-cache 2>&1)")
    _with_mirror(typed)
    typed("grep --max-count=2 'entrepot: ready' <(docker logs --follow docker-hub-pull-cache 2>&1)")
    assert f"http://{CACHE_HOST}:5000/" in typed('docker info | grep -A3 "Registry Mirrors"')

    assert f"Digest: {nginx}" in typed("docker pull nginx")
    assert _counted(typed) == 1
    logged_out = _requests(sent, nginx)
    assert logged_out >= 1, "the pull went through the cache"
    typed("docker rmi nginx")
    assert "Login Succeeded" in typed('echo "$PW" | docker login -u alice --password-stdin', PW=alice.secret)
    assert f"Digest: {nginx}" in typed("docker pull nginx")
    assert _counted(typed) == 1, "one pull in all, logged out and logged in"

    assert _requests(sent, nginx) > logged_out, "logged in it did so too"
    log = typed("docker logs docker-hub-pull-cache 2>&1").encode()
    for secret in (alice.secret.encode(), b64encode(f"alice:{alice.secret}".encode()), b"Bearer "):
        assert secret not in b"".join(heads(sent))
        assert secret not in log
    assert b"authorization" not in log.lower()
    typed("docker rm --force docker-hub-pull-cache; docker volume rm pull-cache-data")
