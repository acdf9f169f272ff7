"""The audit's rows: what is merged, what is forgotten in time, and what never is."""

from entrepot.access.caller import Caller
from entrepot.database.audit import DatabaseAudit
from entrepot.database.changes import record
from entrepot.database.engine import Transaction
from entrepot.database.logins import DatabaseLogins
from entrepot.hub.audit import AuditQuery
from tests.support.rows import Database

SOMEBODY = Caller(address="192.0.2.1")
DAY = 86_400_000_000  # microseconds
MINUTE = 60_000_000
FOREVER = ("tag.move", "tag.delete", "manifest.push", "manifest.delete", "blob.link", "blob.unlink")
IN_TIME = ("repository.visibility", "grant.set", "credential.create", "account.create", "member.add", "plan.set")


async def test_in_time_logins_and_what_people_did_are_forgotten_and_the_history_of_tags_is_not(
    database: Database,
) -> None:
    engine = database.connect().engine
    audit, now = DatabaseAudit(engine), 1000 * DAY

    async def write(transaction: Transaction) -> None:
        for days in (400, 366, 364, 1):
            for kind in (*FOREVER, *IN_TIME):
                await record(transaction, SOMEBODY, kind, at=now - days * DAY)

    await engine.write(write, durable=False)
    logins = [(now - days * DAY, None, f"key {days}", "192.0.2.1", "login.failed", "", 1) for days in (400, 364, 1)]
    await DatabaseLogins(engine).write_notes([], logins)  # type: ignore[arg-type]
    end = now - 365 * DAY
    steps = []
    while count := await audit.prune(end, 5):
        steps.append(count)
    assert sum(steps) == 2 * len(IN_TIME) + 1
    assert max(steps) <= 10  # up to five of each table
    left = await audit.entries(AuditQuery(), None, 1000)
    assert sorted(each.kind for each in left if each.at < end) == sorted(FOREVER * 2)
    recent = [each.kind for each in left if each.at >= end]
    assert sorted(recent) == sorted([*(FOREVER + IN_TIME) * 2, "login.failed", "login.failed"])
    assert await DatabaseAudit(engine).prune(end, 5) == 0  # by another worker, too


async def test_failures_of_a_minute_are_one_row_whoever_writes_them_down(database: Database) -> None:
    workers = [DatabaseLogins(database.connect().engine) for _ in range(2)]
    start = 1000 * DAY
    for number, worker in enumerate([*workers, *workers]):
        await worker.write_notes([], [(start + number, None, "key", "192.0.2.1", "login.failed", "wrong", 3)])
    await workers[0].write_notes([], [(start + MINUTE, None, "key", "192.0.2.1", "login.failed", "wrong", 1)])
    for other in (
        (start, None, "another key", "192.0.2.1", "login.failed", "wrong", 1),
        (start, None, "key", "192.0.2.2", "login.failed", "wrong", 1),
        (start, None, "key", "192.0.2.1", "login.throttled", "wrong", 1),
    ):
        await workers[0].write_notes([], [other])
    found = await DatabaseAudit(database.connect().engine).entries(AuditQuery(), None, 100)
    told = sorted((each.kind, each.subject or "", each.address, each.count) for each in found)
    assert told == [
        ("login.failed", "another key", "192.0.2.1", 1),
        ("login.failed", "key", "192.0.2.1", 1),
        ("login.failed", "key", "192.0.2.1", 12),
        ("login.failed", "key", "192.0.2.2", 1),
        ("login.throttled", "key", "192.0.2.1", 1),
    ]
