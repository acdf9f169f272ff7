"""The cache of a registry with accounts: who may read through it, what is shown of it, and its API."""

import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest

from tests.http.conftest import BOTH, large
from tests.support.hub_world import Person, World, serving_world
from tests.support.scripted_upstream import Script, scripted_upstream
from tests.support.serving import digest_of
from tests.support.wire import Answer


@dataclass
class Scene:
    """A registry with accounts and one upstream three times: `open.example` for everyone, `inner.example` for accounts,
    and `team.example`, where `secret/` is for some, and only some may have fetched what is not stored."""

    world: World
    script: Script

    def api(self, who: Person, method: str, path: str, **body: str) -> Answer:
        """A request to the API."""
        headers = {**who.basic, **({"Content-Type": "application/json"} if body else {})}
        content = json.dumps(body).encode() if body else None
        return self.world.server.request(method, f"/api/v1{path}", headers, content)


def _configured(url: str) -> str:
    login = {"username": "bot", "password": "the upstream's"}
    secret = {**login, "repositories": ["secret/*"], "read": ["reader-one", "partners", "acme/devs"]}
    team = {
        "url": url,
        "credentials": [secret],
        "fetch": ["reader-one", "acme"],
        "fresh": {"late": "always", "*": "1h"},
    }
    return json.dumps(
        {
            "open.example": {"url": url},
            "docker.io": {"url": url},
            "inner.example": {"url": url, "read": "accounts", "fresh": "1h"},
            "team.example": team,
        }
    )


@pytest.fixture(scope="module")
def small_scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """On SQLite and files."""
    with (
        scripted_upstream() as upstream,
        serving_world(tmp_path_factory.mktemp("world"), upstreams=_configured(upstream.url)) as world,
    ):
        yield Scene(world, upstream.script)


@pytest.fixture(scope="module")
def large_scene(tmp_path_factory: pytest.TempPathFactory, postgres_server: str, s3_server: str) -> Iterator[Scene]:
    """On PostgreSQL and object storage."""
    with (
        scripted_upstream() as upstream,
        large(postgres_server, s3_server) as where,
        serving_world(tmp_path_factory.mktemp("world"), upstreams=_configured(upstream.url), **where) as world,
    ):
        yield Scene(world, upstream.script)


@pytest.fixture(params=BOTH)
def scene(request: pytest.FixtureRequest) -> Scene:
    made: Scene = request.getfixturevalue("small_scene" if request.param == "sqlite and files" else "large_scene")
    return made


def test_an_upstream_for_everyone_is_read_by_an_anonymous_token_and_one_for_accounts_is_not(
    scene: Scene, name: str
) -> None:
    manifest = scene.script.push("v1", os.urandom(100))
    world, alice = scene.world, scene.world.person()
    for repository, who, status in (
        (f"open.example/{name}", None, 200),
        (f"open.example/{name}", alice, 200),
        (f"inner.example/{name}", None, 401),
        (f"inner.example/{name}", alice, 200),
    ):
        for _ in range(2):
            answer = world.by_token(who, repository).get(f"/v2/{repository}/manifests/v1")
            assert answer.status == status
            assert answer.status != 200 or answer.body == manifest
    assert world.by_basic(alice).get(f"/v2/inner.example/{name}/manifests/v1").body == manifest
    assert world.visitor({}).get(f"/v2/open.example/{name}/manifests/v1").status == 401, (
        "with a challenge, as everywhere"
    )


@pytest.mark.parametrize("called", ["docker.io/{}", "index.docker.io/library/{}", "registry-1.docker.io/{}"])
def test_a_token_for_any_name_of_a_repository_at_docker_hub_opens_it(scene: Scene, name: str, called: str) -> None:
    """Docker asks for the name by which it was called, whatever the challenge says."""
    manifest = scene.script.push("v1", os.urandom(100))
    repository = called.format(name.rpartition("/")[2])
    for who in (None, scene.world.person()):
        answer = scene.world.by_token(who, repository, actions="pull").get(f"/v2/{repository}/manifests/v1")
        assert (answer.status, answer.body) == (200, manifest)


