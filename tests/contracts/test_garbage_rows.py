"""The port GarbageRows with its collector, over SQLite and PostgreSQL: what goes, when, and what never does."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from entrepot.access.grant import EVERYTHING
from entrepot.database.history import DatabaseHistory
from entrepot.registry.errors import ManifestUnknown, Moved, Unsupported
from entrepot.registry.garbage import Ages, Collector, Phase
from entrepot.registry.history import RETENTION, History
from entrepot.registry.ports import NewManifest
from tests.support.clock import Clock, clock_of
from tests.support.rows import (
    DAY,
    SOMEBODY,
    Database,
    a_blob,
    a_claimed_key,
    a_manifest,
    an_upload,
    holds,
    push,
    tagged,
    trash,
)

HELLO, OTHER = "library/hello", "library/other"
AGES = Ages(undo=14 * DAY, grace=DAY, quarantine=DAY)
HOUR = 3600


class Store:
    """A database, its clocks, and a collector that is asked to work as time passes."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self.database = database
        self.clock = clock
        self.rows = database.connect()
        self.collector = Collector(self.rows.garbage, AGES, clock.monotonic)

    async def days(self, days: float) -> None:
        """Let time pass while the collector runs every hour."""
        for _ in range(round(days * 24)):
            await self.clock.wait(HOUR)
            await self.collector.run()

    async def stored(self) -> int:
        """How many blobs have a row."""
        return int((await self.rows.engine.read("SELECT COUNT(*) FROM blobs"))[0][0])

    async def state(self, digest: str) -> str | None:
        """The state of a blob; None when it has no row."""
        rows = await self.rows.engine.read("SELECT state FROM blobs WHERE digest = :digest", digest=digest)
        return str(rows[0][0]) if rows else None

    async def readable(self, digest: str, repository: str = HELLO) -> bool:
        """Whether a repository has the blob."""
        return await self.rows.blobs.find_blob(repository, digest) is not None


@pytest.fixture
async def store(tables: Database, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Store]:
    """An empty store of each kind."""
    clock = await clock_of(tables, monkeypatch)
    yield Store(tables, clock)
    await tables.close()


async def test_what_was_never_named_goes_after_grace_and_quarantine(store: Store) -> None:
    digest = await a_blob(store.rows)
    await store.days(1.2)
    assert await store.state(digest) == "quarantined"
    assert await store.rows.engine.read("SELECT 1 FROM links") != []
    await store.days(1.2)
    assert await store.stored() == 0
    assert len(await trash(store.rows)) == 1
    assert not await store.readable(digest)
    assert await store.rows.engine.read("SELECT 1 FROM links") == []


async def test_a_manifest_without_a_tag_keeps_everything(store: Store) -> None:
    blob = await a_blob(store.rows)
    first = await push(store.rows, a_manifest(required=(blob,)), "v1")
    await push(store.rows, a_manifest(), "v1")
    await store.days(40)
    assert await store.rows.manifests.find_manifest(HELLO, first) is not None
    assert await store.readable(blob)


async def test_what_was_deleted_can_come_back_until_its_time_is_over(store: Store) -> None:
    blob = await a_blob(store.rows)
    digest = await push(store.rows, a_manifest(required=(blob,)), "v1", "v2")
    await store.rows.deletions.delete_manifest(HELLO, digest, SOMEBODY)
    await store.days(13.5)
    assert await tagged(store.rows, "v1") is None
    restored = await store.rows.deletions.undo(HELLO, digest, SOMEBODY, {})
    assert restored is not None
    assert (restored.manifests, restored.tags, restored.left) == ([digest], ["v1", "v2"], [])
    assert await tagged(store.rows, "v1") == digest
    await store.days(30)
    assert await store.readable(blob)
    await store.rows.deletions.delete_manifest(HELLO, digest, SOMEBODY)
    await store.days(14.5)
    assert await store.rows.deletions.undo(HELLO, digest, SOMEBODY, {}) is None
    assert await store.state(blob) == "loose"
    await store.days(2.5)
    assert await store.stored() == 0
    assert not await holds(store.rows, HELLO)
    for table in ("manifests", "manifest_references", "deletions", "deleted_tags", "links"):
        assert await store.rows.engine.read(f"SELECT 1 FROM {table}") == [], table


