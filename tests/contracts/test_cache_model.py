"""Freshness and eviction of the cache against a model and a clock that it sets. A failure names its seed: the same seed
takes the same steps."""

import asyncio
import os
import shutil
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest

from entrepot.access.caller import Caller
from entrepot.access.grant import EVERYTHING
from entrepot.client.errors import RemoteAbsent, RemoteBusy, RemoteDenied, RemoteError, RemoteUnreachable
from entrepot.client.remote import Arriving, Described, Fetched, Listing
from entrepot.database.sqlite import SqliteEngine
from entrepot.database.upstreams import DatabaseUpstreams
from entrepot.proxy.eviction import IN_USE, Eviction
from entrepot.proxy.keeping import Held
from entrepot.proxy.ledger import Ledger
from entrepot.proxy.manifests import ProxiedManifests
from entrepot.proxy.sources import Sources
from entrepot.proxy.turns import Turns
from entrepot.proxy.upstream import ALWAYS, PINNED, Freshness, Place, Upstream, Upstreams
from entrepot.proxy.uses import USE_SECONDS
from entrepot.registry.errors import Denied, ManifestUnknown, RegistryError, UpstreamBusy, UpstreamError
from entrepot.registry.manifests import Manifests
from entrepot.storage.spools import SpoolFiles
from tests.support.clock import Clock, postgres_clock, sqlite_clock
from tests.support.rows import Database, Rows
from tests.support.serving import OCI_EMPTY, OCI_MANIFEST, a_manifest, an_image, descriptor, digest_of

HOUR, DAY = 3600.0, 86400.0
WAITS = (120.0, 240.0, 3600.0, DAY)  # sums of these are never within a minute of the times below
FRESH, USABLE, KEPT, DELAY = 300.0, 660.0, DAY + 60, 3 * DAY + 60
UPSTREAMS = [
    Upstream("always.example", "http://x", stale_if_denied=KEPT),
    Upstream("ttl.example", "http://x", (("*", Freshness(FRESH)),), stale_if_denied=KEPT),
    Upstream("swr.example", "http://x", (("*", Freshness(FRESH, USABLE - FRESH)),), stale_if_denied=KEPT),
    Upstream("pinned.example", "http://x", (("*", PINNED),), stale_if_denied=KEPT),
    Upstream("late.example", "http://x", (("*", ALWAYS),), stale_if_denied=KEPT, delay=DELAY),
]
BOUNDS = {"always.example": 0.0, "ttl.example": FRESH, "swr.example": USABLE, "late.example": 0.0}
FAULTS: dict[str, Callable[[], RemoteError]] = {
    "down": lambda: RemoteUnreachable("nobody is there"),
    "busy": lambda: RemoteBusy("enough", 30.0),
    "denied": lambda: RemoteDenied("no", forbidden=True),
    "absent": lambda: RemoteAbsent("there is no such thing"),
}
ANSWERS: dict[str, type[RegistryError]] = {
    "down": UpstreamError,
    "busy": UpstreamBusy,
    "denied": Denied,
    "absent": ManifestUnknown,
}
TAGS = ("latest", "v1")


@dataclass
class Hub:
    """All upstreams at once: what their tags name, and how they fail."""

    tags: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, bytes] = field(default_factory=dict)
    mode: str = "up"
    looks: int = 0

    def move(self, tag: str) -> str:
        """Let a tag name something new; its digest."""
        content = an_image(os.urandom(8), os.urandom(8))
        self.tags[tag] = self.manifests[digest_of(content)] = content
        return digest_of(content)

    async def describe(self, repository: str, reference: str) -> Described:
        """HEAD."""
        self.looks += 1
        await asyncio.sleep(0)
        return Described(digest_of(self._there(reference)), OCI_MANIFEST)

    async def manifest(self, repository: str, reference: str) -> Fetched:
        """GET."""
        self.looks += 1
        await asyncio.sleep(0)
        return Fetched(self._there(reference), OCI_MANIFEST)

    def _there(self, reference: str) -> bytes:
        if self.mode in FAULTS:
            raise FAULTS[self.mode]()
        return self.manifests[reference] if ":" in reference else self.tags[reference]

    async def blob_size(self, repository: str, digest: str) -> int | None:
        """Nobody asks."""
        raise NotImplementedError

    def blob(self, repository: str, digest: str, start: int = 0) -> AbstractAsyncContextManager[Arriving]:
        """Nobody asks."""
        raise NotImplementedError

    async def listing(self, repository: str, path: str) -> Listing:
        """Nobody asks."""
        raise NotImplementedError


