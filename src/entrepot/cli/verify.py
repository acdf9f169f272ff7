"""`entrepot verify`: whether rows and bytes agree."""

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from entrepot.cli.configuration import config_option, load_or_refuse
from entrepot.cli.refusal import Refusal

if TYPE_CHECKING:
    from entrepot.config import Settings


@click.command()
@click.option("--rehash", is_flag=True, help="Read every byte and compare digests, not only sizes.")
@click.option("--remove-orphans", is_flag=True, help="Let bytes go that no row names: see below.")
@click.option("--accept", is_flag=True, help="Let the bytes that are there belong to this database: see below.")
@config_option
def verify(file: Path | None, rehash: bool, remove_orphans: bool, accept: bool) -> None:
    """Compare the database with the bytes; each line is something that does not agree, and then the status is 1.

    The server may run meanwhile. Bytes that no row names go only by --remove-orphans, and not at once: a first run
    sights them, one that comes lifecycle.grace later puts them in quarantine, one lifecycle.quarantine after that
    removes them.

    Database and bytes know each other. When they do not belong together (a new or an older database, the directory
    or the bucket of another one), nothing is compared, and a server serves what it finds and removes nothing. If it is
    meant, --accept lets these bytes belong to this database from now on, and to no other that knew them.

    \b
    Examples:
      entrepot verify
      entrepot verify --rehash
      entrepot verify --accept
    """
    from entrepot.registry.errors import RegistryError

    settings = load_or_refuse(file, {})[0].settings
    try:
        findings = asyncio.run(_verify(settings, rehash=rehash, remove=remove_orphans, accept=accept))
    except RegistryError as error:
        raise Refusal(error.message) from None
    if findings:
        raise SystemExit(1)


async def _verify(settings: "Settings", *, rehash: bool, remove: bool, accept: bool) -> int:
    from entrepot.administration import NotPrepared
    from entrepot.janitor import janitor

    findings = looked = 0
    try:
        async with janitor(settings) as found:
            if accept:
                await found.cleaning.accept()
            await found.cleaning.refuse_foreign("nothing is compared, or removed")
            total = await found.verifier.count()
            with click.progressbar(
                length=max(total, 1), label=f"{total} blobs to be compared", file=sys.stderr, update_min_steps=100
            ) as bar:
                async for wrong in found.verifier.blobs(rehash=rehash):
                    looked += 1
                    if wrong is not None:
                        findings += 1
                        click.echo(f"{wrong.kind}\t{wrong.digest}\t{wrong.key}\t{wrong.note}")
                    bar.update(1)
            async for orphan in found.verifier.orphans(remove=remove):
                findings += 1
                click.echo(f"{orphan.kind}\t\t{orphan.key}\t{orphan.note}")
    except NotPrepared as error:
        raise Refusal(str(error)) from None
    click.echo(f"{looked} blobs, {findings} do not agree")
    return findings
