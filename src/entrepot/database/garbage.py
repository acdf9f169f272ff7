"""The collector's rows: what is deleted, loose, quarantined or being removed, and its clock and lease."""

from collections.abc import Sequence

from entrepot.access.caller import Caller
from entrepot.database.engine import Conflict, Engine, Row, Transaction
from entrepot.database.holding import HELD, NAMED_HERE, forget_unlinked, loosen
from entrepot.database.manifests import leave_deletion
from entrepot.registry.garbage import STEP, Garbage, Phase, Turn

_COLLECTOR = Caller(address="", reason="garbage collection")

# The lease is free when it has run out, and when it ends later than any lease could: then the clock has gone back.
_TAKE_TURN = (
    "UPDATE lifecycle SET elapsed = elapsed + CASE WHEN owner <> :owner OR now_us() < seen_at THEN 0"
    " WHEN now_us() - seen_at < CAST(:passed AS bigint) THEN now_us() - seen_at ELSE CAST(:passed AS bigint) END,"
    " seen_at = now_us(), owner = :owner, lease_until = now_us() + CAST(:lease AS bigint) WHERE id = 1"
    " AND (owner = :owner OR lease_until < now_us() OR lease_until > now_us() + CAST(:lease AS bigint))"
    " RETURNING elapsed, paused_at"
)
_ELAPSED = "SELECT elapsed FROM lifecycle WHERE id = 1"
_PAUSE = "UPDATE lifecycle SET paused_at = now_us() WHERE id = 1 AND paused_at IS NULL"
_GO_ON = "UPDATE lifecycle SET paused_at = NULL WHERE id = 1 AND paused_at IS NOT NULL"

_IN_PHASE = {
    Phase.REPOSITORIES: ("repositories", "id", "deleted_at", "deleted_at IS NOT NULL AND emptied_at IS NULL"),
    Phase.MANIFESTS: ("manifests", "id", "deleted_at", "deleted_at IS NOT NULL"),
    Phase.LINKS: ("links", "repository_id, blob_id", "loose_since", "loose_since IS NOT NULL"),
    Phase.LOOSE: ("blobs", "id", "since", "state <> 'held' AND state = 'loose'"),
    Phase.QUARANTINED: ("blobs", "id", "since", "state <> 'held' AND state = 'quarantined'"),
    Phase.REMOVING: ("blobs", "id", "since", "state <> 'held' AND state = 'removing'"),
}
_SIGHT = {
    phase: (
        f"UPDATE {table} SET sighted = :elapsed WHERE ({key}) IN"  # noqa: S608 - constants
        f" (SELECT {key} FROM {table} WHERE {where} AND sighted IS NULL LIMIT :limit) AND sighted IS NULL"
    )
    for phase, (table, key, _, where) in _IN_PHASE.items()
}
_DUE = {
    phase: (
        f"SELECT {key}, {since} FROM {table} WHERE {where} AND {since} <= now_us() - CAST(:age AS bigint)"  # noqa: S608
        " AND sighted <= CAST(:elapsed AS bigint) - CAST(:age AS bigint) ORDER BY"
        f" {since} LIMIT :limit"
    )
    for phase, (table, key, since, where) in _IN_PHASE.items()
}
_UPLOAD_BESIDE = (  # while a push goes on, what it may have been told of does not age
    "EXISTS (SELECT 1 FROM links l JOIN uploads u ON u.repository_id = l.repository_id"
    " WHERE l.blob_id = blobs.id AND u.expires_at > now_us())"
)

