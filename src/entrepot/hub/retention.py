"""Retention policies: whose they are, what they would do, doing it; and tags that expire."""

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

from entrepot.access.actor import Actor
from entrepot.access.caller import Caller, caller_of
from entrepot.access.decision import Action
from entrepot.access.rights import Rights
from entrepot.hub.errors import Forbidden, Invalid, NotThere, Taken
from entrepot.hub.owners import permitted
from entrepot.hub.tag_rules import Place, Where, placed
from entrepot.hub.words import one_of
from entrepot.oci.digest import Digest, InvalidDigest
from entrepot.registry.deletion import DeletionRows
from entrepot.registry.errors import Denied, Moved, Unsupported
from entrepot.registry.history import RETENTION
from entrepot.registry.retention import ACTIONS, LEVELS, Candidate, Doomed, Newest, Rule, judge
from entrepot.registry.tag_rules import SYNTAXES, PatternInvalid, TagRule, check_pattern

EVERY = 3_600_000_000  # microseconds between two runs of a policy
_MOST_RULES = 50
_MOST = 1_000_000  # of a count
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_DURATION = re.compile(r"([1-9][0-9]{0,6})([smhdw])")
_AGES = ("younger_than", "older_than", "pulled_within", "not_pulled_within")
_KEYS = ("action", "tags", "syntax", "except", "untagged", "last", "newest", *_AGES)


class Policy(NamedTuple):
    """A policy as it was written: a list of rules; `ran_at` in microseconds, None before its first run."""

    rules: list[dict[str, Any]]
    ran_at: int | None


class Due(NamedTuple):
    """A policy whose time has come."""

    id: int
    place: Place
    rules: list[dict[str, Any]]


class Held(NamedTuple):
    """What a repository has: candidates, the rules of tags that hold there, and the database's time."""

    candidates: Sequence[Candidate]
    immune: Sequence[TagRule]
    now: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a policy would delete, or has deleted. Pulls are known up to `complete_until`, in microseconds.

    `waits_for`: nodes whose pulls are not counted; while there is one, nothing is deleted.
    """

    doomed: Sequence[Doomed]
    complete_until: int
    waits_for: Sequence[str] = ()


class RetentionRows(Protocol):
    """What this needs of the database."""

    async def policy(self, place: Place) -> Policy | None:
        """The policy of exactly this place."""
        ...

    async def policy_for(self, repository_id: int) -> Policy | None:
        """The policy that holds in a repository: its own, else its namespace's."""
        ...

    async def set_policy(self, place: Place, rules: Sequence[dict[str, Any]] | None, caller: Caller) -> None:
        """Set a policy, or end it."""
        ...

    async def is_due(self, every: int) -> bool:
        """Whether there is a policy that has not run for this long, in microseconds."""
        ...

    async def due(self, every: int) -> Due | None:
        """Take the next policy that has not run for this long, in microseconds, so that no other node does."""
        ...

    async def repositories(self, place: Place, after: int, limit: int) -> Sequence[tuple[int, str]]:
        """Ids and names of repositories that a policy of this place is for, by id."""
        ...

    async def held(self, repository_id: int) -> Held:
        """What this repository has."""
        ...

    async def along(self, repository_id: int, doomed: Sequence[Doomed]) -> Sequence[Doomed]:
        """Each of these with what would go along, in their order; without manifests that would not go: an index holds
        them, or with them would go a tag (see `spare_tags` of DeletionRows) that is not of these itself."""
        ...

    async def complete_until(self) -> int:
        """Up to when the pulls of all nodes are counted."""
        ...

    async def forget_node(self, node: str) -> bool:
        """A node that will never come back holds nothing up any more."""
        ...

    async def set_expiry(self, repository_id: int, tag: str, digest: str, at: int | None, caller: Caller) -> bool:
        """Let a tag end at a time; False when it does not name this digest. Denied by a rule."""
        ...

    async def expire(self, limit: int) -> int:
        """End up to `limit` tags whose time has come; how many were looked at."""
        ...


Ingest = Callable[[], Awaitable[Sequence[str]]]
"""Lets every node count the pulls that it has answered up to now; says which have not done so."""