@dataclass
class Known:
    """What the model knows of a tag of an upstream: whether something is stored, and when which worker noticed what."""

    stored: bool = False
    refused_since: float | None = None
    sighted: dict[str, float] = field(default_factory=dict)


async def looks_in_the_background() -> None:
    """Wait for those that nobody waits for."""
    looks = [task for task in asyncio.all_tasks() if "_looked_at" in repr(task.get_coro())]
    await asyncio.gather(*looks, return_exceptions=True)


class FreshnessModel:
    """Two workers are asked for tags that move, by an upstream that fails, while time passes."""

    def __init__(self, database: Database, data: Path, clock: Clock, seed: int) -> None:
        self.random = Random(seed)
        self.clock = clock
        self.hub = Hub()
        self.named: dict[str, list[tuple[float, str]]] = {tag: [(0.0, self.hub.move(tag))] for tag in TAGS}
        self.known = {(upstream.alias, tag): Known() for upstream in UPSTREAMS for tag in TAGS}
        ledger = Ledger([(upstream.alias, "") for upstream in UPSTREAMS], 1)
        self.workers = [self._worker(database.connect(), data, ledger) for _ in range(2)]

    def _worker(self, rows: Rows, data: Path, ledger: Ledger) -> ProxiedManifests:
        clock = self.clock.monotonic
        sources = Sources(Upstreams(UPSTREAMS), lambda upstream, number, heard: self.hub, ledger, clock)
        keeping, seen = Manifests(rows.manifests, accept_missing=True), DatabaseUpstreams(rows.engine)
        return ProxiedManifests(sources, keeping, rows.manifests, seen, Turns(SpoolFiles(data), None), clock)

    async def run(self, steps: int) -> None:
        """Take so many steps."""
        for _ in range(steps):
            match self.random.choice(["ask"] * 6 + ["wait"] * 2 + ["move", "fail", "mend"]):
                case "ask":
                    await self._ask(self.random.choice(UPSTREAMS), self.random.choice(TAGS))
                case "wait":
                    await self.clock.wait(self.random.choice(WAITS))
                case "move":
                    tag = self.random.choice(TAGS)
                    self.named[tag].append((self.clock.passed, self.hub.move(tag)))
                case mode:
                    self.hub.mode = "up" if mode == "mend" else self.random.choice(list(FAULTS))
                    await self.clock.wait(WAITS[0])  # whoever was left alone is asked again

    async def _ask(self, upstream: Upstream, tag: str) -> None:
        worker, known = self.random.choice(self.workers), self.known[upstream.alias, tag]
        looks, mode = self.hub.looks, self.hub.mode
        place = Place(upstream, "app")
        try:
            found = await worker.find(f"{upstream.alias}/app", tag, place, EVERYTHING)
        except RegistryError as error:
            self._check_refusal(upstream, tag, known, mode, error)
            return
        await looks_in_the_background()
        assert digest_of(found.content) == found.digest
        if found.stale is None:
            self._check_fresh(upstream, tag, known, found.digest)
        else:
            self._check_stale(upstream, tag, known, mode)
        if upstream.alias == "pinned.example" and known.stored:
            assert self.hub.looks == looks, "what is pinned is never looked at again"
        known.stored = True
        if self.hub.looks > looks:
            self._looked(tag, known, mode)

    def _looked(self, tag: str, known: Known, mode: str) -> None:
        now = self.clock.passed
        if mode == "up":
            known.refused_since = None
            known.sighted.setdefault(self.named[tag][-1][1], now)
        elif mode in ("denied", "absent") and known.refused_since is None:
            known.refused_since = now

    def _check_fresh(self, upstream: Upstream, tag: str, known: Known, digest: str) -> None:
        """It was what the tag named at some time within what its freshness allows."""
        now, names = self.clock.passed, self.named[tag]
        since = max(at for at, each in names if each == digest)
        later = [at for at, each in names[names.index((since, digest)) + 1 :]]
        bound = BOUNDS.get(upstream.alias)
        if bound is not None and later:
            assert bound
            assert now - later[0] <= bound + 60, "it is older than it may be"
        if upstream.delay:
            assert now - known.sighted.get(digest, now) >= upstream.delay - 60, "it is answered before its time"

    def _check_stale(self, upstream: Upstream, tag: str, known: Known, mode: str) -> None:
        """Only what is stored is answered, and only when the upstream fails, refuses, or has to wait."""
        assert known.stored
        if mode in ("denied", "absent"):
            since = self.clock.passed if known.refused_since is None else known.refused_since
            assert self.clock.passed - since < upstream.stale_if_denied
        if mode == "up":
            assert upstream.delay, "there was no reason"

    def _check_refusal(self, upstream: Upstream, tag: str, known: Known, mode: str, error: RegistryError) -> None:
        """What is stored is refused only when the upstream has refused it for long enough."""
        now = self.clock.passed
        if mode == "up":
            digest = self.named[tag][-1][1]
            assert upstream.delay or isinstance(error, Denied | ManifestUnknown), error  # it is remembered for a moment
            assert not known.stored
            known.sighted.setdefault(digest, now)
            return
        assert isinstance(error, (ANSWERS[mode], Denied, ManifestUnknown)), error
        if known.stored:
            assert mode in ("denied", "absent")
            assert known.refused_since is not None
            assert now - known.refused_since >= upstream.stale_if_denied


