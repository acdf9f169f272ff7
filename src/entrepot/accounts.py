"""Puts together what a registry with accounts has besides: its gate, its token endpoint, its API, its jobs."""

import asyncio
from contextlib import AsyncExitStack

import structlog

from entrepot.access.credentials import Secrets
from entrepot.access.htpasswd import Htpasswd
from entrepot.access.htpasswd_logins import HtpasswdLogins
from entrepot.access.issuing import TokenService
from entrepot.access.keys import derive
from entrepot.access.limits import Limits
from entrepot.access.login import Login
from entrepot.access.login_rows import LoginRows
from entrepot.access.notebook import Notebook
from entrepot.access.passwords import Passwords
from entrepot.access.pulls import PullCounter
from entrepot.access.refresh import RefreshTokens
from entrepot.access.rights import Rights
from entrepot.access.throttling import Throttling
from entrepot.access.tokens import SigningKeys, Tokens
from entrepot.assembly import Entrance
from entrepot.config import Settings
from entrepot.counters.mapped import MappedCounter
from entrepot.database.engine import Engine
from entrepot.database.keys import DatabaseSigningKeys
from entrepot.database.limits import DatabasePlanLimits
from entrepot.database.logins import DatabaseLogins
from entrepot.database.refresh import DatabaseRefreshTokens
from entrepot.database.rights import DatabaseRights
from entrepot.database.search import DatabaseSearch
from entrepot.database.throttles import DatabaseThrottles
from entrepot.database.usage import DatabaseUsage
from entrepot.hub.search import Search
from entrepot.hub_api import make_api
from entrepot.jobs.runner import Job
from entrepot.jobs.usage import PullCounting
from entrepot.preparation import root_secret
from entrepot.storage import layout
from entrepot.storage.pull_events import PullLog, SegmentFiles
from entrepot.web.app import Door
from entrepot.web.guard import Guard
from entrepot.web.origin import Origin
from entrepot.web.token.door import TokenDoor
from entrepot.web.v1 import SearchDoor
from entrepot.web.v2.accounts_gate import AccountsGate
from entrepot.web.v2.pulls import PullDesk

_log = structlog.get_logger()
_NOTES_SECONDS = 5
_KEYS_SECONDS = 60
_PRUNE_SECONDS = 300
_COUNT_SECONDS = 30
_PRUNED_AT_ONCE = 1000  # rows
_DAY = 86_400_000_000  # microseconds
_LOGINS_KEPT = 365 * _DAY
_REFRESH_UNUSED = 90 * _DAY


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
    login = Login(_login_rows(settings, logins), made, Passwords(), throttling, notebook)
    pulls = settings.limits.pulls
    limits = Limits(pulls.anonymous, pulls.account, pulls.window, DatabasePlanLimits(engine))
    counter = _pull_counter(settings, stack)
    events = PullLog(settings.data_dir)
    stack.push_async_callback(events.close)
    keeping = asyncio.create_task(events.keep())
    stack.callback(keeping.cancel)
    gate = AccountsGate(tokens, login, rights, limits, counter, Origin(public_url, guard))
    refresh_rows = DatabaseRefreshTokens(engine)
    service = TokenService(rights, tokens, limits, settings.auth.services)
    token_door = TokenDoor(login, service, RefreshTokens(refresh_rows, made), keys)

    async def use_keys() -> int:
        if keys.use(*await key_rows.versions()):
            tokens.forget()
        return 0

    async def prune() -> int:
        return (
            await throttles.prune(_PRUNED_AT_ONCE)
            + await logins.prune(_LOGINS_KEPT, _PRUNED_AT_ONCE)
            + await refresh_rows.end_unused(_REFRESH_UNUSED)
        )

    await use_keys()
    jobs = [
        Job("forget old logins", _PRUNE_SECONDS, prune),
        Job("write down logins", _NOTES_SECONDS, notebook.flush),
        Job("use signing keys", _KEYS_SECONDS, use_keys),
    ]
    search_rows = DatabaseSearch(engine)
    counting = PullCounting(SegmentFiles(settings.data_dir), DatabaseUsage(engine))
    jobs += [
        Job("count pulls", _COUNT_SECONDS, counting.roll_up),
        Job("forget old usage", _PRUNE_SECONDS, counting.prune),
        Job("index for the search", _COUNT_SECONDS, search_rows.index_missing),
    ]
    search = Search(search_rows)
    doors: list[Door] = [token_door, SearchDoor(search, login, tokens)]
    api = make_api(engine, root, rights, made, login, search)
    return Entrance(gate, PullDesk(counter, events), doors, api), jobs


def _login_rows(settings: Settings, logins: DatabaseLogins) -> LoginRows:
    if settings.auth.htpasswd is None:
        return logins
    return HtpasswdLogins(Htpasswd(settings.auth.htpasswd), logins, logins, _log.warning)


def _pull_counter(settings: Settings, stack: AsyncExitStack) -> PullCounter:
    """Of this node alone, or of all nodes by Redis."""
    mapped = MappedCounter(layout.pull_counts_file(settings.data_dir))
    stack.callback(mapped.close)
    if not settings.redis.url:
        return mapped
    from entrepot.counters.redis import RedisCounter

    counter = RedisCounter(settings.redis.url, mapped, settings.redis.nodes)
    stack.push_async_callback(counter.close)
    return counter
