"""The ports Spool and Spools over files: what the processes of a node tell each other by them."""

import asyncio
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

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
