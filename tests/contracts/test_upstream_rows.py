"""The port UpstreamRows, over SQLite and PostgreSQL."""

from uuid import uuid4

from entrepot.access.caller import Caller
from entrepot.database.blobs import DatabaseBlobs
from entrepot.database.cache import ReadCache
from entrepot.database.engine import Engine, Transaction
from entrepot.database.manifests import DatabaseManifests
from entrepot.database.upstreams import DatabaseUpstreams
from entrepot.oci.digest import Digest
from entrepot.proxy.eviction import Eviction
from entrepot.proxy.keeping import Held
from entrepot.proxy.ports import Seen
from entrepot.proxy.upstream import Upstream, Upstreams
from entrepot.proxy.uses import USE_SECONDS
from entrepot.registry.manifests import Manifests
from tests.support.rows import Rows
from tests.support.serving import OCI_CONFIG, OCI_EMPTY, a_manifest, an_image, descriptor, digest_of

_ANY_TIME = -(2.0**42)  # seconds: also what is used in the future


async def nothing() -> set[Held]:
    """Nothing is kept."""
    return set()


async def a_repository(rows: Rows) -> tuple[DatabaseUpstreams, str]:
    """A repository of an upstream, made twice as two nodes would."""
    upstreams, name = DatabaseUpstreams(rows.engine), f"docker.io/{uuid4().hex}"
    for _ in range(2):
        await upstreams.ensure(name, "docker.io")
    return upstreams, name


async def test_a_repository_of_an_upstream_is_made_once_and_shown_to_nobody(rows: Rows) -> None:
    _, name = await a_repository(rows)
    found = await rows.engine.read("SELECT upstream, visibility FROM repositories WHERE name = :name", name=name)
    assert found == [("docker.io", "private")]


async def test_of_a_tag_it_is_known_when_it_was_looked_at_and_since_when_it_is_gone(rows: Rows) -> None:
    upstreams, name = await a_repository(rows)
    assert await upstreams.seen(name, "latest") == Seen(None, None)
    checked = await upstreams.checked(name, "latest")
    assert await upstreams.seen(name, "latest") == Seen(checked, None)
    gone = await upstreams.gone(name, "latest")
    assert gone >= checked
    assert await upstreams.gone(name, "latest") == gone, "since the first time"
    assert await upstreams.seen(name, "latest") == Seen(checked, gone)
    again = await upstreams.checked(name, "latest")
    assert await upstreams.seen(name, "latest") == Seen(again, None)


async def test_a_digest_keeps_the_time_when_it_was_first_seen_under_a_tag(rows: Rows) -> None:
    upstreams, name = await a_repository(rows)
    first = await upstreams.first_seen(name, "latest", digest_of(b"one"))
    assert await upstreams.first_seen(name, "latest", digest_of(b"one")) == first
    assert await upstreams.first_seen(name, "latest", digest_of(b"two")) >= first
    assert await upstreams.now() >= first


async def test_a_blob_is_linked_only_when_it_is_stored(rows: Rows) -> None:
    upstreams, name = await a_repository(rows)
    digest = digest_of(uuid4().bytes)
    assert not await upstreams.link_stored(name, digest)

    async def store(transaction: Transaction) -> None:
        statement = "INSERT INTO blobs (digest, size, store, key, created_at) VALUES (:digest, 5, 'x', :key, 1)"
        await transaction.run(statement, digest=digest, key=uuid4().hex)

    await rows.engine.write(store, durable=False)
    for _ in range(2):
        assert await upstreams.link_stored(name, digest)
    found = await blobs(rows.engine).find_blob(name, digest)
    assert found is not None
    assert found.size == 5


async def test_a_blob_is_named_by_the_manifests_of_its_own_repository(rows: Rows) -> None:
    upstreams, name = await a_repository(rows)
    _, other = await a_repository(rows)
    layer = uuid4().bytes
    content = an_image(uuid4().bytes, layer)
    manifests = Manifests(DatabaseManifests(rows.engine, ReadCache(rows.engine)), accept_missing=True)
    await manifests.push(name, content, None, Digest.of(content), ["v1"], Caller())
    assert await upstreams.naming(name, digest_of(layer)) == content
    assert await upstreams.naming(other, digest_of(layer)) is None
    assert await upstreams.naming(name, digest_of(b"another")) is None


