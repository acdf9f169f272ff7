"""The port UpstreamRows, over SQLite and PostgreSQL."""

from uuid import uuid4

from entrepot.access.caller import Caller
from entrepot.database.blobs import DatabaseBlobs
from entrepot.database.cache import ReadCache
from entrepot.database.engine import Engine, Transaction
from entrepot.database.manifests import DatabaseManifests
from entrepot.database.upstreams import DatabaseUpstreams
from entrepot.oci.digest import Digest
from entrepot.proxy.ports import Seen
from entrepot.registry.manifests import Manifests
from tests.support.rows import Rows
from tests.support.serving import an_image, digest_of


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
    manifests = Manifests(DatabaseManifests(rows.engine, ReadCache(rows.engine)), deletion=True, accept_missing=True)
    await manifests.push(name, content, None, Digest.of(content), ["v1"], Caller())
    assert await upstreams.naming(name, digest_of(layer)) == content
    assert await upstreams.naming(other, digest_of(layer)) is None
    assert await upstreams.naming(name, digest_of(b"another")) is None


def blobs(engine: Engine) -> DatabaseBlobs:
    return DatabaseBlobs(engine, ReadCache(engine))
