"""Pull limits are exact whoever asks at once, over several workers and nodes, and outlive a kill."""

import re
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.http.conftest import large
from tests.support.hub_world import World, serving_world
from tests.support.pulling import ANONYMOUS, LIMITS, limited, new_address, pull, remaining
from tests.support.redis import RedisServer
from tests.support.wire import Answer


@pytest.fixture
def address() -> str:
    """An address that no other test comes from."""
    return new_address()


def cross(worlds: list[World], name: str, address: str) -> list[Answer]:
    """Two hundred clients that pull at once, over all servers."""
    token = worlds[0].token_for(None, name, actions="pull")
    headers = {"Authorization": f"Bearer {token}", "X-Forwarded-For": address}

    def one(number: int) -> Answer:
        return worlds[number % len(worlds)].server.get(f"/v2/{name}/manifests/v1", headers)

    with ThreadPoolExecutor(200) as clients:
        return list(clients.map(one, range(200)))


def test_of_200_clients_at_once_exactly_100_are_answered(
    tmp_path_factory: pytest.TempPathFactory, address: str
) -> None:
    with limited(tmp_path_factory) as world:
        owner = world.person("owner")
        name = f"{owner.name}/app"
        world.by_basic(owner).push_image(name, "v1")
        statuses = sorted(answer.status for answer in cross([world], name, address))
        assert statuses == [200] * 100 + [429] * 100
        assert len(world.server.workers()) == 2


@pytest.mark.xdist_group("large")
def test_of_200_clients_at_two_nodes_exactly_100_are_answered(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: str, s3_server: str, redis_url: str, address: str
) -> None:
    with (
        large(postgres_server, s3_server) as where,
        limited(tmp_path_factory, **where, redis__url=redis_url) as one,
        limited(tmp_path_factory, **where, redis__url=redis_url) as other,
    ):
        owner = one.person("owner")
        name = f"{owner.name}/app-{uuid.uuid4().hex[:6]}"
        one.by_basic(owner).push_image(name, "v1")
        statuses = sorted(answer.status for answer in cross([one, other], name, address))
        assert statuses == [200] * 100 + [429] * 100


@pytest.mark.xdist_group("large")
def test_while_redis_is_away_a_node_allows_its_share_and_a_metric_says_so(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: str, s3_server: str, address: str
) -> None:
    directory = tmp_path_factory.mktemp("redis")
    with (
        RedisServer(directory) as redis,
        large(postgres_server, s3_server) as where,
        limited(tmp_path_factory, **where, redis__url=redis.url, redis__nodes="4") as world,
    ):
        owner = world.person("owner")
        name = f"{owner.name}/app"
        world.by_basic(owner).push_image(name, "v1")
        assert remaining(pull(world, name, "v1", "192.0.2.9")) == ANONYMOUS - 1
        assert without_redis(world) == 0
        redis.stop()
        statuses = [pull(world, name, "v1", address).status for _ in range(ANONYMOUS // 4 + 5)]
        assert statuses == [200] * (ANONYMOUS // 4) + [429] * 5
        while without_redis(world) == 0:  # a worker tells it every few seconds
            pull(world, name, "v1", address, method="HEAD")
        redis.start()
        while without_redis(world) > 0:
            pull(world, name, "v1", address, method="HEAD")
        assert remaining(pull(world, name, "v1", address)) == ANONYMOUS - 1


def without_redis(world: World) -> int:
    metrics = world.server.get("/metrics").body.decode()
    match = re.search(r"^entrepot_workers_without_redis (\d+)", metrics, re.MULTILINE)
    assert match, metrics
    return int(match[1])


def test_a_restart_does_not_reset_it(tmp_path_factory: pytest.TempPathFactory, address: str) -> None:
    directory = tmp_path_factory.mktemp("again")
    with serving_world(directory, **LIMITS) as world:
        owner = world.person("owner")
        name = f"{owner.name}/app"
        world.by_basic(owner).push_image(name, "v1")
        assert remaining(pull(world, name, "v1", address)) == ANONYMOUS - 1
        world.server.process.kill()
        world.server.process.wait()
    with serving_world(directory, **LIMITS) as world:
        assert remaining(pull(world, name, "v1", address)) == ANONYMOUS - 2
