"""What real clients need: a machine of their own with Entrepot in it, over plain HTTP and over TLS; one with Docker."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

from tests.support.certificates import Authority, new_authority
from tests.support.docker_hub import HUB_HOSTS, PRIVATE_ADDRESS, PRIVATE_HOST, resolve, trusted_authority
from tests.support.engine import start_containerd, start_docker
from tests.support.hub import Hub, start_hub
from tests.support.images import Layout
from tests.support.machine import Machine
from tests.support.postgres import new_database
from tests.support.s3 import REGION, SECRET_ACCESS_KEY, Bucket
from tests.support.server import Registry, start_registry
from tests.support.tools import missing_tools

HERE = Path(__file__).parent
ALWAYS = ("curl", "nsenter", "openssl")
NEEDS_ROOT = ("dockerd", "containerd")
ACCOUNTS_HOST = "hub.mycompany.com"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "e2e: a real client against a real server")
    config.addinivalue_line("markers", "needs(*programs): the programs, named as in install-tools, that a test runs")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark by location, and leave out what this machine cannot run; in CI pytest_runtest_setup fails it instead."""
    left_out: list[pytest.Item] = []
    for item in [item for item in items if HERE in item.path.parents]:
        item.add_marker(pytest.mark.e2e)
        if _lacking(item) and not os.environ.get("CI"):
            left_out.append(item)
    if left_out:
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)
        config.stash[_LEFT_OUT] = _reasons(left_out)


def pytest_runtest_setup(item: pytest.Item) -> None:
    lacking = _lacking(item) if HERE in item.path.parents else {}
    if lacking:
        pytest.fail(f"missing on this machine: {_listed(lacking)}", pytrace=False)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for line in config.stash.get(_LEFT_OUT, []):
        terminalreporter.write_line(line)


_LEFT_OUT = pytest.StashKey[list[str]]()


def _lacking(item: pytest.Item) -> dict[str, str]:
    """What a test needs and this machine lacks → how to get it."""
    needed = [*ALWAYS, *(program for mark in item.iter_markers("needs") for program in mark.args)]
    lacking = {tool: how for tool, how in missing_tools().items() if tool in needed}
    if os.geteuid() != 0 and set(needed) & set(NEEDS_ROOT):
        lacking["root"] = "run as root"
    return lacking


def _listed(lacking: dict[str, str]) -> str:
    return "; ".join(f"{tool} (get it: {how})" for tool, how in lacking.items())


def _reasons(items: list[pytest.Item]) -> list[str]:
    """One line a module of tests left out."""
    lacking: dict[str, dict[str, str]] = {}
    for item in items:
        lacking.setdefault(str(item.path.relative_to(item.config.rootpath)), {}).update(_lacking(item))
    return [f"left out: {module}: missing {_listed(tools)}" for module, tools in lacking.items()]


@pytest.fixture(scope="session")
def machine() -> Iterator[Machine]:
    """The machine of all clients but Docker. It shares this machine's network."""
    with Machine() as made:
        yield made


@pytest.fixture(scope="session")
def plain_registry(machine: Machine) -> Registry:
    """Entrepot without TLS on a loopback port."""
    return start_registry(machine, "plain")


@pytest.fixture(scope="session")
def authority(machine: Machine) -> Authority:
    """An authority that the machine trusts."""
    return trusted_authority(machine)


@pytest.fixture(scope="session")
def secure_registry(machine: Machine, authority: Authority) -> Registry:
    """Entrepot with TLS under a name that the machine resolves, its authority trusted by the machine."""
    resolve(machine, "127.0.0.1", PRIVATE_HOST)
    settings = {"ENTREPOT_HTTP__HOSTS": f'["{PRIVATE_HOST}"]'}
    certificate = authority.certify(PRIVATE_HOST)
    return start_registry(machine, "secure", host=PRIVATE_HOST, certificate=certificate, settings=settings)


@pytest.fixture
def distributed_settings(s3_server: str, postgres_server: str) -> Iterator[dict[str, str]]:
    """Of a server with its rows in a new database of PostgreSQL and its bytes in a new bucket."""
    with distributed(s3_server, postgres_server) as settings:
        yield settings


@pytest.fixture(scope="session")
def distributed_registry(machine: Machine, s3_server: str, postgres_server: str) -> Iterator[Registry]:
    """Entrepot without TLS on a loopback port, its rows in PostgreSQL and its bytes in object storage."""
    with distributed(s3_server, postgres_server) as settings:
        made = start_registry(machine, "distributed", settings=settings)
        yield made
        made.process.stop()


