"""docker login, logout, search and what Docker says when it is not let in, with Entrepot in Docker Hub's place."""

import base64
import json
from collections.abc import Iterator

import pytest

from entrepot.access.actor import Role
from tests.support.docker_hub import PRIVATE_HOST, DockerHub, docker_hub
from tests.support.hub import Login

pytestmark = pytest.mark.needs("dockerd", "runc", "busybox", "crane", "ip")

DENIED = "denied: requested access to the resource is denied"
LOGIN = 'echo "$PW" | docker login -u "$WHO" --password-stdin'


@pytest.fixture(scope="module")
def typed() -> Iterator[DockerHub]:
    with docker_hub() as made:
        yield made


class Shell:
    """A user's shell, with a credential file of its own."""

    def __init__(self, typed: DockerHub) -> None:
        self._typed = typed
        self._config = typed.machine.new_directory("docker")

    def __call__(self, line: str, status: int | None = 0, **variables: str) -> str:
        """Type a line."""
        return self._typed(line, status, DOCKER_CONFIG=str(self._config), **variables)

    def login(self, who: Login, host: str = "", status: int | None = 0) -> str:
        """docker login."""
        return self(f"{LOGIN} {host}", status, WHO=who.name, PW=who.secret)

    def store(self, who: Login, host: str) -> None:
        """Write name and secret into the credential file, as clients without identity tokens do."""
        login = base64.b64encode(who.pair.encode()).decode()
        (self._config / "config.json").write_text(json.dumps({"auths": {host: {"auth": login}}}))

    def stored(self) -> dict[str, dict[str, str]]:
        """What the credential file holds."""
        file = self._config / "config.json"
        logins: dict[str, dict[str, str]] = json.loads(file.read_text()).get("auths", {}) if file.exists() else {}
        return logins


@pytest.fixture
def shell(typed: DockerHub) -> Shell:
    return Shell(typed)


def _private(typed: DockerHub, owner: Login) -> str:
    """A private repository of this owner with an image in it, which the engine has not; its name and tag."""
    name = f"{owner.name}/private"
    typed.hub.repository(owner, name, "private")
    typed.publish(owner.name, f"{name}:v1")
    return f"{name}:v1"


def test_a_login_leaves_an_identity_token_which_ends_with_the_password(typed: DockerHub, shell: Shell) -> None:
    alice = typed.hub.person()
    image = _private(typed, alice)
    assert "Login Succeeded" in shell.login(alice)
    (stored,) = shell.stored().values()
    assert stored["identitytoken"]
    assert alice.secret not in json.dumps(shell.stored())
    shell(f"docker pull {image}")
    shell(f"docker tag {image} {alice.name}/another:v1; docker push {alice.name}/another:v1")

    changed = typed.hub.change_password(alice)
    refused = shell(f"docker push {alice.name}/another:v1", status=1).lower()
    assert "unauthorized" in refused or DENIED in refused
    assert "Login Succeeded" in shell.login(changed)
    shell(f"docker push {alice.name}/another:v1")
    assert "Removing login credentials" in shell("docker logout")
    assert not shell.stored()
    assert DENIED in shell(f"docker push {alice.name}/another:v1", status=1)


@pytest.mark.parametrize("host", ["https://index.docker.io/v1/", PRIVATE_HOST])
def test_a_credential_file_with_name_and_password_pushes_pulls_and_searches(
    typed: DockerHub, shell: Shell, host: str
) -> None:
    alice = typed.hub.person()
    image = _private(typed, alice)
    prefix = "" if host != PRIVATE_HOST else f"{PRIVATE_HOST}/"
    refused = shell(f"docker pull {prefix}{image}", status=1)
    assert f"pull access denied for {prefix}{image.partition(':')[0]}" in refused
    shell.store(alice, host)
    shell(f"docker pull {prefix}{image}")
    pushed = shell(f"docker tag {prefix}{image} {prefix}{alice.name}/app:v1; docker push {prefix}{alice.name}/app:v1")
    assert "v1: digest: sha256:" in pushed
    assert f"{alice.name}/private" in shell(f"docker search {prefix}{alice.name}")
    shell.store(typed.hub.change_password(alice), host)
    shell(f"docker push {prefix}{alice.name}/app:v1")
    shell.store(alice, host)  # with the old password
    said = shell(f"docker push {prefix}{alice.name}/app:v1", status=1).lower()
    assert "unauthorized: incorrect username or password" in said or DENIED in said


