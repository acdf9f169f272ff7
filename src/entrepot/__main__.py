"""`entrepot`, and `python -m entrepot`."""

from entrepot.cli.main import cli


def main() -> None:
    """Run the command line and exit with its code."""
    cli(prog_name="entrepot")


if __name__ == "__main__":
    main()
