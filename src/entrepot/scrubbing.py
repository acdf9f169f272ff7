"""Puts the scrub of a worker together."""

from entrepot.config import Settings
from entrepot.data_plane import DataPlane, ages_of
from entrepot.database.engine import Engine
from entrepot.database.scrub import DatabaseScrub
from entrepot.database.verification import DatabaseVerification
from entrepot.jobs.runner import Job
from entrepot.jobs.scrub import SECONDS, Scrubbing
from entrepot.proxying import Cache
from entrepot.registry.ports import Bytes
from entrepot.registry.scrub import Scrubber
from entrepot.registry.verification import Verifier
from entrepot.web.metrics import BLOBS_DAMAGED, BLOBS_MISSING, Metrics


def scrubbing(
    settings: Settings, engine: Engine, store: Bytes, plane: DataPlane, caching: Cache, metrics: Metrics
) -> Job:
    """The job that reads what is stored, marks what is wrong, and mends it from upstreams."""
    rows, ages, period = DatabaseVerification(engine), ages_of(settings), settings.lifecycle.scrub
    verifier = Verifier(rows, store, ages.grace, ages.quarantine, belong_together=plane.cleaning.agree_now)
    scrubber = Scrubber(DatabaseScrub(engine), rows, verifier, store.name, period, caching.healing)

    def tell(damaged: int, missing: int) -> None:
        metrics.tell(BLOBS_DAMAGED, damaged)
        metrics.tell(BLOBS_MISSING, missing)

    seconds = min(SECONDS, max(0.2, period / 10)) if period else SECONDS
    return Job("scrub", seconds, Scrubbing(scrubber, plane.cleaning.all_agree, tell).run)
