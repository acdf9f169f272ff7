"""`entrepot health`."""

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from entrepot import __version__
from entrepot.cli.configuration import load_or_refuse
from entrepot.cli.refusal import Refusal

if TYPE_CHECKING:
    from http.client import HTTPConnection

    from entrepot.config import Settings

TIMEOUT = 4.0
"""Seconds; less than the five that the image's health check gives this whole command."""


class _Unready(Refusal):
    """The server does not answer, or says that it is not ready."""

    exit_code = 1


@click.command()
@click.argument("url", required=False)
def health(url: str | None) -> None:
    """Ask a running registry whether it is ready; exit code 0 when it is, else 1.

    Without URL it asks the registry that the same configuration starts on this machine, as the image's health check
    does.

    \b
    Another one:
      entrepot health http://127.0.0.1:5001
    """
    address = url.rstrip("/") if url else _own_address(load_or_refuse(None, {})[0].settings)
    connection = _connect(address)
    from http.client import HTTPException

    try:
        connection.request("GET", "/readyz", headers={"User-Agent": f"entrepot-health/{__version__}"})
        answer = connection.getresponse()
        body = answer.read(200).decode(errors="replace").strip()
    except (OSError, HTTPException) as error:
        raise _Unready(f"{address} does not answer: {error}") from None
    finally:
        connection.close()
    if answer.status != 200:
        raise _Unready(f"{address} is not ready: {answer.status} {' '.join(body.split())}")
    click.echo(f"{address} is ready")


def _own_address(settings: "Settings") -> str:
    """Where the server that has these settings is reached from its own machine."""
    from entrepot.config import Address

    listen = settings.http.listen
    every = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 -- recognised here, not bound
    scheme = "http" if settings.http.tls.certificate is None else "https"
    return f"{scheme}://{Address(every.get(listen.host, listen.host), listen.port)}"


def _connect(address: str) -> "HTTPConnection":
    """A connection, not yet open. A certificate is not checked: it is for the registry's public name, not for this."""
    import ssl
    from http.client import HTTPConnection, HTTPSConnection

    parts = urlsplit(address)
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if parts.scheme not in ("http", "https") or not host:
        raise Refusal(f"{address} is not an address such as http://127.0.0.1:5000")
    if parts.scheme == "http":
        return HTTPConnection(host, port, timeout=TIMEOUT)
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return HTTPSConnection(host, port, timeout=TIMEOUT, context=context)