async def test_what_a_tag_named_is_told_with_when_and_why_it_went_after_it_is_forgotten(store: Store) -> None:
    history = DatabaseHistory(store.rows.engine)
    digest = await push(store.rows, a_manifest(), "v1")
    at = (await store.rows.engine.read("SELECT now_us()"))[0][0]
    policy = replace(SOMEBODY, reason=f"{RETENTION}, rule 2")
    await store.rows.deletions.delete_manifest(HELLO, digest, policy)
    past = await history.past(HELLO, "v1", at)
    assert past is not None
    assert past.manifest is not None
    await store.days(15)
    past = await history.past(HELLO, "v1", at)
    assert past is not None
    assert (past.digest, past.manifest) == (digest, None)
    assert past.end is not None
    assert (past.end.kind, past.end.reason, past.end.at >= at) == ("manifest.delete", "retention, rule 2", True)
    with pytest.raises(ManifestUnknown, match=f"{digest} at that time: that was deleted by retention, rule 2 on 20"):
        await History(history, store.rows.manifests).find(HELLO, "v1", at, EVERYTHING)


async def test_undo_links_again_what_was_unlinked_meanwhile(store: Store) -> None:
    blob = await a_blob(store.rows)
    digest = await push(store.rows, a_manifest(required=(blob,)), "v1")
    await store.rows.deletions.delete_manifest(HELLO, digest, SOMEBODY)
    assert await store.rows.deletions.unlink_blob(HELLO, blob, SOMEBODY)
    await store.days(10)
    assert not await store.readable(blob)
    await store.rows.deletions.undo(HELLO, digest, SOMEBODY, {})
    assert await store.readable(blob)
    await store.days(30)
    assert await store.readable(blob)


async def test_undo_gives_no_link_that_there_never_was(store: Store) -> None:
    blob = await a_blob(store.rows, OTHER)
    manifest = a_manifest(required=(blob,))
    digest = await push(store.rows, replace(manifest, required=()))
    await store.rows.deletions.delete_manifest(HELLO, digest, SOMEBODY)
    await store.rows.deletions.undo(HELLO, digest, SOMEBODY, {})
    assert not await store.readable(blob)


async def test_a_blob_that_a_live_manifest_needs_cannot_be_unlinked(store: Store) -> None:
    blob = await a_blob(store.rows)
    digest = await push(store.rows, a_manifest(required=(blob,)))
    with pytest.raises(Unsupported, match=digest):
        await store.rows.deletions.unlink_blob(HELLO, blob, SOMEBODY)
    assert await store.readable(blob)


async def test_a_look_brings_back_what_is_in_quarantine_and_writes_nothing_before(store: Store) -> None:
    digest = await a_blob(store.rows)
    changes = await store.rows.engine.read("SELECT since FROM blobs")
    assert await store.readable(digest)
    assert await store.rows.engine.read("SELECT since FROM blobs") == changes
    await store.days(1.9)
    assert await store.state(digest) == "quarantined"
    assert await store.readable(digest)
    assert await store.state(digest) == "loose"


async def test_a_mount_starts_the_clock_again(store: Store) -> None:
    digest = await a_blob(store.rows)
    await store.days(0.9)
    assert await store.rows.blobs.mount_blob(OTHER, digest, HELLO, SOMEBODY, EVERYTHING)
    await store.days(0.9)
    assert await store.state(digest) == "loose"
    await store.days(1)
    assert await store.state(digest) == "quarantined"
    assert not await store.rows.blobs.mount_blob("library/third", digest, HELLO, SOMEBODY, EVERYTHING)
    assert await store.rows.blobs.mount_blob("library/third", digest, OTHER, SOMEBODY, EVERYTHING)
    assert await store.state(digest) == "loose"


