"""Rules of tags, in rows, and the refusal of what they forbid inside the transaction that would do it."""

import json
from collections.abc import Sequence

from entrepot.access.actor import Role
from entrepot.access.caller import Caller
from entrepot.access.decision import role_in
from entrepot.database.changes import record
from entrepot.database.engine import Engine, Row, Transaction
from entrepot.database.rights import facts_in
from entrepot.hub.tag_rules import NewTagRule, Place
from entrepot.registry.errors import Denied
from entrepot.registry.tag_rules import TagRule, first_covering, only_grows

_COLUMNS = (
    "SELECT t.id, CASE WHEN t.repository_id IS NOT NULL THEN 'repository' WHEN t.namespace_id IS NOT NULL"
    " THEN 'namespace' ELSE 'installation' END, t.kind, t.syntax, t.pattern, t.exceptions, t.role FROM tag_rules t"
)
_OF_REPOSITORY = (
    f"{_COLUMNS} WHERE t.repository_id = :repository OR t.namespace_id = (SELECT namespace_id FROM repositories"  # noqa: S608
    " WHERE id = :repository) OR (t.repository_id IS NULL AND t.namespace_id IS NULL) ORDER BY t.id"
)
_IN_PLACE = (
    f"{_COLUMNS} WHERE COALESCE(t.repository_id, 0) = COALESCE(CAST(:repository AS bigint), 0)"
    " AND COALESCE(t.namespace_id, 0) = COALESCE(CAST(:namespace AS bigint), 0)"
)
_LISTED = f"{_IN_PLACE} AND t.id > CAST(:after AS bigint) ORDER BY t.id LIMIT :limit"
_ONE = f"{_IN_PLACE} AND t.id = :id"
_INSERT = (
    "INSERT INTO tag_rules (namespace_id, repository_id, kind, syntax, pattern, exceptions, role, created_at,"
    " created_by) VALUES (:namespace, :repository, :kind, :syntax, :pattern, :exceptions, :role, now_us(), :account)"
    " RETURNING id"
)
_DELETE = "DELETE FROM tag_rules WHERE id = :id"
_NAME = "SELECT name FROM repositories WHERE id = :repository"
_CONTENT = "SELECT content FROM manifests WHERE repository_id = :repository AND digest = :digest"
_TAGS = "SELECT name FROM tags WHERE repository_id = :repository AND name > :after ORDER BY name LIMIT 1000"
_LAST = (
    "SELECT new FROM changes WHERE repository_id = :repository AND tag = :tag AND new IS NOT NULL"
    " ORDER BY id DESC LIMIT 1"
)


