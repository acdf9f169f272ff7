"""Retention: which tags and untagged manifests a policy lets go. A pure decision over what a repository has.

A policy is a list of rules. A rule covers something when all that it asks is true of it; what a rule that keeps covers
stays, whatever others say; of the rest goes what a rule that deletes covers.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from entrepot.registry.tag_rules import TagRule, first_covering

ACTIONS = ("keep", "delete")
LEVELS = ("major", "minor", "patch")
_VERSION = re.compile(r"v?(0|[1-9][0-9]{0,8})(?:\.(0|[1-9][0-9]{0,8}))?(?:\.(0|[1-9][0-9]{0,8})(-[0-9A-Za-z.-]+)?)?")


@dataclass(frozen=True, slots=True)
class Newest:
    """The tags of the newest `count` majors, minors or patches (semver.org): 1.2.3, and 1.2 and 1 that name it."""

    level: str
    count: int


@dataclass(frozen=True, slots=True)
class Rule:
    """Ages and uses in microseconds. `untagged`: of manifests that no tag names, else of tags by their `pattern`.

    `last`: the tags that were moved last, so many of those that the pattern covers.
    """

    action: str
    pattern: TagRule | None = None
    untagged: bool = False
    last: int | None = None
    newest: Newest | None = None
    younger_than: int | None = None
    older_than: int | None = None
    pulled_within: int | None = None
    not_pulled_within: int | None = None


class Candidate(NamedTuple):
    """A tag, or an untagged manifest (`tag` empty). Times in microseconds since 1970.

    `since`: when the tag came to name the manifest; when the manifest was pushed, or lost its last tag. `used`: when
    it, or a manifest that is part of it, was last asked for.
    """

    tag: str
    digest: str
    since: int
    used: int | None


class Doomed(NamedTuple):
    """What goes, by which rule of the policy, counted from 1; with a manifest the digests and tags that go along."""

    tag: str
    digest: str
    rule: int
    manifests: Sequence[str] = ()
    tags: Sequence[str] = ()


def judge(policy: Sequence[Rule], candidates: Sequence[Candidate], immune: Sequence[TagRule], now: int) -> list[Doomed]:
    """What of these goes now, in their order; tags that a rule of tags covers stay."""
    covered = [_coverage(rule, candidates, now) for rule in policy]
    kept = [rule.action == "keep" for rule in policy]
    doomed = []
    for index, each in enumerate(candidates):
        if any(keeps and index in covers for keeps, covers in zip(kept, covered, strict=True)):
            continue
        if each.tag and any(first_covering(immune, kind, each.tag) for kind in ("immutable", "protected")):
            continue
        for number, covers in enumerate(covered):
            if index in covers and not kept[number]:
                doomed.append(Doomed(each.tag, each.digest, number + 1))
                break
    return doomed


def _coverage(rule: Rule, candidates: Sequence[Candidate], now: int) -> set[int]:
    """The candidates, by their place, that a rule covers."""
    chosen = [index for index, each in enumerate(candidates) if _is_meant(rule, each)]
    if rule.newest is not None:
        newest = _newest(rule.newest, [candidates[index].tag for index in chosen])
        chosen = [index for index in chosen if newest(candidates[index].tag)]
    if rule.last is not None:
        chosen = sorted(chosen, key=lambda index: (candidates[index].since, candidates[index].tag))[-rule.last :]
    return {index for index in chosen if _is_of_age(rule, candidates[index], now)}


def _is_meant(rule: Rule, each: Candidate) -> bool:
    if rule.untagged:
        return not each.tag
    return bool(each.tag) and (rule.pattern is None or rule.pattern.covers(each.tag))


def _is_of_age(rule: Rule, each: Candidate, now: int) -> bool:
    age = now - each.since
    unused = now - max(each.used or 0, each.since)  # what was just pushed cannot have been pulled yet
    return (
        (rule.younger_than is None or age < rule.younger_than)
        and (rule.older_than is None or age >= rule.older_than)
        and (rule.pulled_within is None or (each.used is not None and now - each.used < rule.pulled_within))
        and (rule.not_pulled_within is None or unused >= rule.not_pulled_within)
    )


def _newest(wanted: Newest, tags: Iterable[str]) -> Callable[[str], bool]:
    """Whether a tag belongs to one of the newest versions: of what has been released, not of what is to come."""
    depth = LEVELS.index(wanted.level) + 1
    versions = {tag: version for tag in tags if (version := _version(tag)) is not None}
    released = {version[:depth] for tag, version in versions.items() if len(version) == 3 and "-" not in tag}
    newest = sorted(released)[-wanted.count :]
    prefixes = {version[:length] for version in newest for length in range(1, depth + 1)}
    return lambda tag: tag in versions and versions[tag][:depth] in prefixes


def _version(tag: str) -> tuple[int, ...] | None:
    """The numbers of a version: (1, 2, 3) of v1.2.3-rc1, (1, 2) of 1.2."""
    found = _VERSION.fullmatch(tag)
    return None if found is None else tuple(int(part) for part in found.group(1, 2, 3) if part is not None)
