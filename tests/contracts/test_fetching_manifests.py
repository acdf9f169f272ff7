"""ProxiedManifests of two workers over real rows and the real locks of a node: one fetch, by whatever names it.

The upstream holds its answer back until the other worker has asked too: it stands in the turn, or it is upstream as
well, which is the failure.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import pytest

from entrepot.access.grant import EVERYTHING
from entrepot.client.remote import Arriving, Described, Fetched, Listing
from entrepot.database.upstreams import DatabaseUpstreams
from entrepot.proxy.ledger import Ledger
from entrepot.proxy.manifests import ProxiedManifests
from entrepot.proxy.sources import Sources
from entrepot.proxy.turns import Turns
from entrepot.proxy.upstream import Place, Upstream, Upstreams
from entrepot.registry.manifests import Manifests
from entrepot.storage.spools import SpoolFiles
from tests.support.rows import Database
from tests.support.serving import OCI_MANIFEST, an_image, digest_of

ALIAS = "up.example"


@dataclass
class Hub:
    """An upstream of one manifest. `tells`: it says the digest when it is asked by HEAD."""

    content: bytes
    tells: bool
    gets: Counter[str] = field(default_factory=Counter)
    one_is_here: asyncio.Event = field(default_factory=asyncio.Event)
    both_have_asked: asyncio.Event = field(default_factory=asyncio.Event)

    async def describe(self, repository: str, reference: str) -> Described:
        """HEAD."""
        return Described(digest_of(self.content) if self.tells else None, OCI_MANIFEST)

    async def manifest(self, repository: str, reference: str) -> Fetched:
        """GET, which is answered when both workers have asked."""
        self.gets[reference] += 1
        if self.one_is_here.is_set():
            self.both_have_asked.set()
        self.one_is_here.set()
        await self.both_have_asked.wait()
        return Fetched(self.content, OCI_MANIFEST)

    async def blob_size(self, repository: str, digest: str) -> int | None:
        """Nobody asks."""
        raise NotImplementedError

    def blob(self, repository: str, digest: str, start: int = 0) -> AbstractAsyncContextManager[Arriving]:
        """Nobody asks."""
        raise NotImplementedError

    async def listing(self, repository: str, path: str) -> Listing:
        """Nobody asks."""
        raise NotImplementedError


class Locks(SpoolFiles):
    """The locks of a node, which say when somebody has to wait."""

    def __init__(self, data: Path, waits: asyncio.Event) -> None:
        super().__init__(data)
        self._waits = waits

    @asynccontextmanager
    async def turn(self, key: str, *, shared: bool = False) -> AsyncGenerator[None, None]:
        """See the port."""
        real = super().turn(key, shared=shared)
        entering = asyncio.ensure_future(real.__aenter__())
        await asyncio.sleep(0)
        if not entering.done():  # a lock that is free is had at once
            self._waits.set()
        await entering
        try:
            yield
        finally:
            await real.__aexit__(None, None, None)


def a_worker(
    database: Database, data: Path, hub: Hub, ledger: Ledger
) -> Callable[[str, str], Coroutine[None, None, str]]:
    """Asks for a manifest of a repository as a client of this worker would; gives the digest that it got."""
    rows, upstream = database.connect(), Upstream(ALIAS, "http://up.example")
    sources = Sources(Upstreams([upstream]), lambda upstream, number, heard: hub, ledger)
    keeping = Manifests(rows.manifests, accept_missing=True)
    turns = Turns(Locks(data, hub.both_have_asked), None)
    manifests = ProxiedManifests(sources, keeping, rows.manifests, DatabaseUpstreams(rows.engine), turns)

    async def ask(path: str, reference: str) -> str:
        return (await manifests.find(f"{ALIAS}/{path}", reference, Place(upstream, path), EVERYTHING)).digest

    return ask


@pytest.mark.parametrize("counts", [False, True], ids=["not known to count", "known to count"])
@pytest.mark.parametrize(
    ("first", "second", "tells"),
    [
        ("v1", "digest", True),
        ("v1", "v1", True),
        ("v1", "v2", True),
        ("digest", "v1", True),
        ("digest", "digest", True),
        ("v1", "digest", False),
        ("v1", "v1", False),
        ("digest", "digest", False),
    ],
)
async def test_two_workers_who_are_asked_for_one_manifest_by_different_names_fetch_it_once(
    database: Database, tmp_path: Path, first: str, second: str, *, counts: bool, tells: bool
) -> None:
    manifest = an_image(uuid4().bytes, uuid4().bytes)
    hub, ledger, path = Hub(manifest, tells), Ledger([(ALIAS, "")], 2), uuid4().hex
    references = {"digest": digest_of(manifest), "v1": "v1", "v2": "v2"}
    asks = [a_worker(database, tmp_path, hub, ledger) for _ in range(2)]
    one = asyncio.create_task(asks[0](path, references[first]))
    await hub.one_is_here.wait()
    if counts:
        ledger.page(ALIAS, "").hear(100, 100, 3600)
    other = asyncio.create_task(asks[1](path, references[second]))
    assert {await one, await other} == {digest_of(manifest)}
    assert hub.gets.total() == 1
