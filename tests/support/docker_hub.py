"""A machine with Docker Engine that takes a server for Docker Hub: names, addresses, and an authority it trusts."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from tests.support.certificates import Authority, new_authority
from tests.support.engine import start_docker
from tests.support.hub import Hub, start_hub
from tests.support.images import Layout, busybox_tar
from tests.support.machine import Machine, Process
from tests.support.tcp_proxy import TcpProxy

PRIVATE_HOST = "registry.mycompany.com"
PRIVATE_ADDRESS = "10.9.9.1"
HUB_HOSTS = ("registry-1.docker.io", "auth.docker.io", "index.docker.io")


@dataclass(frozen=True)
class DockerHub:
    """Docker Engine, and Entrepot with accounts in Docker Hub's place, which is `registry.mycompany.com` too.

    Calling it types a line into a shell of that machine, and returns what it prints.
    """

    machine: Machine
    hub: Hub
    docker: Process

    def __call__(self, line: str, status: int | None = 0, **variables: str) -> str:
        """Type one line; `variables` are set in the shell."""
        return self.machine.run("bash", "-c", line, status=status, environment=variables)

    def publish(self, content: str, *names: str) -> str:
        """Put an image with `content` in its own layer there under `names`; returns its digest."""
        layout = Layout(self.machine.new_directory("layout"))
        image = layout.image([busybox_tar({"content": content.encode()})])
        layout.tag(image, "image")
        self.push(layout, *names)
        return str(image["digest"])

    def push(self, layout: Layout, *names: str) -> None:
        """Put a layout's one image there, as the administrator; `names` are repositories of the hub, with tags."""
        environment = as_administrator(self.machine, self.hub)
        for name in names:
            push = ("crane", "push", layout.directory, f"{self.hub.address}/{name}")
            self.machine.run(*push, environment=environment)


@contextmanager
def docker_hub(settings: Mapping[str, str] | None = None, *flags: str) -> Iterator[DockerHub]:
    """Docker Engine, with these flags, on a machine that takes Entrepot, with accounts and settings, for Docker Hub.

    A database and a bucket that the settings name at this machine's loopback are reached from there.
    """
    with Machine(PRIVATE_ADDRESS) as machine, reached(machine, settings or {}):
        authority = trusted_authority(machine)
        resolve(machine, PRIVATE_ADDRESS, *HUB_HOSTS, PRIVATE_HOST)
        hub = start_hub(
            machine,
            "hub",
            listen=f"{PRIVATE_ADDRESS}:443",
            host=HUB_HOSTS[0],
            certificate=authority.certify(*HUB_HOSTS, PRIVATE_HOST),
            settings=settings,
        )
        yield DockerHub(machine, hub, start_docker(machine, *flags))


@contextmanager
def reached(machine: Machine, settings: Mapping[str, str]) -> Iterator[None]:
    """Let a machine with its own network reach, at the same addresses, the servers that settings name."""
    with ExitStack() as stack:
        for name in ("ENTREPOT_DATABASE__URL", "ENTREPOT_STORAGE__S3__ENDPOINT"):
            server = urlsplit(settings.get(name, ""))
            if server.hostname and server.port:
                stack.enter_context(TcpProxy(server.hostname, server.port, machine.listen(server.port)))
        yield


def as_administrator(machine: Machine, hub: Hub) -> dict[str, str]:
    """An environment in which crane, and whoever else reads Docker's file, is the administrator."""
    environment = {"DOCKER_CONFIG": str(machine.new_directory("administrator"))}
    admin = hub.administrator
    command = ("crane", "auth", "login", hub.address, "--username", admin.name, "--password-stdin")
    machine.run(*command, stdin=admin.secret.encode(), environment=environment)
    return environment


def trusted_authority(machine: Machine) -> Authority:
    """An authority that every program in the machine trusts, as it stands in the system's store."""
    authority = new_authority(machine.new_directory("authority"), "The tests' authority")
    with machine.path("/etc/ssl/certs/ca-certificates.crt").open("a") as store:
        store.write(authority.root.certificate.read_text())
    return authority


def resolve(machine: Machine, address: str, *names: str) -> None:
    """Add names to the machine's /etc/hosts."""
    with machine.path("/etc/hosts").open("a") as hosts:
        hosts.write(f"\n{address} {' '.join(names)}\n")