def test_that_somebody_has_fetched_it_opens_it_to_nobody_else(scene: Scene, name: str) -> None:
    layer = os.urandom(1000)
    scene.script.push("v1", layer)
    alice = scene.world.by_basic(scene.world.person())
    assert alice.get(f"/v2/inner.example/{name}/manifests/v1").status == 200
    assert alice.get(f"/v2/inner.example/{name}/blobs/{digest_of(layer)}").body == layer
    nobody = scene.world.by_token(None, f"inner.example/{name}")
    assert nobody.get(f"/v2/inner.example/{name}/manifests/v1").status == 401
    assert nobody.get(f"/v2/inner.example/{name}/blobs/{digest_of(layer)}").status == 401


def test_what_is_read_through_is_listed_to_administrators_alone(scene: Scene, name: str) -> None:
    scene.script.push("v1", os.urandom(100))
    alice = scene.world.person()
    assert scene.world.by_basic(alice).get(f"/v2/open.example/{name}/manifests/v1").status == 200
    assert f"open.example/{name}" not in scene.world.by_basic(alice).get("/v2/_catalog").json()["repositories"]
    assert not scene.api(alice, "GET", f"/search?q={name.rpartition('/')[2]}").json()["items"]


def test_nobody_pushes_there_and_administrators_evict(scene: Scene, name: str) -> None:
    manifest = scene.script.push("v1", os.urandom(100))
    target = f"/v2/open.example/{name}/manifests/{digest_of(manifest)}"
    admin, alice = scene.world.by_basic(scene.world.administrator), scene.world.by_basic(scene.world.person())
    assert alice.get(target).status == 200
    for each in (admin, alice):
        assert each.request("POST", f"/v2/open.example/{name}/blobs/uploads/", body=b"").status == 405
    assert alice.delete(target).status == 401
    assert admin.delete(target).status == 202


def test_the_api_shows_budgets_and_looks_at_a_tag_now(scene: Scene, name: str) -> None:
    first = scene.script.push("v1", os.urandom(100))
    budget = {"ratelimit-limit": "200;w=21600", "ratelimit-remaining": "37;w=21600"}
    scene.script.headers = {**budget, "docker-ratelimit-source": "2001:db8:1:2::"}
    alice = scene.world.person()
    reader = scene.world.by_basic(alice)
    assert reader.get(f"/v2/inner.example/{name}/manifests/v1").body == first
    shown = {each["alias"]: each for each in scene.api(alice, "GET", "/upstreams").json()["items"]}
    assert re.fullmatch(r"37 of 200 left, next at \d\d:\d\d UTC", shown["inner.example"]["budget"])
    assert shown["inner.example"]["next_at"] > "2026"
    assert (shown["inner.example"]["source"], shown["team.example"]["source"]) == ("2001:db8:1:2::", "")
    assert shown["inner.example"]["pulls"] >= 1
    assert (
        b'entrepot_upstream_remaining{credential="",upstream="inner.example"} 37.0'
        in scene.world.server.get("/metrics").body
    )
    scene.script.headers = {}
    second = scene.script.push("v1", os.urandom(100))
    assert reader.get(f"/v2/inner.example/{name}/manifests/v1").body == first, "it is fresh for an hour"
    wanted = {"repository": name, "tag": "v1"}
    assert scene.api(alice, "POST", "/upstreams/inner.example/refresh", **wanted).status == 403
    answer = scene.api(scene.world.administrator, "POST", "/upstreams/inner.example/refresh", **wanted)
    assert answer.json() == {"digest": digest_of(second), "stale": False}
    assert reader.get(f"/v2/inner.example/{name}/manifests/v1").body == second
    assert scene.api(scene.world.administrator, "POST", "/upstreams/nowhere/refresh", **wanted).status == 404
    outside = {"repository": "../../secret", "tag": "v1"}
    assert scene.api(scene.world.administrator, "POST", "/upstreams/inner.example/refresh", **outside).status == 422


@pytest.mark.parametrize("alias", ["inner.example", "open.example"], ids=["fresh for an hour", "looked at each time"])
def test_the_api_shows_the_pulls_and_bytes_that_were_saved(scene: Scene, name: str, alias: str) -> None:
    layer = os.urandom(1000)
    manifest = scene.script.push("v1", layer)
    alice = scene.world.person()
    reader = scene.world.by_basic(alice)

    def shown(key: str) -> int:
        (item,) = (each for each in scene.api(alice, "GET", "/upstreams").json()["items"] if each["alias"] == alias)
        return int(item[key])

    counts = {key: shown(key) for key in ("saved_pulls", "saved_bytes", "pulls")}
    place = f"/v2/{alias}/{name}"
    assert reader.get(f"{place}/manifests/v1").body == manifest
    assert reader.get(f"{place}/blobs/{digest_of(layer)}").body == layer
    for _ in range(3):  # as an engine pulls: what is only looked at is no pull, there and here
        assert reader.head(f"{place}/manifests/v1").status == 200
        assert reader.get(f"{place}/manifests/{digest_of(manifest)}").body == manifest
    assert reader.get(f"{place}/manifests/v1").body == manifest
    assert shown("pulls") - counts["pulls"] == 1
    assert shown("saved_pulls") - counts["saved_pulls"] == 4
    while (before := shown("saved_bytes")) == counts["saved_bytes"]:  # until it is stored, for which nobody waits
        assert reader.get(f"{place}/blobs/{digest_of(layer)}").body == layer
    assert reader.get(f"{place}/blobs/{digest_of(layer)}").body == layer
    assert shown("saved_bytes") - before == len(layer)