_MANIFESTS_OF = "SELECT id FROM manifests WHERE repository_id = :repository ORDER BY id LIMIT :limit"
_DROP_TAGS_OF = "DELETE FROM tags WHERE manifest_id = :manifest"
_EMPTIED = "UPDATE repositories SET emptied_at = now_us() WHERE id = :repository AND deleted_at IS NOT NULL"
_LOCK_REPOSITORY = (  # what has begun to be emptied can be told by its sighting, and never comes back
    "UPDATE repositories SET sighted = -1 WHERE id = :repository AND deleted_at = :since AND emptied_at IS NULL"
)
_DELETE = "UPDATE manifests SET deleted_at = :since WHERE id = :manifest"
_LOCK_MANIFEST = (
    "UPDATE manifests SET sighted = sighted WHERE id = :manifest AND deleted_at = :since RETURNING repository_id,"
    " digest, deletion_id"
)
_REFERENCES = "DELETE FROM manifest_references WHERE manifest_id = :manifest RETURNING digest"
_FORGET = "DELETE FROM manifests WHERE id = :manifest AND deleted_at IS NOT NULL"
# Blobs and links are moved on many at a time: on PostgreSQL each statement is a walk over the network. First their rows
# are locked; what holds one is looked for after that, so that a push that is committing meanwhile is seen.
_NEVER = 2**63 - 1
_SLOTS = ", ".join(f"CAST(:blob{number} AS bigint)" for number in range(STEP))
_PAIRS = ", ".join(f"(CAST(:repository{number} AS bigint), CAST(:blob{number} AS bigint))" for number in range(STEP))
_UPLOAD_HERE = (
    "EXISTS (SELECT 1 FROM uploads u WHERE u.repository_id = links.repository_id AND u.expires_at > now_us())"
)
# They are named by their keys alone, and what else must be true is said so that no index of what is loose fits: by that
# index PostgreSQL would walk all that is loose, again and again for each fifty.
_THESE_LINKS = (  # that nobody has come to use since they were found to be due
    f"(repository_id, blob_id) IN (VALUES {_PAIRS}) AND COALESCE(loose_since, {_NEVER}) <= CAST(:latest AS bigint)"
    f" AND COALESCE(links.sighted, {_NEVER}) <= CAST(:seen AS bigint)"
)
_LOCK_LINKS = f"UPDATE links SET sighted = sighted WHERE {_THESE_LINKS}"  # noqa: S608
_KEEP_LINKS = (
    f"UPDATE links SET loose_since = CASE WHEN {NAMED_HERE} THEN NULL ELSE now_us() END, sighted = NULL"  # noqa: S608
    f" WHERE {_THESE_LINKS} AND ({NAMED_HERE} OR {_UPLOAD_HERE})"
)
_RECORD_LINKS = (
    "INSERT INTO changes (at, address, kind, repository_id, old, reason) SELECT now_us(), '', 'blob.unlink',"  # noqa: S608
    " links.repository_id, b.digest, :reason FROM links JOIN blobs b ON b.id = links.blob_id"
    f" WHERE {_THESE_LINKS.replace('(repository_id', '(links.repository_id')}"
)
_END_LINKS = f"DELETE FROM links WHERE {_THESE_LINKS}"  # noqa: S608
_THESE_BLOBS = (
    f"id IN ({_SLOTS}) AND state || '' = :state AND COALESCE(since, {_NEVER}) <= CAST(:latest AS bigint)"
    f" AND COALESCE(sighted, {_NEVER}) <= CAST(:seen AS bigint)"
)
_LOCK_BLOBS = f"UPDATE blobs SET sighted = sighted WHERE {_THESE_BLOBS}"  # noqa: S608
_HOLD = f"UPDATE blobs SET state = 'held', since = NULL, sighted = NULL WHERE {_THESE_BLOBS} AND {HELD}"  # noqa: S608
_RESTART = f"UPDATE blobs SET since = now_us(), sighted = NULL WHERE {_THESE_BLOBS} AND {_UPLOAD_BESIDE}"  # noqa: S608
_ENTER = (
    "UPDATE blobs SET state = :next, since = now_us(), sighted = CAST(:elapsed AS bigint)"  # noqa: S608
    f" WHERE {_THESE_BLOBS}"
)
_REMOVED = f"id IN ({_SLOTS}) AND state || '' = 'removing'"
_LOCK_REMOVED = f"UPDATE blobs SET sighted = sighted WHERE {_REMOVED}"  # noqa: S608
_DROP_LINKS = f"DELETE FROM links WHERE blob_id IN ({_SLOTS})"  # noqa: S608
_TRASH_BLOBS = (
    f"INSERT INTO trash (store, key) SELECT store, key FROM blobs WHERE {_REMOVED}"  # noqa: S608
    " ON CONFLICT (store, key) DO NOTHING"
)
_DROP_BLOBS = f"DELETE FROM blobs WHERE {_REMOVED}"  # noqa: S608
_BLOBS = (
    "SELECT digest, state, size, since, since + CASE state WHEN 'loose' THEN CAST(:grace AS bigint)"
    " + CAST(:quarantine AS bigint) WHEN 'quarantined' THEN CAST(:quarantine AS bigint) ELSE 0 END FROM blobs"
    " WHERE state <> 'held' AND digest > :after ORDER BY digest LIMIT :limit"
)
_DELETED = (  # by itself, or with its repository; SQLite reads what stands before CROSS JOIN first: that is few
    "WITH deleted AS MATERIALIZED (SELECT m.id, m.digest, m.size, m.deleted_at AS since, COALESCE(r.deleted_name,"
    " r.name) AS name FROM manifests m JOIN repositories r ON r.id = m.repository_id WHERE m.deleted_at IS NOT NULL"
    " UNION ALL SELECT m.id, m.digest, m.size, r.deleted_at, COALESCE(r.deleted_name, r.name) FROM repositories r"
    " CROSS JOIN manifests m WHERE m.repository_id = r.id AND r.deleted_at IS NOT NULL AND r.emptied_at IS NULL"
    " AND m.deleted_at IS NULL)"
)
_MANIFESTS = (
    f"{_DELETED} SELECT digest, SUM(size), MAX(since), MIN(name), COUNT(*) FROM deleted WHERE digest > :after"  # noqa: S608
    " GROUP BY digest ORDER BY digest LIMIT :limit"
)
_GO_ALONG = (
    f"{_DELETED} SELECT blobs.digest, blobs.size, MAX(d.since) FROM deleted d CROSS JOIN manifest_references n"  # noqa: S608
    " CROSS JOIN blobs WHERE n.manifest_id = d.id AND blobs.digest = n.digest AND blobs.state || '' = 'held'"
    " AND n.digest || '' > :after AND NOT EXISTS (SELECT 1 FROM manifest_references f JOIN manifests m"
    " ON m.id = f.manifest_id JOIN repositories r ON r.id = m.repository_id WHERE f.digest = blobs.digest"
    " AND m.deleted_at IS NULL AND r.deleted_at IS NULL AND r.upstream IS NULL) AND NOT EXISTS (SELECT 1 FROM links l"
    " JOIN repositories r ON r.id = l.repository_id WHERE l.blob_id = blobs.id AND r.upstream IS NOT NULL)"
    " GROUP BY blobs.digest, blobs.size ORDER BY blobs.digest LIMIT :limit"
)
_NONE = (0, 0, 0)  # no row has these ids
_NEXT = {Phase.LOOSE: ("loose", "quarantined"), Phase.QUARANTINED: ("quarantined", "removing")}
_WHY = {
    "held": "only what is deleted names it",
    "loose": "no manifest names it since then",
    "quarantined": "no manifest has named it through the whole grace period; any use brings it back",
    "removing": "no manifest has named it through grace and quarantine",
}


