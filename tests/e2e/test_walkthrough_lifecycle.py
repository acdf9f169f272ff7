"""Part 6 of the walk-through: which version runs, what leaked, deleting; with accounts, and without; on both stores.

The lines are typed into a shell beside a real Docker Engine. Entrepot with accounts stands in for Docker Hub.
"""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.e2e.conftest import DockerHost, distributed
from tests.support.docker_hub import DockerHub, docker_hub, reached
from tests.support.images import Layout, busybox_tar
from tests.support.server import Registry, start_registry

pytestmark = pytest.mark.needs("dockerd", "runc", "busybox", "crane", "ip", "curl")

DOCKERFILE = """\
FROM {base}
ENV API_TOKEN=hunter2 APP_VERSION={version}
COPY deploy.key /deploy.key
CMD ["sleep", "600"]
"""
JSON = "--header 'Content-Type: application/json'"
Shell = Callable[..., str]


@pytest.fixture(scope="module", params=["sqlite and files", "postgresql and s3"])
def settings(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """Of a server of each kind."""
    if request.param == "sqlite and files":
        yield {}
        return
    servers = (request.getfixturevalue(name) for name in ("s3_server", "postgres_server"))
    with distributed(*servers) as made:
        yield made


@pytest.fixture(scope="module")
def typed(settings: dict[str, str]) -> Iterator[DockerHub]:
    with docker_hub(settings) as made:
        yield made


@pytest.fixture
def open_registry(docker_host: DockerHost, settings: dict[str, str]) -> Iterator[Registry]:
    """One without accounts, on the loopback of the machine with Docker."""
    if not settings:
        yield docker_host.plain
        return
    with reached(docker_host.machine, settings):
        made = start_registry(docker_host.machine, "plain-and-large", settings=settings)
        yield made
        made.process.stop()


def built(run: Shell, project: str, image: str, base: str, version: str) -> None:
    """Build an image with a key in it, and a token in its history."""
    dockerfile = DOCKERFILE.format(base=base, version=version)
    run(f"cat > {project}/Dockerfile <<'END'\n{dockerfile}END\n echo 'the secret of {project}' > {project}/deploy.key")
    run(f"cd {project}; docker build --tag {image} .")


def digest_in(pushed: str) -> str:
    """The digest that `docker push` prints."""
    found = re.search(r"digest: (sha256:[0-9a-f]{64})", pushed)
    assert found, pushed
    return found[1]


def spans(run: Shell, curl: str, url: str, digest: str) -> dict[str, tuple[bool, str | None]]:
    """What the API says of a digest: tag → whether it still has it, and what it names now."""
    answer = json.loads(run(f"{curl} {url}/api/v1/digests/{digest}"))
    return {
        f"{item['repository']}:{span['tag']}": (span["until"] is None, span["now"])
        for item in answer["items"]
        for span in item["tags"]
    }


def which_runs(run: Shell, curl: str, url: str, image: str, name: str, build: Callable[[str, str], None]) -> str:
    """Run a version, push another one to its tag; the digest of what runs, which is asked for by what Docker prints."""
    build(f"{image}:v1.0", "1")
    first = digest_in(run(f"docker push {image}:v1.0"))
    run(f"docker tag {image}:v1.0 {image}:latest; docker push {image}:latest")
    run(f"docker run --detach --name hello {image}:latest")
    build(f"{image}:latest", "2")
    second = digest_in(run(f"docker push {image}:latest"))

    running = run("docker inspect hello --format='{{.Image}}'").strip()
    assert run("docker inspect hello --format='{{.Config.Image}}'").strip() == f"{image}:latest"
    assert spans(run, curl, url, running) == {f"{name}:v1.0": (True, first), f"{name}:latest": (False, second)}
    history = json.loads(run(f"{curl} {url}/api/v1/repositories/{name}/-/tags/latest/history"))["items"]
    assert [(each["old"], each["new"]) for each in history] == [(first, second), (None, first)]
    run("docker rm --force hello")
    return first


def leak_is_purged(run: Shell, curl: str, url: str, image: str, name: str, digest: str) -> dict[str, Any]:
    """Find the secret, delete the tag, see that this deletes no image, purge the layer; the report."""
    leaked = run(rf"docker history --no-trunc {image}:v1.0 | grep -i 'secret\|password\|key\|token'")
    assert "API_TOKEN=hunter2" in leaked
    assert "deploy.key" in leaked

    deleted = run(f"{curl} --include --request DELETE {url}/v2/{name}/manifests/v1.0")
    assert "HTTP/1.1 202" in deleted or "HTTP/2 202" in deleted
    (warning,) = [line for line in deleted.splitlines() if line.lower().startswith("warning:")]
    assert f"still answers by its digest {digest}" in warning
    assert f"DELETE /v2/{name}/manifests/{digest}" in warning
    run(f"docker rmi --force $(docker images --quiet {image})")
    assert "manifest for" in run(f"docker pull {image}:v1.0", status=1)
    assert f"Digest: {digest}" in run(f"docker pull {image}@{digest}")
    run(f"docker tag {image}@{digest} {image}:v1.0")

    manifest = json.loads(run(f"{curl} {url}/v2/{name}/manifests/{digest}"))
    layer = manifest["layers"][-1]["digest"]  # the last COPY
    purge = f"{curl} {JSON} --request POST {url}/api/v1/repositories/{name}/-/purge"
    looked = json.loads(run(f"""{purge} --data '{{"digest": "{layer}"}}'"""))
    assert digest in {each["digest"] for each in looked["holders"]}
    body = f'{{"digest": "{layer}", "confirm": true, "reason": "deploy.key leaked"}}'
    report: dict[str, Any] = json.loads(run(f"{purge} --data '{body}'"))["report"]

    assert "404" in run(f"{curl} --output /dev/null --write-out '%{{http_code}}' {url}/v2/{name}/manifests/{digest}")
    assert "404" in run(f"{curl} --output /dev/null --write-out '%{{http_code}}' {url}/v2/{name}/blobs/{layer}")
    refused = run(f"docker push {image}:v1.0", status=1)
    assert "was purged from this" in refused
    assert "deploy.key leaked" in refused
    run(f"docker rmi --force $(docker images --quiet {image})")
    run(f"docker pull {image}@{digest}", status=1)  # the engine may still know the manifest: a layer is refused then
    assert "rotate it first" in report["advice"][0]
    return report


def test_part_6_with_accounts(typed: DockerHub) -> None:
    layout = Layout(typed.machine.new_directory("node"))
    layout.tag(layout.image([busybox_tar()]), "image")
    typed.push(layout, "library/node:20-alpine")
    alice = typed.hub.person("alice")
    assert "Login Succeeded" in typed('echo "$PW" | docker login -u alice --password-stdin', PW=alice.secret)
    project, image = str(typed.machine.new_directory("hello")), "alice/hello-web-server"
    curl, url = f"curl -s --user '{alice.pair}'", "https://registry-1.docker.io"

    def build(name: str, version: str) -> None:
        built(typed, project, name, "node:20-alpine", version)

    digest = which_runs(typed, curl, url, image, image, build)
    report = leak_is_purged(typed, curl, url, image, image, digest)
    assert {(each["tag"], each["account"]) for each in report["pushes"]} >= {("v1.0", "alice"), ("latest", "alice")}


def test_part_6_without_accounts(docker_host: DockerHost, open_registry: Registry) -> None:
    def run(line: str, status: int | None = 0) -> str:
        return docker_host.machine.run("bash", "-c", line, status=status)

    plain = open_registry
    layout = Layout(docker_host.machine.new_directory("node"))
    layout.tag(layout.image([busybox_tar()]), "image")
    base = f"{plain.address}/node:20-alpine"
    docker_host.machine.run("crane", "push", layout.directory, base)
    project, name = str(docker_host.machine.new_directory("hello")), "hello-web-server"
    image = f"{plain.address}/{name}"

    def build(image: str, version: str) -> None:
        built(run, project, image, base, version)

    digest = which_runs(run, "curl -s", plain.url, image, name, build)
    leak_is_purged(run, "curl -s", plain.url, image, name, digest)
