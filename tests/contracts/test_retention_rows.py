"""The port RetentionRows, over SQLite and PostgreSQL."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from entrepot.access.actor import Actor
from entrepot.access.caller import Caller
from entrepot.access.rights import Rights
from entrepot.database.engine import Engine
from entrepot.database.retention import DatabaseRetention
from entrepot.database.rights import DatabaseRights
from entrepot.database.tag_rules import DatabaseTagRules
from entrepot.database.usage import DatabaseUsage
from entrepot.hub.retention import Retention
from entrepot.hub.tag_rules import NewTagRule, Place, Where
from entrepot.hub.tally import tally
from entrepot.jobs.retention import Retaining
from entrepot.jobs.usage import PullCounting
from entrepot.registry.errors import Moved
from entrepot.registry.events import LOOK, PullEvent
from entrepot.registry.retention import Doomed
from entrepot.storage.pull_events import PullLog, SegmentFiles
from tests.support.hub_rows import hub_over
from tests.support.pulls import a_pull, alike
from tests.support.recording import Recording
from tests.support.rows import SOMEBODY, Rows, a_manifest, every_row, push, tagged

HELLO = "library/hello"
HOUR = 3_600_000_000
UNTAGGED: dict[str, Any] = {"action": "delete", "untagged": True, "older_than": "1d"}


async def the_id(engine: Engine, name: str = HELLO) -> int:
    """The repository's."""
    return int((await engine.read("SELECT id FROM repositories WHERE name = :name", name=name))[0][0])


def used(repository: int, digest: str, kind: str, at: int) -> PullEvent:
    """A manifest was asked for."""
    return PullEvent(repository, digest, "", kind, None, None, "192.0.2.1", "", 0, at)


async def test_a_look_is_a_use_and_no_pull_and_that_of_a_part_is_one_of_every_index_above(rows: Rows) -> None:
    child = await push(rows, a_manifest())
    index = await push(rows, a_manifest(children=(child,)), "multi")
    above = await push(rows, a_manifest(children=(await push(rows, a_manifest()), index)), "all")
    await push(rows, a_manifest(children=(await push(rows, a_manifest()),)), "other")
    there = await push(rows, a_manifest(children=(child,)), "multi", repository="library/other")
    repository = await the_id(rows.engine)
    events = [used(repository, index, "index", 5 * HOUR), used(repository, child, LOOK, 9 * HOUR)]
    usage = DatabaseUsage(rows.engine)
    assert await usage.count("a segment", 0, 10, tally(alike(*events)))
    assert await rows.engine.read("SELECT digest, requests FROM usage_hours") == [(index, 1)]
    held = await DatabaseRetention(rows.engine).held(repository)
    assert {each.tag: each.used for each in held.candidates} == {"all": 9 * HOUR, "multi": 9 * HOUR, "other": None}
    assert held.candidates[0].digest == above
    other = await DatabaseRetention(rows.engine).held(await the_id(rows.engine, "library/other"))
    assert [(each.digest, each.used) for each in other.candidates] == [(there, None)]


async def test_the_tags_of_what_belongs_to_an_image_live_as_long_as_it(rows: Rows) -> None:
    image = await push(rows, a_manifest(), "v1")
    stem = image.replace(":", "-")
    gone = f"sha256-{'0' * 64}"
    for tag in (stem, f"{stem}.sig", f"{stem}.att", f"{stem}.sbom", f"{stem}.other", f"{gone}.sig", "sha256-v2"):
        await push(rows, a_manifest(), tag)
    held = await DatabaseRetention(rows.engine).held(await the_id(rows.engine))
    assert {each.tag for each in held.candidates} == {"v1", f"{stem}.other", f"{gone}.sig", "sha256-v2"}


async def test_what_lost_its_tag_counts_from_then_and_what_belongs_to_another_is_none_of_it(rows: Rows) -> None:
    old = await push(rows, a_manifest(), "latest")
    await push(rows, a_manifest(subject=old))
    child = await push(rows, a_manifest())
    await push(rows, a_manifest(children=(child,)), "multi")
    new = await push(rows, a_manifest(), "latest")
    alone = await push(rows, a_manifest())
    repository = await the_id(rows.engine)
    held = await DatabaseRetention(rows.engine).held(repository)
    untagged = {each.digest: each.since for each in held.candidates if not each.tag}
    assert set(untagged) == {old, alone}
    (moved,) = await rows.engine.read("SELECT at FROM changes WHERE new = :new AND tag = 'latest'", new=new)
    assert untagged[old] == moved[0]
    assert all(since <= held.now for since in untagged.values())


