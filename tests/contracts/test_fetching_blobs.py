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
from entrepot.proxy.flights import HELD_BACK, Errand, Flight, Flights
from entrepot.registry.errors import UpstreamSlow
from entrepot.storage.spools import SpoolFiles
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

    def errand(self, origin: Remote, digest: Digest) -> Errand:
        """To fetch this blob."""

        async def is_stored() -> bool:
            return bool(self.kept)

        async def keep(chunks: AsyncIterator[bytes]) -> None:
            self.kept = b"".join([chunk async for chunk in chunks])

        def never(*_: object) -> Any:
            raise NotImplementedError

        return Errand(digest, SIZE, origin, "up.example", "app", never, is_stored, never, keep)


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
