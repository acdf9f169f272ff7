"""Load the configuration for a command."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from entrepot.cli.refusal import Refusal

if TYPE_CHECKING:
    from entrepot.config import Loaded

config_option = click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The configuration file. [default: $ENTREPOT_CONFIG, else ./entrepot.yaml when it is there]",
)


def load_or_refuse(file: Path | None, flags: Mapping[str, object]) -> tuple["Loaded", Path | None]:
    """The configuration, its warnings printed on standard error, and the file that was read; Refusal when it is bad."""
    from entrepot.config import ConfigError, find_file, load

    found = find_file(file, os.environ)
    try:
        loaded = load(found, os.environ, flags)
    except ConfigError as error:
        raise Refusal(str(error)) from None
    for warning in loaded.warnings:
        click.echo(f"entrepot: warning: {warning}", err=True)
    return loaded, found
