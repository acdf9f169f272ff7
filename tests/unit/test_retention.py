"""What a policy lets go: the pure decision, and what of a policy can be read."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.hub.errors import Invalid
from entrepot.hub.retention import read_policy
from entrepot.registry.retention import Candidate, judge
from entrepot.registry.tag_rules import TagRule

DAY = 86_400_000_000
NOW = 1000 * DAY


def tag(name: str, days: int, used: int | None = None) -> Candidate:
    """A tag that was moved some days ago, and last used so many days ago."""
    return Candidate(name, f"digest of {name}", NOW - days * DAY, None if used is None else NOW - used * DAY)


def gone(rules: Any, *candidates: Candidate, immune: tuple[TagRule, ...] = ()) -> list[str]:
    """The tags, or for what has none the digests, that go."""
    return [each.tag or each.digest for each in judge(read_policy(rules), candidates, immune, NOW)]


EVERYTHING = {"action": "delete", "tags": "*"}


def test_without_a_rule_that_covers_it_everything_stays() -> None:
    assert gone([{"action": "delete", "tags": "tmp-*"}], tag("v1", 900), tag("tmp-1", 1)) == ["tmp-1"]


def test_a_rule_that_keeps_wins_wherever_it_stands() -> None:
    tags = (tag("a", 1), tag("b", 2), tag("c", 3))
    for rules in ([EVERYTHING, {"action": "keep", "last": 1}], [{"action": "keep", "last": 1}, EVERYTHING]):
        assert gone(rules, *tags) == ["b", "c"]


def test_the_last_are_counted_among_those_that_the_pattern_covers() -> None:
    rules = [EVERYTHING, {"action": "keep", "tags": "v*", "last": 2}]
    assert gone(rules, tag("latest", 0), tag("v1", 9), tag("v2", 5), tag("v3", 1)) == ["latest", "v1"]


def test_ages_and_uses() -> None:
    tags = (tag("new", 1), tag("old", 40), tag("old-but-used", 40, used=2), tag("used-long-ago", 60, used=50))
    assert gone([{"action": "delete", "older_than": "30d"}], *tags) == ["old", "old-but-used", "used-long-ago"]
    kept = {"action": "keep", "pulled_within": "1w"}
    assert gone([{"action": "delete", "older_than": "30d"}, kept], *tags) == ["old", "used-long-ago"]
    assert gone([{"action": "delete", "not_pulled_within": "30d"}], *tags) == ["old", "used-long-ago"]
    assert gone([EVERYTHING, {"action": "keep", "younger_than": "2d"}], *tags) == [each.tag for each in tags[1:]]


def test_all_conditions_of_a_rule_must_be_true() -> None:
    rules = [{"action": "delete", "tags": "pr-*", "except": ["*-keep"], "older_than": "7d"}]
    assert gone(rules, tag("pr-1", 9), tag("pr-2", 2), tag("v1", 9), tag("pr-3-keep", 9)) == ["pr-1"]


def test_the_newest_versions_with_the_tags_that_stand_for_them() -> None:
    names = [
        "v1.2.9",
        "v1.10.0",
        "v1.9.1",
        "v1.9.0",
        "v2.0.0-rc1",
        "1.9",
        "1.2",
        "1",
        "0.9.0",
        "0",
        "latest",
        "v01.2.3",
    ]
    rules = [EVERYTHING, {"action": "keep", "newest": {"level": "minor", "count": 2}}]
    assert gone(rules, *(tag(name, 1) for name in names)) == [
        "v1.2.9", "v2.0.0-rc1", "1.2", "0.9.0", "0", "latest", "v01.2.3",
    ]  # fmt: skip
    rules = [EVERYTHING, {"action": "keep", "newest": {"level": "major", "count": 1}}]
    assert gone(rules, tag("v1.0.0", 1), tag("v1.5.2-rc1", 1), tag("v0.9.9", 1)) == ["v0.9.9"]
    rules = [EVERYTHING, {"action": "keep", "newest": {"level": "patch", "count": 1}}]
    assert gone(rules, tag("v1.0.0", 1), tag("v1.0.1", 1)) == ["v1.0.0"]


def test_what_has_no_tag_is_told_apart_by_age_and_use() -> None:
    rules = [{"action": "delete", "untagged": True, "older_than": "14d"}]
    loose, fresh = Candidate("", "loose", NOW - 20 * DAY, None), Candidate("", "fresh", NOW - DAY, None)
    assert gone(rules, tag("v1", 900), loose, fresh) == ["loose"]
    assert gone([*rules, {"action": "keep", "untagged": True, "pulled_within": "30d"}], loose._replace(used=NOW)) == []


def test_what_a_rule_of_tags_covers_stays() -> None:
    for kind in ("immutable", "protected"):
        rule = TagRule(1, "repository", kind, "glob", "v*")
        assert gone([EVERYTHING], tag("v1", 900), tag("x", 900), immune=(rule,)) == ["x"]


@given(st.lists(st.tuples(st.from_regex(r"[a-c][0-9]", fullmatch=True), st.integers(0, 99)), unique_by=lambda t: t[0]))
def test_keeping_never_makes_more_go(tags: list[tuple[str, int]]) -> None:
    candidates = [tag(name, days) for name, days in tags]
    deletes = [{"action": "delete", "tags": "a*"}, {"action": "delete", "older_than": "50d"}]
    all_that_go = set(gone(deletes, *candidates))
    for keep in ({"action": "keep", "last": 3}, {"action": "keep", "tags": "?1"}):
        less = set(gone([*deletes, keep], *candidates))
        assert less <= all_that_go
        assert not [name for name in less if "1" in name and "last" not in keep]


@pytest.mark.parametrize(
    ("rule", "field"),
    [
        ({}, "rules.1.action"),
        ({"action": "burn"}, "rules.1.action"),
        ({"action": "delete", "colour": "red"}, "rules.1"),
        ({"action": "delete", "last": 0}, "rules.1.last"),
        ({"action": "delete", "last": True}, "rules.1.last"),
        ({"action": "delete", "older_than": "30"}, "rules.1.older_than"),
        ({"action": "delete", "older_than": 30}, "rules.1.older_than"),
        ({"action": "delete", "newest": {"level": "minor"}}, "rules.1.newest"),
        ({"action": "delete", "newest": {"level": "tiny", "count": 1}}, "rules.1.newest.level"),
        ({"action": "delete", "tags": "(", "syntax": "re2"}, "rules.1.tags"),
        ({"action": "delete", "except": "x"}, "rules.1.except"),
        ({"action": "delete", "untagged": True, "tags": "x"}, "rules.1"),
        ({"action": "delete", "untagged": True}, "rules.1"),
    ],
)
def test_what_cannot_be_read_is_refused_by_its_field(rule: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as refused:
        read_policy([rule])
    assert refused.value.field == field