def blobs(engine: Engine) -> DatabaseBlobs:
    return DatabaseBlobs(engine, ReadCache(engine), 86400)


async def a_linked_blob(rows: Rows, name: str, size: int, used: int) -> str:
    """A stored blob of this size, linked there, last used at this time."""
    digest, upstreams = digest_of(uuid4().bytes), DatabaseUpstreams(rows.engine)

    async def store(transaction: Transaction) -> None:
        statement = "INSERT INTO blobs (digest, size, store, key, created_at) VALUES (:digest, :size, 'x', :key, 1)"
        await transaction.run(statement, digest=digest, size=size, key=digest.replace(":", "-"))

    await rows.engine.write(store, durable=False)
    assert await upstreams.link_stored(name, digest)
    await use(rows, digest, used)
    return digest


async def use(rows: Rows, digest: str, at: int) -> None:
    async def write(transaction: Transaction) -> None:
        statement = "UPDATE links SET used_at = :at WHERE blob_id = (SELECT id FROM blobs WHERE digest = :digest)"
        await transaction.run(statement, digest=digest, at=at)

    await rows.engine.write(write, durable=False)


async def test_what_was_not_used_for_longest_is_evicted_first_and_its_bytes_go(rows: Rows) -> None:
    upstreams, alias = DatabaseUpstreams(rows.engine), f"{uuid4().hex}.example"
    name = f"{alias}/app"
    await upstreams.ensure(name, alias)
    old, middle, new = [await a_linked_blob(rows, name, 100, used) for used in (1, 2, 3)]
    assert await upstreams.held(alias) == 300
    assert await upstreams.evict(alias, 150, 0.0, 10) == (200, None)
    assert await upstreams.held(alias) == 100
    found = blobs(rows.engine)
    assert [await found.find_blob(name, digest) is None for digest in (old, middle, new)] == [True, True, False]
    trash = await rows.engine.read("SELECT key FROM trash WHERE store = 'x'")
    assert {old.replace(":", "-"), middle.replace(":", "-")} <= {row[0] for row in trash}


async def test_all_upstreams_together_are_kept_within_a_size(rows: Rows) -> None:
    upstreams, aliases = DatabaseUpstreams(rows.engine), [f"{uuid4().hex}.example" for _ in range(2)]
    for alias in aliases:
        await upstreams.ensure(f"{alias}/app", alias)
    ages = ((0, 1), (1, 2), (0, 2**60), (1, 2**61))
    old, middle, new, newest = [await a_linked_blob(rows, f"{aliases[of]}/app", 100, used) for of, used in ages]
    configured = Upstreams([Upstream(alias, f"https://{alias}") for alias in aliases])
    before = await upstreams.held(None)
    assert before >= 400
    assert await Eviction(configured, None, upstreams, nothing, _ANY_TIME).run() == 0
    assert await Eviction(configured, 200, upstreams, nothing, _ANY_TIME).run() == before - 200
    assert [await upstreams.held(alias) for alias in aliases] == [100, 100]
    assert await upstreams.held(None) == 200
    limited = Upstreams([Upstream(aliases[0], "https://x", size=99)])
    assert await Eviction(limited, None, upstreams, nothing, _ANY_TIME).run() == 100
    found = blobs(rows.engine)
    of = [
        await found.find_blob(f"{aliases[at % 2]}/app", digest) for at, digest in enumerate((old, middle, new, newest))
    ]
    assert [each is not None for each in of] == [False, False, False, True]


async def test_what_is_kept_or_was_just_used_stays_and_the_next_goes(rows: Rows) -> None:
    upstreams, alias = DatabaseUpstreams(rows.engine), f"{uuid4().hex}.example"
    name = f"{alias}/app"
    await upstreams.ensure(name, alias)
    kept = [await a_linked_blob(rows, name, 100, used) for used in range(1, 120)]
    evictable = [await a_linked_blob(rows, name, 100, used) for used in (200, 201)]
    recent = await a_linked_blob(rows, name, 100, 202)
    await upstreams.used(name, recent)

    async def held() -> set[Held]:
        return {(name, digest) for digest in kept} | {("elsewhere", digest) for digest in evictable}

    configured = Upstreams([Upstream(alias, "https://x", size=50)])
    assert await Eviction(configured, None, upstreams, held).run() == 200
    found = blobs(rows.engine)
    assert [await found.find_blob(name, digest) is None for digest in evictable] == [True, True]
    assert [digest for digest in [*kept, recent] if await found.find_blob(name, digest) is None] == []


