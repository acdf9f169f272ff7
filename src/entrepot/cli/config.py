"""`entrepot config`: look at the configuration without serving."""

from pathlib import Path

import click

from entrepot.cli.configuration import config_option, load_or_refuse


@click.group()
def config() -> None:
    """Check the configuration, or show all of it."""


@config.command()
@config_option
def check(file: Path | None) -> None:
    """Say whether the configuration file and the environment can be used.

    Exits with 2, and one line that names the key, when they cannot.

    \b
    Examples:
      entrepot config check
      entrepot config check --config /etc/entrepot.yaml
    """
    _, found = load_or_refuse(file, {})
    read = "no configuration file" if found is None else str(found)
    click.echo(f"entrepot: the configuration is fine ({read}, the environment and the defaults)")


@config.command()
@config_option
def show(file: Path | None) -> None:
    """Print every key, its value and where it came from; secrets are masked.

    \b
    Examples:
      entrepot config show
      ENTREPOT_LOG__FORMAT=text entrepot config show
    """
    from entrepot.config.settings import SETTINGS, value_of

    loaded, _ = load_or_refuse(file, {})
    written = {path: setting.write(value_of(loaded.settings, path)) or '""' for path, setting in SETTINGS.items()}
    keys, values = max(map(len, written)), max(map(len, written.values()))
    for path, value in written.items():
        click.echo(f"{path:{keys}}  {value:{values}}  {loaded.origins[path]}")


@config.command(hidden=True)
def docs() -> None:
    """Print docs/configuration.md, as it is written from the settings."""
    from entrepot.config.document import document

    click.echo(document(), nl=False)
