"""A model of everything that lives and dies in a registry, and a scheduler that decides who goes on at each port call.

Actors are ordinary use-cases over ordinary rows. Whatever they call of a port waits until the scheduler lets it happen;
so calls of several actors interleave in every order, and an actor can end for good between any two of them.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from random import Random
from typing import Any

from entrepot.access.grant import EVERYTHING
from entrepot.jobs.uploads import UploadCleaning
from entrepot.oci.digest import Digest
from entrepot.registry.blobs import Blobs
from entrepot.registry.deletion import Deletions, Restored
from entrepot.registry.errors import (
    BlobUnknown,
    ManifestBlobUnknown,
    ManifestUnknown,
    Moved,
    NameUnknown,
    RegistryError,
)
from entrepot.registry.garbage import Ages, Collector
from entrepot.registry.manifests import Manifests
from entrepot.registry.uploads import Incoming, Uploads
from tests.support.clock import Clock
from tests.support.rows import DAY, SOMEBODY, STORE, Database, Rows
from tests.support.serving import OCI_INDEX, OCI_MANIFEST, a_manifest, an_image, digest_of
from tests.support.stepped import ACTOR, Actor, FaultyBytes, Stepped

AGES = Ages(undo=14 * DAY, grace=DAY, quarantine=DAY)
REPOSITORIES = ("one", "two", "three")
TAGS = ("latest", "v1", "v2")
LAYERS = [f"layer {number}".encode() * 3 for number in range(6)]
_LIFETIME = 7 * DAY
_AT_ONCE = 5
# What is live, with what it names: whether it is linked, and under which key its bytes are.
_AHEAD = (  # of now: the last time that anything garbage was stamped with, in microseconds
    "SELECT MAX(at) - now_us() FROM (SELECT MAX(deleted_at) AS at FROM manifests UNION ALL SELECT MAX(since) FROM blobs"
    " UNION ALL SELECT MAX(loose_since) FROM links UNION ALL SELECT MAX(expires_at) FROM uploads) stamped"
)
_LIVE = (
    "SELECT r.name, m.digest, f.digest, b.key, b.state, l.blob_id FROM manifests m"
    " JOIN repositories r ON r.id = m.repository_id LEFT JOIN manifest_references f ON f.manifest_id = m.id"
    " AND f.kind <> 'child' LEFT JOIN blobs b ON b.digest = f.digest"
    " LEFT JOIN links l ON l.blob_id = b.id AND l.repository_id = r.id WHERE m.deleted_at IS NULL"
)


class Worker:
    """What one process has."""

    def __init__(self, rows: Rows, store: FaultyBytes, clock: Clock) -> None:
        stepped: Any = Stepped(store)
        stepped.name, stepped.read, stepped.keys = STORE, store.read, store.keys
        uploads: Any = Stepped(rows.uploads)
        blobs: Any = Stepped(rows.blobs)
        manifests: Any = Stepped(rows.manifests)
        self.uploads = Uploads(uploads, blobs, stepped, _LIFETIME)
        self.blobs = Blobs(blobs, manifests)
        self.manifests = Manifests(manifests, accept_missing=False)
        self.deletions = Deletions(Stepped(rows.deletions), manifests, enabled=True)
        self.collector = Collector(Stepped(rows.garbage), AGES, clock.monotonic)
        self.cleaning = UploadCleaning(uploads, {STORE: stepped})


class Model:
    """What was acknowledged, and actors that come and go."""

    def __init__(self, database: Database, clock: Clock, seed: int) -> None:
        self.random = Random(seed)
        self.clock = clock
        self.store = FaultyBytes(self.random)
        self.rows = database.connect()
        self.workers = [Worker(database.connect(), self.store, clock) for _ in range(3)]
        self.acknowledged: set[tuple[str, str]] = set()
        self.deleted: dict[tuple[str, str], float] = {}
        self.unlinked: dict[tuple[str, str], float] = {}
        self.actors: list[Actor] = []
        self.steps = 0
        self.done: dict[str, int] = {}

    async def run(self, steps: int) -> None:
        """Take so many steps, look at everything now and then, and in the end let all that is garbage go."""
        while self.steps < steps:
            while len(self.actors) < _AT_ONCE:
                await self._start()
            await self._step()
            if self.steps % 50 == 0:
                await self.check()
        for actor in list(self.actors):
            await self._crash(actor)
        await self.check()
        await self.let_everything_go()

    async def check(self) -> None:
        """No manifest that was acknowledged and not deleted misses a byte; nor does any other that answers."""
        live = set()
        for repository, manifest, digest, key, state, linked in await self.rows.engine.read(_LIVE):
            live.add((repository, manifest))
            if digest is None:
                continue
            where = f"{digest} of {manifest} in {repository}"
            assert linked is not None, f"no link: {where}"
            assert state == "held", f"{state}: {where}"
            assert digest_of(self.store.kept.get(key, b"gone")) == digest, f"no bytes: {where}"
        assert self.acknowledged <= live
        assert not self.deleted.keys() & live

    async def let_everything_go(self) -> None:
        """After undo, grace and quarantine nothing is left but what live manifests name.

        By the database's clock: when that has gone back, it has to come to where it was first.
        """
        worker = self.workers[0]
        ahead = (await self.rows.engine.read(_AHEAD))[0][0] or 0
        for _ in range(24 + max(0, ahead // (DAY * 1_000_000) + 1)):
            await self.clock.wait(DAY)
            await self._alone(worker.cleaning.expire)
            await self._alone(worker.collector.run)
        await self._alone(worker.cleaning.empty_trash)
        await self.check()
        blobs = await self.rows.engine.read("SELECT key, state FROM blobs")
        assert {state for _, state in blobs} <= {"held"}
        assert {key for key, _ in blobs} == set(self.store.kept)
        named = {key for _, _, _, key, _, _ in await self.rows.engine.read(_LIVE)}
        assert {key for key, _ in blobs} <= named
        for table in ("uploads", "deletions", "deleted_tags", "unlinked", "trash"):
            assert await self.rows.engine.read(f"SELECT * FROM {table}") == [], table
        assert await self.rows.engine.read("SELECT 1 FROM manifests WHERE deleted_at IS NOT NULL") == []

    async def _alone(self, work: Callable[[], Awaitable[Any]]) -> None:
        """Let one actor do everything that it wants to do."""
        actor = self._spawn("alone", work)
        await self._idle(actor)
        while actor in self.actors:
            await self._let(actor)

    async def _step(self) -> None:
        actor = self.random.choices(self.actors, [each.pace for each in self.actors])[0]
        if self.random.random() < 0.004:
            await self._crash(actor)
        else:
            await self._let(actor)
        self.steps += 1

    async def _let(self, actor: Actor) -> None:
        actor.idle.clear()
        actor.go.set()
        await self._idle(actor)

    async def _idle(self, actor: Actor) -> None:
        """Until it waits for its next step or is done."""
        await actor.idle.wait()
        assert actor.task is not None
        if actor.task.done():
            self.actors.remove(actor)
            actor.task.result()

    async def _crash(self, actor: Actor) -> None:
        assert actor.task is not None
        actor.dead = True
        actor.task.cancel()
        await asyncio.gather(actor.task, return_exceptions=True)
        self.actors.remove(actor)

    async def _start(self) -> None:
        worker = self.random.choice(self.workers)
        collector = self.random.choices(self.workers, (8, 1, 1))[0].collector
        kinds: dict[str, tuple[int, Callable[[], Awaitable[Any]]]] = {
            "push": (20, lambda: self._push(worker)),
            "pull": (6, lambda: self._pull(worker)),
            "delete a manifest": (16, lambda: self._delete(worker)),
            "delete a tag": (4, lambda: self._delete_tag(worker)),
            "delete a blob": (4, lambda: self._delete_blob(worker)),
            "undo": (4, lambda: self._undo(worker)),
            "look": (4, lambda: worker.blobs.find(self._repository(), self._layer(), EVERYTHING)),
            "mount": (4, lambda: self._mount(worker)),
            "collect": (24, collector.run),
            "empty the trash": (5, worker.cleaning.empty_trash),
            "expire": (2, worker.cleaning.expire),
        }
        names = list(kinds)
        name = self.random.choices(names, [kinds[each][0] for each in names])[0]
        if self.random.random() < 0.5:
            await self.clock.wait(self.random.choice((60, 3600, 6 * 3600, DAY, 2 * DAY)))
        if self.random.random() < 0.002:
            await self.clock.jump(self.random.choice((-30 * DAY, 3600, 30 * DAY)))
        self.done[name] = self.done.get(name, 0) + 1
        actor = self._spawn(name, kinds[name][1])
        actor.pace = self.random.choice(
            (1.0, 1.0, 0.3, 0.02, 0.02)
        )  # some are slow, and a day passes between two calls
        await self._idle(actor)

    def _spawn(self, name: str, work: Callable[[], Awaitable[Any]]) -> Actor:
        actor = Actor(name)

        async def act() -> None:
            ACTOR.set(actor)
            with suppress(RegistryError):  # a refusal is an answer
                await work()

        self.actors.append(actor)
        actor.task = asyncio.create_task(act())
        actor.task.add_done_callback(lambda _: actor.idle.set())
        return actor

    def _repository(self) -> str:
        return self.random.choice(REPOSITORIES)

    def _layer(self) -> Digest:
        return Digest.of(self.random.choice(LAYERS))

    async def _push(self, worker: Worker) -> None:
        repository = self._repository()
        contents = self.random.sample(LAYERS, self.random.randint(1, 3))
        here = sorted(digest for where, digest in self.acknowledged if where == repository)
        kind = self.random.random()
        media_type = OCI_MANIFEST
        if kind < 0.2 and here:
            children = [{"mediaType": OCI_MANIFEST, "digest": each, "size": 1} for each in here[:3]]
            manifest, media_type = a_manifest({"manifests": children}, OCI_INDEX), OCI_INDEX
            contents = []
        else:
            subject = {"mediaType": OCI_MANIFEST, "digest": self.random.choice(here), "size": 1} if here else None
            more = {"subject": subject} if subject and kind > 0.85 else {}
            more |= {"annotations": {"n": str(self.random.randrange(6))}}
            manifest = an_image(contents[0], *contents[1:], **more)
        began = self.clock.passed
        for content in contents:
            await self._upload(worker, repository, content)
        by_tag = self.random.random() < 0.6
        digest = Digest.of(manifest)
        tags = [self.random.choice(TAGS)] if by_tag else []
        try:
            await worker.manifests.push(repository, manifest, media_type, None if by_tag else digest, tags, SOMEBODY)
        except ManifestBlobUnknown as refused:
            self._check_refusal(repository, refused, began)
            return
        self.acknowledged.add((repository, str(digest)))
        self.deleted.pop((repository, str(digest)), None)

    def _check_refusal(self, repository: str, refused: ManifestBlobUnknown, began: float) -> None:
        """Who was told that a blob is there has at least the quarantine to name it, unless somebody deletes it."""
        lost = (repository, str((refused.detail or {})["digest"]))
        late = self.clock.passed - began >= AGES.quarantine
        assert late or self.unlinked.get(lost, -1) >= began, f"no time to push: {lost}"

    async def _upload(self, worker: Worker, repository: str, content: bytes) -> None:
        """As clients do: look, else mount, else upload, at once or in parts, some by way of another process."""
        digest = Digest.of(content)
        try:
            await worker.blobs.find(repository, digest, EVERYTHING)
        except BlobUnknown:
            pass
        else:
            return
        if self.random.random() < 0.3 and await worker.uploads.mount(
            repository, digest, self._repository(), SOMEBODY, EVERYTHING
        ):
            return
        if self.random.random() < 0.3:
            await worker.uploads.push_at_once(repository, digest, _body(content), SOMEBODY)
            return
        upload = await worker.uploads.open(repository, None, SOMEBODY)
        half = len(content) // 2
        if self.random.random() < 0.5:
            await worker.uploads.append(repository, upload, _body(content[:half]))
            worker = self.random.choice(self.workers)
            await worker.uploads.close(repository, upload, digest, _body(content[half:]), SOMEBODY)
        else:
            await worker.uploads.append(repository, upload, _body(content))
            await worker.uploads.close(repository, upload, digest, _body(b""), SOMEBODY)

    async def _pull(self, worker: Worker) -> None:
        repository = self._repository()
        found = await worker.manifests.find(repository, self.random.choice(TAGS), EVERYTHING)
        document = json.loads(found.content)
        for each in [document.get("config"), *document.get("layers", [])]:
            if each is not None:
                await worker.blobs.find(repository, Digest.parse(each["digest"]), EVERYTHING)

    async def _mount(self, worker: Worker) -> None:
        await worker.uploads.mount(self._repository(), self._layer(), self._repository(), SOMEBODY, EVERYTHING)

    async def _delete(self, worker: Worker) -> None:
        if not self.acknowledged:
            return
        repository, digest = self.random.choice(sorted(self.acknowledged))
        deleted = await worker.deletions.delete(repository, Digest.parse(digest), SOMEBODY)
        gone = {(repository, each) for each in deleted.manifests}
        self.acknowledged -= gone
        self.deleted |= dict.fromkeys(gone, self.clock.passed)

    async def _delete_tag(self, worker: Worker) -> None:
        await worker.deletions.delete_tag(self._repository(), self.random.choice(TAGS), SOMEBODY)

    async def _delete_blob(self, worker: Worker) -> None:
        repository, digest = self._repository(), self._layer()
        await worker.deletions.delete_blob(repository, digest, SOMEBODY)
        self.unlinked[repository, str(digest)] = self.clock.passed

    async def _undo(self, worker: Worker) -> None:
        if not self.deleted:
            return
        repository, digest = self.random.choice(sorted(self.deleted))
        try:
            restored = await self._undone(worker, repository, Digest.parse(digest))
        except (ManifestUnknown, NameUnknown):
            since = self.deleted.get((repository, digest))
            assert since is None or self.clock.passed - since >= AGES.undo, f"no time to undo: {digest} in {repository}"
            return
        for each in restored.manifests:
            self.acknowledged.add((repository, each))
            self.deleted.pop((repository, each), None)

    async def _undone(self, worker: Worker, repository: str, digest: Digest) -> Restored:
        names: dict[str, str | None] = {}
        while True:
            try:
                return await worker.deletions.undo(repository, digest, SOMEBODY, names)
            except Moved as taken:
                free: dict[str, str | None] = dict((taken.detail or {})["free"])  # type: ignore[call-overload]
                names |= free if self.random.random() < 0.5 else dict.fromkeys(free)


def _body(content: bytes) -> Incoming:
    async def chunks() -> AsyncIterator[bytes]:
        if content:
            yield content

    return Incoming(chunks(), len(content))
