"""Retention in rows: policies, what a repository has for them to judge, and tags that expire."""

import json
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from entrepot.access.caller import Caller
from entrepot.database.cascade import COSIGN, LIVE, Plan, stem
from entrepot.database.changes import record
from entrepot.database.deletion import drop_tag
from entrepot.database.engine import Engine, Transaction
from entrepot.database.tag_rules import refuse_delete, rules_now, rules_of
from entrepot.database.usage import DatabaseUsage
from entrepot.hub.retention import Due, Held, Policy
from entrepot.hub.tag_rules import Place
from entrepot.registry.errors import Denied
from entrepot.registry.retention import Candidate, Doomed

_HERE = (
    "COALESCE(repository_id, 0) = COALESCE(CAST(:repository AS bigint), 0)"
    " AND COALESCE(namespace_id, 0) = COALESCE(CAST(:namespace AS bigint), 0)"
)
_ONE = f"SELECT policy, ran_at FROM retention WHERE {_HERE}"  # noqa: S608 - a constant
_FOR = (
    "SELECT t.policy, t.ran_at FROM retention t WHERE t.repository_id = :repository OR t.namespace_id ="
    " (SELECT namespace_id FROM repositories WHERE id = :repository)"
    " ORDER BY CASE WHEN t.repository_id IS NULL THEN 1 ELSE 0 END LIMIT 1"
)
_END = f"DELETE FROM retention WHERE {_HERE}"  # noqa: S608
_SET = (
    "INSERT INTO retention (repository_id, namespace_id, policy, changed_at, changed_by)"
    " VALUES (:repository, :namespace, :policy, now_us(), :account)"
)
_DUE = (
    "SELECT id FROM retention WHERE ran_at IS NULL OR ran_at <= now_us() - CAST(:every AS bigint) ORDER BY id LIMIT 1"
)
_TAKE = (
    "UPDATE retention SET ran_at = now_us() WHERE id = :id AND (ran_at IS NULL"
    " OR ran_at <= now_us() - CAST(:every AS bigint)) RETURNING repository_id, namespace_id, policy"
)
_OF_REPOSITORY = (
    "SELECT id, name FROM repositories WHERE id = :repository AND id > CAST(:after AS bigint) AND deleted_at IS NULL"
    " AND archived_at IS NULL"
)
_OF_NAMESPACE = (
    "SELECT r.id, r.name FROM repositories r WHERE r.namespace_id = :namespace AND r.id > CAST(:after AS bigint)"
    " AND r.deleted_at IS NULL AND r.archived_at IS NULL AND NOT EXISTS (SELECT 1 FROM retention t"
    " WHERE t.repository_id = r.id) ORDER BY r.id LIMIT :limit"
)
# From what was asked for to every index that it is part of.
_USED = (
    "WITH RECURSIVE used (digest, at) AS (SELECT digest, last_pulled_at FROM usage_manifests"
    " WHERE repository_id = :repository UNION SELECT i.digest, u.at FROM used u JOIN manifest_references f"
    " ON f.digest = u.digest AND f.kind = 'child' JOIN manifests i ON i.id = f.manifest_id"
    " AND i.repository_id = :repository) SELECT digest, MAX(at) FROM used GROUP BY digest"
)
# The tags that keep signatures and the like are no versions: they live as long as what they belong to. There are none
# of a sha512, which is too long for a tag.
_TAGS = (
    "SELECT t.name, m.digest, t.moved_at FROM tags t JOIN manifests m ON m.id = t.manifest_id"  # noqa: S608
    " WHERE t.repository_id = :repository AND NOT (SUBSTR(t.name, 1, 7) = 'sha256-' AND SUBSTR(t.name, 72) IN"
    f" ({', '.join(repr(suffix) for suffix in COSIGN)}) AND EXISTS (SELECT 1 FROM manifests s"
    " WHERE s.repository_id = t.repository_id AND s.digest = 'sha256:' || SUBSTR(t.name, 8, 64)"
    " AND s.deleted_at IS NULL)) ORDER BY t.name"
)
_LOST = (
    "SELECT old, MAX(at) FROM changes WHERE repository_id = :repository AND tag IS NOT NULL AND old IS NOT NULL"
    " GROUP BY old"
)
_NO_PARENT = (
    " AND NOT EXISTS (SELECT 1 FROM manifest_references f JOIN manifests p ON p.id = f.manifest_id"
    " WHERE f.digest = m.digest AND f.kind = 'child' AND p.repository_id = m.repository_id AND p.deleted_at IS NULL)"
)
# What belongs to another manifest lives and goes with it.
_UNTAGGED = (
    "SELECT m.digest, m.pushed_at FROM manifests m WHERE m.repository_id = :repository"  # noqa: S608
    f" AND m.deleted_at IS NULL AND NOT EXISTS (SELECT 1 FROM tags t WHERE t.manifest_id = m.id){_NO_PARENT}"
    " AND NOT EXISTS (SELECT 1 FROM manifests s WHERE s.repository_id = m.repository_id AND s.digest = m.subject"
    " AND s.deleted_at IS NULL) ORDER BY m.id"
)
# With these nothing goes along, unless a tag says that it belongs to them.
_ALONE = (
    "SELECT m.digest FROM manifests m WHERE m.repository_id = :repository AND m.deleted_at IS NULL"  # noqa: S608
    f" AND m.subject IS NULL{_NO_PARENT}"
    " AND NOT EXISTS (SELECT 1 FROM manifest_references f WHERE f.manifest_id = m.id AND f.kind = 'child')"
    " AND NOT EXISTS (SELECT 1 FROM manifests s WHERE s.repository_id = m.repository_id AND s.subject = m.digest"
    " AND s.deleted_at IS NULL)"
)
_LIKE_COSIGN = "SELECT name FROM tags WHERE repository_id = :repository AND name >= 'sha' AND name < 'shb'"
_NOW = "SELECT now_us()"
_EXPIRES = (
    "UPDATE tags SET expires_at = CAST(:at AS bigint) WHERE repository_id = :repository AND name = :tag"
    " AND manifest_id = (SELECT id FROM manifests WHERE repository_id = :repository AND digest = :digest)"
)
_EXPIRED = (
    "SELECT t.repository_id, t.name, t.manifest_id, m.digest FROM tags t JOIN manifests m ON m.id = t.manifest_id"
    " WHERE t.expires_at <= now_us() ORDER BY t.expires_at LIMIT :limit"
)
_STAY = "UPDATE tags SET expires_at = NULL WHERE repository_id = :repository AND name = :tag"
_CALLER = Caller(reason="its time had come")


