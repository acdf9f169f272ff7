"""The files by which engines and builders come to this registry's upstreams, as text."""

import json
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit


def docker(registry: str, mirror: str, paths: Mapping[str, str]) -> str:
    """/etc/docker/daemon.json: a mirror of Docker Hub at its root; nothing else can be mirrored."""
    document: dict[str, list[str]] = {"registry-mirrors": [mirror]}
    if mirror.startswith("http:"):
        document["insecure-registries"] = [urlsplit(mirror).netloc]
    return json.dumps(document, indent=2) + "\n"


def containerd(registry: str, mirror: str, paths: Mapping[str, str]) -> str:
    """/etc/containerd/certs.d/_default/hosts.toml: for every registry, which is told by `ns`."""
    return (
        "# /etc/containerd/certs.d/_default/hosts.toml, for every registry: those that are no upstream are asked\n"
        "# themselves afterwards. To use it for one only, name the directory after that registry.\n"
        f'[host."{registry}"]\n'
        '  capabilities = ["pull", "resolve"]\n'
    )


def podman(registry: str, mirror: str, paths: Mapping[str, str]) -> str:
    """/etc/containers/registries.conf.d/entrepot.conf: a mirror for each upstream, by path."""
    host, insecure = urlsplit(registry).netloc, str(registry.startswith("http:")).lower()
    blocks = [
        f'[[registry]]\nlocation = "{_host(alias)}"\n\n'
        f'[[registry.mirror]]\nlocation = "{host}{path}"\ninsecure = {insecure}\n'
        for alias, path in paths.items()
    ]
    return "# /etc/containers/registries.conf.d/entrepot.conf\n" + "\n".join(blocks)


def buildkit(registry: str, mirror: str, paths: Mapping[str, str]) -> str:
    """/etc/buildkit/buildkitd.toml: a mirror for each upstream, by path."""
    host = urlsplit(registry).netloc
    blocks = [f'[registry."{_host(alias)}"]\n  mirrors = ["{host}{path}"]\n' for alias, path in paths.items()]
    if registry.startswith("http:"):
        blocks.append(f'[registry."{host}"]\n  http = true\n')
    return "# /etc/buildkit/buildkitd.toml\n" + "\n".join(blocks)


def k3s(registry: str, mirror: str, paths: Mapping[str, str]) -> str:
    """/etc/rancher/k3s/registries.yaml: containerd's mirrors, told by `ns`."""
    mirrors = "".join(f'  "{_host(alias)}":\n    endpoint:\n      - "{registry}"\n' for alias in paths)
    return f"# /etc/rancher/k3s/registries.yaml\nmirrors:\n{mirrors}"


FILES: Mapping[str, Callable[[str, str, Mapping[str, str]], str]] = {
    "docker": docker,
    "containerd": containerd,
    "podman": podman,
    "buildkit": buildkit,
    "k3s": k3s,
}
"""By the program that reads it: from the registry's URL, the mirror's, and the path of each upstream by its alias."""


def _host(alias: str) -> str:
    """The registry that an alias stands for, as images are named after it."""
    host, underscore, port = alias.rpartition("_")
    return f"{host}:{port}" if underscore and port.isdigit() else alias
