"""Puts the pull-through cache together: upstreams as they are configured, and the repositories that pulls look into."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

from entrepot.client.remote import Heard, Remote, Where
from entrepot.client.tokens import Login
from entrepot.config import Settings
from entrepot.config.upstreams import ConfiguredUpstream
from entrepot.data_plane import DataPlane
from entrepot.database.engine import Engine
from entrepot.database.upstreams import DatabaseUpstreams
from entrepot.jobs.runner import Job
from entrepot.proxy.blobs import ProxiedBlobs
from entrepot.proxy.flights import Flights
from entrepot.proxy.listings import ProxiedListings
from entrepot.proxy.manifests import ProxiedManifests
from entrepot.proxy.repositories import Repositories
from entrepot.proxy.sources import Sources
from entrepot.proxy.upstream import Upstream, Upstreams
from entrepot.registry.manifests import Manifests
from entrepot.storage.spools import SpoolFiles
from entrepot.web.v2.naming import Mirror

_CLEAN_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class Cache:
    """The pull-through cache of a worker."""

    upstreams: Upstreams
    sources: Sources
    mirror: Mirror | None


def upstreams_of(settings: Settings) -> Upstreams:
    """The upstreams that are configured."""
    return Upstreams([each.upstream for each in settings.upstreams])


def make_cache(settings: Settings, mirror_port: int | None, stack: AsyncExitStack) -> Cache:
    """What the whole worker shares of it; `mirror_port` is where the mirror listens, if it has a port of its own."""
    upstreams = upstreams_of(settings)
    configured = {each.upstream.alias: each for each in settings.upstreams}

    def connect(upstream: Upstream, heard: Heard) -> Remote:
        remote = Remote(_where(configured[upstream.alias]), heard)
        stack.push_async_callback(remote.close)
        return remote

    mirror = None
    if settings.mirror.everywhere or mirror_port is not None:
        of_mirror = configured[settings.mirror.upstream].upstream
        mirror = Mirror(of_mirror, None if settings.mirror.everywhere else mirror_port)
    return Cache(upstreams, Sources(upstreams, connect), mirror)


def make_repositories(
    settings: Settings, engine: Engine, cache: Cache, plane: DataPlane, stack: AsyncExitStack
) -> tuple[Repositories, ProxiedListings, list[Job]]:
    """Where pulls and lists look, and what is to be done in the background."""
    spools = SpoolFiles(settings.data_dir)
    flights = Flights(spools)
    stack.push_async_callback(flights.close)
    known = DatabaseUpstreams(engine)
    rows = plane.manifest_rows
    keeping = Manifests(rows, deletion=True, accept_missing=True)
    proxied_manifests = ProxiedManifests(cache.sources, keeping, rows, known, spools)
    proxied_blobs = ProxiedBlobs(cache.sources, plane.blob_rows, rows, known, plane.uploads, flights)
    repositories = Repositories(cache.upstreams, plane.manifests, plane.blobs, proxied_manifests, proxied_blobs)
    jobs = [Job("remove what never arrived", _CLEAN_SECONDS, spools.clean)] if settings.upstreams else []
    return repositories, ProxiedListings(cache.sources), jobs


def _where(configured: ConfiguredUpstream) -> Where:
    return Where(
        name=configured.upstream.alias,
        url=configured.upstream.url,
        login=_login(configured),
        token_hosts=configured.token_hosts,
        authority=configured.ca,
        certificate=configured.certificate,
        key=configured.key,
        verify=not configured.insecure,
    )


def _login(configured: ConfiguredUpstream) -> Callable[[], Login | None]:
    """The login, read anew each time when it is in a file: such passwords change while the server runs."""
    if not configured.username:
        return lambda: None
    path = configured.password_file
    if path is None:
        login = Login(configured.username, configured.password)
        return lambda: login
    return lambda: Login(configured.username, path.read_text().strip())
