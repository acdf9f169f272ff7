"""Manifests of evicted images are deleted in time, over SQLite and PostgreSQL; what anybody may still want stays."""

from typing import NamedTuple
from uuid import uuid4

import pytest

from entrepot.access.caller import Caller
from entrepot.database.deletion import DatabaseDeletions
from entrepot.database.upstreams import DatabaseUpstreams
from entrepot.proxy.forgetting import AGE_SECONDS, Forgetting
from entrepot.proxy.upstream import ALWAYS, PINNED, Upstream, Upstreams
from entrepot.registry.manifests import Manifests
from tests.support.rows import Rows
from tests.support.serving import OCI_INDEX, OCI_MANIFEST, a_manifest, an_image, descriptor, digest_of

OLD = int(AGE_SECONDS * 1_000_000) + 60_000_000


class Scene(NamedTuple):
    """An upstream of its own, and a repository there."""

    rows: Rows
    alias: str

    @property
    def name(self) -> str:
        """The repository."""
        return f"{self.alias}/app"

    async def fetch_image(self, *tags: str) -> bytes:
        """Fetch an image, without its blobs."""
        content = an_image(uuid4().bytes, uuid4().bytes)
        await self._push(content, *tags)
        return content

    async def fetch_index(self, tag: str, *children: bytes) -> bytes:
        """Fetch an index of these."""
        content = a_manifest({"manifests": [descriptor(each, OCI_MANIFEST) for each in children]}, OCI_INDEX)
        await self._push(content, tag)
        return content

    async def _push(self, content: bytes, *tags: str) -> None:
        upstreams = DatabaseUpstreams(self.rows.engine)
        await upstreams.ensure(self.name, self.alias)
        await Manifests(self.rows.manifests, accept_missing=True).push(self.name, content, None, None, tags, Caller())
        for tag in tags:
            await upstreams.checked(self.name, tag)

    async def store_a_blob_of(self, image: bytes) -> None:
        """Its config is fetched too."""
        ((digest,),) = await self.rows.engine.read(
            "SELECT f.digest FROM manifest_references f JOIN manifests m ON m.id = f.manifest_id"
            " WHERE m.digest = :digest AND f.kind = 'config'",
            digest=digest_of(image),
        )
        insert = "INSERT INTO blobs (digest, size, store, key, created_at) VALUES (:digest, 5, 'x', :key, 1)"
        await self.rows.execute(insert, digest=digest, key=uuid4().hex)
        assert await DatabaseUpstreams(self.rows.engine).link_stored(self.name, digest)

    async def pass_by(self) -> None:
        """Let more than the time pass since everything so far."""
        here = "WHERE repository_id = (SELECT id FROM repositories WHERE name = :name)"
        for table, column in (("manifests", "pushed_at"), ("upstream_tags", "checked_at")):
            await self.rows.execute(f"UPDATE {table} SET {column} = {column} - :by {here}", by=OLD, name=self.name)

    async def forget(self, **more: object) -> int:
        """The job, where the upstream has a size, if nothing else is said."""
        settings: dict[str, object] = {"size": 1000, **more}
        upstreams = Upstreams([Upstream(self.alias, "http://x", **settings)])  # type: ignore[arg-type]
        rows, deletions = DatabaseUpstreams(self.rows.engine), DatabaseDeletions(self.rows.engine)
        return await Forgetting(upstreams, None, rows, deletions).run()

    async def stored(self, *manifests: bytes) -> list[bool]:
        """Which of these are there."""
        return [await self.rows.manifests.find_manifest(self.name, digest_of(each)) is not None for each in manifests]

    async def tags_remembered(self) -> int:
        """Of how many tags it is known when they were looked at."""
        counted = (
            "SELECT COUNT(*) FROM upstream_tags u JOIN repositories r ON r.id = u.repository_id WHERE r.name = :name"
        )
        return int((await self.rows.engine.read(counted, name=self.name))[0][0])


@pytest.fixture
def scene(rows: Rows) -> Scene:
    return Scene(rows, f"{uuid4().hex}.example")


async def test_an_image_of_which_nothing_is_here_goes_with_its_tags_when_nobody_asked_for_long(scene: Scene) -> None:
    gone, by_digest, held = (
        await scene.fetch_image("v1", "v2"),
        await scene.fetch_image(),
        await scene.fetch_image("v3"),
    )
    await scene.store_a_blob_of(held)
    assert await scene.forget() == 0, "it was fetched just now"
    await scene.pass_by()
    young = await scene.fetch_image("v4")
    assert await scene.forget(size=None) == 0, "here nothing ever goes"
    assert await scene.forget() == 2
    assert await scene.stored(gone, by_digest, held, young) == [False, False, True, True]
    assert await scene.tags_remembered() == 2
    assert await scene.forget(size=None, keep=5.0) == 0


async def test_a_tag_that_is_looked_at_or_pinned_stays(scene: Scene) -> None:
    looked_at, pinned, neither = [await scene.fetch_image(tag) for tag in ("v1", "p1", "v2")]
    await scene.pass_by()
    await DatabaseUpstreams(scene.rows.engine).checked(scene.name, "v1")
    assert await scene.forget(fresh=(("p*", PINNED), ("*", ALWAYS))) == 1
    assert await scene.stored(looked_at, pinned, neither) == [True, True, False]


async def test_an_index_goes_with_its_images_when_of_none_of_them_anything_is_here(scene: Scene) -> None:
    children = [await scene.fetch_image() for _ in range(4)]
    gone = await scene.fetch_index("v1", *children[:2])
    held = await scene.fetch_index("v2", *children[2:])
    outer = await scene.fetch_index("v3", await scene.fetch_index("v4", await scene.fetch_image()))
    await scene.store_a_blob_of(children[3])
    await scene.pass_by()
    assert await scene.forget() == 3
    assert await scene.stored(gone, *children[:2], held, *children[2:]) == [False] * 3 + [True] * 3
    assert await scene.stored(outer) == [True], "how deep it goes is not looked at"


async def test_what_is_fetched_again_is_new_again(scene: Scene) -> None:
    image = await scene.fetch_image("v1")
    await scene.pass_by()
    assert await scene.forget() == 1
    await Manifests(scene.rows.manifests, accept_missing=True).push(scene.name, image, None, None, ["v1"], Caller())
    assert await scene.forget() == 0
    assert await scene.stored(image) == [True]
