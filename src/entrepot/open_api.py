"""Puts together what a registry without accounts has besides: the API of images, for everybody, and its jobs."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from entrepot.access.request_limits import RequestLimits
from entrepot.access.rights import Rights
from entrepot.assembly import Entrance
from entrepot.config import Settings
from entrepot.data_plane import DataPlane
from entrepot.database.deletion import DatabaseDeletions
from entrepot.database.engine import Engine
from entrepot.database.retention import DatabaseRetention
from entrepot.database.rights import DatabaseOpenRights
from entrepot.hub.retention import Retention
from entrepot.jobs.retention import EXPIRY_SECONDS, RETENTION_SECONDS, Retaining
from entrepot.jobs.runner import Job
from entrepot.proxying import upstreams_of
from entrepot.web.app import ASGIApp
from entrepot.web.v2.visit import OpenGate


def without_accounts(settings: Settings, engine: Engine, plane: DataPlane) -> tuple[Entrance, list[Job]]:
    """The entrance of a registry that is open to everybody, and its background work."""
    rights = Rights(DatabaseOpenRights(engine, upstreams_of(settings)))
    rows, deletions = DatabaseRetention(engine), DatabaseDeletions(engine)
    retention = Retention(rows, deletions, rights, ingest=None)
    retaining = Retaining(retention, rows)
    requests = RequestLimits(settings.limits.requests.address, None)

    def make() -> ASGIApp:
        from entrepot.open_routes import make_open_api

        return make_open_api(settings, engine, rights, plane, retention, requests)

    jobs = [
        Job("retention", RETENTION_SECONDS, retaining.run),
        Job("expire tags", EXPIRY_SECONDS, retaining.expire),
    ]
    return Entrance(OpenGate(), requests, api=_AtFirstUse(make)), jobs


class _AtFirstUse:
    """An application that is loaded when somebody asks for it: most open registries never are."""

    def __init__(self, make: Callable[[], ASGIApp]) -> None:
        self._make = make
        self._made: ASGIApp | None = None
        self._making = asyncio.Lock()

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
        send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ) -> None:
        """One request."""
        async with self._making:
            if self._made is None:
                self._made = await asyncio.to_thread(self._make)
        await self._made(scope, receive, send)
