"""Places of backups, a directory and a bucket: older backups go whole, whatever dies when; so does what was cut off."""

import asyncio
import gzip
import hashlib
import json
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from entrepot.registry.backup_places import Place, named_bytes
from entrepot.registry.backups import Restore
from entrepot.registry.errors import StorageError
from entrepot.registry.older_backups import Older
from entrepot.registry.snapshots import SnapshotFile, SnapshotWriter
from entrepot.storage.filesystem import FileStore
from entrepot.storage.objects import ObjectStore
from entrepot.storage.places import BucketPlace, DirectoryPlace
from tests.support.s3 import ACCESS_KEY_ID, REGION, SECRET_ACCESS_KEY, Bucket

COLUMNS = ("digest", "size", "key", "state")
DIGEST = f"sha256:{hashlib.sha256(b'content').hexdigest()}"


class Killed(BaseException):
    """The process ends here."""


class MortalPlace:
    """The port Place, up to a step."""

    def __init__(self, place: Place, steps: int) -> None:
        self._place = place
        self._steps = steps

    def __getattr__(self, name: str) -> Any:
        return getattr(self._place, name)

    async def drop(self, name: str) -> None:
        """As the port."""
        self._step()
        await self._place.drop(name)

    async def remove(self, key: str) -> None:
        """As the port."""
        self._step()
        await self._place.remove(key)

    def _step(self) -> None:
        if self._steps == 0:
            raise Killed
        self._steps -= 1


class FaultyPlace:
    """The port Place: reading a key fails so many times, and the place may be gone then."""

    def __init__(self, place: Place, failures: dict[str, int]) -> None:
        self._place = place
        self._failures = failures
        self.goes = False
        self.error: Exception = StorageError("Input/output error")
        self._gone = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._place, name)

    async def read(self, key: str) -> AsyncGenerator[bytes, None]:
        """As the port."""
        yield b""
        if self._failures.get(key, 0):
            self._failures[key] -= 1
            self._gone = self.goes
            raise self.error
        async for chunk in self._place.read(key):
            yield chunk

    async def snapshots(self) -> list[str]:
        """As the port."""
        return [] if self._gone else await self._place.snapshots()


class NewRows:
    """The port RestoredRows: it says whether it was filled."""

    def __init__(self) -> None:
        self.filled = False

    async def is_empty(self) -> bool:
        """See the port."""
        return not self.filled

    async def fill(self, snapshot: Path, store: str) -> None:
        """See the port."""
        self.filled = True

    async def identity(self, store: str) -> str:
        """See the port."""
        return "this one 0"


@pytest.fixture(params=["a directory", pytest.param("a bucket", marks=pytest.mark.xdist_group("large"))])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    """An empty place of each kind."""
    if request.param == "a directory":
        yield DirectoryPlace(tmp_path / "place")
        return
    bucket: Bucket = request.getfixturevalue("bucket")
    stores = [
        ObjectStore(
            bucket=bucket.name,
            region=REGION,
            endpoint=bucket.endpoint,
            access_key_id=ACCESS_KEY_ID,
            secret_access_key=SECRET_ACCESS_KEY,
            prefix=prefix,
        )
        for prefix in ("office/", "office/snapshots/")
    ]
    yield BucketPlace(*stores)
    for store in stores:
        await store.close()


async def chunks(*content: bytes) -> AsyncGenerator[bytes, None]:
    """These bytes."""
    for each in content:
        yield each


def key_of(number: int) -> str:
    """A key."""
    return f"01a2071ee2767c47bff638c8386a{number:04x}-5f3a90c2d1"


def name_of(number: int) -> str:
    """A name of a snapshot."""
    return f"20261129T1600{number:02}Z-aaaaaa"


async def keep(place: Place, work: Path, number: int, *blobs: int) -> None:
    """Add a backup with these blobs."""
    for blob in blobs:
        await place.write(key_of(blob), chunks(b"content"))
    with SnapshotWriter(work / "rows", "0001") as writer:
        writer.table("blobs", COLUMNS)
        for blob in blobs:
            writer.row((DIGEST, 7, key_of(blob), "held"))
    await place.keep(name_of(number), work / "rows")
    (work / "rows").unlink()


async def all_are_whole(place: Place, work: Path) -> list[str]:
    """Every snapshot that is listed has all its bytes; their names."""
    names = await place.snapshots()
    for name in names:
        await place.fetch(name, work / name)
        for each in named_bytes(SnapshotFile(work / name)):
            assert await place.has(each.key, each.size)
        (work / name).unlink()
    return names


async def keys(place: Place) -> set[str]:
    """The keys of all bytes."""
    found = place.keys()
    return {key async for key in found}


async def alone() -> None:
    """Nobody else writes."""


