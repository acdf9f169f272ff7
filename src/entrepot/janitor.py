"""The collector from the command line, against the same database and store as the server, which may be running."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from entrepot.administration import NotPrepared, is_prepared
from entrepot.config import Settings
from entrepot.data_plane import ages_of
from entrepot.database.garbage import DatabaseGarbage
from entrepot.database.uploads import DatabaseUploads
from entrepot.jobs.uploads import UploadCleaning
from entrepot.registry.garbage import Collector
from entrepot.stores import byte_store, database


@dataclass(frozen=True, slots=True)
class Janitor:
    """What removes."""

    collector: Collector
    cleaning: UploadCleaning


@asynccontextmanager
async def janitor(settings: Settings) -> AsyncIterator[Janitor]:
    """A collector; NotPrepared when no server of this version has been started on this data yet."""
    if not await asyncio.to_thread(is_prepared, settings):
        raise NotPrepared("there is no database of this version yet: start `entrepot serve` once, then try again")
    engine = database(settings)
    store = await byte_store(settings)
    try:
        cleaning = UploadCleaning(DatabaseUploads(engine), {store.name: store})
        yield Janitor(Collector(DatabaseGarbage(engine), ages_of(settings)), cleaning)
    finally:
        await store.close()
        await engine.close()
