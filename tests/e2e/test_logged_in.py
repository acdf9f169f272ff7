"""Real clients at a registry with accounts, each logged in its own way: private and public, denied and allowed.

Over plain HTTP and over TLS. Every client pushes to a private repository and pulls it back; without a login, and as a
stranger, it is told the same as of a repository that does not exist.
"""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from entrepot.access.actor import Role
from tests.support.hub import Hub, Login
from tests.support.images import Layout, busybox_tar, tar
from tests.support.machine import Machine

DENIED = ("denied", "unauthorized", "authentication required", "not found", "may require 'docker login'", "401")
"""What clients say of a 401 with a challenge; each has its own words."""


class Client:
    """A client with a home of its own, where it keeps its login."""

    def __init__(self, machine: Machine, hub: Hub) -> None:
        self.machine = machine
        self.hub = hub
        self.address = hub.address
        self.plain = hub.registry.plain_http
        logins, home = str(machine.new_directory("login")), str(machine.new_directory("home"))
        self.environment = {"DOCKER_CONFIG": logins, "REGISTRY_AUTH_FILE": f"{logins}/auth.json", "HOME": home}
        Path(logins, "auth.json").write_text("{}")  # podman wants it to be there
        self.environment |= {"HELM_REGISTRY_CONFIG": f"{logins}/config.json"}

    def __call__(self, *arguments: str | Path, status: int | None = 0, stdin: str = "") -> str:
        """Run a command with this login."""
        run = self.machine.run
        return run(*arguments, status=status, stdin=stdin.encode(), environment=self.environment).strip()


@pytest.fixture
def client(machine: Machine, hub: Hub) -> Callable[[], Client]:
    """Makes clients that are not logged in."""
    return lambda: Client(machine, hub)


@pytest.fixture
def alice(hub: Hub) -> Login:
    return hub.person()


@pytest.fixture
def private(hub: Hub, alice: Login) -> str:
    """The name of an empty private repository of hers."""
    name = f"{alice.name}/app"
    hub.repository(alice, name, "private")
    return name


def refused(said: str) -> bool:
    """Whether a client says that it was not let in."""
    return any(words in said.lower() for words in DENIED)


def an_image(layout: Layout) -> str:
    """Write an image into the layout; its digest."""
    image = layout.image([tar({"content": str(layout.directory).encode()})])
    layout.tag(image, "v1")
    return str(image["digest"])


@pytest.mark.needs("crane")
def test_crane(client: Callable[[], Client], hub: Hub, alice: Login, private: str, layout: Layout) -> None:
    digest, mine, nobody, stranger = an_image(layout), client(), client(), client()
    for each, who in ((mine, alice), (stranger, hub.person())):
        each("crane", "auth", "login", hub.address, "-u", who.name, "--password-stdin", stdin=who.secret)
    image = f"{hub.address}/{private}:v1"
    mine("crane", "push", layout.directory, image)
    assert mine("crane", "digest", image) == digest
    assert "PASS" in mine("crane", "validate", "--remote", image)
    for other in (nobody, stranger):
        assert refused(other("crane", "manifest", image, status=None))
        assert refused(other("crane", "manifest", f"{hub.address}/{alice.name}/absent:v1", status=None))
        assert refused(other("crane", "push", layout.directory, f"{hub.address}/{alice.name}/theirs:v1", status=None))
    assert private in mine("crane", "catalog", hub.address).splitlines()
    assert private not in stranger("crane", "catalog", hub.address).splitlines()
    hub.show(alice, private, "public")
    assert nobody("crane", "digest", image) == digest


@pytest.mark.needs("crane")
def test_a_token_for_reading_reads_and_a_robot_writes(
    client: Callable[[], Client], hub: Hub, alice: Login, private: str, layout: Layout
) -> None:
    digest, mine, reading, robot = an_image(layout), client(), client(), client()
    organization = hub.organization(alice)
    token, machine = hub.personal_token(alice, Role.READ), hub.robot(alice, organization)
    for each, who in ((mine, alice), (reading, token), (robot, machine)):
        each("crane", "auth", "login", hub.address, "-u", who.name, "--password-stdin", stdin=who.secret)
    image, of_organization = f"{hub.address}/{private}:v1", f"{hub.address}/{organization}/app:v1"
    mine("crane", "push", layout.directory, image)
    assert reading("crane", "digest", image) == digest
    assert refused(reading("crane", "push", layout.directory, f"{hub.address}/{private}:v2", status=None))
    robot("crane", "push", layout.directory, of_organization)
    assert robot("crane", "digest", of_organization) == digest
    assert refused(robot("crane", "manifest", image, status=None))
    hub.revoke(token)
    assert refused(reading("crane", "manifest", image, status=None))


