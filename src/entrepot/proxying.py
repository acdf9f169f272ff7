"""Puts the pull-through cache together: upstreams as they are configured, and the repositories that pulls look into."""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from urllib.parse import urlsplit

from entrepot.access.sealing import NotOurs, is_sealed, unseal
from entrepot.client.logins import Helper, InFile, Logins, Static, Unreadable
from entrepot.client.remote import Heard, Remote, Where
from entrepot.client.tokens import Login
from entrepot.client.warming import Image, read_image, read_list
from entrepot.config import Settings
from entrepot.config.upstreams import ConfiguredLogin, ConfiguredUpstream
from entrepot.data_plane import DataPlane
from entrepot.database.deletion import DatabaseDeletions
from entrepot.database.engine import Engine
from entrepot.database.leases import DatabaseLeases
from entrepot.database.upstreams import DatabaseUpstreams
from entrepot.jobs.runner import Job
from entrepot.preparation import root_secret
from entrepot.proxy.blobs import ProxiedBlobs
from entrepot.proxy.eviction import Eviction
from entrepot.proxy.flights import Flights
from entrepot.proxy.forgetting import Forgetting
from entrepot.proxy.healing import Healing
from entrepot.proxy.keeping import Keeping
from entrepot.proxy.ledger import Ledger
from entrepot.proxy.listings import ProxiedListings
from entrepot.proxy.manifests import ProxiedManifests
from entrepot.proxy.nodes import LEASE_SECONDS, Arrivals, Nodes
from entrepot.proxy.repositories import Repositories
from entrepot.proxy.sources import Sources
from entrepot.proxy.turns import Turns
from entrepot.proxy.upstream import Upstream, Upstreams
from entrepot.proxy.uses import Uses
from entrepot.registry.manifests import Manifests
from entrepot.registry.ports import Bytes
from entrepot.storage.spools import SpoolFiles
from entrepot.web.nodes import NodeDoor
from entrepot.web.v2.naming import Mirror

_HELPERS_NAMES = {"registry-1.docker.io": "https://index.docker.io/v1/"}  # as `docker login` stores it
_CLEAN_SECONDS = 3600
_EVICT_SECONDS = 15


@dataclass(frozen=True, slots=True)
class Cache:
    """The pull-through cache of a worker, and the repositories that it adds to those hosted here."""

    upstreams: Upstreams
    mirror: Mirror | None
    repositories: Repositories
    listings: ProxiedListings
    manifests: ProxiedManifests
    flights: Flights
    ledger: Ledger
    healing: Healing
    jobs: list[Job]
    door: NodeDoor | None


def upstreams_of(settings: Settings) -> Upstreams:
    """The upstreams that are configured."""
    return Upstreams([each.upstream for each in settings.upstreams])


def ledger_of(settings: Settings) -> Ledger:
    """What all workers will know together; made before they are forked."""
    upstreams = [each.upstream for each in settings.upstreams]
    names = [(upstream.alias, credential.name) for upstream in upstreams for credential in upstream.credentials]
    return Ledger(names, settings.workers)


def make_cache(
    settings: Settings,
    engine: Engine,
    plane: DataPlane,
    store: Bytes,
    ledger: Ledger,
    mirror_port: int | None,
    stack: AsyncExitStack,
) -> Cache:
    """The cache of a worker; `mirror_port` is where the mirror listens, if it has a port of its own."""
    upstreams = upstreams_of(settings)
    configured = {each.upstream.alias: each for each in settings.upstreams}

    def connect(upstream: Upstream, number: int, heard: Heard) -> Remote:
        remote = Remote(_where(settings, configured[upstream.alias], number), heard)
        stack.push_async_callback(remote.close)
        return remote

    sources = Sources(upstreams, connect, ledger)
    spools = SpoolFiles(settings.data_dir)
    nodes, door, cluster_jobs = _among_others(settings, engine, spools, stack)
    flights = Flights(spools, nodes)
    stack.push_async_callback(flights.close)
    known, rows = DatabaseUpstreams(engine), plane.manifest_rows
    stored = Manifests(rows, accept_missing=True, durable=False)
    manifests = ProxiedManifests(sources, stored, rows, known, Turns(spools, nodes))
    uses = Uses(known)
    blobs = ProxiedBlobs(sources, plane.blob_rows, rows, known, plane.uploads, store, flights, uses)
    repositories = Repositories(upstreams, plane.manifests, plane.blobs, manifests, blobs, uses)
    keeping = Keeping(lambda: _listed(settings, upstreams), settings.cache.platforms, upstreams, rows, manifests, blobs)
    eviction = Eviction(upstreams, settings.cache.size, known, keeping.held)
    forgetting = Forgetting(upstreams, settings.cache.size, known, DatabaseDeletions(engine))
    jobs = [*_jobs(settings, spools, eviction, forgetting, keeping, ledger), *cluster_jobs]
    mirror = _mirror(settings, configured, mirror_port)
    listings = ProxiedListings(sources, manifests)
    healing = Healing(upstreams, blobs)
    if not upstreams:
        jobs = []
    return Cache(upstreams, mirror, repositories, listings, manifests, flights, ledger, healing, jobs, door)


