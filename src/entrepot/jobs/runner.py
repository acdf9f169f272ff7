"""Repeats jobs until the server stops. Every worker may run every job: each is idempotent and takes small steps."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

import structlog

from entrepot.registry.errors import RegistryError

_log = structlog.get_logger()
_REST = 3  # times as long as the work


class Job(NamedTuple):
    """Something to repeat: `run` does what is due and returns how much it did; the first time `at_once`, or after the
    first `seconds`."""

    name: str
    seconds: float
    run: Callable[[], Awaitable[int]]
    at_once: bool = False


async def rest(worked: float) -> None:
    """After so many seconds of work that can wait: all jobs' long ones take a quarter of a core at most."""
    await asyncio.sleep(_REST * worked)


async def repeat(jobs: Sequence[Job]) -> None:
    """Run each job again and again; ends only by cancellation."""
    async with asyncio.TaskGroup() as group:
        for job in jobs:
            group.create_task(_repeat(job))


async def _repeat(job: Job) -> None:
    wait = not job.at_once
    while True:
        if wait:
            await asyncio.sleep(job.seconds * random.uniform(0.8, 1.2))  # noqa: S311 - workers do not march in step
        wait = True
        try:
            done = await job.run()
        except RegistryError as error:
            _log.warning("job failed, will try again", job=job.name, error=error.message)
            continue
        except Exception:
            _log.exception("job failed, will try again", job=job.name)
            continue
        if done:
            _log.debug("job done", job=job.name, count=done)
