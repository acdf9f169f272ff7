"""Puts together what a registry with accounts has besides: its gate, its token endpoint, its API, its jobs."""

from contextlib import AsyncExitStack

from entrepot.assembly import Entrance
from entrepot.config import Settings
from entrepot.database.engine import Engine
from entrepot.jobs.runner import Job
from entrepot.web.guard import Guard


async def with_accounts(
    settings: Settings, engine: Engine, guard: Guard, stack: AsyncExitStack
) -> tuple[Entrance, list[Job]]:
    """The entrance of a registry with accounts, and its background work."""
    raise NotImplementedError