def test_a_wrong_password_is_said_to_be_one(typed: DockerHub, shell: Shell) -> None:
    alice = typed.hub.person()
    for who in (Login(alice.name, "something else"), Login("nobody-at-all", "something else")):
        assert "unauthorized: incorrect username or password" in shell.login(who, status=1)
    assert not shell.stored()


def test_a_token_logs_in_and_can_do_what_its_scope_says(typed: DockerHub, shell: Shell) -> None:
    alice = typed.hub.person()
    image = _private(typed, alice)
    token = typed.hub.personal_token(alice, Role.READ)
    assert "Login Succeeded" in shell.login(token)
    shell(f"docker pull {image}")
    shell(f"docker tag {image} {alice.name}/copy:v1")
    assert DENIED in shell(f"docker push {alice.name}/copy:v1", status=1)
    typed.hub.revoke(token)
    shell(f"docker rmi {image}")
    assert shell(f"docker pull {image}", status=1)


def test_a_robot_logs_in_and_pushes_for_its_organization(typed: DockerHub, shell: Shell) -> None:
    olga = typed.hub.person()
    image = _private(typed, olga)
    organization = typed.hub.organization(olga)
    shell.login(olga)
    shell(f"docker pull {image}; docker tag {image} {organization}/app:v1")
    shell.login(typed.hub.robot(olga, organization))
    assert "v1: digest: sha256:" in shell(f"docker push {organization}/app:v1")
    assert DENIED in shell(f"docker tag {image} {olga.name}/mine:v1; docker push {olga.name}/mine:v1", status=1)


def test_a_private_repository_is_denied_as_one_that_does_not_exist(typed: DockerHub, shell: Shell) -> None:
    alice = typed.hub.person()
    image = _private(typed, alice)
    for stranger in (None, typed.hub.person()):
        if stranger is not None:
            shell.login(stranger)
        for name in (image.partition(":")[0], f"{alice.name}/absent"):
            said = shell(f"docker pull {name}:v1", status=1)
            assert f"pull access denied for {name}, repository does not exist or may require 'docker login'" in said
    shell("docker logout")
    typed.hub.show(alice, image.partition(":")[0], "public")
    shell(f"docker pull {image}")


def test_docker_search_finds_what_one_may_see(typed: DockerHub, shell: Shell) -> None:
    alice = typed.hub.person()
    word = f"word{alice.name[-8:]}"
    typed.publish(word, f"library/{word}:v1")
    for name, visibility in ((f"{alice.name}/{word}-public", "public"), (f"{alice.name}/{word}-private", "private")):
        typed.hub.repository(alice, name, visibility)
        typed.publish(name, f"{name}:v1")

    def found(line: str) -> list[str]:
        return sorted(row.split()[0] for row in shell(line).splitlines()[1:])

    everybody = sorted([f"{alice.name}/{word}-public", f"library/{word}"])
    assert found(f"docker search --format 'table {{{{.Name}}}}' {word}") == everybody
    assert "[OK]" in shell(f"docker search --filter is-official=true {word}")
    assert len(found(f"docker search --filter is-official=true {word}")) == 1
    shell.login(alice)
    assert found(f"docker search {word}") == sorted([*everybody, f"{alice.name}/{word}-private"])
    shell.login(alice, PRIVATE_HOST)
    at_host = found(f"docker search {PRIVATE_HOST}/{word}")
    assert [name.removeprefix(f"{PRIVATE_HOST}/") for name in at_host] == found(f"docker search {word}")