@pytest.mark.parametrize("seed", range(12))
async def test_a_tag_is_as_fresh_as_is_stated_whatever_happens_on_sqlite(
    seed: int, migrated_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = sqlite_clock(monkeypatch)
    path = tmp_path / "entrepot.db"
    shutil.copy(migrated_file, path)
    database = Database(lambda: SqliteEngine(path, path.with_suffix(".lock")))
    try:
        await FreshnessModel(database, tmp_path, clock, seed).run(400)
    finally:
        await database.close()


@pytest.mark.parametrize("seed", range(100, 103))
async def test_a_tag_is_as_fresh_as_is_stated_whatever_happens_on_postgresql(
    seed: int, postgres: Database, tmp_path: Path
) -> None:
    clock = await postgres_clock(postgres)
    await FreshnessModel(postgres, tmp_path, clock, seed).run(200)


@dataclass
class Blob:
    """A blob in a repository of an upstream, as the model knows it."""

    alias: str
    digest: str
    size: int
    used: float
    kept: bool = False
    hosted: bool = False

    @property
    def name(self) -> str:
        """Its repository."""
        return f"{self.alias}/app"


class EvictionModel:
    """Blobs come, are used, kept and hosted, while time passes and room is made."""

    ALIASES = ("one.example", "two.example")
    SIZES = (2000, None)
    ALL = 3500

    def __init__(self, rows: Rows, clock: Clock, seed: int) -> None:
        self.random = Random(seed)
        self.rows = rows
        self.clock = clock
        self.upstreams = DatabaseUpstreams(rows.engine)
        self.blobs: list[Blob] = []
        sizes = zip(self.ALIASES, self.SIZES, strict=True)
        configured = Upstreams([Upstream(alias, "http://x", size=size) for alias, size in sizes])
        self.eviction = Eviction(configured, self.ALL, self.upstreams, self._kept)

    async def _kept(self) -> set[Held]:
        return {(blob.name, blob.digest) for blob in self.blobs if blob.kept}

    async def run(self, steps: int) -> None:
        """Take so many steps."""
        for alias in self.ALIASES:
            await self.upstreams.ensure(f"{alias}/app", alias)
        await self.rows.execute("INSERT INTO repositories (name, created_at) VALUES ('hosted/app', 1)")
        for _ in range(steps):
            match self.random.choice(["store"] * 3 + ["use"] * 3 + ["wait"] * 2 + ["keep", "host", "evict"]):
                case "store":
                    await self._store()
                case "wait":
                    await self.clock.wait(self.random.choice((60.0, 420.0, HOUR, 5 * HOUR)))
                case "evict":
                    await self._evict()
                case step if self.blobs:
                    await self._do(step, self.random.choice(self.blobs))

    async def _store(self) -> None:
        blob = Blob(self.random.choice(self.ALIASES), digest_of(os.urandom(8)), self.random.randrange(50, 900), 0.0)
        values = {"digest": blob.digest, "size": blob.size, "key": blob.digest.replace(":", "-")}
        insert = "INSERT INTO blobs (digest, size, store, key, created_at) VALUES (:digest, :size, 'x', :key, now_us())"
        await self.rows.execute(insert, **values)
        assert await self.upstreams.link_stored(blob.name, blob.digest)
        blob.used = self.clock.passed
        self.blobs.append(blob)

    async def _do(self, step: str, blob: Blob) -> None:
        match step:
            case "use":
                await self.upstreams.used(blob.name, blob.digest)
                blob.used = self.clock.passed
            case "keep":
                blob.kept = not blob.kept
            case "host":
                manifests = Manifests(self.rows.manifests, accept_missing=True)
                layer = {"mediaType": "application/x.layer", "digest": blob.digest, "size": blob.size}
                config = descriptor(b"{}", OCI_EMPTY)
                content = a_manifest({"config": config, "layers": [layer], "artifactType": "application/x.test"})
                await manifests.push("hosted/app", content, None, None, [], Caller())
                blob.hosted = True

    async def _evict(self) -> None:
        await self.eviction.run()
        linked = await self._column(
            "SELECT r.name || '@' || b.digest FROM links l JOIN blobs b ON b.id = l.blob_id"
            " JOIN repositories r ON r.id = l.repository_id WHERE r.upstream IS NOT NULL"
        )
        stays = [blob for blob in self.blobs if f"{blob.name}@{blob.digest}" in linked]
        gone = [blob for blob in self.blobs if blob not in stays]
        self.blobs = stays
        now = self.clock.passed
        assert not [blob for blob in gone if blob.kept], "what is kept stays"
        assert not [blob for blob in gone if now - blob.used < IN_USE - 60], "what is being pulled stays"
        idle = [blob for blob in stays if not blob.kept and now - blob.used > USE_SECONDS + IN_USE + 60]
        for alias, size in [*zip(self.ALIASES, self.SIZES, strict=True), ("", self.ALL)]:
            held = sum(blob.size for blob in stays if alias in ("", blob.alias))
            mine = [blob for blob in idle if alias in ("", blob.alias)]
            assert size is None or held <= size or not mine, "it is larger than it may be, and something could go"
        for alias in self.ALIASES:
            newest = max((blob.used for blob in gone if blob.alias == alias), default=0.0)
            older = [blob for blob in idle if blob.alias == alias and blob.used < newest - USE_SECONDS]
            assert not older, "what was used longer ago goes first"
        await self._check_bytes(stays, gone)

    async def _check_bytes(self, stays: list[Blob], gone: list[Blob]) -> None:
        there, trash = await self._column("SELECT digest FROM blobs"), await self._column("SELECT key FROM trash")
        for blob in stays:
            assert blob.digest in there
        for blob in gone:
            assert (blob.digest in there) == blob.hosted, "bytes go at once, unless a hosted manifest holds them"
            assert (blob.digest.replace(":", "-") in trash) == (not blob.hosted)

    async def _column(self, statement: str) -> set[str]:
        return {row[0] for row in await self.rows.engine.read(statement)}


@pytest.mark.parametrize("seed", range(8))
async def test_room_is_made_by_what_was_not_used_for_longest_on_sqlite(
    seed: int, migrated_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = sqlite_clock(monkeypatch)
    path = tmp_path / "entrepot.db"
    shutil.copy(migrated_file, path)
    database = Database(lambda: SqliteEngine(path, path.with_suffix(".lock")))
    try:
        await EvictionModel(database.connect(), clock, seed).run(300)
    finally:
        await database.close()


@pytest.mark.parametrize("seed", range(100, 103))
async def test_room_is_made_by_what_was_not_used_for_longest_on_postgresql(seed: int, postgres: Database) -> None:
    clock = await postgres_clock(postgres)
    await EvictionModel(postgres.connect(), clock, seed).run(150)
