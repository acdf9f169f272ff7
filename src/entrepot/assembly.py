"""Puts the parts of one worker together: the doors, with accounts or without, and the jobs that go with them."""

from dataclasses import dataclass, field

from entrepot.access.request_limits import RequestLimits
from entrepot.config import Settings
from entrepot.data_plane import DataPlane, ages_of
from entrepot.database.engine import Engine
from entrepot.database.garbage import DatabaseGarbage
from entrepot.jobs.garbage import Collection
from entrepot.jobs.overwriting import OVERWRITE_SECONDS, Overwriting
from entrepot.jobs.runner import Job, rest
from entrepot.proxying import Cache
from entrepot.registry.garbage import Collector, rhythm
from entrepot.registry.listings import Listings
from entrepot.registry.ports import Bytes
from entrepot.web.app import App, ASGIApp, Door
from entrepot.web.fast_door import FastDoor
from entrepot.web.guard import Guard
from entrepot.web.observer import Observer
from entrepot.web.operations import Operations
from entrepot.web.v2.blobs import BlobDoor
from entrepot.web.v2.door import V2
from entrepot.web.v2.listings import ListingDoor
from entrepot.web.v2.manifests import ManifestDoor
from entrepot.web.v2.naming import Naming
from entrepot.web.v2.pulls import PullDesk
from entrepot.web.v2.uploads import UploadDoor
from entrepot.web.v2.visit import Gate

_EXPIRE_SECONDS = 300
_TRASH_SECONDS = 15
_GENERATION_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class Entrance:
    """Who is let in, and by which other doors: what differs with accounts and without."""

    gate: Gate
    requests: RequestLimits
    desk: PullDesk | None = None
    doors: list[Door] = field(default_factory=list)
    api: ASGIApp | None = None


@dataclass(frozen=True, slots=True)
class Parts:
    """What a worker runs."""

    app: App
    fast_door: FastDoor
    jobs: list[Job]


def assemble(
    settings: Settings,
    engine: Engine,
    store: Bytes,
    entrance: Entrance,
    guard: Guard,
    observer: Observer,
    plane: DataPlane,
    caching: Cache,
) -> Parts:
    """The registry behind this entrance."""
    blob_door = BlobDoor(caching.repositories, plane.deletions, store)
    manifest_door = ManifestDoor(caching.repositories, plane.manifests, plane.deletions, plane.history, entrance.desk)
    listing_door = ListingDoor(Listings(plane.manifest_rows), caching.upstreams, caching.listings)
    naming = Naming(caching.upstreams, caching.mirror)
    v2 = V2(entrance.gate, naming, blob_door, UploadDoor(plane.uploads), manifest_door, listing_door)

    async def database_answers() -> None:
        await engine.read("SELECT 1")

    app = App(
        v2,
        Operations(observer, [("database", database_answers), ("blobs", store.check)]),
        entrance.doors,
        entrance.api,
        guard,
        observer,
        entrance.requests,
        plane.downloads,
        nodes=caching.door,
        idle_timeout=settings.uploads.idle_timeout,
        public_url=settings.http.public_url or None,
    )
    jobs = [*caching.jobs, *_cleaning(settings, engine, plane)]
    fast_door = FastDoor(entrance.gate, manifest_door, blob_door, guard, observer, caching.mirror, plane.downloads)
    return Parts(app, fast_door, jobs)


def _cleaning(settings: Settings, engine: Engine, plane: DataPlane) -> list[Job]:
    """What ends what nobody needs any more."""
    cleaning = plane.cleaning
    ages = ages_of(settings)
    collector = Collector(DatabaseGarbage(engine), ages, rest=rest)
    return [
        Job("collect garbage", rhythm(ages), Collection(collector, cleaning.all_agree).run),
        Job("expire uploads", _EXPIRE_SECONDS, cleaning.expire),
        Job("empty trash", _TRASH_SECONDS, cleaning.empty_trash),
        Job("raise the generation", _GENERATION_SECONDS, cleaning.raise_generations),
        Job("overwrite what was purged", OVERWRITE_SECONDS, Overwriting(engine).run, at_once=True),
    ]
