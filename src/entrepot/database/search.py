"""Search: an index of words, the same on both engines.

`search_words` has a row for each word of a repository's name and description, under the place where it may be read:
`_PUBLIC`, `_INTERNAL`, or the id of the namespace of a private one; a private one stands under `_PRIVATE` too, for
administrators. So what somebody may not read is never looked at, and a term is one range of one index in each place
that they may read. A text index of the engine (FTS5, tsvector) would find the same but knows no places: a term that
thousands of others' private repositories have would cost as much as they are.

What a search costs is bounded, whatever is stored: how many words it looks at, and how many of those it looks up again
for the other terms. Where more match than that, the most starred are looked for besides.
"""

from collections.abc import Sequence
from typing import NamedTuple

from entrepot.access.actor import Actor, Role
from entrepot.database.engine import Engine, Row, Transaction
from entrepot.database.rights import READABLE_NAMESPACES, READABLE_REPOSITORIES
from entrepot.hub.search import Candidate, words_of

_PUBLIC, _INTERNAL, _PRIVATE, _NOWHERE = 0, -1, -2, -3
_SLOTS = 32  # namespaces looked at together
_COUNTED = 300  # words counted of a term, to find the one that fewest begin with
_FEW = 100  # words of a term that are looked at without a thought
_MOST = 300  # matches taken, in all places together
_SCANNED = 1000  # words of that term looked at, in all places where there are more than a few
_LOOKED_UP = 2000  # look-ups for its other terms: a few microseconds each
_STARRED, _STARRED_LOOKED_UP, _MOST_STARRED = 300, 900, 100  # of the most starred repositories
_SHARES = 4  # at most: the places of more are looked at as if they were so many
_WORDS_MAX = 40  # of a description
_BATCH = 200  # repositories in a transaction

_ROW = "SELECT name, namespace_id, visibility, description, deleted_at FROM repositories WHERE id = :id"
_FORGET = "DELETE FROM search_words WHERE repository_id = :id"
_INSERT = (
    "INSERT INTO search_words (place, word, repository_id) VALUES (:place, :word, :id)"
    " ON CONFLICT (place, word, repository_id) DO NOTHING"
)
_MISSING = (
    "SELECT r.id FROM repositories r WHERE r.deleted_at IS NULL AND r.namespace_id IS NOT NULL"
    " AND r.id > :after"
    " AND NOT EXISTS (SELECT 1 FROM search_words w WHERE w.repository_id = r.id) ORDER BY r.id LIMIT :limit"
)

_COLUMNS = "SELECT r.id, r.name, r.visibility, r.description, r.stars, r.namespace_id FROM"
_RANGE = "w.word >= :low0 AND w.word < :high0"
# OFFSET 0 changes nothing, but that PostgreSQL looks each row up: else it may read all the words to join them.
_ALSO = (
    " AND EXISTS (SELECT 1 FROM search_words o WHERE o.repository_id = w.repository_id"
    " AND o.word >= :low{number} AND o.word < :high{number} LIMIT 1 OFFSET 0)"
)
_WORDS = (
    f"SELECT w.word, w.repository_id FROM search_words w WHERE w.place IN ({{places}}) AND {_RANGE}"  # noqa: S608
    " LIMIT {scanned}"
)
# In one place words come in their order, the whole word before longer ones; of several no order is asked for.
_WORDS_IN_ORDER = _WORDS.replace(" LIMIT", " ORDER BY w.word, w.repository_id LIMIT")
_COUNT = (
    "(SELECT COUNT(*) FROM (SELECT 1 FROM search_words w WHERE w.place IN ({places}) AND w.word >= :low{number}"  # noqa: S608
    f" AND w.word < :high{{number}} LIMIT {_COUNTED}) c{{number}})"
)
_FOUND = (
    f"{_COLUMNS} (SELECT w.repository_id FROM ({{words}}) w WHERE 1 = 1{{also}}"  # noqa: S608
    " LIMIT {most}) m JOIN repositories r ON r.id = m.repository_id"
)
_FOUND_STARRED = (
    f"{_COLUMNS} (SELECT w.repository_id, w.stars"  # noqa: S608
    " FROM (SELECT id AS repository_id, stars FROM repositories WHERE stars > 0"
    " ORDER BY stars DESC LIMIT {starred}) w"
    " WHERE EXISTS (SELECT 1 FROM search_words o WHERE o.repository_id = w.repository_id AND o.place IN ({places})"
    " AND o.word >= :low0 AND o.word < :high0 LIMIT 1 OFFSET 0){also}"
    f" ORDER BY w.stars DESC LIMIT {_MOST_STARRED}) m JOIN repositories r ON r.id = m.repository_id"
)
_FOUND_GRANTED = (
    f"{_COLUMNS} search_words w JOIN repositories r ON r.id = w.repository_id"
    f" WHERE w.repository_id IN ({READABLE_REPOSITORIES}) AND {_RANGE}{{also}}"
)
_CALLED = f"{_COLUMNS} repositories r WHERE r.name IN (:text, :official) AND r.deleted_at IS NULL"
_LAST = "\U0010ffff"  # sorts after every letter, by code points as by UTF-8's bytes


