"""Flights of a real client of a scripted upstream that stops sending in the middle of a blob, and says no more."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from entrepot.client import remote
from entrepot.client.remote import Remote, Where
from entrepot.oci.digest import Digest
from entrepot.proxy.errand import Errand
from entrepot.proxy.flights import HELD_BACK, Flight, Flights
from entrepot.registry.errors import BlobUnknown, StorageFull, UpstreamError, UpstreamSlow
from entrepot.storage.spools import SpoolFile, SpoolFiles
from tests.support.scripted_upstream import Upstream, scripted_upstream
from tests.support.serving import digest_of

SIZE, SENT = 1_000_000, 200_000  # bytes of the blob, and of it in each answer before the silence


@pytest.fixture
def upstream(monkeypatch: pytest.MonkeyPatch) -> Iterator[Upstream]:
    """One that may be silent for a moment, in place of half a minute."""
    monkeypatch.setattr(remote, "_READ_SECONDS", 0.3)
    with scripted_upstream() as running:
        running.script.held = SENT
        yield running


class Store:
    """Where verified bytes are kept."""

    kept = b""

    def errand(
        self, registry: Remote, digest: Digest, size: int = SIZE, *, origin: str = "up.example", has_it: bool = True
    ) -> Errand:
        """To fetch this blob; `has_it`: what a look at its repository would say."""
        self.confirmed = 0

        async def confirm() -> None:
            self.confirmed += 1
            if not has_it:
                raise BlobUnknown

        async def is_stored() -> bool:
            return bool(self.kept)

        async def keep(chunks: AsyncIterator[bytes]) -> None:
            self.kept = b"".join([chunk async for chunk in chunks])

        def never(*_: object) -> Any:
            raise NotImplementedError

        return Errand(digest, size, registry, "up.example", "app", origin, confirm, never, is_stored, never, keep)


async def read(flight: Flight) -> tuple[bytes, bool]:
    """What a reader gets, and whether it is told that the upstream was slow."""
    assert await flight.started()
    got = []
    try:
        async for chunk in flight.read(0, None):
            got.append(chunk)
    except UpstreamSlow:
        return b"".join(got), True
    return b"".join(got), False


async def test_a_blob_goes_on_where_the_upstream_fell_silent(tmp_path: Path, upstream: Upstream) -> None:
    layer, store = os.urandom(SIZE), Store()
    upstream.script.blobs[digest_of(layer)] = layer
    origin, flights = Remote(Where("up.example", upstream.url)), Flights(SpoolFiles(tmp_path), None)
    errand = store.errand(origin, Digest.of(layer))
    readers = [asyncio.create_task(read(flights.join(errand))) for _ in range(3)]
    while not upstream.script.ranges_asked:
        await asyncio.sleep(0.01)
    upstream.script.resume.set()
    assert await asyncio.gather(*readers) == [(layer, False)] * 3
    assert upstream.script.ranges_asked[0] == f"bytes={SENT}-"
    await flights.close()
    await origin.close()


async def test_when_it_stays_silent_its_readers_are_told_and_the_next_one_goes_on(
    tmp_path: Path, upstream: Upstream
) -> None:
    layer, store = os.urandom(SIZE), Store()
    upstream.script.blobs[digest_of(layer)] = layer
    origin, flights = Remote(Where("up.example", upstream.url)), Flights(SpoolFiles(tmp_path), None)
    errand = store.errand(origin, Digest.of(layer))
    readers = [asyncio.create_task(read(flights.join(errand))) for _ in range(3)]
    for got, slow in await asyncio.gather(*readers):
        assert (slow, got) == (True, layer[: len(got)])
        assert len(got) <= 3 * SENT <= SIZE - HELD_BACK
    assert upstream.script.ranges_asked == [f"bytes={SENT}-", f"bytes={2 * SENT}-"]
    assert not store.kept
    upstream.script.resume.set()
    assert await read(flights.join(errand)) == (layer, False)
    assert upstream.script.ranges_asked[2:] == [f"bytes={3 * SENT}-"]
    while store.kept != layer:  # which nobody waits for
        await asyncio.sleep(0.01)
    await flights.close()
    await origin.close()


@pytest.mark.parametrize("size", [SIZE, -1], ids=["known size", "unknown size"])
@pytest.mark.parametrize("wrong", [False, True], ids=["right", "wrong"])
async def test_what_was_fetched_to_its_end_but_not_looked_at_is_verified_by_the_next_who_asks(
    tmp_path: Path, upstream: Upstream, size: int, wrong: bool
) -> None:
    layer, store = os.urandom(SIZE), Store()
    upstream.script.blobs[digest_of(layer)] = layer
    upstream.script.resume.set()
    left = SpoolFiles(tmp_path).open(digest_of(layer))  # by a process that died before it had verified it
    left.come_from("up.example")
    left.append(0, os.urandom(SIZE) if wrong else layer)
    origin, flights = Remote(Where("up.example", upstream.url)), Flights(SpoolFiles(tmp_path), None)
    errand = store.errand(origin, Digest.of(layer), size)
    if wrong:
        with pytest.raises(UpstreamError):
            await read(flights.join(errand))
    assert await read(flights.join(errand)) == (layer, False)
    await flights.close()
    await origin.close()


async def test_a_disk_that_is_full_gets_back_the_room_of_what_could_not_be_kept(
    tmp_path: Path, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer, store, room = os.urandom(SIZE), Store(), 300_000
    upstream.script.blobs[digest_of(layer)] = layer
    upstream.script.resume.set()
    origin, flights = Remote(Where("up.example", upstream.url)), Flights(SpoolFiles(tmp_path), None)
    errand = store.errand(origin, Digest.of(layer))
    append = SpoolFile.append

    def full(spool: SpoolFile, offset: int, data: bytes) -> None:
        if offset + len(data) > room:
            raise StorageFull("no space left on device")
        append(spool, offset, data)

    with monkeypatch.context() as context:
        context.setattr(SpoolFile, "append", full)
        flight = flights.join(errand)
        with pytest.raises(StorageFull):
            await read(flight)
    assert SpoolFiles(tmp_path).existing(digest_of(layer)) is None
    assert await read(flights.join(errand)) == (layer, False)
    await flights.close()
    await origin.close()


@pytest.mark.parametrize(
    ("origin", "has_it", "looks"),
    [("up.example", False, 0), ("other.example", True, 1), ("other.example", False, 1)],
    ids=["the same origin", "another that has it", "another that has it not"],
)
async def test_what_another_worker_fetches_from_elsewhere_is_read_only_by_those_whose_upstream_has_it(
    tmp_path: Path, upstream: Upstream, origin: str, has_it: bool, looks: int
) -> None:
    layer, stores = os.urandom(SIZE), (Store(), Store())
    upstream.script.blobs[digest_of(layer)] = layer
    registry = Remote(Where("up.example", upstream.url))
    workers = [Flights(SpoolFiles(tmp_path), None) for _ in stores]
    first = workers[0].join(stores[0].errand(registry, Digest.of(layer)))
    assert await first.started()
    errand = stores[1].errand(registry, Digest.of(layer), origin=origin, has_it=has_it)
    reading = asyncio.create_task(read(workers[1].join(errand)))
    if looks and not has_it:
        with pytest.raises(BlobUnknown):
            await reading
    upstream.script.resume.set()
    if has_it or not looks:
        assert await reading == (layer, False)
    assert await read(first) == (layer, False)
    assert stores[1].confirmed == looks
    for worker in workers:
        await worker.close()
    await registry.close()
