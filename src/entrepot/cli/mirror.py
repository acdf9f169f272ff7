"""`entrepot mirror`: how engines and builders come to the upstreams that are read through this registry."""

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from entrepot.cli.configuration import config_option, load_or_refuse
from entrepot.cli.mirror_files import FILES
from entrepot.cli.refusal import Refusal

if TYPE_CHECKING:
    from entrepot.client.warming import Image
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
    paths = {each.upstream.alias: f"/{each.upstream.alias}" for each in settings.upstreams}
    if settings.mirror.everywhere:  # there is nothing else, and it is at the root
        paths = {settings.mirror.upstream: ""}
    click.echo(FILES[program](registry, mirrored, paths), nl=False)


@mirror.command()
@config_option
def seal(file: Path | None) -> None:
    """Seal an upstream's password, so that it can stand in the configuration and only this registry reads it.

    The password is read from standard input, at a terminal one line of it; what is printed goes to `password:`. It is
    sealed with the registry's root secret (`secret_key`, or the one in its data directory): whoever has both has the
    password.

    \b
    Example:
      entrepot mirror seal < password.txt
    """
    from entrepot.access.sealing import seal as sealed
    from entrepot.preparation import root_secret

    loaded, _ = load_or_refuse(file, {})
    if not loaded.settings.secret_key and not loaded.settings.data_dir.is_dir():
        raise Refusal(f"{loaded.settings.data_dir} is not there: start `entrepot serve` once, or set secret_key")
    password = (sys.stdin.readline() if sys.stdin.isatty() else sys.stdin.read()).rstrip("\n")
    if not password:
        raise Refusal("no password was given: write it to standard input")
    click.echo(sealed(root_secret(loaded.settings), password))


@mirror.command()
@click.argument("images", nargs=-1, metavar="[IMAGE]...")
@click.option("--file", "listed", type=click.File(), help="A list of images, one a line; `#` begins a comment.")
@click.option("--platform", metavar="OS/ARCH", help="Of a multi-platform image only this one. [default: all]")
@click.option("--url", default="http://127.0.0.1:5000", show_default=True, help="The server with the cache.")
@click.option(
    "--mirror", "at_mirror", is_flag=True, help="That URL is a mirror's, such as REGISTRY_PROXY_REMOTEURL makes."
)
@click.option("--username", "-u", help="Log in; the password is read from standard input.")
def warm(
    images: tuple[str, ...],
    listed: IO[str] | None,
    platform: str | None,
    url: str,
    at_mirror: bool,
    username: str | None,
) -> None:
    """Read images through the cache, so that it has them. From a timer, this keeps them fresh.

    Exits with 1 when some could not be read.

    \b
    Examples:
      entrepot mirror warm nginx:1.25 ghcr.io/org/app@sha256:...
      entrepot mirror warm --file images.txt --platform linux/amd64 --url https://hub.internal
    """
    from entrepot.client.warming import at_its_mirror, read_image, read_list

    named = [*images, *read_list(listed or ())]
    if not named:
        raise Refusal("no image is named: give some, or a --file with one a line")
    read = {image: read_image(image) for image in named}
    wanted = {image: at_its_mirror(each) if at_mirror else each for image, each in read.items()}
    password = sys.stdin.readline().rstrip("\n") if username else ""
    failed = asyncio.run(_warm(wanted, platform, url.rstrip("/"), username or "", password))
    if failed:
        raise SystemExit(1)


def _tell(said: str) -> None:
    click.echo(f"  {said}", err=True)


async def _warm(images: Mapping[str, "Image"], platform: str | None, url: str, username: str, password: str) -> int:
    """Read each image, which are told by what they were called; returns how many could not be read."""
    from entrepot.client import warming
    from entrepot.client.errors import RemoteError
    from entrepot.client.logins import Static
    from entrepot.client.remote import Remote, Where
    from entrepot.client.tokens import Login

    login = Login(username, password) if username else None
    remote = Remote(Where("the cache", url, Static(login)))
    failed = 0
    try:
        for number, (image, wanted) in enumerate(images.items(), 1):
            click.echo(f"[{number}/{len(images)}] {image}", err=True)
            try:
                size = await warming.warm(remote, wanted, platform, _tell)
                click.echo(f"{image}: {size:,} bytes")
            except RemoteError as error:
                failed += 1
                click.echo(f"entrepot: {image}: {error.message}", err=True)
    finally:
        await remote.close()
    return failed


def _reached(settings: "Settings", address: "Address") -> str:
    if address.host in _EVERYWHERE:
        raise Refusal(f"the server listens on every interface ({address}): say by --url how clients reach it")
    scheme = "https" if settings.http.tls.certificate else "http"
    return f"{scheme}://{address}"
