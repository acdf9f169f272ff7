"""Puts together what a registry with accounts has besides: its gate, its token endpoint, its API, its jobs."""

import asyncio
from contextlib import AsyncExitStack

import structlog

from entrepot.access.issuing import TokenService
from entrepot.access.refresh import RefreshTokens
from entrepot.assembly import Entrance
from entrepot.config import Settings
from entrepot.data_plane import DataPlane
from entrepot.database.deletion import DatabaseDeletions
from entrepot.database.engine import Engine
from entrepot.database.retention import DatabaseRetention
from entrepot.database.search import DatabaseSearch
from entrepot.database.usage import DatabaseUsage
from entrepot.gatehouse import Gatehouse
from entrepot.hub.retention import Retention
from entrepot.hub.search import Search
from entrepot.hub_api import make_api
from entrepot.jobs.retention import EXPIRY_SECONDS, RETENTION_SECONDS, Retaining
from entrepot.jobs.runner import Job
from entrepot.jobs.usage import PullCounting
from entrepot.preparation import root_secret
from entrepot.proxying import Cache
from entrepot.registry.errors import StorageError
from entrepot.storage.pull_events import PullLog, SegmentFiles
from entrepot.web.app import Door
from entrepot.web.guard import Guard
from entrepot.web.metrics import PULLS_LOST, REDIS_AWAY, TOKENS_ISSUED, Metrics
from entrepot.web.origin import Origin
from entrepot.web.token.door import TokenDoor
from entrepot.web.v1 import SearchDoor
from entrepot.web.v2.accounts_gate import AccountsGate
from entrepot.web.v2.pulls import PullDesk

_log = structlog.get_logger()
_COUNT_SECONDS = 30
_ANSWER_SECONDS = 1
_LEAVE_SECONDS = 5
_TELL_SECONDS = 5
_PRUNE_SECONDS = 300


async def with_accounts(
    settings: Settings,
    engine: Engine,
    guard: Guard,
    metrics: Metrics,
    plane: DataPlane,
    caching: Cache,
    stack: AsyncExitStack,
) -> tuple[Entrance, list[Job]]:
    """The entrance of a registry with accounts, and its background work."""
    house = Gatehouse(settings, engine, root_secret(settings), stack)
    origin = Origin(settings.http.public_url or None, guard)
    gate = AccountsGate(house.tokens, house.login, house.rights, house.limits, house.counter, house.requests, origin)
    stored_name = caching.upstreams.stored_name
    service = TokenService(house.rights, house.tokens, house.limits, settings.auth.services, stored_name)
    refresh = RefreshTokens(house.refresh_rows, house.secrets)
    search_rows = DatabaseSearch(engine)
    search = Search(search_rows)
    doors: list[Door] = [
        TokenDoor(house.login, service, refresh, house.keys, lambda: metrics.add(TOKENS_ISSUED)),
        SearchDoor(search, house.login, house.tokens),
    ]
    counting, events = await _pull_events(settings, engine, stack)
    retention = Retention(DatabaseRetention(engine), DatabaseDeletions(engine), house.rights, counting.everywhere)
    jobs = [
        *await house.jobs(),
        *_counting(counting),
        *_retention(retention, engine),
        Job("index for the search", _COUNT_SECONDS, search_rows.index_missing),
    ]

    async def tell() -> int:
        metrics.tell(PULLS_LOST, events.lost)
        metrics.tell(REDIS_AWAY, float(house.redis_is_away()))
        return 0

    jobs.append(Job("tell the metrics", _TELL_SECONDS, tell))
    desk = PullDesk(house.counter, events)
    api = make_api(settings, house, search, plane, caching, retention)
    return Entrance(gate, house.requests, desk, doors, api), jobs


def _counting(counting: PullCounting) -> list[Job]:
    return [
        Job("count pulls", _COUNT_SECONDS, counting.roll_up),
        Job("count pulls that a node waits for", _ANSWER_SECONDS, counting.answer),
        Job("forget old usage", _PRUNE_SECONDS, counting.prune),
    ]


def _retention(retention: Retention, engine: Engine) -> list[Job]:
    retaining = Retaining(retention, DatabaseRetention(engine))
    return [
        Job("retention", RETENTION_SECONDS, retaining.run),
        Job("expire tags", EXPIRY_SECONDS, retaining.expire),
    ]


async def _pull_events(settings: Settings, engine: Engine, stack: AsyncExitStack) -> tuple[PullCounting, PullLog]:
    """Other nodes know that this one may have events before it has the first; the last worker to stop leaves none."""
    segments = SegmentFiles(settings.data_dir)
    counting = PullCounting(segments, DatabaseUsage(engine))
    stack.push_async_callback(_leave, counting)
    await asyncio.to_thread(stack.enter_context, segments.present())
    await counting.appear()
    events = PullLog(settings.data_dir)
    stack.push_async_callback(events.close)
    keeping = asyncio.create_task(events.keep())
    stack.callback(keeping.cancel)
    return counting, events


async def _leave(counting: PullCounting) -> None:
    try:
        async with asyncio.timeout(_LEAVE_SECONDS):
            await counting.leave()
    except (StorageError, TimeoutError):  # retention waits until this node comes back
        _log.warning("pulls were not counted while stopping, and are when this node starts again")