@pytest.mark.needs("skopeo")
def test_skopeo(
    client: Callable[[], Client], hub: Hub, alice: Login, private: str, layout: Layout, directory: Path
) -> None:
    digest, mine, nobody = an_image(layout), client(), client()
    verify = str(not mine.plain).lower()
    mine(
        "skopeo",
        "login",
        f"--tls-verify={verify}",
        "-u",
        alice.name,
        "--password-stdin",
        hub.address,
        stdin=alice.secret,
    )
    image, from_layout = f"docker://{hub.address}/{private}:v1", f"oci:{layout.directory}:v1"
    mine("skopeo", "copy", f"--dest-tls-verify={verify}", from_layout, image)
    assert json.loads(mine("skopeo", "inspect", f"--tls-verify={verify}", image))["Digest"] == digest
    mine("skopeo", "copy", f"--src-tls-verify={verify}", image, f"oci:{directory}:v1")
    by_credentials = ("skopeo", "inspect", f"--tls-verify={verify}", "--creds")
    assert json.loads(nobody(*by_credentials, alice.pair, image))["Digest"] == digest
    for pair in (f"{alice.name}:wrong", hub.person().pair):
        assert refused(nobody(*by_credentials, pair, image, status=None))
    assert refused(nobody("skopeo", "inspect", f"--tls-verify={verify}", image, status=None))
    hub.show(alice, private, "public")
    assert json.loads(nobody("skopeo", "inspect", f"--tls-verify={verify}", image))["Digest"] == digest


@pytest.mark.needs("podman", "busybox")
def test_podman(client: Callable[[], Client], hub: Hub, alice: Login, private: str) -> None:
    mine, nobody = client(), client()
    verify = f"--tls-verify={not mine.plain}".lower()
    podman = ("podman", "--storage-driver", "vfs")
    local, image = f"localhost/{alice.name}", f"{hub.address}/{private}:v1"
    archive = busybox_tar({"name": alice.name.encode()})
    mine.machine.run(*podman, "import", "-", local, stdin=archive, environment=mine.environment)
    assert refused(mine(*podman, "push", verify, local, image, status=None))
    said = mine(*podman, "login", verify, "-u", alice.name, "--password-stdin", hub.address, stdin=alice.secret)
    assert "Login Succeeded" in said
    mine(*podman, "push", verify, local, image)
    mine(*podman, "rmi", local)
    mine(*podman, "pull", verify, image)
    assert refused(nobody(*podman, "pull", verify, image, status=None))
    mine(*podman, "logout", hub.address)
    mine(*podman, "rmi", "--force", image)
    assert refused(mine(*podman, "pull", verify, image, status=None))


@pytest.mark.needs("buildah")
def test_buildah(client: Callable[[], Client], hub: Hub, alice: Login, private: str) -> None:
    mine = client()
    verify = f"--tls-verify={not mine.plain}".lower()
    buildah = ("buildah", "--storage-driver", "vfs")
    container = mine(*buildah, "from", "scratch").splitlines()[-1]
    image = f"{hub.address}/{private}:v1"
    mine(*buildah, "commit", container, alice.name)
    assert refused(mine(*buildah, "push", verify, alice.name, f"docker://{image}", status=None))
    mine(*buildah, "login", verify, "-u", alice.name, "--password-stdin", hub.address, stdin=alice.secret)
    mine(*buildah, "push", verify, alice.name, f"docker://{image}")
    mine(*buildah, "pull", verify, image)


@pytest.mark.needs("containerd", "crane")
def test_containerd(
    containerd: Callable[..., str], client: Callable[[], Client], hub: Hub, alice: Login, private: str, layout: Layout
) -> None:
    digest, mine = an_image(layout), client()
    mine("crane", "auth", "login", hub.address, "-u", alice.name, "--password-stdin", stdin=alice.secret)
    image = f"{hub.address}/{private}:v1"
    mine("crane", "push", layout.directory, image)
    plain = ["--plain-http"] if mine.plain else []
    pull = ("images", "pull", *plain, "--snapshotter", "native")
    for user in ([], ["--user", hub.person().pair], ["--user", f"{alice.name}:wrong"]):
        assert refused(containerd(*pull, *user, image, status=None))
    containerd(*pull, "--user", alice.pair, image)
    assert digest in containerd("images", "ls", f"name=={image}")
    containerd("images", "tag", image, f"{hub.address}/{alice.name}/pushed:v1")
    containerd("images", "push", *plain, "--user", alice.pair, f"{hub.address}/{alice.name}/pushed:v1")
    assert mine("crane", "digest", f"{hub.address}/{alice.name}/pushed:v1") == digest
    hub.show(alice, private, "public")
    containerd("images", "rm", image)
    containerd(*pull, image)


