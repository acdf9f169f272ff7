"""The scopes that clients ask tokens for (distribution: docs/spec/auth/scope; protocol ids 13, 14)."""

from collections.abc import Iterable
from dataclasses import dataclass

MOST_SCOPES = 100  # of one request; clients ask for two or three


@dataclass(frozen=True, slots=True)
class Scope:
    """`type:name:action,action`, as `repository:library/hello:pull,push` or `registry:catalog:*`."""

    type: str
    name: str
    actions: frozenset[str]


def parse_scopes(texts: Iterable[str]) -> list[Scope]:
    """Every scope in these parameters, each of which may hold several, in their order and merged by name.

    What cannot be read is dropped without a word, as the token simply says what it is for.
    """
    merged: dict[tuple[str, str], set[str]] = {}
    for text in texts:
        for each in text.split():
            kind, colon, rest = each.partition(":")
            name, second, actions = rest.rpartition(":")
            if not colon or not second or not name:
                continue
            kind = kind.partition("(")[0]  # `repository(plugin)`: the class is deprecated
            if (kind, name) not in merged and len(merged) >= MOST_SCOPES:
                continue
            merged.setdefault((kind, name), set()).update(action for action in actions.split(",") if action)
    return [Scope(kind, name, frozenset(actions)) for (kind, name), actions in merged.items()]
