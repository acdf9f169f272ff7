"""`entrepot mirror`: how engines and builders come to the upstreams that are read through this registry."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from entrepot.cli.configuration import config_option, load_or_refuse
from entrepot.cli.mirror_files import FILES
from entrepot.cli.refusal import Refusal

if TYPE_CHECKING:
    from entrepot.config import Settings
    from entrepot.config.kinds import Address

_EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - not listened on here


@click.group()
def mirror() -> None:
    """The pull-through cache: files for engines and builders."""


@mirror.command()
@click.argument("program", type=click.Choice(list(FILES)))
@click.option("--url", metavar="URL", help="How clients reach this server. [default: http.public_url or http.listen]")
@config_option
def config(program: str, url: str | None, file: Path | None) -> None:
    """Print the ready file for this server.

    \b
    Examples:
      entrepot mirror config docker --url http://cache.internal:5001 > /etc/docker/daemon.json
      entrepot mirror config containerd > /etc/containerd/certs.d/_default/hosts.toml
    """
    loaded, _ = load_or_refuse(file, {})
    settings = loaded.settings
    if not settings.upstreams:
        raise Refusal("no upstreams are configured: add `upstreams: {docker.io: {}}` to the configuration")
    given = url.rstrip("/") if url else ""
    registry = given or settings.http.public_url or _reached(settings, settings.http.listen)
    mirrored = registry
    if program == "docker" and not settings.mirror.everywhere:
        if settings.mirror.listen is None:
            raise Refusal("Docker wants a mirror of its own: set mirror.listen, such as `mirror: {listen: :5001}`")
        mirrored = given or _reached(settings, settings.mirror.listen)
    aliases = [each.upstream.alias for each in settings.upstreams]
    click.echo(FILES[program](registry, mirrored, aliases), nl=False)


def _reached(settings: "Settings", address: "Address") -> str:
    if address.host in _EVERYWHERE:
        raise Refusal(f"the server listens on every interface ({address}): say by --url how clients reach it")
    scheme = "https" if settings.http.tls.certificate else "http"
    return f"{scheme}://{address}"
