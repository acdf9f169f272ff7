"""What a purge cuts in a worker: what is being sent, and what was allowed before it and begins after it."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import pytest

from entrepot.registry.errors import StorageError
from entrepot.registry.purging import Bounds, Cutting, Download, Downloads, Purged

DIGEST = "sha256:" + "a" * 64


class _Cut(NamedTuple):
    purge: int
    target: str


class _Rows:
    """Purges of one namespace, whose repository is 1."""

    def __init__(self) -> None:
        self.purged: list[Purged] = []
        self.noted: list[_Cut] = []
        self.failing: set[str] = set()

    def purge(self, digest: str) -> None:
        number = len(self.purged) + 1
        self.purged.append(Purged(number, number, Bounds(namespace=7), digest))

    async def latest_purged(self) -> int:
        return len(self.purged)

    async def purged_since(self, after: int) -> Sequence[Purged]:
        return self.purged[after:]

    async def within(self, repository_id: int, bounds: Bounds) -> bool:
        if "within" in self.failing:
            raise StorageError("away")
        return (repository_id, bounds.namespace) == (1, 7)

    async def note_cut(self, purge: int, address: str, target: str) -> None:
        if "note" in self.failing:
            raise StorageError("away")
        self.noted.append(_Cut(purge, target))


class _NoFetches:
    def cut(self, digest: str, alias: str | None) -> None:
        raise AssertionError("nothing is fetched")


def _download(target: str, repository: int = 1, digest: str = DIGEST) -> Download:
    return Download(repository, digest, "192.0.2.1", target, lambda: None)


async def test_a_purge_cuts_what_runs_there_and_nothing_else() -> None:
    rows, downloads = _Rows(), Downloads()
    cutting = Cutting(rows, downloads, _NoFetches())
    running = [_download("a"), _download("elsewhere", repository=2), _download("b", digest="sha256:" + "b" * 64)]
    ended = _download("ended")
    for each in (*running, ended):
        downloads.begin(each, downloads.seen)
    downloads.end(ended)
    rows.purge(DIGEST)
    assert await cutting.run() == 1
    assert [each.cut for each in (*running, ended)] == [True, False, False, False]
    assert rows.noted == [(1, "a")]
    assert await cutting.run() == 0


async def test_what_was_allowed_before_a_purge_and_begins_after_it_is_cut_too() -> None:
    rows, downloads = _Rows(), Downloads()
    cutting = Cutting(rows, downloads, _NoFetches())
    before = downloads.seen
    rows.purge("sha256:" + "b" * 64)
    rows.purge(DIGEST)
    assert await cutting.run() == 0
    late, elsewhere, allowed_since = _download("late"), _download("elsewhere", repository=2), _download("since")
    downloads.begin(late, before)
    downloads.begin(elsewhere, before)
    downloads.begin(allowed_since, downloads.seen)
    assert await cutting.run() == 1
    assert [late.cut, elsewhere.cut, allowed_since.cut] == [True, False, False]
    assert rows.noted == [(2, "late")]


async def test_what_broke_off_as_its_fetch_was_cut_in_another_worker_is_in_the_report() -> None:
    now = 0.0
    rows, downloads = _Rows(), Downloads(lambda: now)
    cutting = Cutting(rows, downloads, _NoFetches())
    stopped: list[str] = []
    long_ago, lately, running = (
        Download(1, DIGEST, "192.0.2.1", target, partial(stopped.append, target))
        for target in ("long ago", "lately", "running")
    )
    for each in (long_ago, lately, running):
        downloads.begin(each, downloads.seen)
    downloads.broke_off(long_ago)
    now = 6.0
    downloads.broke_off(lately)
    rows.purge(DIGEST)
    rows.purge(DIGEST)
    assert await cutting.run() == 2
    assert sorted(target for _, target in rows.noted) == ["lately", "running"], "each once"
    assert stopped == ["running"], "what has ended is let alone: something else may be sent there"


async def test_a_database_that_fails_for_a_moment_spares_nothing_and_forgets_nothing() -> None:
    rows, downloads = _Rows(), Downloads()
    cutting = Cutting(rows, downloads, _NoFetches())
    running = [_download(str(number)) for number in range(3)]
    for each in running:
        downloads.begin(each, downloads.seen)
    rows.purge(DIGEST)
    rows.failing = {"within"}
    with pytest.raises(StorageError):
        await cutting.run()
    rows.failing = {"note"}
    with pytest.raises(StorageError):
        await cutting.run()
    assert [each.cut for each in running] == [True] * 3, "before the first is noted"
    assert rows.noted == []
    rows.failing = set()
    await cutting.run()
    assert sorted(target for _, target in rows.noted) == ["0", "1", "2"]


async def test_a_worker_knows_what_was_purged_before_it_began() -> None:
    rows, downloads = _Rows(), Downloads()
    rows.purge(DIGEST)
    cutting = Cutting(rows, downloads, _NoFetches())
    await cutting.begin()
    fetched_again = _download("lifted since")
    downloads.begin(fetched_again, downloads.seen)
    assert await cutting.run() == 0
    rows.purge(DIGEST)
    assert await cutting.run() == 1, "the first look of a worker misses nothing"
    assert fetched_again.cut