class DatabaseTagRules:
    """The port TagRuleRows."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def tag_rules(self, place: Place, after: int, limit: int) -> Sequence[TagRule]:
        """See the port."""
        return [_rule(row) for row in await self._engine.read(_LISTED, **place._asdict(), after=after, limit=limit)]

    async def add_tag_rule(self, place: Place, new: NewTagRule, caller: Caller) -> TagRule:
        """See the port."""

        async def add(transaction: Transaction) -> TagRule:
            row = await transaction.one(
                _INSERT,
                **place._asdict(),
                kind=new.kind,
                syntax=new.syntax,
                pattern=new.pattern,
                exceptions=json.dumps(new.exceptions),
                role=new.role,
                account=caller.account_id,
            )
            assert row is not None
            made = await transaction.one(_ONE, **place._asdict(), id=row[0])
            assert made is not None
            rule = _rule(made)
            await _record(transaction, caller, "tag_rule.create", place, rule)
            return rule

        return await self._engine.write(add, durable=True)

    async def remove_tag_rule(self, place: Place, identity: int, caller: Caller) -> bool:
        """See the port."""

        async def remove(transaction: Transaction) -> bool:
            row = await transaction.one(_ONE, **place._asdict(), id=identity)
            if row is None or not await transaction.run(_DELETE, id=identity):
                return False
            await _record(transaction, caller, "tag_rule.delete", place, _rule(row))
            return True

        return await self._engine.write(remove, durable=True)


async def rules_of(transaction: Transaction, repository: int) -> Sequence[TagRule]:
    """All rules that hold in a repository: its own, its namespace's, the installation's."""
    return [_rule(row) for row in await transaction.all(_OF_REPOSITORY, repository=repository)]


async def rules_now(engine: Engine, repository: int) -> Sequence[TagRule]:
    """The same, outside of any transaction."""
    return [_rule(row) for row in await engine.read(_OF_REPOSITORY, repository=repository)]


async def refuse_move(
    transaction: Transaction, repository: int, tag: str, old: str | None, new: str, caller: Caller
) -> None:
    """Denied when a rule forbids that the tag, which has just moved from `old` to `new`, does so."""
    rules = [rule for rule in await rules_of(transaction, repository) if rule.covers(tag)]
    if not rules:
        return
    immutable = first_covering(rules, "immutable", tag)
    if immutable is not None and old is not None and not await _grows(transaction, repository, tag, old, new):
        raise _immutable(tag, immutable, f"push another tag than {tag}", {"tag": tag, "digest": old})
    await _refuse_unprivileged(transaction, repository, tag, rules, caller)


async def refuse_restore(transaction: Transaction, repository: int, tag: str, digest: str, caller: Caller) -> None:
    """Denied when a rule forbids that the free tag names this digest, which is not the one that it named last."""
    rules = await rules_of(transaction, repository)
    immutable = first_covering(rules, "immutable", tag)
    if immutable is not None:
        row = await transaction.one(_LAST, repository=repository, tag=tag)
        if row is not None and row[0] != digest:
            raise _immutable(tag, immutable, f"restore it to {row[0]}", {"tag": tag, "digest": row[0]})
    await _refuse_unprivileged(transaction, repository, tag, rules, caller)


async def refuse_delete(
    transaction: Transaction, repository: int, tag: str, rules: Sequence[TagRule], caller: Caller
) -> None:
    """Denied when one of these rules forbids that the tag goes."""
    immutable = first_covering(rules, "immutable", tag)
    if immutable is not None:
        raise _immutable(tag, immutable, "keep it", {"tag": tag})
    await _refuse_unprivileged(transaction, repository, tag, rules, caller)


async def refuse_end_of_name(transaction: Transaction, repository: int, caller: Caller) -> None:
    """Denied when the repository has an immutable tag, or one that is protected from the caller: under its name another
    one could be made."""
    rules = await rules_of(transaction, repository)
    rules = [rule for rule in rules if rule.kind == "immutable"] + await _above(transaction, repository, rules, caller)
    after = ""
    while rules:
        tags = [name for (name,) in await transaction.all(_TAGS, repository=repository, after=after)]
        if not tags:
            return
        for tag in tags:
            rule = first_covering(rules, "immutable", tag)
            if rule is not None:
                raise _immutable(tag, rule, "keep the repository and its name", {"tag": tag})
            rule = first_covering(rules, "protected", tag)
            if rule is not None:
                raise _protected(tag, rule)
        after = tags[-1]


async def _refuse_unprivileged(
    transaction: Transaction, repository: int, tag: str, rules: Sequence[TagRule], caller: Caller
) -> None:
    for rule in await _above(transaction, repository, [rule for rule in rules if rule.covers(tag)], caller):
        raise _protected(tag, rule)


async def _above(transaction: Transaction, repository: int, rules: Sequence[TagRule], caller: Caller) -> list[TagRule]:
    """Those that protect tags for a role that the caller does not have."""
    rules = [rule for rule in rules if rule.kind == "protected"]
    if not rules:
        return []
    role = Role.NONE
    if caller.actor is not None:
        row = await transaction.one(_NAME, repository=repository)
        assert row is not None
        role = role_in(caller.actor, await facts_in(transaction, caller.actor.account_id, row[0]))[0]
    return [rule for rule in rules if role < Role[rule.role.upper()]]


async def _grows(transaction: Transaction, repository: int, tag: str, old: str, new: str) -> bool:
    before = await transaction.one(_CONTENT, repository=repository, digest=old)
    after = await transaction.one(_CONTENT, repository=repository, digest=new)
    return before is not None and after is not None and only_grows(tag, bytes(before[0]), bytes(after[0]))


def _immutable(tag: str, rule: TagRule, advice: str, detail: dict[str, object]) -> Denied:
    return Denied(
        f"the tag {tag} is immutable by {rule.words}: {advice}, or let an administrator lift the rule",
        {**detail, "rule": rule.id},
    )


def _protected(tag: str, rule: TagRule) -> Denied:
    return Denied(
        f"the tag {tag} is protected by {rule.words}: only the role {rule.role} may move or delete it",
        {"tag": tag, "rule": rule.id},
    )


def _rule(row: Row) -> TagRule:
    identity, scope, kind, syntax, pattern, exceptions, role = row
    return TagRule(identity, scope, kind, syntax, pattern, tuple(json.loads(exceptions)), role)


async def _record(transaction: Transaction, caller: Caller, kind: str, place: Place, rule: TagRule) -> None:
    await record(transaction, caller, kind, place.repository, namespace=place.namespace, subject=rule.words)