@contextmanager
def distributed(s3_server: str, postgres_server: str) -> Iterator[dict[str, str]]:
    """Settings of a server with its rows in a new database of PostgreSQL and its bytes in a new bucket."""
    bucket = Bucket(s3_server, f"e2e-{uuid4().hex}")
    bucket.create()
    with new_database(postgres_server) as database:
        yield {
            "ENTREPOT_DATABASE__URL": database,
            "ENTREPOT_STORAGE__BACKEND": "s3",
            "ENTREPOT_STORAGE__S3__BUCKET": bucket.name,
            "ENTREPOT_STORAGE__S3__REGION": REGION,
            "ENTREPOT_STORAGE__S3__ENDPOINT": bucket.endpoint,
            "ENTREPOT_STORAGE__S3__ACCESS_KEY_ID": bucket.access_key_id,
            "ENTREPOT_STORAGE__S3__SECRET_ACCESS_KEY": SECRET_ACCESS_KEY,
        }


@pytest.fixture(params=["plain", "secure", "distributed"])
def registry(request: pytest.FixtureRequest) -> Registry:
    """Entrepot over plain HTTP, over TLS, and on PostgreSQL and S3."""
    made: Registry = request.getfixturevalue(f"{request.param}_registry")
    return made


@pytest.fixture(scope="session")
def plain_hub(machine: Machine) -> Hub:
    """Entrepot with accounts, without TLS on a loopback port."""
    return start_hub(machine, "plain-hub")


@pytest.fixture(scope="session")
def secure_hub(machine: Machine, authority: Authority) -> Hub:
    """Entrepot with accounts and TLS, under a name that the machine resolves."""
    resolve(machine, "127.0.0.1", ACCOUNTS_HOST)
    settings = {"ENTREPOT_HTTP__HOSTS": f'["{ACCOUNTS_HOST}"]'}
    certificate = authority.certify(ACCOUNTS_HOST)
    return start_hub(machine, "secure-hub", host=ACCOUNTS_HOST, certificate=certificate, settings=settings)


@pytest.fixture(params=["plain", "secure"])
def hub(request: pytest.FixtureRequest) -> Hub:
    """Entrepot with accounts, over plain HTTP and over TLS."""
    made: Hub = request.getfixturevalue(f"{request.param}_hub")
    return made


@pytest.fixture
def layout(machine: Machine) -> Layout:
    """An empty OCI layout."""
    return Layout(machine.new_directory("layout"))


@pytest.fixture
def directory(machine: Machine) -> Path:
    """An empty directory, the same path inside and outside of the machine."""
    return machine.new_directory("work")


@pytest.fixture(scope="session")
def containerd(machine: Machine) -> Callable[..., str]:
    """containerd in the machine; call the result with the arguments of a `ctr` command."""
    start_containerd(machine)
    return lambda *arguments, status=0: machine.run("ctr", *arguments, status=status)


@dataclass(frozen=True)
class DockerHost:
    """A machine with a network of its own, Docker Engine, and three registries.

    `hub` stands in for Docker Hub and `registry.mycompany.com` (TLS on port 443, its authority trusted by all);
    `plain` is on the loopback; `private` is on PRIVATE_ADDRESS with TLS from `private_authority`, which nobody trusts.
    """

    machine: Machine
    hub: Registry
    plain: Registry
    private: Registry
    private_authority: Authority

    def docker(self, *arguments: str, status: int | None = 0) -> str:
        """Run `docker …` and return what it printed."""
        return self.machine.run("docker", *arguments, status=status)


@pytest.fixture(scope="session")
def docker_host() -> Iterator[DockerHost]:
    """Docker Engine on a machine that takes Entrepot for Docker Hub."""
    with Machine(PRIVATE_ADDRESS) as made:
        authority = trusted_authority(made)
        resolve(made, PRIVATE_ADDRESS, *HUB_HOSTS, PRIVATE_HOST)
        hub = start_registry(
            made,
            "hub",
            listen=f"{PRIVATE_ADDRESS}:443",
            host=HUB_HOSTS[0],
            certificate=authority.certify(*HUB_HOSTS, PRIVATE_HOST),
        )
        private_authority = new_authority(made.new_directory("private-authority"), "A private authority")
        private = start_registry(
            made,
            "private",
            listen=f"{PRIVATE_ADDRESS}:0",
            host=PRIVATE_ADDRESS,
            certificate=private_authority.certify(PRIVATE_ADDRESS),
        )
        plain = start_registry(made, "plain")
        start_docker(made)
        yield DockerHost(made, hub, plain, private, private_authority)