class DatabaseRetention:
    """The port RetentionRows."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def policy(self, place: Place) -> Policy | None:
        """See the port."""
        return _policy(await self._engine.read(_ONE, **place._asdict()))

    async def policy_for(self, repository_id: int) -> Policy | None:
        """See the port."""
        return _policy(await self._engine.read(_FOR, repository=repository_id))

    async def set_policy(self, place: Place, rules: Sequence[dict[str, Any]] | None, caller: Caller) -> None:
        """See the port."""

        async def change(transaction: Transaction) -> None:
            await transaction.run(_END, **place._asdict())
            text = None if rules is None else json.dumps(list(rules))
            if text is not None:
                await transaction.run(_SET, **place._asdict(), policy=text, account=caller.account_id)
            kind = "retention.end" if text is None else "retention.set"
            await record(transaction, caller, kind, place.repository, namespace=place.namespace, new=text)

        await self._engine.write(change, durable=True)

    async def is_due(self, every: int) -> bool:
        """See the port."""
        return bool(await self._engine.read(_DUE, every=every))

    async def due(self, every: int) -> Due | None:
        """See the port."""
        found = await self._engine.read(_DUE, every=every)
        if not found:
            return None

        async def take(transaction: Transaction) -> Due | None:
            row = await transaction.one(_TAKE, id=found[0][0], every=every)
            return None if row is None else Due(found[0][0], Place(row[0], row[1]), json.loads(row[2]))

        return await self._engine.write(take, durable=False)

    async def repositories(self, place: Place, after: int, limit: int) -> Sequence[tuple[int, str]]:
        """See the port."""
        if place.repository is not None:
            rows = await self._engine.read(_OF_REPOSITORY, repository=place.repository, after=after)
        else:
            rows = await self._engine.scan(_OF_NAMESPACE, namespace=place.namespace, after=after, limit=limit)
        return [(row[0], row[1]) for row in rows]

    async def held(self, repository_id: int) -> Held:
        """See the port."""
        now = (await self._engine.read(_NOW))[0][0]
        used: dict[str, int] = dict(await self._engine.scan(_USED, repository=repository_id))
        rows = await self._engine.scan(_TAGS, repository=repository_id)
        tags = [Candidate(tag, digest, at, used.get(digest)) for tag, digest, at in rows]
        untagged = await self._engine.scan(_UNTAGGED, repository=repository_id)
        lost: dict[str, int] = {}
        if untagged:
            lost = dict(await self._engine.scan(_LOST, repository=repository_id))
        loose = [Candidate("", digest, max(at, lost.get(digest, 0)), used.get(digest)) for digest, at in untagged]
        return Held([*tags, *loose], await rules_now(self._engine, repository_id), now)

    async def along(self, repository_id: int, doomed: Sequence[Doomed]) -> Sequence[Doomed]:
        """See the port. In small steps, as only one may write at a time, and it locks rows; most images stand alone,
        and are seen to with one look at all of them."""
        found: list[Doomed] = []
        alone = await self._alone(repository_id) if any(not each.tag for each in doomed) else ()
        tags = {(each.tag, each.digest) for each in doomed if each.tag}
        gone: set[int] = set()
        for each in doomed:
            if each.tag or each.digest in alone:
                found.append(each)
                continue
            plan = await self._plan(repository_id, each.digest, gone, tags)
            if plan is not None:
                gone |= set(plan.manifests)
                others = sorted(digest for digest in plan.manifests.values() if digest != each.digest)
                found.append(each._replace(manifests=others, tags=sorted(plan.tags)))
        return found

    async def _alone(self, repository: int) -> AbstractSet[str]:
        tags = {row[0] for row in await self._engine.scan(_LIKE_COSIGN, repository=repository)}
        rows = await self._engine.scan(_ALONE, repository=repository)
        return {row[0] for row in rows if tags.isdisjoint(f"{stem(row[0])}{suffix}" for suffix in COSIGN)}

    async def _plan(
        self, repository: int, digest: str, gone: AbstractSet[int], doomed: AbstractSet[tuple[str, str]]
    ) -> Plan | None:
        """What would go with a manifest when these manifests and tags have; None when it would not."""

        async def look(transaction: Transaction) -> Plan | None:
            row = await transaction.one(LIVE, repository=repository, digest=digest)
            if row is None:
                return None
            plan = Plan(gone=gone)
            await plan.take(transaction, repository, row[0], digest)
            for tag, manifest in list(plan.tags.items()):
                if (tag, plan.manifests[manifest]) in doomed:
                    del plan.tags[tag]
            if await plan.holders(transaction, repository, digest):
                return None
            return None if plan.alien(await rules_of(transaction, repository)) else plan

        return await self._engine.write(look, durable=False)

    async def complete_until(self) -> int:
        """See the port."""
        return await DatabaseUsage(self._engine).complete_until()

    async def forget_node(self, node: str) -> bool:
        """See the port."""
        return await DatabaseUsage(self._engine).leave(node)

    async def set_expiry(self, repository_id: int, tag: str, digest: str, at: int | None, caller: Caller) -> bool:
        """See the port."""

        async def change(transaction: Transaction) -> bool:
            if not await transaction.run(_EXPIRES, repository=repository_id, tag=tag, digest=digest, at=at):
                return False
            if at is not None:
                await refuse_delete(transaction, repository_id, tag, await rules_of(transaction, repository_id), caller)
            new = None if at is None else str(at)
            await record(transaction, caller, "retention.expiry", repository_id, subject=tag, new=new)
            return True

        return await self._engine.write(change, durable=True)

    async def expire(self, limit: int) -> int:
        """See the port. A tag that a rule covers by now stays, and no longer expires."""
        if not await self._engine.read(_EXPIRED, limit=1):
            return 0

        async def end(transaction: Transaction) -> int:
            rows = await transaction.all(_EXPIRED, limit=limit)
            for repository, tag, manifest, digest in rows:
                try:
                    await refuse_delete(transaction, repository, tag, await rules_of(transaction, repository), _CALLER)
                except Denied:
                    await transaction.run(_STAY, repository=repository, tag=tag)
                    continue
                await drop_tag(transaction, repository, tag, manifest, digest, _CALLER, "tag.expire")
            return len(rows)

        return await self._engine.write(end, durable=True)


def _policy(rows: Sequence[tuple[Any, ...]]) -> Policy | None:
    return Policy(json.loads(rows[0][0]), rows[0][1]) if rows else None
