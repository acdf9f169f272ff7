"""The images that `make image` builds, in a real engine."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import DockerHost
from tests.support.docker_hub import PRIVATE_ADDRESS
from tests.support.machine import Machine
from tests.support.server import Registry
from tests.support.tools import CHECKOUT

pytestmark = pytest.mark.needs("dockerd", "strip")

DIST = CHECKOUT / "dist"
LARGEST = 130_000_000
"""Bytes, unpacked."""

LOAD_EVERY_SHARED_OBJECT = """
import ctypes, importlib.util, pathlib
objects = [path for path in pathlib.Path("/usr").rglob("*.so*") if path.is_file()]
for path in objects:
    ctypes.CDLL(str(path))
print(len(objects), "loaded; a second SQLite:", importlib.util.find_spec("_sqlite3"))
"""


@pytest.fixture(scope="session")
def built() -> None:
    """Build both images into dist, as `make image` does."""
    subprocess.run([sys.executable, "-m", "deploy.image.build"], cwd=CHECKOUT, check=True)


@pytest.fixture(scope="module")
def engine(built: None, docker_host: DockerHost) -> DockerHost:
    """Docker with both images loaded."""
    for name in ("entrepot.tar", "entrepot-registry.tar"):
        docker_host.docker("load", "--input", str(DIST / name))
    return docker_host


@pytest.fixture
def container(engine: DockerHost) -> Iterator[str]:
    """The name for a container, removed after the test with its anonymous volumes."""
    yield "entrepot-of-the-test"
    engine.docker("rm", "--force", "--volumes", "entrepot-of-the-test")


def run_until_healthy(engine: DockerHost, name: str, *flags: str) -> None:
    """Run `entrepot:registry` in the background; return when the engine reports that its health check succeeded."""
    identity = engine.docker("run", "--detach", "--name", name, *flags, "entrepot:registry").strip()
    filters = ["--filter", f"container={identity}", "--filter", "event=health_status"]
    events = ["docker", "events", "--since", "10m", *filters]
    engine.machine.start("health-events", *events, ready="health_status: healthy").stop()


def python(engine: DockerHost, code: str) -> str:
    """Run `code` by the Python of the image, as root so that it may read everything."""
    flags = ["--rm", "--network", "none", "--user", "0", "--entrypoint", "python3"]
    return engine.docker("run", *flags, "entrepot", "-c", code)


def test_both_images_load_under_their_names_and_run_the_entrepot_of_this_checkout(engine: DockerHost) -> None:
    for image in ("entrepot:latest", "entrepot:registry"):
        assert engine.docker("run", "--rm", "--network", "none", image, "--version") == "entrepot 0.1.0\n"


def test_the_image_is_small(engine: DockerHost) -> None:
    assert int(engine.docker("image", "inspect", "--format", "{{.Size}}", "entrepot:registry")) < LARGEST


def test_every_shared_object_in_the_image_finds_its_libraries_and_there_is_one_sqlite(engine: DockerHost) -> None:
    assert python(engine, LOAD_EVERY_SHARED_OBJECT).endswith("loaded; a second SQLite: None\n")


def test_programs_in_the_image_trust_the_authorities_that_debian_trusts(engine: DockerHost) -> None:
    count = python(engine, "import ssl; print(len(ssl.create_default_context().get_ca_certs()))")
    assert int(count) > 100


def test_nothing_in_the_image_can_be_changed_by_its_user_but_its_data(engine: DockerHost) -> None:
    code = "import os\nfor d, _, f in os.walk('/', topdown=True):\n"
    code += "    if d.startswith(('/proc', '/sys', '/dev')): continue\n"
    code += "    for p in [d] + [os.path.join(d, n) for n in f]:\n"
    code += "        if not os.path.islink(p) and os.stat(p).st_mode & 0o6000: print('set id', p)\n"
    code += "        if os.stat(p, follow_symlinks=False).st_uid: print('owned', p)"
    assert python(engine, code) == "owned /var/lib/registry\n"


def test_it_runs_hardened_and_its_health_check_succeeds(engine: DockerHost, container: str) -> None:
    hardened = ["--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
    run_until_healthy(engine, container, *hardened)
    user = engine.docker("exec", container, "python3", "-c", "import os; print(os.getuid(), os.getgid())")
    assert user == "10001 10001\n"


def test_registry_variables_move_it_and_the_health_check_follows(engine: DockerHost, container: str) -> None:
    variables = ["--env", "REGISTRY_HTTP_ADDR=0.0.0.0:15400"]
    variables += ["--env", "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY=/var/lib/registry/deeper"]
    publish = ["--publish", f"{PRIVATE_ADDRESS}:15401:15400"]
    run_until_healthy(engine, container, *publish, *variables)
    assert engine.machine.run("curl", "-s", f"http://{PRIVATE_ADDRESS}:15401/v2/") == "{}"
    assert "deeper" in engine.docker(
        "exec", container, "python3", "-c", "import os; print(os.listdir('/var/lib/registry'))"
    )


def test_it_serves_tls_and_the_health_check_follows(engine: DockerHost, container: str) -> None:
    made = engine.private_authority.certify("registry.example")
    made.key.chmod(0o644)  # the engine's root owns it, the image's user reads it
    volumes = ["--volume", f"{made.certificate}:/tls/crt:ro", "--volume", f"{made.key}:/tls/key:ro"]
    variables = ["--env", "REGISTRY_HTTP_TLS_CERTIFICATE=/tls/crt", "--env", "REGISTRY_HTTP_TLS_KEY=/tls/key"]
    run_until_healthy(engine, container, *volumes, *variables)
    assert "https://127.0.0.1:5000 is ready" in engine.docker(
        "inspect", "--format", "{{json .State.Health}}", container
    )


def test_docker_stop_ends_it_by_its_own_will(engine: DockerHost, container: str) -> None:
    run_until_healthy(engine, container)
    engine.docker("stop", container)
    assert engine.docker("inspect", "--format", "{{.State.ExitCode}}", container) == "0\n"


def test_a_directory_that_it_cannot_write_is_one_line_with_the_command_that_helps(engine: DockerHost) -> None:
    mine = engine.machine.new_directory("of-root")
    mine.chmod(0o755)
    volume = ["--volume", f"{mine}:/var/lib/registry"]
    said = engine.docker("run", "--rm", "--network", "none", *volume, "entrepot:registry", status=None)
    (line,) = said.splitlines()
    assert "chown -R 10001:10001 /var/lib/registry" in line


@pytest.mark.needs("skopeo")
@pytest.mark.parametrize("tag", ["latest", "registry"])
def test_skopeo_copies_the_oci_layout_into_a_registry_as_it_is(
    built: None, machine: Machine, plain_registry: Registry, tag: str
) -> None:
    target = f"docker://{plain_registry.address}/entrepot:{tag}"
    machine.run("skopeo", "copy", "--dest-tls-verify=false", f"oci:{DIST / 'entrepot-oci'}:{tag}", target)
    assert plain_registry.manifest("entrepot", tag).digest in _digests(DIST / "entrepot-oci")


def _digests(layout: Path) -> list[str]:
    return [manifest["digest"] for manifest in json.loads((layout / "index.json").read_text())["manifests"]]