async def test_what_is_being_removed_is_absent_for_everybody_and_can_be_uploaded_anew(store: Store) -> None:
    digest = await a_blob(store.rows)
    assert await store.readable(digest)  # and now it is in the cache of this worker
    await store.days(1.2)
    elapsed = await store.rows.garbage.elapsed()
    await store.clock.wait(2 * DAY)
    await store.rows.garbage.move(Phase.QUARANTINED, DAY * 1_000_000, elapsed + 3 * DAY * 1_000_000, 10)
    assert await store.state(digest) == "removing"
    assert not await store.readable(digest)
    assert not await store.rows.blobs.mount_blob(OTHER, digest, HELLO, SOMEBODY, EVERYTHING)
    refused = await store.rows.manifests.put_manifest(HELLO, a_manifest(required=(digest,)), [], SOMEBODY)
    assert refused == [digest]
    old = await store.rows.engine.read("SELECT key FROM blobs")
    await a_blob(store.rows, digest=digest)
    assert await trash(store.rows) == {old[0][0]}
    assert await store.readable(digest)
    await push(store.rows, a_manifest(required=(digest,)), "v1")
    await store.days(5)
    assert await store.readable(digest)


async def test_uploaded_again_between_the_collectors_commit_and_its_unlink(store: Store) -> None:
    digest = await a_blob(store.rows)
    await store.days(2.5)
    gone = await trash(store.rows)
    assert await store.stored() == 0
    await a_blob(store.rows, digest=digest)
    found = await store.rows.blobs.find_blob(HELLO, digest)
    assert found is not None
    assert {found.key} & gone == set()


async def test_a_push_that_names_what_the_collector_has_listed_already(store: Store) -> None:
    """The counter-example of distribution PR #3544: an old blob, enumerated as garbage, comes into use again."""
    digest = await a_blob(store.rows)
    for wait in (1.2, 0.7):
        await store.days(wait)
        await push(store.rows, a_manifest(required=(digest,)))
        assert await store.state(digest) == "held"
        for phase in (Phase.LOOSE, Phase.QUARANTINED, Phase.REMOVING):
            elapsed = await store.rows.garbage.elapsed()
            await store.rows.garbage.move(phase, 0, elapsed, 10)
        assert await store.readable(digest)
        manifest = (await store.rows.engine.read("SELECT digest FROM manifests ORDER BY id DESC"))[0][0]
        await store.rows.deletions.delete_manifest(HELLO, manifest, SOMEBODY)
        await store.days(14.2)
        assert await store.state(digest) == "loose"


async def test_push_v1_move_the_tag_collect_past_every_period_pull_v1_by_digest(store: Store) -> None:
    blobs = [await a_blob(store.rows) for _ in range(3)]
    first = await push(store.rows, a_manifest(required=tuple(blobs)), "latest")
    await push(store.rows, a_manifest(required=(await a_blob(store.rows),)), "latest")
    await store.days(60)
    assert await store.rows.manifests.find_manifest(HELLO, first) is not None
    assert [await store.readable(blob) for blob in blobs] == [True, True, True]


async def test_while_an_upload_is_open_nothing_beside_it_ages(store: Store) -> None:
    digest = await a_blob(store.rows)
    upload = await an_upload(store.rows, lifetime=4 * DAY)
    await store.days(3.5)
    assert await store.state(digest) == "loose"
    assert await store.readable(digest)
    await store.rows.uploads.cancel_upload(HELLO, upload.id)
    await store.days(3.5)
    assert await store.stored() == 0


async def test_a_clock_that_jumps_shortens_nothing(store: Store) -> None:
    digest = await a_blob(store.rows)
    await store.days(0.5)
    await store.clock.jump(400 * DAY)
    await store.days(0.4)
    assert await store.state(digest) == "loose"
    await store.clock.jump(-800 * DAY)
    await store.days(2.5)
    assert await store.state(digest) == "loose"
    await store.clock.jump(800 * DAY)
    await store.days(0.4)
    assert await store.state(digest) == "quarantined"
    await store.days(1.2)
    assert await store.stored() == 0


async def test_paused_it_does_nothing(store: Store) -> None:
    digest = await a_blob(store.rows)
    await store.collector.run()
    assert [await store.collector.set_paused(True) for _ in range(2)] == [True, False]
    await store.days(5)
    assert await store.state(digest) == "loose"
    assert await store.collector.set_paused(False)
    await store.days(0.1)
    assert await store.state(digest) == "quarantined"


async def test_a_repository_loses_a_blob_that_others_still_name(store: Store) -> None:
    blob = await a_blob(store.rows)
    await push(store.rows, a_manifest(required=(blob,)), "v1")
    assert await store.rows.blobs.mount_blob(OTHER, blob, HELLO, SOMEBODY, EVERYTHING)
    manifest = a_manifest(required=(blob,))
    await push(store.rows, manifest, repository=OTHER)
    await store.rows.deletions.delete_manifest(OTHER, manifest.digest, SOMEBODY)
    await store.days(15)
    assert await store.readable(blob, OTHER)
    await store.days(2.5)
    assert not await store.readable(blob, OTHER)
    assert await store.readable(blob)


