"""Images that are always here, and those that go: at the doors of caches over both stores."""

import asyncio
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from entrepot.database.engine import Transaction
from entrepot.database.postgres import PostgresEngine
from entrepot.database.sqlite import SqliteEngine
from entrepot.storage import layout
from tests.http.conftest import BOTH, large
from tests.support.scripted_upstream import Script, scripted_upstream
from tests.support.serving import OCI_INDEX, OCI_MANIFEST, Server, a_manifest, an_image, descriptor, digest_of, serving
from tests.support.wire import whole

SIZE = 40_000  # bytes of a layer; an image has a little more
AT = "/v2/up.example/library/app"


@pytest.fixture(params=BOTH)
def store(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """Settings of a cache on the embedded store, then of one on PostgreSQL and object storage."""
    if request.param == "sqlite and files":
        yield {}
        return
    with large(request.getfixturevalue("postgres_server"), request.getfixturevalue("s3_server")) as settings:
        yield settings


def an_index(script: Script, tag: str, **layers: bytes) -> None:
    """An image for several platforms of linux, each with its layer."""
    children = [
        descriptor(script.push(f"child-{name}", layer), OCI_MANIFEST, platform={"os": "linux", "architecture": name})
        for name, layer in layers.items()
    ]
    index = a_manifest({"manifests": children}, OCI_INDEX)
    script.manifests |= {tag: index, digest_of(index): index}
    script.types[digest_of(index)] = OCI_INDEX


def arrived(cache: Server, script: Script, name: str, *layers: bytes) -> None:
    """Wait until these have been fetched, and stand in the store."""
    for layer in layers:
        while not script.asked["GET", f"/v2/{name}/blobs/{digest_of(layer)}"]:
            continue
        assert cache.get(f"/v2/up.example/{name}/blobs/{digest_of(layer)}").body == layer


def test_what_is_listed_is_fetched_at_the_start_without_anybody_asking(tmp_path: Path, store: dict[str, str]) -> None:
    kept, other = os.urandom(40_000), os.urandom(40_000)
    with scripted_upstream() as upstream:
        script = upstream.script
        an_index(script, "v1", amd64=kept, arm64=other)
        (tmp_path / "images").write_text("# what the cluster runs\nup.example/library/app:v1  # always\n")
        settings = {
            "upstreams": json.dumps({"up.example": {"url": upstream.url}}),
            "cache__images_file": str(tmp_path / "images"),
            "cache__platforms": '["linux/amd64"]',
            **store,
        }
        with serving(tmp_path / "cache", accounts=False, **settings) as cache:
            arrived(cache, script, "library/app", kept)
            assert not script.asked["GET", f"/v2/library/app/blobs/{digest_of(other)}"], "of the other platform"
        script.faults = dict.fromkeys(("head", "manifest", "blob-head", "blob"), "close")
        with serving(tmp_path / "cache", accounts=False, **settings) as cache:
            assert cache.get("/v2/up.example/library/app/manifests/v1").status == 200
            assert cache.get(f"/v2/up.example/library/app/blobs/{digest_of(kept)}").body == kept


def test_what_is_listed_later_and_tags_that_move_are_fetched_by_the_schedule(tmp_path: Path) -> None:
    first, moved, added = (os.urandom(1000) for _ in range(3))
    with scripted_upstream() as upstream:
        images = tmp_path / "images"
        images.write_text("up.example/library/app:v1\n")
        upstream.script.push("v1", first)
        at = json.dumps({"up.example": {"url": upstream.url}})
        with serving(tmp_path, upstreams=at, cache__images_file=str(images), cache__refresh="1s") as cache:
            arrived(cache, upstream.script, "library/app", first)
            upstream.script.push("v1", moved)
            upstream.script.push("v2", added)
            images.write_text("up.example/library/app:v1\nup.example/library/app:v2\n")
            arrived(cache, upstream.script, "library/app", moved, added)


def test_an_image_that_cannot_be_had_is_logged_and_the_others_come(tmp_path: Path) -> None:
    layer = os.urandom(1000)
    with scripted_upstream() as upstream:
        upstream.script.push("v1", layer)
        images = ["up.example/library/app:absent", "elsewhere.example/a/b:v1", "up.example/library/app:v1"]
        configured = json.dumps({"up.example": {"url": upstream.url}})
        with serving(tmp_path, upstreams=configured, cache__images=json.dumps(images)) as cache:
            arrived(cache, upstream.script, "library/app", layer)
            said = {line["event"] for line in cache.log() if line.get("level") == "warning"}
            assert said == {"an image to keep is of no upstream", "an image to keep cannot be had"}


def change(cache: Server, store: Mapping[str, str], statement: str, **values: str) -> int:
    """One statement on the cache's database; how many rows it has changed."""

    async def run() -> int:
        data = cache.data
        engine = (
            PostgresEngine(store["database__url"])
            if store
            else SqliteEngine(layout.database_file(data), layout.lock_file(data))
        )

        async def write(transaction: Transaction) -> int:
            return await transaction.run(statement, **values)

        changed = await engine.write(write, durable=False)
        await engine.close()
        return changed

    return asyncio.run(run())


def all_stored(cache: Server, store: Mapping[str, str], images: int) -> None:
    """Wait until so many images of a config and a layer are stored, for which nobody waits who pulls them."""
    while change(cache, store, "UPDATE links SET used_at = used_at") < 2 * images:
        pass


def pass_by(cache: Server, store: Mapping[str, str], minutes: int) -> None:
    """Let all that was fetched and used so far be so much longer ago."""
    earlier = "UPDATE links SET created_at = created_at - {0}, used_at = used_at - {0}"
    change(cache, store, earlier.format(minutes * 60_000_000))


def begin_to_pull(cache: Server, store: Mapping[str, str], tag: str) -> None:
    """Ask for a manifest, and wait until that has been noted."""
    assert change(cache, store, "UPDATE links SET used_at = NULL") > 0
    assert cache.get(f"{AT}/manifests/{tag}").status == 200
    while not change(cache, store, "UPDATE links SET used_at = used_at WHERE used_at IS NOT NULL"):
        pass


def pull(cache: Server, tag: str, layer: bytes) -> None:
    """As an engine does: a manifest, and all that it names."""
    manifest = cache.get(f"{AT}/manifests/{tag}").json()
    for each in (manifest["config"], *manifest["layers"]):
        assert digest_of(cache.get(f"{AT}/blobs/{each['digest']}").body) == each["digest"]
    assert manifest["layers"][0]["digest"] == digest_of(layer)


def held(cache: Server, store: Mapping[str, str], layers: Sequence[bytes]) -> list[bool]:
    """Which of these are linked; at the door a GET would use them, and a HEAD asks their manifest."""
    of = (
        "UPDATE links SET used_at = used_at WHERE blob_id = (SELECT id FROM blobs WHERE digest = :digest)"
        " AND repository_id IN (SELECT id FROM repositories WHERE upstream IS NOT NULL)"
    )
    return [change(cache, store, of, digest=digest_of(layer)) > 0 for layer in layers]


def refused(cache: Server, layer: bytes) -> bool:
    """Whether a blob is not to be had, as the upstream gives nothing."""
    with cache.connect() as connection:
        return connection.ask(whole("GET", f"{AT}/blobs/{digest_of(layer)}", (), None), "GET").status == 502


def test_room_is_made_of_what_was_used_within_the_hour_too_but_not_of_what_was_just_fetched(
    tmp_path: Path, store: dict[str, str]
) -> None:
    layers = [os.urandom(SIZE) for _ in range(3)]
    with scripted_upstream() as upstream:

        def settings(size: int) -> dict[str, str]:
            return {"upstreams": json.dumps({"up.example": {"url": upstream.url, "size": f"{size}B"}}), **store}

        with serving(tmp_path, accounts=False, **settings(10 * SIZE)) as cache:
            for number, layer in enumerate(layers):
                pass_by(cache, store, 15)
                upstream.script.push(f"v{number}", layer)
                pull(cache, f"v{number}", layer)
                all_stored(cache, store, number + 1)
        upstream.script.faults = dict.fromkeys(("head", "manifest", "blob-head", "blob"), "close")
        for size, left in ((int(2.5 * SIZE), [False, True, True]), (SIZE // 2, [False, False, True])):
            with serving(tmp_path, accounts=False, **settings(size)) as cache:
                while held(cache, store, layers) != left:
                    pass
                pull(cache, "v2", layers[2])
                assert refused(cache, layers[0])


def test_what_is_listed_pulled_or_hosted_stays_when_room_is_made(tmp_path: Path, store: dict[str, str]) -> None:
    listed, pulled, hosted, gone = layers = [os.urandom(SIZE) for _ in range(4)]
    with scripted_upstream() as upstream:
        at = {"url": upstream.url}
        roomy = {"upstreams": json.dumps({"up.example": at}), **store}
        tight = {**roomy, "cache__size": f"{SIZE}B", "cache__images": json.dumps(["up.example/library/app:v0"])}
        for number, layer in enumerate(layers):
            upstream.script.push(f"v{number}", layer)
        with serving(tmp_path, accounts=False, **roomy) as cache:
            for number, layer in enumerate(layers):
                pull(cache, f"v{number}", layer)
            all_stored(cache, store, len(layers))
            image = an_image(b"{}", hosted)
            for content in (b"{}", hosted):
                cache.push_blob("test/app", content)
            assert cache.put_manifest("test/app", "v1", image).status == 201
            pass_by(cache, store, 60)
        with serving(tmp_path, accounts=False, **roomy) as cache:
            begin_to_pull(cache, store, "v1")
        upstream.script.faults = dict.fromkeys(("head", "manifest", "blob-head", "blob"), "close")
        with serving(tmp_path, accounts=False, **tight) as cache:
            while held(cache, store, layers) != [True, True, False, False]:
                pass
            pull(cache, "v0", listed)
            pull(cache, "v1", pulled)
            assert cache.get(f"/v2/test/app/blobs/{digest_of(hosted)}").body == hosted
            assert refused(cache, gone)
