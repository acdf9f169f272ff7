"""The ports ScrubRows and VerificationRows with the scrubber, over SQLite and PostgreSQL."""

from collections.abc import AsyncGenerator, Sequence
from typing import cast

import pytest

from entrepot.database.scrub import DatabaseScrub
from entrepot.database.scrub_report import DatabaseScrubReport
from entrepot.database.verification import DatabaseVerification
from entrepot.jobs.scrub import Scrubbing
from entrepot.registry.errors import BytesUnreadable, StorageError, UpstreamError
from entrepot.registry.ports import Bytes
from entrepot.registry.scrub import Scrubber, Turn
from entrepot.registry.verification import Finding, Verifier
from tests.support.rows import STORE, Database, Rows, a_blob

EACH = 64 * 1024 + 100  # what it costs to read a blob of 100 bytes
SECOND = 1_000_000


class Healer:
    """Says for which digests it was asked; it has nothing."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Sequence[str]]] = []

    async def heal(self, digest: str, repositories: Sequence[str]) -> None:
        """See the port."""
        self.asked.append((digest, repositories))
        raise UpstreamError("nobody has it")


class Counting:
    """A store in which everything is as large as its row says and has other bytes; it tells what was read.

    Of some keys nothing can be read, and it may not answer at all.
    """

    name = STORE

    def __init__(self) -> None:
        self.was_read: list[str] = []
        self.unreadable: set[str] = set()
        self.answers = True
        self.error: type[StorageError] = BytesUnreadable

    async def size(self, key: str) -> int:
        """See the port."""
        return 100

    async def read(self, key: str) -> AsyncGenerator[bytes, None]:
        """See the port."""
        self.was_read.append(key)
        if key in self.unreadable:
            raise self.error("Input/output error")
        yield b"something else"

    async def check(self) -> None:
        """See the port."""
        if not self.answers:
            raise StorageError("it does not answer")


class Scrubbed:
    """A scrubber of one worker, on a clock that stands still."""

    def __init__(self, rows: Rows, period: float) -> None:
        self.rows = rows
        self.store = Counting()
        self.healer = Healer()
        self.found: list[Finding] = []
        blobs = DatabaseVerification(rows.engine)

        async def yes() -> bool:
            return True

        verifier = Verifier(blobs, cast("Bytes", self.store), 1, 1, yes)  # what it does not call is not there
        scrub = DatabaseScrub(rows.engine)
        self.scrubber = Scrubber(scrub, blobs, verifier, STORE, period, self.healer, lambda: 0.0)

    async def run(self) -> int:
        """One round; how many blobs were read in it."""
        before = len(self.store.was_read)
        found = [each async for each in self.scrubber.run()]
        assert len(found) <= len(self.store.was_read) - before
        self.found += found
        return len(found)

    async def pass_seconds(self, seconds: float) -> None:
        """Let this much time have passed since the last turn."""
        await self.rows.execute("UPDATE scrub SET at = at - :age", age=int(seconds * SECOND))


async def test_every_blob_is_read_once_in_the_period_and_no_sooner(database: Database) -> None:
    rows = database.connect()
    for _ in range(10):
        await a_blob(rows)
    scrubbed = Scrubbed(rows, period=3000)
    assert await scrubbed.run() == 0  # nothing has passed yet
    read = []
    for _ in range(10):
        await scrubbed.pass_seconds(300)
        read.append(await scrubbed.run())
    assert sum(read) == 10
    assert max(read) <= 2
    keys = {key for (key,) in await rows.engine.read("SELECT key FROM blobs")}
    assert set(scrubbed.store.was_read) == keys


async def test_a_restart_goes_on_where_the_scrub_was(database: Database) -> None:
    rows = database.connect()
    for _ in range(4):
        await a_blob(rows)
    first = Scrubbed(rows, period=4000)
    await first.run()
    await first.pass_seconds(1990)
    assert await first.run() == 2
    await rows.execute("UPDATE scrub SET lease_until = 0")  # it is gone, and its lease has run out
    second = Scrubbed(database.connect(), period=4000)
    await second.pass_seconds(2000)
    assert await second.run() == 2
    assert not set(first.store.was_read[:2]) & set(second.store.was_read[:2])


async def test_a_night_without_a_server_is_not_made_up_for_at_once(database: Database) -> None:
    rows = database.connect()
    for _ in range(10):
        await a_blob(rows)
    scrubbed = Scrubbed(rows, period=36000)
    await scrubbed.run()
    await scrubbed.pass_seconds(100 * 36000)
    assert await scrubbed.run() == 1


async def test_what_cannot_be_read_is_damaged_and_the_scrub_goes_on_behind_it(database: Database) -> None:
    rows = database.connect()
    digests = [await a_blob(rows) for _ in range(4)]
    scrubbed = Scrubbed(rows, period=1000)
    blobs = await DatabaseVerification(rows.engine).blobs(STORE, 0, 10)
    scrubbed.store.unreadable = {blobs[1].key}
    await scrubbed.run()
    await scrubbed.pass_seconds(999)
    assert await scrubbed.run() == 4
    assert [(each.kind, each.digest) for each in scrubbed.found] == [("damaged", digest) for digest in digests]
    assert ["Input/output" in each.note for each in scrubbed.found] == [False, True, False, False]
    assert await scrubbed.scrubber.damage() == {"damaged": 4}


async def test_what_cannot_be_read_for_reasons_of_ours_is_told_and_not_marked(database: Database) -> None:
    rows = database.connect()
    digest = await a_blob(rows)
    scrubbed = Scrubbed(rows, period=1000)
    scrubbed.store.unreadable = {blob.key for blob in await DatabaseVerification(rows.engine).blobs(STORE, 0, 10)}
    scrubbed.store.error = StorageError
    await scrubbed.run()
    await scrubbed.pass_seconds(999)
    await scrubbed.run()
    assert [(each.kind, each.digest) for each in scrubbed.found] == [("unreadable", digest)]
    assert await scrubbed.scrubber.damage() == {}


async def test_a_store_that_does_not_answer_marks_nothing_and_no_blob_holds_up_those_behind_it(
    database: Database,
) -> None:
    rows = database.connect()
    for _ in range(3):
        await a_blob(rows)
    scrubbed = Scrubbed(rows, period=1000)
    first, *others = [blob.key for blob in await DatabaseVerification(rows.engine).blobs(STORE, 0, 10)]
    scrubbed.store.unreadable = {first}
    scrubbed.store.answers = False
    await scrubbed.run()
    await scrubbed.pass_seconds(999)
    with pytest.raises(StorageError, match="does not answer"):
        await scrubbed.run()
    assert await scrubbed.scrubber.damage() == {}
    assert await scrubbed.run() == 2
    assert {*scrubbed.store.was_read} == {first, *others}


async def test_one_worker_of_all_nodes_has_the_turn_until_its_lease_ends(database: Database) -> None:
    one, other = DatabaseScrub(database.engine()), DatabaseScrub(database.engine())
    assert await one.take_turn("one", 60, 0) == Turn(0, 0)
    assert await other.take_turn("other", 60, 0) is None
    assert await one.progress("one", 7, 100)
    assert await one.take_turn("one", 0, 0) == Turn(7, -100)
    assert await other.take_turn("other", 60, 0) == Turn(7, -100)
    assert not await one.renew("one", 60)
    assert not await one.progress("one", 9, 1)
    assert await other.take_turn("other", 60, 0) == Turn(7, -100)


async def test_a_lease_from_before_the_clock_went_back_is_none(database: Database) -> None:
    rows = database.connect()
    scrub = DatabaseScrub(rows.engine)
    assert await scrub.take_turn("one", 60, 0) is not None
    await rows.execute("UPDATE scrub SET lease_until = lease_until + :year", year=365 * 86400 * SECOND)
    assert await scrub.take_turn("other", 60, 0) is not None


async def test_with_a_period_of_nothing_only_what_is_known_to_be_damaged_is_read(database: Database) -> None:
    rows = database.connect()
    await a_blob(rows)
    bad = await a_blob(rows)
    verification = DatabaseVerification(rows.engine)
    (blob,) = [each for each in await verification.blobs(STORE, 0, 10) if each.digest == bad]
    assert await verification.mark(blob, "damaged")
    scrubbed = Scrubbed(rows, period=0)
    await scrubbed.run()
    await scrubbed.pass_seconds(3000)
    await scrubbed.run()  # again only after a while
    assert scrubbed.store.was_read == [blob.key]
    assert scrubbed.healer.asked == []  # no upstream's repository has it


async def test_what_upstreams_cannot_give_is_told_and_tried_again_later_each_by_itself(database: Database) -> None:
    rows = database.connect()
    bad = [await a_blob(rows) for _ in range(3)]
    await rows.execute("UPDATE repositories SET upstream = 'up.example'")
    verification = DatabaseVerification(rows.engine)
    for blob in await verification.blobs(STORE, 0, 10):
        assert await verification.mark(blob, "damaged")
    scrubbed = Scrubbed(rows, period=0)
    assert await scrubbed.run() == 3
    assert scrubbed.healer.asked == [(digest, ["library/hello"]) for digest in bad]
    assert ["nobody has it" in each.note for each in scrubbed.found] == [True] * 3
    assert await verification.damage() == {"damaged": 3}
    assert await scrubbed.run() == 0
    assert len(scrubbed.healer.asked) == 3


async def test_a_round_that_fails_keeps_what_was_tried_and_tells_what_is_known(database: Database) -> None:
    rows = database.connect()
    for _ in range(3):
        await a_blob(rows)
    verification = DatabaseVerification(rows.engine)
    first, second, third = await verification.blobs(STORE, 0, 10)
    for blob in (first, second, third):
        assert await verification.mark(blob, "damaged")
    scrubbed = Scrubbed(rows, period=0)
    scrubbed.store.unreadable = {second.key}
    scrubbed.store.answers = False
    told: list[tuple[int, int]] = []

    async def agree() -> bool:
        return True

    job = Scrubbing(scrubbed.scrubber, agree, lambda damaged, missing: told.append((damaged, missing)))
    with pytest.raises(StorageError):
        await job.run()
    assert told == [(3, 0)]
    await job.run()
    await job.run()
    assert scrubbed.store.was_read == [first.key, second.key, third.key]


async def test_a_mark_of_bytes_that_were_replaced_meanwhile_is_none(database: Database) -> None:
    rows = database.connect()
    await a_blob(rows)
    verification = DatabaseVerification(rows.engine)
    (blob,) = await verification.blobs(STORE, 0, 10)
    assert not await verification.mark(blob._replace(key="another"), "missing")
    assert await verification.damage() == {}


async def test_the_report_says_what_is_wrong_and_whose_it_is(rows: Rows) -> None:
    digests = [await a_blob(rows, repository) for repository in ("library/one", "library/two", "library/two")]
    for digest, damage in zip(digests, ("missing", None, "damaged"), strict=True):
        await rows.execute(
            "UPDATE blobs SET damage = CAST(:damage AS text) WHERE digest = :digest", damage=damage, digest=digest
        )
    await rows.execute("INSERT INTO orphans (store, key, since) VALUES ('filesystem', 'k', 1000)")
    await rows.execute("UPDATE scrub SET position = (SELECT MIN(id) FROM blobs)")
    report = DatabaseScrubReport(rows.engine)
    first, second = await report.wrong(0, 10)
    assert first[1:] == (digests[0], "missing", 100, ["library/one"])
    assert second[1:] == (digests[2], "damaged", 100, ["library/two"])
    assert await report.wrong(first.id, 1) == [second]
    assert await report.orphans("", 10) == [("k", 1000, None)]
    assert await report.orphans("k", 10) == []
    state = await report.state()
    assert state[:3] == (1, 1, 1)
    assert 0 < state.percent < 100
