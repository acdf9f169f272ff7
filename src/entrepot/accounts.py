"""Puts together what a registry with accounts has besides: its gate, its token endpoint, its API, its jobs."""

import asyncio
from contextlib import AsyncExitStack

from entrepot.access.credentials import Secrets
from entrepot.access.issuing import TokenService
from entrepot.access.keys import derive
from entrepot.access.limits import Limits
from entrepot.access.login import Login
from entrepot.access.notebook import Notebook
from entrepot.access.passwords import Passwords
from entrepot.access.pulls import PullLimit, Spent
from entrepot.access.refresh import RefreshTokens
from entrepot.access.rights import Rights
from entrepot.access.throttling import Throttling
from entrepot.access.tokens import SigningKeys, Tokens
from entrepot.assembly import Entrance
from entrepot.config import Settings
from entrepot.database.engine import Engine
from entrepot.database.keys import DatabaseSigningKeys
from entrepot.database.limits import DatabasePlanLimits
from entrepot.database.logins import DatabaseLogins
from entrepot.database.refresh import DatabaseRefreshTokens
from entrepot.database.rights import DatabaseRights
from entrepot.database.throttles import DatabaseThrottles
from entrepot.jobs.runner import Job
from entrepot.preparation import root_secret
from entrepot.storage.pull_events import PullLog
from entrepot.web.guard import Guard
from entrepot.web.origin import Origin
from entrepot.web.token.door import TokenDoor
from entrepot.web.v2.accounts_gate import AccountsGate
from entrepot.web.v2.pulls import PullDesk

_NOTES_SECONDS = 5
_KEYS_SECONDS = 60
_PRUNE_SECONDS = 300


async def with_accounts(
    settings: Settings, engine: Engine, guard: Guard, stack: AsyncExitStack
) -> tuple[Entrance, list[Job]]:
    """The entrance of a registry with accounts, and its background work."""
    root = root_secret(settings)
    public_url = settings.http.public_url or None
    keys = SigningKeys(root)
    tokens = Tokens(keys, public_url or "entrepot")
    key_rows = DatabaseSigningKeys(engine)
    rights = Rights(DatabaseRights(engine))
    made = Secrets(derive(root, "credentials"))
    logins = DatabaseLogins(engine)
    notebook = Notebook(logins, derive(root, "names that are no account"))
    stack.push_async_callback(notebook.flush)
    throttles = DatabaseThrottles(engine)
    throttling = Throttling(throttles, derive(root, "throttling"))
    login = Login(logins, made, Passwords(), throttling, notebook)
    pulls = settings.limits.pulls
    limits = Limits(pulls.anonymous, pulls.account, pulls.window, DatabasePlanLimits(engine))
    counter = Uncounted()
    events = PullLog(settings.data_dir)
    stack.push_async_callback(events.close)
    keeping = asyncio.create_task(events.keep())
    stack.callback(keeping.cancel)
    gate = AccountsGate(tokens, login, rights, limits, counter, Origin(public_url, guard))
    service = TokenService(rights, tokens, limits, settings.auth.services)
    token_door = TokenDoor(login, service, RefreshTokens(DatabaseRefreshTokens(engine), made), keys)

    async def use_keys() -> int:
        if keys.use(*await key_rows.versions()):
            tokens.forget()
        return 0

    await use_keys()
    jobs = [
        Job("write down logins", _NOTES_SECONDS, notebook.flush),
        Job("use signing keys", _KEYS_SECONDS, use_keys),
    ]
    return Entrance(gate, PullDesk(counter, events), [token_door]), jobs


class Uncounted:
    """Stands in until the counters are there."""

    async def spend(self, subject: str, limit: PullLimit) -> Spent:
        return Spent(True, limit.limit, 0)

    look = spend
