"""Docker Engine and containerd, each started in a machine."""

from tests.support.images import busybox_tar
from tests.support.machine import Machine, Process

_CONTAINERD_CONFIG = """\
version = 2
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[plugins."io.containerd.internal.v1.opt"]
  path = "/var/lib/containerd/opt"
"""


def start_docker(machine: Machine, *flags: str) -> Process:
    """Start dockerd on its usual socket. With a network of the machine's own it has its bridge, and --publish works.

    Without iptables, as in the machines where these tests run; published ports go through docker-proxy.
    """
    return machine.start(
        "dockerd",
        *("dockerd", "--storage-driver=vfs", "--iptables=false", "--ip6tables=false", "--bip=10.77.0.1/24"),
        *flags,
        ready="API listen on /(var/)?run/docker.sock",
    )


def start_containerd(machine: Machine) -> Process:
    """Start containerd on its usual socket, without Kubernetes' interface."""
    config = machine.path("/etc/containerd/entrepot.toml")
    config.parent.mkdir(exist_ok=True)
    config.write_text(_CONTAINERD_CONFIG)
    return machine.start(
        "containerd",
        *("containerd", "--config", "/etc/containerd/entrepot.toml"),
        ready="containerd successfully booted",
    )


def import_busybox(machine: Machine, name: str) -> None:
    """Give dockerd an image of one layer, unlike any other, with a busybox in it."""
    archive = busybox_tar({"name": name.encode()})
    machine.run("docker", "import", "--change", 'CMD ["/bin/sh"]', "-", name, stdin=archive)
