"""What every door of a registry with accounts shares: who somebody is, what they may do, and what they have left."""

import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import structlog

from entrepot.access.credentials import Secrets
from entrepot.access.htpasswd import Htpasswd
from entrepot.access.htpasswd_logins import HtpasswdLogins
from entrepot.access.keys import derive
from entrepot.access.limits import Limits
from entrepot.access.login import Login
from entrepot.access.login_rows import LoginRows
from entrepot.access.notebook import Notebook
from entrepot.access.passwords import Passwords
from entrepot.access.pulls import PullCounter
from entrepot.access.request_limits import RequestLimits
from entrepot.access.rights import Rights
from entrepot.access.throttling import Throttling
from entrepot.access.tokens import SigningKeys, Tokens
from entrepot.config import Settings
from entrepot.counters.mapped import MappedCounter
from entrepot.database.audit import DatabaseAudit
from entrepot.database.engine import Engine
from entrepot.database.keys import DatabaseSigningKeys
from entrepot.database.limits import DatabasePlanLimits
from entrepot.database.logins import DatabaseLogins
from entrepot.database.refresh import DatabaseRefreshTokens
from entrepot.database.rights import DatabaseRights
from entrepot.database.throttles import DatabaseThrottles
from entrepot.jobs.runner import Job
from entrepot.proxying import upstreams_of
from entrepot.storage import layout

if TYPE_CHECKING:
    from entrepot.counters.redis import RedisCounter

_log = structlog.get_logger()
_NOTES_SECONDS = 5
_LEASE_SECONDS = 1
_KEYS_SECONDS = 60
_PRUNE_SECONDS = 300
_PRUNED_AT_ONCE = 1000  # rows
_DAY = 86_400_000_000  # microseconds
_REFRESH_UNUSED = 90 * _DAY


class Gatehouse:
    """The parts, made once a worker."""

    def __init__(self, settings: Settings, engine: Engine, root: bytes, stack: AsyncExitStack) -> None:
        """`root` is the root secret; what must be closed is left to `stack`."""
        self.engine = engine
        self.root = root
        self.keys = SigningKeys(root)
        self.tokens = Tokens(self.keys, settings.http.public_url or "entrepot")
        self.rights = Rights(DatabaseRights(engine, upstreams_of(settings)))
        self.secrets = Secrets(derive(root, "credentials"))
        self.passwords = Passwords()
        self.logins = DatabaseLogins(engine)
        self.refresh_rows = DatabaseRefreshTokens(engine)
        self._key_rows = DatabaseSigningKeys(engine)
        self._throttles = DatabaseThrottles(engine)
        self._audit = DatabaseAudit(engine)
        self._keep = settings.audit.keep * 1_000_000  # microseconds
        self._notebook = Notebook(self.logins, derive(root, "names that are no account"))
        stack.push_async_callback(self._notebook.flush)
        throttling = Throttling(self._throttles, derive(root, "throttling"))
        rows = _login_rows(settings, self.logins)
        self.login = Login(rows, self.secrets, self.passwords, throttling, self._notebook)
        requests = settings.limits.requests
        self.requests = RequestLimits(requests.address, requests.account)
        pulls = settings.limits.pulls
        self.limits = Limits(pulls.anonymous, pulls.account, pulls.window, DatabasePlanLimits(engine))
        self._mapped = MappedCounter(layout.pull_counts_file(settings.data_dir))
        stack.callback(self._mapped.close)
        self._redis = _redis_counter(settings, self._mapped, stack)
        self.counter: PullCounter = self._redis or self._mapped

    def redis_is_away(self) -> bool:
        """Whether pulls are counted by each node for itself although Redis is configured."""
        return self._redis is not None and self._redis.away

    async def jobs(self) -> list[Job]:
        """The background work of it; the signing keys are those in use when it returns."""
        await self._use_keys()
        return [
            Job("write down logins", _NOTES_SECONDS, self._notebook.flush),
            Job("give pulls back", _LEASE_SECONDS, self._mapped.give_back),
            Job("use signing keys", _KEYS_SECONDS, self._use_keys),
            Job("forget old logins", _PRUNE_SECONDS, self._prune),
        ]

    async def _use_keys(self) -> int:
        if self.keys.use(*await self._key_rows.versions()):
            self.tokens.forget()
        return 0

    async def _prune(self) -> int:
        return (
            await self._throttles.prune(_PRUNED_AT_ONCE)
            + await self._audit.prune(time.time_ns() // 1000 - self._keep, _PRUNED_AT_ONCE)
            + await self.refresh_rows.end_unused(_REFRESH_UNUSED)
        )


def _login_rows(settings: Settings, logins: DatabaseLogins) -> LoginRows:
    if settings.auth.htpasswd is None:
        return logins
    return HtpasswdLogins(Htpasswd(settings.auth.htpasswd), logins, logins, _log.warning)


def _redis_counter(settings: Settings, alone: MappedCounter, stack: AsyncExitStack) -> "RedisCounter | None":
    """What counts for all nodes together, where there are several."""
    if not settings.redis.url:
        return None
    from entrepot.counters.redis import RedisCounter

    counter = RedisCounter(settings.redis.url, alone, settings.redis.nodes)
    stack.push_async_callback(counter.close)
    return counter