@pytest.mark.needs("oras")
def test_oras(client: Callable[[], Client], hub: Hub, alice: Login, private: str, directory: Path) -> None:
    mine, nobody = client(), client()
    plain = ["--plain-http"] if mine.plain else []
    (directory / "note.txt").write_text("a note\n")
    image = f"{hub.address}/{private}:v1"
    mine("oras", "login", *plain, "-u", alice.name, "--password-stdin", hub.address, stdin=alice.secret)
    push = ("oras", "push", *plain, image, f"{directory}/note.txt", "--disable-path-validation")
    mine(*push)
    mine("oras", "pull", *plain, "--output", str(directory / "pulled"), "--allow-path-traversal", image)
    assert json.loads(mine("oras", "manifest", "fetch", *plain, image))["layers"]
    assert refused(nobody("oras", "manifest", "fetch", *plain, image, status=None))
    assert refused(nobody(*push, status=None))


@pytest.mark.needs("regctl")
def test_regctl(client: Callable[[], Client], hub: Hub, alice: Login, private: str, layout: Layout) -> None:
    digest, mine, nobody = an_image(layout), client(), client()
    for each in (mine, nobody):
        each("regctl", "registry", "set", "--tls", "disabled" if mine.plain else "enabled", hub.address)
    mine("regctl", "registry", "login", hub.address, "-u", alice.name, "--pass-stdin", stdin=alice.secret)
    image = f"{hub.address}/{private}:v1"
    mine("regctl", "image", "copy", f"ocidir://{layout.directory}:v1", image)
    assert mine("regctl", "image", "digest", image) == digest
    assert refused(nobody("regctl", "image", "digest", image, status=None))


@pytest.mark.needs("helm")
def test_helm(client: Callable[[], Client], hub: Hub, alice: Login, directory: Path) -> None:
    mine, nobody = client(), client()
    plain = ["--plain-http"] if mine.plain else []
    hub.repository(alice, f"{alice.name}/chart", "private")
    (directory / "chart").mkdir()
    (directory / "chart" / "Chart.yaml").write_text("apiVersion: v2\nname: chart\nversion: 1.0.0\n")
    mine("helm", "package", directory / "chart", "--destination", directory)
    mine("helm", "registry", "login", *plain, hub.address, "-u", alice.name, "--password-stdin", stdin=alice.secret)
    mine("helm", "push", directory / "chart-1.0.0.tgz", f"oci://{hub.address}/{alice.name}", *plain)
    chart = f"oci://{hub.address}/{alice.name}/chart"
    assert "version: 1.0.0" in mine("helm", "show", "chart", chart, "--version", "1.0.0", *plain)
    assert refused(nobody("helm", "show", "chart", chart, "--version", "1.0.0", *plain, status=None))


@pytest.mark.needs("cosign", "crane")
def test_cosign(
    client: Callable[[], Client], hub: Hub, alice: Login, private: str, layout: Layout, directory: Path
) -> None:
    digest, mine, nobody = an_image(layout), client(), client()
    mine.environment["COSIGN_PASSWORD"] = nobody.environment["COSIGN_PASSWORD"] = ""
    mine("crane", "auth", "login", hub.address, "-u", alice.name, "--password-stdin", stdin=alice.secret)
    mine("crane", "push", layout.directory, f"{hub.address}/{private}:v1")
    image, keys = f"{hub.address}/{private}@{digest}", directory / "key"
    mine("cosign", "generate-key-pair", "--output-key-prefix", keys)
    plain = ["--allow-http-registry"] if mine.plain else []
    mine("cosign", "sign", "--yes", "--key", f"{keys}.key", "--tlog-upload=false", *plain, image)
    verify = ("cosign", "verify", "--key", f"{keys}.pub", "--insecure-ignore-tlog=true", *plain, image)
    assert digest in mine(*verify)
    assert refused(nobody(*verify, status=None))
