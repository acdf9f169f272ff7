"""The port LeaseRows, over SQLite and PostgreSQL: who of several nodes fetches what."""

import asyncio
from uuid import uuid4

from entrepot.database.leases import DatabaseLeases
from entrepot.proxy.ports import Leader
from tests.support.rows import Database, Rows
from tests.support.serving import digest_of

LONG, LAPSED = 3600.0, 0.0


def nodes(database: Database, first: float = LONG) -> tuple[DatabaseLeases, DatabaseLeases]:
    """Two nodes; the first one's leases are of so many seconds."""
    one, other = database.engine(), database.engine()
    return DatabaseLeases(one, "http://one", first), DatabaseLeases(other, "http://other", LONG)


async def test_one_node_leads_and_the_others_hear_who(database: Database) -> None:
    one, other = nodes(database)
    key = digest_of(uuid4().bytes)
    assert await one.take(key, "t1", -1, "") is None
    assert await other.take(key, "t2", -1, "") == Leader("http://one", "t1", -1, None)
    await one.renew(key, "t1", 500, 100)
    assert await other.take(key, "t2", -1, "") == Leader("http://one", "t1", 500, None)
    await one.release(key, "t1")
    assert await other.take(key, "t2", 500, "t1") is None
    assert await one.take(key, "t3", 500, "") == Leader("http://other", "t2", 500, None)


async def test_of_all_who_ask_at_once_one_leads(database: Database) -> None:
    asking = [DatabaseLeases(database.engine(), f"http://node-{at}", LONG) for at in range(4)]
    key = digest_of(uuid4().bytes)
    took = await asyncio.gather(*(each.take(key, str(at), -1, "") for at, each in enumerate(asking)))
    assert sum(leader is None for leader in took) == 1


async def test_what_has_lapsed_passes_on_and_whoever_had_it_changes_nothing_any_more(database: Database) -> None:
    one, other = nodes(database, LAPSED)
    key = digest_of(uuid4().bytes)
    assert await one.take(key, "t1", -1, "") is None
    assert await other.take(key, "t2", 70, "t1") is None
    await one.renew(key, "t1", 1, 1)
    await one.release(key, "t1")
    await one.give_up(key, "t1", "it was wrong")
    assert await one.take(key, "t3", -1, "") == Leader("http://other", "t2", 70, None)


async def test_what_the_node_itself_had_is_left_over(database: Database) -> None:
    one, _ = nodes(database)
    key = digest_of(uuid4().bytes)
    assert await one.take(key, "t1", -1, "") is None
    assert await one.take(key, "t2", -1, "") is None
    await one.release(key, "t1")
    again = DatabaseLeases(database.engine(), "http://third", LONG)
    assert await again.take(key, "t3", -1, "") == Leader("http://one", "t2", -1, None)


async def test_that_bytes_were_wrong_is_told_to_who_followed_them_and_to_nobody_else(database: Database) -> None:
    one, other = nodes(database)
    key = digest_of(uuid4().bytes)
    assert await one.take(key, "t1", 9, "") is None
    await one.give_up(key, "t1", "it was wrong")
    assert await other.take(key, "t2", -1, "t1") == Leader("http://one", "t1", 9, "it was wrong")
    assert await other.take(key, "t2", -1, "") is None
    assert await one.take(key, "t3", -1, "t1") == Leader("http://other", "t2", -1, None)


async def test_a_tag_of_a_repository_and_its_digests_wait_for_each_other(database: Database) -> None:
    one, other = nodes(database)
    name, digests = uuid4().hex, [digest_of(uuid4().bytes) for _ in range(2)]
    assert await one.take_manifest(name, digests[0], "t1")
    assert not await other.take_manifest(name, digests[0], "t2"), "it is being fetched"
    assert not await other.take_manifest(name, None, "t2"), "it may be that which is being fetched"
    assert await other.take_manifest(name, digests[1], "t2"), "that one is another"
    assert await other.take_manifest(name + "x", None, "t3"), "and this another repository"
    await one.release(f"{name}@{digests[0]}", "t1")
    assert not await one.take_manifest(name, None, "t4")
    await other.release(f"{name}@{digests[1]}", "t2")
    assert await one.take_manifest(name, None, "t4")
    assert not await other.take_manifest(name, digests[1], "t5"), "any may be it"
    assert not await other.take_manifest(name, None, "t5")
    await one.release(name, "t4")
    assert await other.take_manifest(name, digests[1], "t5")


async def test_a_tag_and_a_digest_at_the_same_moment_are_one_after_the_other(database: Database) -> None:
    one, other = nodes(database)
    for _ in range(20):
        name, digest = uuid4().hex, digest_of(uuid4().bytes)
        took = await asyncio.gather(one.take_manifest(name, None, "t1"), other.take_manifest(name, digest, "t2"))
        assert sum(took) == 1


async def test_what_lapsed_long_ago_is_forgotten(database: Database, rows: Rows) -> None:
    one, _ = nodes(database)
    kept, old = digest_of(uuid4().bytes), digest_of(uuid4().bytes)
    for key in (kept, old):
        assert await one.take(key, "t", -1, "") is None
    assert await rows.execute("UPDATE leases SET until = 5 WHERE key = :key", key=old) == 1
    assert await one.forget() >= 1
    assert await rows.engine.read("SELECT key FROM leases WHERE key IN (:old, :kept)", old=old, kept=kept) == [(kept,)]
