"""The lines that tutorials about registries and Docker Hub have their readers type, typed literally.

Only images' names differ from the tutorials'. Entrepot stands in for Docker Hub on the machine of `docker_host`.
"""

import subprocess
from collections.abc import Iterator

import pytest

from tests.e2e.conftest import DockerHost
from tests.support.docker_hub import PRIVATE_HOST
from tests.support.engine import import_busybox
from tests.support.images import Layout, busybox_tar
from tests.support.tools import CHECKOUT

pytestmark = pytest.mark.needs("dockerd", "runc", "busybox", "crane", "ip")

REGISTRY_IMAGE = CHECKOUT / "dist" / "entrepot-registry.tar"
RUN_A_REGISTRY = (
    "docker run --detach --publish 5000:5000 --name my-private-registry --restart always"
    " --volume registry-image-data:/var/lib/registry entrepot:registry"
)
# The log goes to grep by a process substitution: the shell waits for the line, not for the log's end.
WAIT_UNTIL_READY = "grep --max-count=1 'entrepot: ready' <(docker logs --follow my-private-registry 2>&1)"


class Terminal:
    """A reader's shell on the machine with Docker."""

    def __init__(self, host: DockerHost) -> None:
        self.host = host

    def __call__(self, line: str, status: int | None = 0) -> str:
        """Type one line; returns what it prints."""
        return self.host.machine.run("bash", "-c", line, status=status)


@pytest.fixture
def typed(docker_host: DockerHost) -> Terminal:
    return Terminal(docker_host)


def _publish(host: DockerHost, content: str, *names: str) -> str:
    """Put an image with `content` in its own layer into the registry under `names`; returns its digest."""
    layout = Layout(host.machine.new_directory("layout"))
    image = layout.image([busybox_tar({"content": content.encode()})])
    layout.tag(image, "image")
    for name in names:
        host.machine.run("crane", "push", layout.directory, name)
    return str(image["digest"])


def test_part_1_names_pulling_and_pinning(typed: Terminal) -> None:
    hub = typed.host.hub.address
    nginx = _publish(typed.host, "nginx", f"{hub}/library/nginx:latest", f"{hub}/library/nginx:1.25.3")
    _publish(typed.host, "postgresql", f"{hub}/bitnami/postgresql:15.4.0")
    _publish(typed.host, "payments", f"{PRIVATE_HOST}/backend/payments-service:v3.1")

    assert typed("docker pull nginx").splitlines()[-1] == "docker.io/library/nginx:latest"
    typed("docker pull bitnami/postgresql:15.4.0")
    typed("docker pull registry.mycompany.com/backend/payments-service:v3.1")
    images = {tuple(line.split()[:2]) for line in typed("docker images").splitlines()}
    assert images >= {
        ("nginx", "latest"),
        ("bitnami/postgresql", "15.4.0"),
        ("registry.mycompany.com/backend/payments-service", "v3.1"),
    }
    pinned = typed("docker inspect nginx --format '{{index .RepoDigests 0}}'").strip()
    assert pinned == f"nginx@{nginx}"

    typed(f"docker pull nginx:1.25.3@{nginx}")
    identity = typed(f"docker inspect nginx@{nginx} --format '{{{{.Id}}}}'")
    moved = _publish(typed.host, "another nginx", f"{hub}/library/nginx:1.25.3")
    typed("docker rmi nginx")
    assert f"Digest: {nginx}" in typed(f"docker pull nginx:1.25.3@{nginx}")
    assert typed(f"docker inspect nginx@{nginx} --format '{{{{.Id}}}}'") == identity
    assert f"Digest: {moved}" in typed("docker pull nginx:1.25.3")


@pytest.fixture
def own_registry_image(typed: Terminal) -> Iterator[None]:
    """The image entrepot:registry is loaded; what part 3 made is removed afterwards."""
    if not REGISTRY_IMAGE.exists():
        subprocess.run(["make", "image"], cwd=CHECKOUT, check=True)
    typed(f"docker load --input {REGISTRY_IMAGE}")
    yield
    typed("docker rm --force my-private-registry; docker volume rm --force registry-image-data")


@pytest.mark.usefixtures("own_registry_image")
def test_part_3_a_registry_of_ones_own_in_60_seconds(typed: Terminal) -> None:
    import_busybox(typed.host.machine, "alice/hello-web-server:v1.0")
    typed(RUN_A_REGISTRY)
    typed(WAIT_UNTIL_READY)
    typed("docker tag alice/hello-web-server:v1.0 localhost:5000/hello-web-server:v1.0")
    assert "v1.0: digest: sha256:" in typed("docker push localhost:5000/hello-web-server:v1.0")
    assert typed("curl -s http://localhost:5000/v2/_catalog") == '{"repositories":["hello-web-server"]}\n'
    listed = '{"name":"hello-web-server","tags":["v1.0"]}\n'
    assert typed("curl -s http://localhost:5000/v2/hello-web-server/tags/list") == listed
    typed("docker rmi alice/hello-web-server:v1.0 localhost:5000/hello-web-server:v1.0")
    typed("docker pull localhost:5000/hello-web-server:v1.0")
    said = typed("curl -v http://localhost:5000/v2/").lower()
    assert "< http/1.1 200 ok" in said
    assert "< docker-distribution-api-version: registry/2.0" in said
    typed("docker rm -f my-private-registry")
    typed(RUN_A_REGISTRY)
    typed(WAIT_UNTIL_READY)
    assert typed("curl -s http://localhost:5000/v2/hello-web-server/tags/list") == listed
    typed("docker rmi localhost:5000/hello-web-server:v1.0")
    typed("docker pull localhost:5000/hello-web-server:v1.0")