class Retention:
    """Policies and their runs."""

    def __init__(self, rows: RetentionRows, deletions: DeletionRows, rights: Rights, ingest: Ingest | None) -> None:
        """Without accounts pulls are not noted: there is nothing to ingest, and no rule can ask for pulls."""
        self._ingest = ingest
        self._rows = rows
        self._deletions = deletions
        self._rights = rights

    async def policy(self, actor: Actor, where: Where) -> Policy:
        """The policy of exactly this place."""
        place, _ = await placed(self._rights, actor, where, "")
        return await self._rows.policy(place) or Policy([], None)

    async def set_policy(self, actor: Actor, where: Where, rules: Sequence[dict[str, Any]], address: str) -> None:
        """Set the policy of a repository or a namespace; without rules it ends."""
        place, caller = await placed(self._rights, actor, where, address)
        read = self._read(rules)
        if read and not any(rule.action == "delete" for rule in read):
            raise Invalid("a policy needs a rule that deletes: what no rule covers is kept anyway", "rules")
        await self._rows.set_policy(place, rules or None, caller)

    async def preview(self, actor: Actor, name: str) -> Outcome:
        """What a run would delete now, all pulls up to now counted; changes nothing."""
        facts, _ = await permitted(self._rights, actor, Action.DELETE, name, archived_too=True)
        assert facts.repository_id is not None
        waits_for = await self._missing()
        outcome = await self._judged(facts.repository_id)
        return replace(outcome, doomed=await self._rows.along(facts.repository_id, outcome.doomed), waits_for=waits_for)

    async def run_now(self, actor: Actor, name: str, address: str) -> Outcome:
        """Run the repository's policy now."""
        facts, decision = await permitted(self._rights, actor, Action.DELETE, name)
        assert facts.repository_id is not None
        await self._refuse_incomplete()
        outcome = await self._judged(facts.repository_id)
        caller = caller_of(actor, address, Action.DELETE, decision)
        gone = [done for each in outcome.doomed if (done := await self._delete(name, each, caller))]
        return Outcome(gone, outcome.complete_until)

    async def set_expiry(self, actor: Actor, name: str, tag: str, digest: str, at: int | None, address: str) -> None:
        """Let a tag end by itself at a time, in microseconds since 1970, or no more; not when it has moved."""
        facts, decision = await permitted(self._rights, actor, Action.DELETE, name)
        assert facts.repository_id is not None
        caller = caller_of(actor, address, Action.DELETE, decision)
        try:
            wanted = str(Digest.parse(digest))
        except InvalidDigest as error:
            raise Invalid(str(error), "digest") from None
        if not await self._rows.set_expiry(facts.repository_id, tag, wanted, at, caller):
            raise Taken(f"{tag} does not name {digest} now", "digest")

    async def forget_node(self, actor: Actor, node: str) -> None:
        """Go on without the pull events of a node that is gone."""
        if not actor.administrator or not actor.by_password:
            raise Forbidden("nodes are forgotten by administrators who have logged in with a password")
        if not await self._rows.forget_node(node):
            raise NotThere(f"there is no node {node!r}")

    async def run_due(self) -> int:
        """Run every policy whose time has come; how much was deleted. For the background.

        Taken when pulls of some node are not counted: what was not run by then stays due.
        """
        count = 0
        while await self._rows.is_due(EVERY):
            await self._refuse_incomplete()
            if (due := await self._rows.due(EVERY)) is None:
                break
            try:
                rules = self._read(due.rules)
            except Invalid:  # it was made when pulls were counted
                continue
            async for identity, name in self._repositories(due.place):
                held = await self._rows.held(identity)
                for each in judge(rules, held.candidates, held.immune, held.now):
                    caller = Caller(reason=f"{RETENTION}, rule {each.rule}")
                    count += await self._delete(name, each, caller) is not None
        return count

    async def _missing(self) -> Sequence[str]:
        return [] if self._ingest is None else await self._ingest()

    async def _refuse_incomplete(self) -> None:
        """Taken when pulls of some node are not counted: an image that is in use would be taken for unused."""
        missing = await self._missing()
        if missing:
            raise Taken(
                f"nothing is deleted, as it is not known what was pulled from node {', '.join(missing)}: bring it back,"
                f" or, when it is gone for good, an administrator says DELETE /api/v1/usage/nodes/{missing[0]}"
            )

    async def _judged(self, repository_id: int) -> Outcome:
        policy = await self._rows.policy_for(repository_id)
        complete = await self._rows.complete_until()
        if policy is None:
            return Outcome([], complete)
        held = await self._rows.held(repository_id)
        return Outcome(judge(self._read(policy.rules), held.candidates, held.immune, held.now), complete)

    def _read(self, rules: Sequence[dict[str, Any]]) -> list[Rule]:
        read = read_policy(rules)
        if self._ingest is None and any(
            rule.pulled_within is not None or rule.not_pulled_within is not None for rule in read
        ):
            raise Invalid("without accounts pulls are not noted: no rule can ask when something was pulled", "rules")
        return read

    async def _repositories(self, place: Place) -> AsyncIterator[tuple[int, str]]:
        after = 0
        while found := await self._rows.repositories(place, after, 100):
            for each in found:
                yield each
            after = found[-1][0]

    async def _delete(self, name: str, each: Doomed, caller: Caller) -> Doomed | None:
        """Delete it, unless it is not what was judged any more, or something holds it: with what went along."""
        try:
            if each.tag:
                tag = await self._deletions.delete_tag(name, each.tag, caller, each.digest, "tag.retention")
                return None if tag is None else each
            gone = await self._deletions.delete_manifest(name, each.digest, caller, [], spare_tags=True)
        except (Denied, Moved, Unsupported):
            return None
        if gone is None:
            return None
        return each._replace(manifests=[one for one in gone.manifests if one != each.digest], tags=gone.tags)


