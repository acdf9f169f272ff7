"""`entrepot serve`."""

from pathlib import Path

import click

from entrepot.cli.configuration import config_option, load_or_refuse


@click.command()
@config_option
@click.option(
    "--listen", metavar="HOST:PORT", help="Where to listen; port 0 takes a free one. [default: 127.0.0.1:5000]"
)
@click.option("--data-dir", metavar="DIR", help="Where everything is kept. [default: data]")
@click.option("--workers", metavar="N", help="Processes that answer requests. [default: 2, on one processor 1]")
@click.option("--open", "open_", is_flag=True, default=None, help="No accounts: whoever reaches it may push and pull.")
@click.option("--open-to-network", is_flag=True, default=None, help="Let --open serve other machines too.")
def serve(
    file: Path | None,
    listen: str | None,
    data_dir: str | None,
    workers: str | None,
    open_: bool | None,
    open_to_network: bool | None,
) -> None:
    """Serve a registry until SIGTERM or Ctrl-C.

    When it is ready it prints one line with its address. Whatever has no flag here is set in the configuration file or
    in the environment: `entrepot config show` lists it all.

    \b
    With accounts; the first start prints the password of the administrator, `admin`:
      entrepot serve
    Without accounts, for this machine only:
      entrepot serve --open
    On another port, with its data elsewhere:
      entrepot serve --open --listen 127.0.0.1:5001 --data-dir /srv/registry
    For everybody in the network, without a password:
      entrepot serve --open --open-to-network --listen 0.0.0.0:5000
    """
    flags = {
        "http.listen": listen,
        "data_dir": data_dir,
        "workers": workers,
        "open": open_,
        "open_to_network": open_to_network,
    }
    loaded, _ = load_or_refuse(file, flags)
    from entrepot.server import serve as run

    raise SystemExit(run(loaded.settings))
