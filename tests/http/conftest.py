"""The servers that the tests of this directory talk to: real processes, two workers each."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.faulty_cache import faulty_cache
from tests.support.hub_world import World, serving_world
from tests.support.postgres import new_database
from tests.support.s3 import ACCESS_KEY_ID, REGION, SECRET_ACCESS_KEY, Bucket
from tests.support.scripted_upstream import Script
from tests.support.serving import Registry, Server, fresh_name, serving


@pytest.fixture
def name() -> str:
    """A repository of this test's own."""
    return fresh_name()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server on SQLite and the filesystem, with nothing configured."""
    with serving(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(scope="session")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Script]]:
    """A cache, and the script of its upstream; each test has an upstream's repository of its own."""
    with faulty_cache(tmp_path_factory.mktemp("faults")) as made:
        yield made


@pytest.fixture(scope="session")
def large_server(tmp_path_factory: pytest.TempPathFactory, postgres_server: str, s3_server: str) -> Iterator[Server]:
    """A server on PostgreSQL and object storage."""
    with (
        large(postgres_server, s3_server) as where,
        serving(tmp_path_factory.mktemp("large"), accounts=False, **where) as running,
    ):
        yield running


@contextmanager
def large(postgres_server: str, s3_server: str) -> Iterator[dict[str, str]]:
    """Settings for a new database and a new bucket."""
    bucket = Bucket(s3_server, f"test-{uuid.uuid4().hex}")
    bucket.create()
    with new_database(postgres_server) as url:
        yield {
            "database__url": url,
            "storage__backend": "s3",
            "storage__s3__endpoint": s3_server,
            "storage__s3__region": REGION,
            "storage__s3__bucket": bucket.name,
            "storage__s3__access_key_id": ACCESS_KEY_ID,
            "storage__s3__secret_access_key": SECRET_ACCESS_KEY,
        }


@pytest.fixture(scope="session")
def small_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A server with accounts on SQLite and the filesystem."""
    with serving_world(tmp_path_factory.mktemp("world")) as world:
        yield world


@pytest.fixture(scope="session")
def large_world(tmp_path_factory: pytest.TempPathFactory, postgres_server: str, s3_server: str) -> Iterator[World]:
    """A server with accounts on PostgreSQL and object storage."""
    with large(postgres_server, s3_server) as where, serving_world(tmp_path_factory.mktemp("large"), **where) as world:
        yield world


BOTH = ["sqlite and files", pytest.param("postgresql and s3", marks=pytest.mark.xdist_group("large"))]


@pytest.fixture(scope="session", params=BOTH)
def world(request: pytest.FixtureRequest) -> World:
    """A server with accounts on the embedded store, then one on PostgreSQL and object storage."""
    chosen: World = request.getfixturevalue("small_world" if request.param == "sqlite and files" else "large_world")
    return chosen


@pytest.fixture(params=BOTH)
def registry(request: pytest.FixtureRequest) -> Registry:
    """A server on the embedded store, then one on PostgreSQL and object storage: both must behave the same."""
    chosen: Server = request.getfixturevalue("server" if request.param == "sqlite and files" else "large_server")
    return chosen