async def test_older_backups_go_with_what_only_they_named(place: Place, tmp_path: Path) -> None:
    await keep(place, tmp_path, 1, 1, 2)
    await keep(place, tmp_path, 2, 2, 3)
    await keep(place, tmp_path, 3, 3, 4)
    await place.write(key_of(5), chunks(b"of a backup that was killed"))
    assert await Older(place, alone).remove(name_of(3), 5, tmp_path) == (0, 1)
    assert await Older(place, alone).remove(name_of(3), 2, tmp_path) == (1, 1)
    assert await all_are_whole(place, tmp_path) == [name_of(2), name_of(3)]
    assert await keys(place) == {key_of(number) for number in (2, 3, 4)}
    # The one that was just made stays, whatever the clock says of the others.
    assert await Older(place, alone).remove(name_of(2), 1, tmp_path) == (1, 1)
    assert await all_are_whole(place, tmp_path) == [name_of(2)]
    assert await keys(place) == {key_of(number) for number in (2, 3)}
    assert list(tmp_path.glob("*.kept")) == []


async def test_a_crash_at_any_step_leaves_whole_backups_and_the_next_run_goes_on(place: Place, tmp_path: Path) -> None:
    steps, died = 0, True
    while died:
        await keep(place, tmp_path, 1, 1, 2)
        await keep(place, tmp_path, 2, 2, 3)
        await keep(place, tmp_path, 3, 3, 4)
        mortal: Any = MortalPlace(place, steps)
        try:
            await Older(mortal, alone).remove(name_of(3), 1, tmp_path)
        except Killed:
            steps += 1
        else:
            died = False
        assert name_of(3) in await all_are_whole(place, tmp_path)
        await Older(place, alone).remove(name_of(3), 1, tmp_path)
        assert await all_are_whole(place, tmp_path) == [name_of(3)]
        assert await keys(place) == {key_of(3), key_of(4)}
    assert steps == 4


async def test_nothing_goes_when_one_that_stays_cannot_be_read_or_somebody_else_writes(
    place: Place, tmp_path: Path
) -> None:
    await keep(place, tmp_path, 1, 1)
    begun = json.dumps({"entrepot": "snapshot", "format": 1, "schema": "1"}).encode()
    (tmp_path / "cut").write_bytes(gzip.compress(begun))
    await place.keep(name_of(2), tmp_path / "cut")
    await keep(place, tmp_path, 3, 3)
    with pytest.raises(StorageError, match="is not whole"):
        await Older(place, alone).remove(name_of(3), 2, tmp_path)

    async def not_alone() -> None:
        raise StorageError("another one runs")

    with pytest.raises(StorageError, match="another one runs"):
        await Older(place, not_alone).remove(name_of(3), 1, tmp_path)
    assert await place.snapshots() == [name_of(number) for number in (1, 2, 3)]
    assert await keys(place) == {key_of(1), key_of(3)}


async def test_a_restore_goes_on_behind_what_the_place_cannot_give(place: Place, tmp_path: Path) -> None:
    await keep(place, tmp_path, 1, 1, 2, 3)
    rows, store = NewRows(), FileStore(tmp_path / "restored")
    await store.start()
    faulty = FaultyPlace(place, {key_of(1): 1, key_of(2): 2})
    report = await Restore(rows, store, faulty).run(name_of(1), tmp_path, lambda _: lambda _: None)
    assert (report.wrong, report.copied) == ([f"damaged\t{DIGEST}\t{key_of(2)}\tInput/output error"], 2)
    found = store.keys()
    assert {key async for key in found} == {key_of(1), key_of(3)}
    assert rows.filled
    await store.close()


@pytest.mark.parametrize("error", [StorageError("Input/output error"), FileNotFoundError()], ids=["fails", "is empty"])
async def test_a_restore_ends_when_its_place_is_gone(place: Place, tmp_path: Path, error: Exception) -> None:
    await keep(place, tmp_path, 1, 1, 2)
    rows, store = NewRows(), FileStore(tmp_path / "restored")
    await store.start()
    faulty = FaultyPlace(place, {key_of(1): 1})
    faulty.goes, faulty.error = True, error
    with pytest.raises(StorageError, match="not there any more"):
        await Restore(rows, store, faulty).run(name_of(1), tmp_path, lambda _: lambda _: None)
    assert not rows.filled
    await store.close()


async def test_a_place_says_whose_it_is(place: Place) -> None:
    assert await place.owner() is None
    await place.claim("one")
    await place.claim("another")
    assert await place.owner() == "another"


async def test_what_was_cut_off_goes_and_what_is_being_written_stays(tmp_path: Path) -> None:
    place, go_on = DirectoryPlace(tmp_path), asyncio.Event()

    async def slowly() -> AsyncGenerator[bytes, None]:
        yield b"a half"
        await go_on.wait()
        yield b" and another"

    writing = asyncio.create_task(place.write(key_of(1), slowly()))
    while not list(tmp_path.glob(".part-*")):
        await asyncio.sleep(0)
    (tmp_path / ".part-0123456789").write_bytes(b"cut off")
    await DirectoryPlace(tmp_path).tidy()
    (part,) = tmp_path.glob(".part-*")
    assert part.name != ".part-0123456789"
    go_on.set()
    await writing
    assert await place.has(key_of(1), len(b"a half and another"))
    assert list(tmp_path.glob(".part-*")) == []