async def test_a_policy_is_taken_once_an_hour_by_one_of_all(rows: Rows) -> None:
    await push(rows, a_manifest(), "v1")
    place = Place(repository=await the_id(rows.engine))
    ports = [DatabaseRetention(rows.engine) for _ in range(2)]
    policy = [{"action": "delete", "tags": "*"}]
    await ports[0].set_policy(place, policy, SOMEBODY)
    await ports[1].set_policy(place, policy, SOMEBODY)  # in its place
    assert await ports[1].is_due(HOUR)
    due = await ports[0].due(HOUR)
    assert due is not None
    assert not await ports[1].is_due(HOUR)
    assert (due.place, due.rules) == (place, policy)
    assert await ports[1].due(HOUR) is None
    again = await ports[1].due(0)
    assert again is not None
    assert await ports[0].repositories(place, 0, 10) == [(place.repository, HELLO)]
    assert await ports[0].repositories(place, place.repository or 0, 10) == []
    await ports[0].set_policy(place, None, SOMEBODY)
    assert await ports[0].policy(place) is None


async def test_the_job_deletes_nothing_before_every_node_has_counted_its_pulls(rows: Rows) -> None:
    in_use = await push(rows, a_manifest(), "in-use")
    await push(rows, a_manifest(), "unused")
    await rows.execute("UPDATE tags SET moved_at = 1")
    port, place = DatabaseRetention(rows.engine), Place(repository=await the_id(rows.engine))
    await port.set_policy(place, [{"action": "delete", "tags": "*", "not_pulled_within": "1h"}], SOMEBODY)
    missing = ["a node"]

    async def ingest() -> list[str]:
        if not missing:
            now = (await rows.engine.read("SELECT now_us()"))[0][0]
            counted = tally(alike(used(place.repository or 0, in_use, LOOK, now)))
            assert await DatabaseUsage(rows.engine).count("a segment", 0, 1, counted)
        return missing

    job = Retaining(Retention(port, rows.deletions, Rights(DatabaseRights(rows.engine)), ingest), port)
    assert await job.run() == 0
    assert await tagged(rows, "unused") is not None
    missing.clear()
    assert await job.run() == 1
    assert (await tagged(rows, "in-use"), await tagged(rows, "unused")) == (in_use, None)
    assert await job.run() == 0  # an hour later again


async def test_a_tag_ends_when_its_time_has_come_unless_it_moved_or_a_rule_covers_it(rows: Rows) -> None:
    for tag in ("ends", "stays", "moved", "ruled"):
        await push(rows, a_manifest(), tag)
    port, repository = DatabaseRetention(rows.engine), await the_id(rows.engine)
    now = (await rows.engine.read("SELECT now_us()"))[0][0]
    for tag, at in (("ends", now - 1), ("stays", now + HOUR), ("moved", now - 1), ("ruled", now - 1)):
        digest = await tagged(rows, tag)
        assert digest is not None
        assert await port.set_expiry(repository, tag, digest, at, SOMEBODY)
        assert not await port.set_expiry(repository, tag, "sha256:other", at, SOMEBODY)
    moved = await push(rows, a_manifest(), "moved")
    rule = NewTagRule("immutable", "glob", "ruled", (), "")
    await DatabaseTagRules(rows.engine).add_tag_rule(Place(repository=repository), rule, Caller())
    assert await port.expire(10) == 2
    assert await port.expire(10) == 0
    assert await tagged(rows, "ends") is None
    assert await tagged(rows, "moved") == moved
    assert None not in [await tagged(rows, tag) for tag in ("stays", "ruled")]
    kinds = await rows.engine.read("SELECT kind FROM changes WHERE tag = 'ends' ORDER BY id")
    assert [kind for (kind,) in kinds] == ["tag.move", "tag.expire"]


async def an_old_app(rows: Rows) -> tuple[Retention, Actor, Callable[..., Awaitable[str]]]:
    """A repository `olga/app`: its retention, its owner, and what pushes a manifest there, long ago."""
    hub = hub_over(rows.engine)
    olga = await hub.person("olga")
    await hub.repository(olga, "olga/app")

    async def old(*tags: str, **about: Any) -> str:
        digest = await push(rows, a_manifest(**about), *tags, repository="olga/app")
        await rows.execute("UPDATE manifests SET pushed_at = 1")
        return digest

    return Retention(DatabaseRetention(rows.engine), rows.deletions, hub.rights, None), olga, old


