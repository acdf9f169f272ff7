"""`entrepot gc`: collecting garbage by hand, and looking at it."""

import asyncio
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from entrepot.cli.configuration import config_option, load_or_refuse
from entrepot.cli.refusal import Refusal

if TYPE_CHECKING:
    from entrepot.config import Settings
    from entrepot.janitor import Janitor


@click.group(invoke_without_command=True)
@click.option("--dry-run", is_flag=True, help="Say what would go, when, and why; change nothing.")
@config_option
@click.pass_context
def gc(context: click.Context, dry_run: bool, file: Path | None) -> None:
    """Remove what is due: deleted images past their undo, blobs past grace and quarantine.

    The server does this by itself all the time, and may run meanwhile. docs/lifecycle.md says what is garbage when.

    \b
    Examples:
      entrepot gc --dry-run
      entrepot gc
      entrepot gc pause
    """
    if context.invoked_subcommand is not None:
        return
    settings = load_or_refuse(file, {})[0].settings
    _run(_report(settings) if dry_run else _collect(settings))


@gc.command()
@config_option
def pause(file: Path | None) -> None:
    """Let no server of this database collect until `resume`; `entrepot gc` by hand still does."""
    _run(_set_paused(load_or_refuse(file, {})[0].settings, True))


@gc.command()
@config_option
def resume(file: Path | None) -> None:
    """Let the servers go on collecting."""
    _run(_set_paused(load_or_refuse(file, {})[0].settings, False))


def _run(work: Coroutine[None, None, None]) -> None:
    from entrepot.registry.errors import RegistryError

    try:
        asyncio.run(work)
    except RegistryError as error:
        raise Refusal(error.message) from None


@asynccontextmanager
async def _janitor(settings: "Settings") -> AsyncIterator["Janitor"]:
    from entrepot.administration import NotPrepared
    from entrepot.janitor import janitor

    try:
        async with janitor(settings) as found:
            yield found
    except NotPrepared as error:
        raise Refusal(str(error)) from None


async def _collect(settings: "Settings") -> None:
    async with _janitor(settings) as janitor:
        await janitor.cleaning.refuse_foreign("nothing is removed")
        total: dict[str, int] = {}
        async for phase, count in janitor.collector.steps():
            if count:
                total[phase.value] = total.get(phase.value, 0) + count
                _progress(f"{phase.value}: {total[phase.value]}")
        removed = await janitor.cleaning.empty_trash()
        _progress("")
        for words, count in total.items():
            click.echo(f"{count}\t{words}")
        click.echo(f"{removed}\tfiles or objects removed")


def _progress(words: str) -> None:
    """On one line, for somebody who looks on: how much there will be is not known before the end."""
    if sys.stderr.isatty():
        click.echo(f"\r\x1b[K{words}", nl=False, err=True)


async def _report(settings: "Settings") -> None:
    freed = count = 0
    async with _janitor(settings) as janitor:
        async for each in janitor.collector.garbage():
            due = datetime.fromtimestamp(each.due / 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            click.echo(f"{each.digest}\t{each.state}\t{each.size}\tnot before {due}\t{each.reason}")
            freed, count = freed + each.size, count + 1
    click.echo(f"{count} would go, {freed} bytes; nothing was changed")


async def _set_paused(settings: "Settings", paused: bool) -> None:
    async with _janitor(settings) as janitor:
        changed = await janitor.collector.set_paused(paused)
    state = "paused" if paused else "going on"
    click.echo(f"entrepot: collection is {state}" + ("" if changed else ", as it was"))
