"""Part 2 of the walk-through, publishing to one's own namespace, and part 1 again where there are accounts.

The lines are typed as tutorials about Docker Hub print them. Entrepot with accounts stands in for it.
"""

import re
from collections.abc import Iterator

import pytest

from tests.support.docker_hub import DockerHub, docker_hub
from tests.support.images import Layout, busybox_tar

pytestmark = pytest.mark.needs("dockerd", "runc", "busybox", "crane", "ip")

# In the place of Node: it serves the directory in which the "program" lies.
NODE = b'#!/bin/sh\nexec httpd -f -p 3000 -h "$PWD"\n'
DOCKERFILE = """\
FROM node:20-alpine
WORKDIR /app
COPY package.json ./
COPY server.js index.html ./
EXPOSE 3000
CMD ["node", "server.js"]
"""
DENIED = "denied: requested access to the resource is denied"


@pytest.fixture(scope="module")
def typed() -> Iterator[DockerHub]:
    with docker_hub() as made:
        yield made


def _publish_node(typed: DockerHub) -> None:
    layout = Layout(typed.machine.new_directory("node"))
    layout.tag(layout.image([busybox_tar({"bin/node": NODE})]), "image")
    typed.push(layout, "library/node:20-alpine")


def test_part_1_names_pulling_and_pinning(typed: DockerHub) -> None:
    for organization in ("bitnami", "backend"):
        typed.hub.organization(typed.hub.administrator, organization)
    nginx = typed.publish("nginx", "library/nginx:latest", "library/nginx:1.25.3")
    typed.publish("postgresql", "bitnami/postgresql:15.4.0")
    typed.publish("payments", "backend/payments-service:v3.1")

    assert typed("docker pull nginx").splitlines()[-1] == "docker.io/library/nginx:latest"
    typed("docker pull bitnami/postgresql:15.4.0")
    typed("docker pull registry.mycompany.com/backend/payments-service:v3.1")
    images = {tuple(line.split()[:2]) for line in typed("docker images").splitlines()}
    assert images >= {
        ("nginx", "latest"),
        ("bitnami/postgresql", "15.4.0"),
        ("registry.mycompany.com/backend/payments-service", "v3.1"),
    }
    assert typed("docker inspect nginx --format '{{index .RepoDigests 0}}'").strip() == f"nginx@{nginx}"

    typed(f"docker pull nginx:1.25.3@{nginx}")
    identity = typed(f"docker inspect nginx@{nginx} --format '{{{{.Id}}}}'")
    moved = typed.publish("another nginx", "library/nginx:1.25.3")
    typed("docker rmi nginx")
    assert f"Digest: {nginx}" in typed(f"docker pull nginx:1.25.3@{nginx}")
    assert typed(f"docker inspect nginx@{nginx} --format '{{{{.Id}}}}'") == identity
    assert f"Digest: {moved}" in typed("docker pull nginx:1.25.3")


def test_part_2_publish_a_small_web_server(typed: DockerHub) -> None:
    _publish_node(typed)
    alice = typed.hub.person("alice")
    typed.hub.person("bob")
    project = typed.machine.new_directory("hello-web-server")
    (project / "Dockerfile").write_text(DOCKERFILE)
    (project / "package.json").write_text('{"name": "hello-web-server"}')
    (project / "server.js").write_text("// see Dockerfile")
    (project / "index.html").write_text("Hello, world\n")

    assert "Successfully tagged" in typed(f"cd {project}; docker build --tag alice/hello-web-server:v1.0 .")
    assert DENIED in typed("docker push alice/hello-web-server:v1.0", status=1)
    assert "Login Succeeded" in typed('echo "$PW" | docker login -u alice --password-stdin', PW=alice.secret)
    assert typed("docker info | grep Username").split() == ["Username:", "alice"]
    typed("docker tag alice/hello-web-server:v1.0 bob/hello-web-server:v1.0")
    assert DENIED in typed("docker push bob/hello-web-server:v1.0", status=1)
    first = typed("docker push alice/hello-web-server:v1.0")
    assert re.search(r"^v1\.0: digest: sha256:[0-9a-f]{64} size: \d+$", first, re.MULTILINE)
    layers = 1 + DOCKERFILE.count("COPY") + DOCKERFILE.count("WORKDIR")
    # What of alice's came from library/node may be mounted; all that is alice's own is sent.
    assert first.count(": Pushed") + first.count(": Mounted from library/node") == layers
    assert typed("docker push alice/hello-web-server:v1.0").count("Layer already exists") == layers

    (project / "index.html").write_text("Hello again\n")
    typed(f"cd {project}; docker build --tag alice/hello-web-server:v1.1 .")
    second = typed("docker push alice/hello-web-server:v1.1")
    assert (second.count(": Pushed"), second.count(": Layer already exists")) == (1, layers - 1)
    typed("docker tag alice/hello-web-server:v1.1 alice/another-web-server:v1.1")
    assert typed("docker push alice/another-web-server:v1.1").count(": Mounted from alice/hello-web-server") == layers

    typed("docker rmi alice/hello-web-server:v1.0")
    pulled = typed("docker pull alice/hello-web-server:v1.0")
    assert "Status: Downloaded newer image for alice/hello-web-server:v1.0" in pulled
    typed("docker run --detach --publish 3000:3000 --name hello alice/hello-web-server:v1.0")
    assert typed("curl -s --retry 10 --retry-connrefused localhost:3000") == "Hello, world\n"
    typed("docker rm --force hello")
    assert "Removing login credentials" in typed("docker logout")
    assert DENIED in typed("docker push alice/hello-web-server:v1.1", status=1)
