"""The administrator's work from the command line, against the same database as the server, which may be running."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TypeVar

from entrepot.access.actor import Actor
from entrepot.config import Settings
from entrepot.database.keys import DatabaseSigningKeys
from entrepot.database.version import postgres_is_current, sqlite_is_current
from entrepot.gatehouse import Gatehouse
from entrepot.hub.accounts import Accounts
from entrepot.hub.tokens import Tokens
from entrepot.hub_api import make_accounts, make_tokens
from entrepot.preparation import root_secret
from entrepot.storage import layout
from entrepot.stores import database

T = TypeVar("T")
CONSOLE = "console"
"""Where changes come from that are made here, in place of an address."""

OPERATOR = Actor(name=CONSOLE, kind="person", administrator=True, credential_kind="password")
"""Whoever can read the root secret and write the database may do everything."""


class NotPrepared(Exception):
    """There is no database of this version yet; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Desk:
    """What can be done."""

    accounts: Accounts
    tokens: Tokens
    keys: DatabaseSigningKeys


def at_the_desk(settings: Settings, work: Callable[[Desk], Awaitable[T]]) -> T:
    """Do some work; NotPrepared when no server of this version has been started on this data yet."""
    if not is_prepared(settings):
        raise NotPrepared("there is no database of this version yet: start `entrepot serve` once, then try again")
    return asyncio.run(_at_the_desk(settings, work))


def is_prepared(settings: Settings) -> bool:
    """Whether there is a database of this version; outside of an event loop."""
    if settings.database.url:
        return postgres_is_current(settings.database.url)
    return sqlite_is_current(layout.database_file(settings.data_dir))


async def _at_the_desk(settings: Settings, work: Callable[[Desk], Awaitable[T]]) -> T:
    async with AsyncExitStack() as stack:
        engine = database(settings)
        stack.push_async_callback(engine.close)
        house = Gatehouse(settings, engine, root_secret(settings), stack)
        return await work(Desk(make_accounts(settings, house), make_tokens(house), DatabaseSigningKeys(engine)))
