"""Purging in a bucket that keeps versions: they go too, and the report says so, or says why they stay."""

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.http.conftest import large
from tests.support.hub_world import World, serving_world
from tests.support.purges import keys_of, layers_of, purge
from tests.support.s3 import Bucket
from tests.support.serving import digest_of


class Scene(NamedTuple):
    """A registry with accounts, and the bucket with its blobs, which keeps versions."""

    world: World
    bucket: Bucket


@pytest.fixture
def scene(tmp_path_factory: pytest.TempPathFactory, postgres_server: str, s3_server: str) -> Iterator[Scene]:
    """Running, on PostgreSQL."""
    with large(postgres_server, s3_server) as where:
        bucket = Bucket(s3_server, where["storage__s3__bucket"])
        bucket.keep_versions()
        with serving_world(tmp_path_factory.mktemp("versions"), **where) as world:
            yield Scene(world, bucket)


def test_versions_go_with_what_is_purged_or_stay_where_the_key_may_not_and_the_report_says_so(scene: Scene) -> None:
    world, bucket = scene
    olga = world.person()
    name = world.repository(olga, f"{olga.name}/app")
    client = world.by_basic(olga)
    gone, left = client.push_image(name, "v1"), client.push_image(name, "v2")
    (key,), (left_key,) = (keys_of(world, layers_of(image)[0]) for image in (gone, left))
    assert [each for each in bucket.versions() if key in each]
    report = purge(world, olga, name, digest_of(gone))["report"]
    assert not [each for each in bucket.versions() if key in each]
    assert report["versions"].startswith(f"the bucket {bucket.name} keeps older versions: they are deleted too")
    assert report["versions"] not in report["unreachable"]
    bucket.forbid("s3:DeleteObjectVersion")
    report = purge(world, olga, name, digest_of(left))["report"]
    assert [each for each in bucket.versions() if left_key in each]
    assert [each for each in bucket.objects() if left_key in each] == []
    assert report["versions"] in report["unreachable"]
    assert "stay: the key lacks" in report["versions"]