async def test_a_layer_that_an_index_names_as_its_child_stays(store: Store) -> None:
    """BuildKit's cache of before 2025: an index of layers (buildkit#2251)."""
    blob = await a_blob(store.rows)
    await push(store.rows, _index([blob]), "cache")
    await store.days(20)
    assert await store.readable(blob)


async def test_an_index_takes_the_children_that_nobody_else_wants(store: Store) -> None:
    children = [await push(store.rows, a_manifest()) for _ in range(4)]
    await push(store.rows, child := a_manifest(), "mine")
    children.append(child.digest)
    index = await push(store.rows, _index(children[:2] + children[3:]), "v1")
    other = await push(store.rows, _index(children[2:4]), "v2")
    signature = await push(store.rows, a_manifest(subject=children[0]))
    legacy = await push(store.rows, a_manifest(), children[1].replace(":", "-") + ".sig")
    preview = await store.rows.deletions.preview(HELLO, index, SOMEBODY)
    deleted = await store.rows.deletions.delete_manifest(HELLO, index, SOMEBODY)
    assert deleted is not None
    assert preview is not None
    assert deleted.manifests == preview.manifests == sorted([index, children[0], children[1], signature, legacy])
    left = [other, *children[2:]]
    assert [await store.rows.manifests.find_manifest(HELLO, each) is not None for each in left] == [True] * 4
    restored = await store.rows.deletions.undo(HELLO, index, SOMEBODY, {})
    assert restored is not None
    assert restored.manifests == deleted.manifests
    assert restored.tags == sorted(["v1", children[1].replace(":", "-") + ".sig"])


async def test_a_child_of_a_live_index_cannot_be_deleted(store: Store) -> None:
    child = await push(store.rows, a_manifest(), "v1")
    index = await push(store.rows, _index([child]))
    with pytest.raises(Unsupported, match=index):
        await store.rows.deletions.delete_manifest(HELLO, child, SOMEBODY)
    assert await tagged(store.rows, "v1") == child


async def test_what_has_moved_since_it_was_seen_is_not_deleted(store: Store) -> None:
    old = await push(store.rows, a_manifest(), "v1")
    new = await push(store.rows, a_manifest(), "v1")
    with pytest.raises(Moved, match=new):
        await store.rows.deletions.delete_tag(HELLO, "v1", SOMEBODY, old)
    with pytest.raises(Moved):
        await store.rows.deletions.delete_manifest(HELLO, new, SOMEBODY, [])
    assert await store.rows.deletions.delete_manifest(HELLO, new, SOMEBODY, ["v1"]) is not None


async def test_the_report_says_what_goes_and_when_and_changes_nothing(store: Store) -> None:
    blob = await a_blob(store.rows)
    digest = await push(store.rows, a_manifest(required=(named := await a_blob(store.rows),)), "v1")
    await store.rows.deletions.delete_manifest(HELLO, digest, SOMEBODY)
    before = await store.rows.engine.read("SELECT digest, state, since, sighted FROM blobs ORDER BY digest")
    garbage = {each.digest: each async for each in store.collector.garbage()}
    assert set(garbage) == {blob, digest, named}
    assert garbage[blob].due - garbage[blob].since == 2 * DAY * 1_000_000
    assert (garbage[digest].state, garbage[digest].reason) == ("deleted", f"deleted from {HELLO}")
    assert await store.rows.engine.read("SELECT digest, state, since, sighted FROM blobs ORDER BY digest") == before


async def test_a_key_that_waits_for_bytes_is_none_of_its_business(store: Store) -> None:
    upload = await an_upload(store.rows, lifetime=30 * DAY)
    await a_claimed_key(store.rows, upload)
    await store.days(5)
    assert await trash(store.rows) == set()
    assert await store.rows.uploads.find_upload(HELLO, upload.id) is not None


def _index(children: list[str]) -> NewManifest:
    index = a_manifest(media_type="application/vnd.oci.image.index.v1+json")
    return replace(index, kind="index", references=tuple((child, "child") for child in children))