class _Share(NamedTuple):
    """How many matches are taken from a place, words looked at there, and starred repositories."""

    most: int
    scanned: int
    starred: int


async def index(transaction: Transaction, repository_id: int) -> None:
    """Find a repository by what it is now: to be called wherever its name, visibility or description has changed."""
    await transaction.run(_FORGET, id=repository_id)
    row = await transaction.one(_ROW, id=repository_id)
    if row is None or row[4] is not None:
        return
    name, namespace, visibility, description, _ = row
    places = {"public": [_PUBLIC], "internal": [_INTERNAL]}.get(visibility, [namespace, _PRIVATE])
    words = dict.fromkeys([*words_of([name]), *words_of([description])[:_WORDS_MAX]])
    for place in places:
        for word in words:
            await transaction.run(_INSERT, place=place, word=word, id=repository_id)


class DatabaseSearch:
    """The port SearchRows, and the filling of the index."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def index_missing(self) -> int:
        """Index what was there before there was an index; how many repositories that were. Cheap when none are.

        Repositories of upstreams are in no namespace, and not searched.
        """
        after = total = 0
        while rows := await self._engine.scan(_MISSING, after=after, limit=_BATCH):
            batch = [row[0] for row in rows]

            async def fill(transaction: Transaction, batch: Sequence[int] = batch) -> None:
                for repository_id in batch:
                    await index(transaction, repository_id)

            await self._engine.write(fill, durable=False)
            after, total = batch[-1], total + len(batch)
        return total

    async def candidates(self, actor: Actor, text: str, terms: Sequence[str]) -> Sequence[Candidate]:
        """See the port."""
        found: dict[int, Candidate] = {}
        groups = await self._places(actor)
        inside = len(groups) > 1
        for places, ordered, share, many in await self._planned(groups, terms):
            for row in await self._in_places(places, ordered, share, many=many):
                if _stands_in(places, row) and _bound(actor, row):
                    found[row[0]] = Candidate(*row[:5])
        if inside and not actor.administrator:
            values = _ranges(terms)
            statement = _FOUND_GRANTED.format(also=_also(terms))
            for row in await self._engine.read(statement, account=actor.account_id, **values):
                if _bound(actor, row):
                    found[row[0]] = Candidate(*row[:5])
        for row in await self._engine.read(_CALLED, text=text, official=f"library/{text}"):
            if row[2] == "public" or (row[2] == "internal" and inside and _bound(actor, row)):
                found[row[0]] = Candidate(*row[:5])
        return list(found.values())

    async def _places(self, actor: Actor) -> list[list[int]]:
        """Where the actor may read everything, as far as the credential is for it: what is looked at together."""
        if actor.account_id is None or actor.scopes.role < Role.READ:
            return [[_PUBLIC]]
        if actor.administrator:
            return [[_PUBLIC], [_INTERNAL], [_PRIVATE]]
        rows = await self._engine.read(READABLE_NAMESPACES, account=actor.account_id)
        mine = sorted({actor.account_id, *(row[0] for row in rows)})
        return [[_PUBLIC], [_INTERNAL], *(mine[start : start + _SLOTS] for start in range(0, len(mine), _SLOTS))]

    async def _planned(
        self, groups: Sequence[Sequence[int]], terms: Sequence[str]
    ) -> list[tuple[Sequence[int], list[str], _Share, bool]]:
        """Where to look: places, the terms in their order there, how much to look at, and whether there is more."""
        if len(terms) == 1:
            return [(places, list(terms), _share(1, len(groups)), False) for places in groups]
        counts = [await self._counts(places, terms) for places in groups]
        large = sum(min(each) > _FEW for each in counts)
        planned = []
        for places, each in zip(groups, counts, strict=True):
            if not min(each):
                continue
            ordered = sorted(terms, key=lambda term, each=each: (each[terms.index(term)], -len(term)))  # type: ignore[misc]
            planned.append((places, ordered, _share(len(terms), large), min(each) == _COUNTED))
        return planned

    async def _counts(self, places: Sequence[int], terms: Sequence[str]) -> list[int]:
        """How many words each term begins there, as far as they are counted."""
        slots, values = _slots(places)
        counts = ", ".join(_COUNT.format(places=slots, number=number) for number in range(len(terms)))
        return list((await self._engine.read(f"SELECT {counts}", **values, **_ranges(terms)))[0])

    async def _in_places(self, places: Sequence[int], terms: Sequence[str], share: _Share, *, many: bool) -> list[Row]:
        """What all terms match there; the first is the one that the fewest words begin with, and these may be many."""
        slots, values = _slots(places)
        values |= _ranges(terms)
        words = (_WORDS_IN_ORDER if len(places) == 1 else _WORDS).format(places=slots, scanned=share.scanned)
        found = _FOUND.format(words=words, also=_also(terms), most=share.most)
        rows = await self._engine.read(found, **values)
        if len(rows) == share.most or many:
            starred = _FOUND_STARRED.format(places=slots, also=_also(terms), starred=share.starred)
            rows += await self._engine.read(starred, **values)
        return rows


def _share(terms: int, places: int) -> _Share:
    """What may be looked at in one of so many places."""
    shares = max(1, min(places, _SHARES))
    scanned = min(_SCANNED, _LOOKED_UP // max(1, terms - 1)) // shares
    return _Share(_MOST // shares, max(_FEW, scanned), min(_STARRED, _STARRED_LOOKED_UP // terms) // shares)


def _slots(places: Sequence[int]) -> tuple[str, dict[str, object]]:
    """Parameters for some places, always one or _SLOTS, so that there are few statements; the rest is nowhere."""
    if len(places) == 1:
        return ":place0", {"place0": places[0]}
    filled = [*places, *[_NOWHERE] * (_SLOTS - len(places))]
    return ", ".join(f":place{number}" for number in range(_SLOTS)), {
        f"place{number}": place for number, place in enumerate(filled)
    }


def _ranges(terms: Sequence[str]) -> dict[str, object]:
    """Between what a word lies that each term begins."""
    values: dict[str, object] = {}
    for number, term in enumerate(terms):
        values |= {f"low{number}": term, f"high{number}": term + _LAST}
    return values


def _also(terms: Sequence[str]) -> str:
    return "".join(_ALSO.format(number=number) for number in range(1, len(terms)))


def _stands_in(places: Sequence[int], row: Row) -> bool:
    """Whether the repository is still what its place in the index says: a second look at what must not leak."""
    visibility, namespace = row[2], row[5]
    place = {"public": _PUBLIC, "internal": _INTERNAL}.get(visibility, namespace)
    return place in places or (visibility == "private" and _PRIVATE in places)


def _bound(actor: Actor, row: Row) -> bool:
    """Whether the credential is for this repository; for public ones every one is."""
    return bool(row[2] == "public" or actor.scopes.covers(row[0], row[5]))
