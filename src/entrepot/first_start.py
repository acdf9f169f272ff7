"""The first start with accounts, before any worker: the administrator, `library`, and a namespace for what is there."""

import asyncio
import os
import secrets
import sys

from entrepot.access.htpasswd import Htpasswd
from entrepot.access.passwords import Passwords
from entrepot.config import Settings
from entrepot.database.adoption import adopt
from entrepot.database.first_start import ADMINISTRATOR, has_administrator, make_administrator, make_library
from entrepot.database.upstreams import hosted_under
from entrepot.stores import database


def first_start(settings: Settings) -> None:
    """What a registry needs before it has accounts: an administrator, `library`, and a namespace for what is there.

    CannotAdopt when something there cannot belong to anybody.
    """
    asyncio.run(_first_start(settings))


def hosted_under_an_alias(settings: Settings) -> str | None:
    """A hosted repository whose name now is an upstream's: no name is looked up in two places."""

    async def find() -> str | None:
        engine = database(settings)
        try:
            found = [await hosted_under(engine, each.upstream.alias) for each in settings.upstreams]
            return next((name for name in found if name is not None), None)
        finally:
            await engine.close()

    return asyncio.run(find())


async def _first_start(settings: Settings) -> None:
    engine = database(settings)
    try:
        await make_library(engine)
        people: frozenset[str] = frozenset()
        if settings.auth.htpasswd is not None:
            await make_administrator(engine, None)
            people = Htpasswd(settings.auth.htpasswd).names
        elif not await has_administrator(engine):
            given = os.environ.get("ENTREPOT_ADMIN_PASSWORD")
            password = given or secrets.token_urlsafe(18)
            made = await make_administrator(engine, await Passwords().hash(password))
            if made and not given:
                print(  # noqa: T201 - shown once, to whoever starts it
                    f"entrepot: the administrator is {ADMINISTRATOR}, with the password {password}"
                    " (shown only this once)",
                    file=sys.stderr,
                )
        await adopt(engine, people)
    finally:
        await engine.close()