async def test_what_nobody_uses_for_long_enough_goes_where_that_is_configured(rows: Rows) -> None:
    upstreams, alias = DatabaseUpstreams(rows.engine), f"{uuid4().hex}.example"
    name, day = f"{alias}/app", 86_400_000_000
    await upstreams.ensure(name, alias)
    now = await upstreams.now()
    old, young = [await a_linked_blob(rows, name, 100, now - days * day) for days in (8, 6)]
    for keep, freed in ((None, 0), (7 * 86400.0, 100)):
        configured = Upstreams([Upstream(alias, "https://x", keep=keep)])
        assert await Eviction(configured, None, upstreams, nothing).run() == freed
    found = blobs(rows.engine)
    assert [await found.find_blob(name, digest) is None for digest in (old, young)] == [True, False]


async def test_of_an_evicted_blob_the_bytes_stay_as_long_as_anybody_else_holds_them(rows: Rows) -> None:
    upstreams, alias, hosted = DatabaseUpstreams(rows.engine), f"{uuid4().hex}.example", f"hosted/{uuid4().hex}"
    name = f"{alias}/app"
    await upstreams.ensure(name, alias)
    linked, named, unheld = [await a_linked_blob(rows, name, 100, 1) for _ in range(3)]

    async def host(transaction: Transaction) -> None:
        await transaction.run("INSERT INTO repositories (name, created_at) VALUES (:name, 1)", name=hosted)

    await rows.engine.write(host, durable=False)
    assert await upstreams.link_stored(hosted, linked)
    manifests = Manifests(DatabaseManifests(rows.engine, ReadCache(rows.engine)), accept_missing=True)
    layer = {"mediaType": "application/x.layer", "digest": named, "size": 100}
    config = descriptor(b"{}", OCI_EMPTY)
    content = a_manifest({"config": config, "layers": [layer], "artifactType": "application/x.test"})
    await manifests.push(hosted, content, None, None, ["v1"], Caller())
    assert await upstreams.evict(alias, 300, 0.0, 10) == (300, None)
    left = await rows.engine.read("SELECT digest FROM blobs")
    assert {linked, named} <= {row[0] for row in left}
    assert unheld not in {row[0] for row in left}


async def last_uses(rows: Rows, *digests: str) -> list[int]:
    statement = "SELECT used_at FROM links WHERE blob_id = (SELECT id FROM blobs WHERE digest = :digest)"
    return [(await rows.engine.read(statement, digest=digest))[0][0] for digest in digests]


async def test_a_use_is_noted_to_five_minutes(rows: Rows) -> None:
    upstreams, name = await a_repository(rows)
    digest = await a_linked_blob(rows, name, 5, 1)
    await upstreams.used(name, digest)
    (used,) = await last_uses(rows, digest)
    assert used % (USE_SECONDS * 1_000_000) == 0
    assert 0 <= await upstreams.now() - used < 2 * USE_SECONDS * 1_000_000


async def test_who_begins_to_pull_an_image_uses_all_its_blobs_there_and_no_others(rows: Rows) -> None:
    upstreams, name = await a_repository(rows)
    _, elsewhere = await a_repository(rows)
    layer, config, another = [await a_linked_blob(rows, name, 5, 1) for _ in range(3)]
    of_other = await a_linked_blob(rows, elsewhere, 5, 1)
    named = [{"mediaType": "application/x.layer", "digest": each, "size": 5} for each in (layer, of_other)]
    content = a_manifest({"config": {"mediaType": OCI_CONFIG, "digest": config, "size": 5}, "layers": named})
    manifests = Manifests(DatabaseManifests(rows.engine, ReadCache(rows.engine)), accept_missing=True)
    await manifests.push(name, content, None, None, ["v1"], Caller())
    await upstreams.used_image(name, digest_of(content))
    assert [used > 1 for used in await last_uses(rows, layer, config, another, of_other)] == [True, True, False, False]
