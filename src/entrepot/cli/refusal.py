"""How a command says that it cannot do what was asked."""

from typing import IO, Any

import click


class Refusal(click.ClickException):
    """Ends the command with one line on standard error and exit code 2, as click does for a bad flag."""

    exit_code = 2

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the line."""
        click.echo(f"entrepot: {self.message}", file=file, err=True)
