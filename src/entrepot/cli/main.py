"""`entrepot`: the group of all commands."""

import click

from entrepot import __version__
from entrepot.cli.admin import admin
from entrepot.cli.backup import backup, restore
from entrepot.cli.config import config
from entrepot.cli.gc import gc
from entrepot.cli.health import health
from entrepot.cli.mirror import mirror
from entrepot.cli.serve import serve
from entrepot.cli.verify import verify


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, message="%(prog)s %(version)s")
def cli() -> None:
    """A container registry: docker push to it, docker pull from it.

    \b
    Start one on this machine, with its data in ./data, and push to it:
      entrepot serve --open
      docker tag hello-web-server localhost:5000/hello-web-server:v1.0
      docker push localhost:5000/hello-web-server:v1.0
    """


cli.add_command(serve)
cli.add_command(admin)
cli.add_command(backup)
cli.add_command(config)
cli.add_command(gc)
cli.add_command(health)
cli.add_command(mirror)
cli.add_command(restore)
cli.add_command(verify)
