"""`entrepot backup` and `entrepot restore`."""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from entrepot.cli.configuration import config_option, load_or_refuse
from entrepot.cli.refusal import Refusal

if TYPE_CHECKING:
    from entrepot.registry.backups import Report

T = TypeVar("T")


@click.command()
@click.argument("place")
@click.option("--rehash", is_flag=True, help="Read what PLACE has already, and copy it anew where it is damaged.")
@click.option(
    "--keep",
    type=click.IntRange(min=1),
    metavar="N",
    help="Afterwards keep only the newest N backups, this one too, and the bytes that they name. [default: all]",
)
@click.option("--take-over", is_flag=True, help="PLACE was another registry's, and is this one's from now on.")
@config_option
def backup(place: str, rehash: bool, keep: int | None, take_over: bool, file: Path | None) -> None:
    """Back up all rows, and the bytes that they name, into PLACE, while the server runs.

    PLACE is a directory, or s3://BUCKET/PREFIX at the server and with the keys of `backup.s3`, else those of
    `storage.s3`. A backup is of one moment. Each after the first copies only what is not there; nothing that an older
    one names is removed, unless --keep says so. Each byte is verified as it is copied: what is damaged is named, and
    then the status is 1. A place is for one registry; one that was restored is another one.

    It does not have the root secret (`secret_key`, or the file `secret` of the data directory): keep that apart, as
    who has both has every token. Open uploads and pulls that are not counted yet are not in it either.

    \b
    Examples:
      entrepot backup /backup/registry
      entrepot backup --keep 14 s3://backups/registry
    """
    from entrepot.archive import back_up

    settings = load_or_refuse(file, {})[0].settings
    with ExitStack() as stack:
        begin = _bar(stack, "copied")
        report = _run(back_up(settings, place, begin, rehash=rehash, keep=keep, take_over=take_over))
    done = f"{report.name}: {report.blobs} blobs, {report.copied} of them new ({report.copied_bytes} bytes)"
    if keep is not None:
        done += f"; {report.dropped} older backups and {report.removed} of their blobs removed"
    _tell(report, done)


@click.command()
@click.argument("place")
@click.option("--snapshot", metavar="NAME", help="Which one. [default: the newest]")
@click.option("--list", "only_list", is_flag=True, help="Print the names of the snapshots, the oldest first.")
@config_option
def restore(place: str, snapshot: str | None, only_list: bool, file: Path | None) -> None:
    """Restore a backup from PLACE into the empty database and the empty store that the configuration names.

    They may be of another kind than those that were backed up: so a registry moves from SQLite and a directory to
    PostgreSQL and S3, or back. Put the root secret of the old one in place before the server starts. What was
    interrupted can be begun again. Afterwards `entrepot verify --rehash` compares every byte.

    \b
    Examples:
      entrepot restore --list /backup/registry
      ENTREPOT_DATA_DIR=/srv/registry entrepot restore /backup/registry
    """
    from entrepot.archive import restore as restore_from
    from entrepot.archive import snapshots

    settings = load_or_refuse(file, {})[0].settings
    if only_list:
        for name in _run(snapshots(settings, place)):
            click.echo(name)
        return
    with ExitStack() as stack:
        report = _run(restore_from(settings, place, snapshot, _bar(stack, "restored")))
    _tell(report, f"{report.name}: {report.copied} of {report.blobs} blobs restored ({report.copied_bytes} bytes)")


def _bar(stack: ExitStack, label: str) -> Callable[[int], Callable[[int], object]]:
    """Begins a bar of so many bytes on standard error; where that is no terminal, one line says what begins."""

    def begin(total: int) -> Callable[[int], object]:
        words = f"{total} bytes to be {label}"
        bar = click.progressbar(length=max(total, 1), label=words, file=sys.stderr)
        stack.enter_context(bar)
        return bar.update

    return begin


def _run(work: Coroutine[Any, Any, T]) -> T:
    from entrepot.administration import NotPrepared
    from entrepot.registry.errors import RegistryError

    try:
        return asyncio.run(work)
    except RegistryError as error:
        raise Refusal(error.message) from None
    except NotPrepared as error:
        raise Refusal(str(error)) from None


def _tell(report: "Report", done: str) -> None:
    for line in report.wrong:
        click.echo(line)
    click.echo(done + (f", {len(report.wrong)} could not be copied" if report.wrong else ""))
    if report.wrong:
        raise SystemExit(1)
