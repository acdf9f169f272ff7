"""Search: names and descriptions of what the caller may read, the best matches first."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from entrepot.access.actor import Actor
from entrepot.access.names import LIBRARY, namespace_of
from entrepot.hub.words import text_within

QUERY_MAX = 200  # characters
TERMS_MAX = 8
_WORD = re.compile(r"[^\W_]+")
_WORD_MAX = 64  # characters
# What `docker search --filter` knows; older clients leave it to the registry (protocol.md, item 19).
_FILTER = re.compile(r"(is-official|is-automated|stars)[:=](\w+)")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A repository in which each term begins a word."""

    id: int
    name: str
    visibility: str
    description: str
    stars: int

    @property
    def official(self) -> bool:
        """Whether it is the installation's own."""
        return namespace_of(self.name) == LIBRARY


class SearchRows(Protocol):
    """What search needs of the database."""

    async def candidates(self, actor: Actor, text: str, terms: Sequence[str]) -> Sequence[Candidate]:
        """What the actor may read and each term begins a word of, and what is called `text`.

        Of what matches thousands, some hundreds: the most starred among them.
        """
        ...


class Search:
    """What people look for."""

    def __init__(self, rows: SearchRows) -> None:
        self._rows = rows

    async def find(self, actor: Actor, query: str, start: int, limit: int) -> Sequence[Candidate]:
        """Matches number `start` and on, in order: exact names, their beginnings, words, descriptions; by stars."""
        text_within(query, QUERY_MAX, "q")
        filters = dict(_FILTER.findall(query))
        text = " ".join(_FILTER.sub(" ", query).split()).lower()
        terms = words_of([text])[:TERMS_MAX]
        if not terms:
            return []
        found = [each for each in await self._rows.candidates(actor, text, terms) if _passes(each, filters)]
        found.sort(key=lambda each: (_rank(each.name, text, terms), -each.stars, each.name))
        return found[start : start + limit]


def words_of(texts: Iterable[str]) -> list[str]:
    """The words of some texts, in lower case, each once, in their order: runs of letters and digits."""
    found = (word[:_WORD_MAX] for text in texts for word in _WORD.findall(text.lower()))
    return list(dict.fromkeys(found))


def _rank(name: str, text: str, terms: Sequence[str]) -> int:
    leaf = name.rpartition("/")[2]
    if name in (text, f"{LIBRARY}/{text}"):
        return 0
    if leaf == text:
        return 1
    if name.startswith(text) or leaf.startswith(text):
        return 2
    words = _WORD.findall(name)
    if all(any(word.startswith(term) for word in words) for term in terms):
        return 3
    return 4


def _passes(each: Candidate, filters: dict[str, str]) -> bool:
    if "is-official" in filters and each.official != (filters["is-official"] in ("true", "1")):
        return False
    if filters.get("is-automated") in ("true", "1"):  # nothing here is built by the registry
        return False
    least = filters.get("stars", "")
    return not (least.isascii() and least.isdigit()) or each.stars >= int(least[:9])