def _among_others(
    settings: Settings, engine: Engine, spools: SpoolFiles, stack: AsyncExitStack
) -> tuple[Nodes | None, NodeDoor | None, list[Job]]:
    """What this node needs to fetch together with others, where it says how they reach it."""
    if not settings.cluster.advertise or not settings.upstreams:
        return None, None, []
    from entrepot.access.node_key import NodeKey
    from entrepot.client.nodes import ARRIVING, NodeClient

    key = NodeKey(settings.secret_key.encode())
    rows = DatabaseLeases(engine, settings.cluster.advertise, LEASE_SECONDS)
    peers = NodeClient(key.sign, settings.cluster.ca)
    stack.push_async_callback(peers.close)
    door = NodeDoor(ARRIVING, Arrivals(spools), key)
    return Nodes(rows, peers), door, [Job("forget leases", _CLEAN_SECONDS, rows.forget)]


def _jobs(
    settings: Settings,
    spools: SpoolFiles,
    eviction: Eviction,
    forgetting: Forgetting,
    keeping: Keeping,
    ledger: Ledger,
) -> list[Job]:
    jobs = [Job("remove what never arrived", _CLEAN_SECONDS, spools.clean)]
    if ledger.worker == 0:  # two at once would let go twice as much
        jobs.append(Job("keep upstreams within their size", _EVICT_SECONDS, eviction.run, at_once=True))
        jobs.append(Job("delete manifests of evicted images", _CLEAN_SECONDS, forgetting.run, at_once=True))
    if ledger.worker == 0 and (settings.cache.images or settings.cache.images_file is not None):
        jobs.append(Job("fetch images to keep", settings.cache.refresh, keeping.fetch, at_once=True))
    return jobs


def _listed(settings: Settings, upstreams: Upstreams) -> list[Image]:
    """The images that are always here; a file that cannot be read is said in the log, and nothing of it is evicted."""
    lines = list(settings.cache.images)
    if settings.cache.images_file is not None:
        lines += read_list(settings.cache.images_file.read_text().splitlines())
    images = [read_image(line) for line in lines]
    return [image._replace(repository=upstreams.stored_name(image.repository)) for image in images]


def _mirror(settings: Settings, configured: Mapping[str, ConfiguredUpstream], port: int | None) -> Mirror | None:
    if not settings.mirror.everywhere and port is None:
        return None
    return Mirror(configured[settings.mirror.upstream].upstream, None if settings.mirror.everywhere else port)


def _where(settings: Settings, configured: ConfiguredUpstream, number: int) -> Where:
    server = urlsplit(configured.upstream.url).netloc
    return Where(
        name=configured.upstream.alias,
        url=configured.upstream.url,
        logins=_logins(settings, configured.logins[number], server),
        token_hosts=configured.token_hosts,
        authority=configured.ca,
        certificate=configured.certificate,
        key=configured.key,
        verify=not configured.insecure,
        proxy=configured.proxy,
    )


def _logins(settings: Settings, configured: ConfiguredLogin, server: str) -> Logins:
    if configured.helper:
        return Helper(configured.helper, _HELPERS_NAMES.get(server, server))
    if not configured.username:
        return Static(None)
    if configured.password_file is not None:
        return InFile(configured.username, configured.password_file)
    password = configured.password
    if is_sealed(password):
        try:
            password = unseal(root_secret(settings), password)
        except NotOurs as error:
            return Unreadable(f"the password of {configured.username} cannot be read: {error}")
    return Static(Login(configured.username, password))
