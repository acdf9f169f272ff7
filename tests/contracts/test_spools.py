"""The ports Spool and Spools over files: what the processes of a node tell each other by them."""

import asyncio
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, cast

import pytest

from entrepot.oci.digest import Digest
from entrepot.proxy.errand import Errand
from entrepot.proxy.flights import Flights
from entrepot.proxy.ports import Registry
from entrepot.registry.errors import UpstreamError
from entrepot.storage.spools import SpoolFiles

NOBODY = 65534


@pytest.fixture
def as_nobody() -> Iterator[Path]:
    """A directory, and a user who is not root, whom permissions do not stop."""
    directory, before = Path(tempfile.mkdtemp()), os.geteuid()
    if before == 0:
        directory.chmod(0o777)
        os.seteuid(NOBODY)
    yield directory
    os.seteuid(before)
    shutil.rmtree(directory)


def test_a_verified_spool_is_opened_led_and_removed_by_whoever_may_not_write_it_any_more(as_nobody: Path) -> None:
    spools = SpoolFiles(as_nobody)
    first = spools.open("sha256:aa")
    first.append(0, b"bytes")
    first.verify()
    again = spools.open("sha256:aa")
    assert (again.verified, again.lead(), again.read(0, 100)) == (True, True, b"bytes")
    again.remove()
    assert spools.existing("sha256:aa") is None


async def test_a_turn_is_had_by_one_or_shared_by_many(tmp_path: Path) -> None:
    one, other = SpoolFiles(tmp_path), SpoolFiles(tmp_path)
    order: list[str] = []

    async def alone() -> None:
        async with one.turn("key"):
            order.append("alone")

    async with AsyncExitStack() as stack:
        for spools in (one, other, one):
            await stack.enter_async_context(spools.turn("key", shared=True))
        async with other.turn("another key"):
            waiting = asyncio.create_task(alone())
            await asyncio.sleep(0)
        order.append("shared")
    await waiting
    assert order == ["shared", "alone"]
    assert list((tmp_path / "arriving").iterdir()) == [], "nothing is left of a turn"


def test_a_spool_that_was_removed_leaves_the_next_one_of_its_name_alone(tmp_path: Path) -> None:
    spools = SpoolFiles(tmp_path)
    first = spools.open("sha256:aa")
    first.remove()
    second = spools.open("sha256:aa")
    first.remove()
    assert (first.named, second.named) == (False, True)


async def test_whoever_watches_wrong_bytes_arrive_is_cut_short_and_fetches_nothing(tmp_path: Path) -> None:
    digest, origin = Digest.of(b"right", "sha256"), Untouched()
    led = SpoolFiles(tmp_path).open(str(digest))
    assert led.lead()
    led.come_from("up.example")
    led.append(0, bytes(200_000))
    watching = Flights(SpoolFiles(tmp_path), None)
    flight = watching.join(an_errand(digest, 1_000_000, origin))
    assert await flight.started()
    reader = flight.read(0, None)
    assert await anext(reader)
    led.remove()
    led.empty()  # and its leader has the lock still
    with pytest.raises(UpstreamError):
        async with asyncio.timeout(30):
            await anext(reader)
    led.release()
    await watching.close()
    assert not origin.asked


class Untouched:
    """The port Registry of an upstream that nobody should ask."""

    asked = False

    def __getattr__(self, name: str) -> object:
        self.asked = True
        raise AttributeError(name)


def an_errand(digest: Digest, size: int, origin: Untouched) -> Errand:
    """To fetch what is not stored."""

    async def no() -> bool:
        return False

    def never(*_: object) -> Any:
        raise NotImplementedError

    return Errand(
        digest, size, cast(Registry, origin), "up.example", "app", "up.example", never, never, no, never, never
    )