def read_policy(rules: Sequence[dict[str, Any]]) -> list[Rule]:
    """The rules of a policy as they were written; Invalid when they cannot be used."""
    if len(rules) > _MOST_RULES:
        raise Invalid(f"a policy has at most {_MOST_RULES} rules", "rules")
    return [_rule(number, written) for number, written in enumerate(rules, 1)]


def _rule(number: int, written: dict[str, Any]) -> Rule:
    field = f"rules.{number}"
    for key in written:
        if key not in _KEYS:
            raise Invalid(f"rule {number} has an unknown key {key[:40]!r}: there are {', '.join(_KEYS)}", field)
    one_of(str(written.get("action")), ACTIONS, f"{field}.action")
    untagged = bool(written.get("untagged", False))
    if untagged and any(key in written for key in ("tags", "except", "last", "newest")):
        raise Invalid(f"rule {number}: what has no tag is told apart by age and use only", field)
    rule = Rule(
        action=written["action"],
        pattern=None if untagged else _pattern(number, written),
        untagged=untagged,
        last=None if written.get("last") is None else _count(written["last"], f"{field}.last"),
        newest=None if written.get("newest") is None else _read_newest(written["newest"], f"{field}.newest"),
        **{key: _duration(written[key], f"{field}.{key}") for key in _AGES if written.get(key) is not None},
    )
    if untagged and rule.action == "delete" and rule.older_than is None and rule.not_pulled_within is None:
        raise Invalid(f"rule {number}: say how old what has no tag may become, by older_than", field)
    return rule


def _pattern(number: int, written: dict[str, Any]) -> TagRule:
    syntax, pattern = str(written.get("syntax", "glob")), str(written.get("tags", "*"))
    exceptions = written.get("except", [])
    one_of(syntax, SYNTAXES, f"rules.{number}.syntax")
    if not isinstance(exceptions, list):
        raise Invalid(f"rule {number}: except is a list of patterns", f"rules.{number}.except")
    for each in (pattern, *map(str, exceptions)):
        try:
            check_pattern(syntax, each)
        except PatternInvalid as error:
            raise Invalid(f"rule {number}: {error}", f"rules.{number}.tags") from None
    return TagRule(number, "policy", "", syntax, pattern, tuple(map(str, exceptions)))


def _read_newest(value: object, field: str) -> Newest:
    if not isinstance(value, dict) or set(value) != {"level", "count"}:
        raise Invalid(f"{field} has a level, one of {', '.join(LEVELS)}, and a count", field)
    one_of(str(value["level"]), LEVELS, f"{field}.level")
    return Newest(value["level"], _count(value["count"], f"{field}.count"))


def _count(value: object, field: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _MOST:
        raise Invalid(f"{field} is a number from 1 to {_MOST}", field)
    return value


def _duration(value: object, field: str) -> int:
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise Invalid(f"{field} is a number of s, m, h, d or w, as 30d; {json.dumps(value)[:40]} is not", field)
    return int(found[1]) * _UNITS[found[2]] * 1_000_000