def test_what_a_credential_opens_is_for_those_whom_it_names_and_nobody_else(scene: Scene, name: str) -> None:
    world = scene.world
    owner, guest = world.person(), world.person()
    one = world.person(name="reader-one")
    partner, member, developer = (world.person() for _ in range(3))
    world.organization(owner, "partners")
    world.member(owner, "partners", partner)
    world.organization(owner, "acme")
    for each in (member, developer):
        world.member(owner, "acme", each)
    world.team(owner, "acme", "devs", developer)
    readers, others = (one, partner, developer, owner, world.administrator), (guest, member, None)

    manifest = scene.script.push("v1", os.urandom(100))
    repository = f"team.example/secret/{name}"
    assert world.by_basic(one).get(f"/v2/{repository}/manifests/v1").body == manifest
    for reader in readers:
        assert world.by_token(reader, repository).get(f"/v2/{repository}/manifests/v1").body == manifest
    for who in others:
        assert world.by_token(who, repository).get(f"/v2/{repository}/manifests/v1").status == 401
    outside = f"team.example/{name}"
    assert world.by_basic(one).get(f"/v2/{outside}/manifests/v1").body == manifest
    assert world.by_token(None, outside).get(f"/v2/{outside}/manifests/v1").body == manifest
    _only_some_have_it_fetched(scene, name, [one, member, world.administrator], [partner, guest, None])


def _only_some_have_it_fetched(
    scene: Scene, name: str, fetchers: Sequence[Person], others: Sequence[Person | None]
) -> None:
    layer = os.urandom(1000)
    manifest = scene.script.push("late", layer)
    for number, fetcher in enumerate(fetchers):
        repository = f"team.example/{name}/{number}"
        for other in others:
            visitor = scene.world.by_token(other, repository)
            for target in ("manifests/late", f"manifests/{digest_of(manifest)}", f"blobs/{digest_of(layer)}"):
                refused = visitor.get(f"/v2/{repository}/{target}")
                assert (refused.status, refused.code) == (403, "DENIED")
            assert visitor.head(f"/v2/{repository}/blobs/{digest_of(layer)}").status == 403
        assert not scene.script.asked["GET", f"/v2/{name}/{number}/manifests/late"], "nothing was asked for them"
        fetching = scene.world.by_token(fetcher, repository)
        assert fetching.get(f"/v2/{repository}/manifests/late").body == manifest
        assert fetching.get(f"/v2/{repository}/blobs/{digest_of(layer)}").body == layer
        for other in others:
            visitor = scene.world.by_token(other, repository)
            stored = visitor.get(f"/v2/{repository}/manifests/late")
            assert (stored.body, stored.header("warning") is not None) == (manifest, True)
            while (blob := visitor.get(f"/v2/{repository}/blobs/{digest_of(layer)}")).status == 403:
                continue  # it has arrived, and is being stored
            assert blob.body == layer
    moved = scene.script.push("late", b"moved")
    repository = f"team.example/{name}/0"
    assert scene.world.by_token(others[0], repository).get(f"/v2/{repository}/manifests/late").body == manifest
    assert scene.world.by_token(fetchers[0], repository).get(f"/v2/{repository}/manifests/late").body == moved


def test_nothing_is_made_under_an_alias_by_the_api_either(scene: Scene, name: str) -> None:
    administrator = scene.world.administrator
    for made in (f"open.example/{name}", "open.example/new"):
        answer = scene.api(administrator, "POST", "/repositories", name=made, visibility="public")
        assert (answer.status, b"is read through" in answer.body) == (405, True)
    assert scene.api(administrator, "POST", "/organizations", name="open.example").status == 422
