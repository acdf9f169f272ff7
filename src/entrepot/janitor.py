"""The collector and the verifier from the command line, against the data of a server that may be running."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from entrepot.administration import NotPrepared, is_prepared
from entrepot.config import Settings
from entrepot.data_plane import ages_of
from entrepot.database.garbage import DatabaseGarbage
from entrepot.database.uploads import DatabaseUploads
from entrepot.database.verification import DatabaseVerification
from entrepot.jobs.uploads import UploadCleaning
from entrepot.registry.garbage import Collector
from entrepot.registry.verification import Verifier
from entrepot.stores import byte_store, database


@dataclass(frozen=True, slots=True)
class Janitor:
    """What removes, and what looks whether all is there."""

    collector: Collector
    cleaning: UploadCleaning
    verifier: Verifier


@asynccontextmanager
async def janitor(settings: Settings) -> AsyncIterator[Janitor]:
    """A collector; NotPrepared when no server of this version has been started on this data yet."""
    if not await asyncio.to_thread(is_prepared, settings):
        raise NotPrepared("there is no database of this version yet: start `entrepot serve` once, then try again")
    engine = database(settings)
    store = await byte_store(settings)
    try:
        rows, ages = DatabaseUploads(engine), ages_of(settings)
        cleaning = UploadCleaning(rows, {store.name: store})
        verifier = Verifier(
            DatabaseVerification(engine), store, ages.grace, ages.quarantine, belong_together=cleaning.agree_now
        )
        yield Janitor(Collector(DatabaseGarbage(engine), ages), cleaning, verifier)
    finally:
        await store.close()
        await engine.close()