class DatabaseGarbage:
    """The port GarbageRows."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def take_turn(self, owner: str, passed: int, lease: int) -> Turn | None:
        """See the port."""

        async def take(transaction: Transaction) -> Turn | None:
            row = await transaction.one(_TAKE_TURN, owner=owner, passed=passed, lease=lease)
            return None if row is None else Turn(row[0], row[1] is not None)

        return await self._engine.write(take, durable=False)

    async def elapsed(self) -> int:
        """See the port."""
        return int((await self._engine.read(_ELAPSED))[0][0])

    async def set_paused(self, paused: bool) -> bool:
        """See the port."""

        async def change(transaction: Transaction) -> bool:
            return await transaction.run(_PAUSE if paused else _GO_ON) == 1

        return await self._engine.write(change, durable=True)

    async def sight(self, phase: Phase, elapsed: int, limit: int) -> int:
        """See the port."""
        table, _, _, where = _IN_PHASE[phase]
        unseen = f"SELECT 1 FROM {table} WHERE {where} AND sighted IS NULL LIMIT 1"  # noqa: S608 - constants
        if not await self._engine.read(unseen):
            return 0

        async def note(transaction: Transaction) -> int:
            return await transaction.run(_SIGHT[phase], elapsed=elapsed, limit=limit)

        return await self._engine.write(note, durable=False)

    async def move(self, phase: Phase, age: int, elapsed: int, limit: int) -> int:
        """See the port."""
        due = await self._engine.read(_DUE[phase], age=age, elapsed=elapsed, limit=min(limit, STEP))
        seen = elapsed - age
        if not due:
            return 0

        async def go(transaction: Transaction) -> int:
            match phase:
                case Phase.LINKS:
                    await _end_links(transaction, due, seen)
                case Phase.LOOSE | Phase.QUARANTINED:
                    await _advance(transaction, due, phase, elapsed, seen)
                case Phase.REMOVING:
                    await _remove(transaction, due)
                case _:
                    return await _take_apart(transaction, phase, due, limit)
            return len(due)

        try:
            return await self._engine.write(go, durable=True)
        except Conflict:  # somebody has come to need one of these: the next step looks again
            return 0

    async def garbage(self, ages: tuple[int, int, int], after: str, limit: int) -> list[Garbage]:
        """See the port."""
        undo, grace, quarantine = ages
        blobs = await self._engine.scan(_BLOBS, after=after, limit=limit, grace=grace, quarantine=quarantine)
        manifests = await self._engine.scan(_MANIFESTS, after=after, limit=limit)
        along = await self._engine.scan(_GO_ALONG, after=after, limit=limit)
        all_phases = undo + grace + quarantine
        found = [Garbage(digest, state, size, since, due, _WHY[state]) for digest, state, size, since, due in blobs]
        found += [Garbage(digest, "held", size, at, at + all_phases, _WHY["held"]) for digest, size, at in along]
        found += [
            Garbage(digest, "deleted", int(size), at, at + undo, f"deleted from {_and_others(name, count)}")
            for digest, size, at, name, count in manifests
        ]
        found.sort()  # each list has a digest once, but two lists may have the same
        last = found[:limit][-1].digest if found else ""
        return [each for each in found if each.digest <= last]


def _and_others(name: str, count: int) -> str:
    return name if count == 1 else f"{name} and {count - 1} more"


async def _take_apart(transaction: Transaction, phase: Phase, due: Sequence[Row], limit: int) -> int:
    done = 0
    for identity, since in due:
        if phase is Phase.REPOSITORIES:
            done += await _empty(transaction, identity, since, limit - done)
        else:
            await _forget(transaction, identity, since)
            done += 1
        if done >= limit:
            break
    return done


async def _empty(transaction: Transaction, repository: int, since: int, limit: int) -> int:
    """Forget up to `limit` manifests of a deleted repository, live ones too; when none is left it is done."""
    if not await transaction.run(_LOCK_REPOSITORY, repository=repository, since=since):
        return 0
    manifests = await transaction.all(_MANIFESTS_OF, repository=repository, limit=limit)
    for (manifest,) in manifests:
        await transaction.run(_DROP_TAGS_OF, manifest=manifest)
        await transaction.run(_DELETE, manifest=manifest, since=since)
        await _forget(transaction, manifest, since)
    if len(manifests) < limit:
        await transaction.run(_EMPTIED, repository=repository)
        return len(manifests) + 1
    return len(manifests)


async def _forget(transaction: Transaction, manifest: int, since: int) -> None:
    row = await transaction.one(_LOCK_MANIFEST, manifest=manifest, since=since)
    if row is None:
        return
    repository, _, deletion = row
    named = {digest for (digest,) in await transaction.all(_REFERENCES, manifest=manifest)}
    if not await transaction.run(_FORGET, manifest=manifest):
        raise Conflict("the manifest was brought back meanwhile")
    await leave_deletion(transaction, manifest, deletion)
    await forget_unlinked(transaction, repository, named)
    await loosen(transaction, repository, named, _COLLECTOR)


async def _end_links(transaction: Transaction, due: Sequence[Row], seen: int) -> None:
    these: dict[str, object] = {"latest": max(since for *_, since in due), "seen": seen}
    for number in range(STEP):
        repository, blob, _ = due[number] if number < len(due) else _NONE
        these |= {f"repository{number}": repository, f"blob{number}": blob}
    await transaction.run(_LOCK_LINKS, **these)
    await transaction.run(_KEEP_LINKS, **these)
    await transaction.run(_RECORD_LINKS, **these, reason=_COLLECTOR.reason)
    await transaction.run(_END_LINKS, **these)


async def _advance(transaction: Transaction, due: Sequence[Row], phase: Phase, elapsed: int, seen: int) -> None:
    """To the next state, unless something holds it by now."""
    state, following = _NEXT[phase]
    these = {**_blobs(due), "state": state, "latest": max(since for *_, since in due), "seen": seen}
    if not await transaction.run(_LOCK_BLOBS, **these):
        return
    await transaction.run(_HOLD, **these)
    if phase is Phase.LOOSE:
        await transaction.run(_RESTART, **these)
    await transaction.run(_ENTER, **these, next=following, elapsed=elapsed)


async def _remove(transaction: Transaction, due: Sequence[Row]) -> None:
    """All of them, or none when one was uploaded again meanwhile."""
    these = _blobs(due)
    if await transaction.run(_LOCK_REMOVED, **these) != len(due):
        raise Conflict("a blob was uploaded again meanwhile")
    await transaction.run(_DROP_LINKS, **these)
    await transaction.run(_TRASH_BLOBS, **these)
    await transaction.run(_DROP_BLOBS, **these)


def _blobs(due: Sequence[Row]) -> dict[str, object]:
    return {f"blob{number}": due[number][0] if number < len(due) else 0 for number in range(STEP)}