async def test_what_has_no_tag_stays_when_a_tag_would_go_along_that_the_policy_lets_stay(rows: Rows) -> None:
    retention, olga, old = await an_old_app(rows)
    await old("sbom-v1", subject=await old())
    child = await old()
    await old(children=(child,))
    await old("of-no-rule", subject=await old(subject=child))
    signed = await old()
    await old(f"{signed.replace(':', '-')}.sig", "also-mine")
    goes = await old()
    gone = await old("pr-1", subject=goes)
    rules = [{"action": "keep", "tags": "sbom-*"}, {"action": "delete", "tags": "pr-*"}, UNTAGGED]
    await retention.set_policy(olga, Where(repository="olga/app"), rules, "")
    before = await rows.manifests.tags("olga/app", "", 10)
    preview = await retention.preview(olga, "olga/app")
    assert preview.doomed == [Doomed("pr-1", gone, 2), Doomed("", goes, 3, [gone], [])]
    assert (await retention.run_now(olga, "olga/app", "")).doomed == preview.doomed
    assert await rows.manifests.tags("olga/app", "", 10) == [tag for tag in before if tag != "pr-1"]


async def test_what_goes_along_with_what_has_no_tag_is_shown(rows: Rows) -> None:
    """A child of two goes with the second."""
    retention, olga, old = await an_old_app(rows)
    subject, child = await old(), await old()
    tag = f"{subject.replace(':', '-')}.sig"
    along = [await old(subject=subject), await old(tag)]
    indexes = [await old(children=(child,)) for _ in range(2)]
    await retention.set_policy(olga, Where(repository="olga/app"), [UNTAGGED], "")
    preview = await retention.preview(olga, "olga/app")
    assert preview.doomed == [
        Doomed("", subject, 1, sorted(along), [tag]),
        Doomed("", indexes[0], 1, [], []),
        Doomed("", indexes[1], 1, [child], []),
    ]
    assert (await retention.run_now(olga, "olga/app", "")).doomed == preview.doomed


async def test_images_that_stand_alone_are_seen_to_together(rows: Rows) -> None:
    """More of them cost no more statements."""
    _, _, old = await an_old_app(rows)
    repository = await the_id(rows.engine, "olga/app")
    costs, doomed = [], []
    for count in (3, 30):
        doomed += [Doomed("", await old(), 1) for _ in range(count)]
        recording = Recording(rows.engine)
        assert await DatabaseRetention(recording).along(repository, doomed) == doomed
        costs.append(recording.count)
    assert costs[0] == costs[1]


async def test_a_tag_in_which_a_signature_is_kept_stays_under_a_rule_of_tags(rows: Rows) -> None:
    retention, olga, old = await an_old_app(rows)
    await old(f"{(await old()).replace(':', '-')}.sig")
    rule = NewTagRule("immutable", "glob", "*.sig", (), "")
    repository = await the_id(rows.engine, "olga/app")
    await DatabaseTagRules(rows.engine).add_tag_rule(Place(repository=repository), rule, SOMEBODY)
    await retention.set_policy(olga, Where(repository="olga/app"), [UNTAGGED], "")
    assert (await retention.preview(olga, "olga/app")).doomed == []
    assert (await retention.run_now(olga, "olga/app", "")).doomed == []


async def test_a_tag_that_was_pushed_since_it_was_judged_spares_what_it_belongs_to(rows: Rows) -> None:
    subject = await push(rows, a_manifest())
    referrer = a_manifest(subject=subject)
    await push(rows, referrer)
    await push(rows, referrer, "sbom-v1")
    with pytest.raises(Moved, match="sbom-v1"):
        await rows.deletions.delete_manifest(HELLO, subject, SOMEBODY, [], spare_tags=True)
    assert await tagged(rows, "sbom-v1") == referrer.digest


async def test_a_dry_run_changes_no_row_but_those_of_usage(rows: Rows, tmp_path: Path) -> None:
    """It says what would go once all pulls are counted, and so counts them."""
    hub = hub_over(rows.engine)
    olga, name = await hub.person("olga"), "olga/app"
    repository = await hub.repository(olga, name)
    in_use, unused = [await push(rows, a_manifest(), tag, repository=name) for tag in ("in-use", "unused")]
    await rows.execute("UPDATE tags SET moved_at = 1")
    log = PullLog(tmp_path)
    log.append(used(repository, in_use, LOOK, a_pull().at))
    counting = PullCounting(SegmentFiles(tmp_path), DatabaseUsage(rows.engine))
    retention = Retention(DatabaseRetention(rows.engine), rows.deletions, hub.rights, counting.everywhere)
    rules = [{"action": "delete", "tags": "*", "not_pulled_within": "1h"}]
    await retention.set_policy(olga, Where(repository=name), rules, "")
    before = await every_row(rows.engine)
    assert len(before) > 20
    outcome = await retention.preview(olga, name)
    assert await every_row(rows.engine) == before
    assert outcome.doomed == [Doomed("unused", unused, 1)]
    assert (await retention.run_now(olga, name, "")).doomed == outcome.doomed
    await log.close()
