"""Pull limits as Docker Hub has them: what counts, for whom, what is said, and that it is exact."""

import json
import socket
from collections.abc import Iterator
from uuid import uuid4

import pytest

from tests.http.conftest import large
from tests.support.hub_world import World
from tests.support.pulling import ACCOUNT, ANONYMOUS, limited, new_address, pull, remaining
from tests.support.scripted_upstream import Upstream, scripted_upstream
from tests.support.serving import OCI_CONFIG, OCI_INDEX, OCI_MANIFEST, a_manifest, descriptor, digest_of
from tests.support.wire import Answer

DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"


@pytest.fixture
def address() -> str:
    """An address that no other test comes from."""
    return new_address()


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    """Another registry, which everybody may read through ours."""
    with scripted_upstream() as running:
        yield running


@pytest.fixture(scope="module", params=["small", pytest.param("large", marks=pytest.mark.xdist_group("large"))])
def hub(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, upstream: Upstream
) -> Iterator[World]:
    """A server with Docker Hub's limits, on SQLite and files; then one on PostgreSQL, S3 and Redis."""
    upstreams = json.dumps({"up.example": {"url": upstream.url}})
    if request.param == "small":
        with limited(tmp_path_factory, upstreams=upstreams) as world:
            yield world
        return
    servers = request.getfixturevalue("postgres_server"), request.getfixturevalue("s3_server")
    redis = request.getfixturevalue("redis_url")
    with large(*servers) as where, limited(tmp_path_factory, upstreams=upstreams, redis__url=redis, **where) as world:
        yield world


@pytest.fixture(scope="module")
def image(hub: World) -> tuple[str, bytes]:
    """A public repository with an image `v1` and an index `all`; the image's manifest."""
    owner = hub.person("owner")
    name = f"{owner.name}/app"
    visitor = hub.by_basic(owner)
    manifest = visitor.push_image(name, "v1")
    index = a_manifest({"manifests": [descriptor(manifest, "application/vnd.oci.image.manifest.v1+json")]}, OCI_INDEX)
    assert visitor.put_manifest(name, "all", index, OCI_INDEX).status == 201
    return name, manifest


def test_a_pull_of_an_image_counts_and_says_so(hub: World, image: tuple[str, bytes], address: str) -> None:
    answer = pull(hub, image[0], "v1", address)
    assert answer.status == 200
    assert (answer["ratelimit-limit"], remaining(answer)) == ("100;w=21600", ANONYMOUS - 1)
    assert answer["docker-ratelimit-source"] == address


def test_the_headers_names_are_in_lower_case_on_the_wire(hub: World, image: tuple[str, bytes]) -> None:
    token = hub.token_for(None, image[0], actions="pull")
    host, port = hub.server.address
    with socket.create_connection((host, port)) as connection, connection.makefile("rb") as answer:
        request = f"HEAD /v2/{image[0]}/manifests/v1 HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\r\n"
        connection.sendall(request.encode())
        lines = [line.partition(b":")[0] for line in iter(answer.readline, b"\r\n")]
    assert {b"ratelimit-limit", b"ratelimit-remaining", b"docker-ratelimit-source"} <= set(lines)


def test_what_is_no_pull_does_not_count(hub: World, image: tuple[str, bytes], address: str) -> None:
    name, manifest = image
    digest = digest_of(manifest)
    for method, reference in (("HEAD", "v1"), ("GET", "all"), ("HEAD", digest)):
        answer = pull(hub, name, reference, address, method=method)
        assert (answer.status, remaining(answer)) == (200, ANONYMOUS)
    token = {"Authorization": f"Bearer {hub.token_for(None, name, actions='pull')}", "X-Forwarded-For": address}
    unchanged = hub.server.get(f"/v2/{name}/manifests/v1", {**token, "If-None-Match": f'"{digest}"'})
    assert (unchanged.status, remaining(unchanged)) == (304, ANONYMOUS)
    assert hub.server.get(f"/v2/{name}/manifests/none", token).status == 404
    assert hub.server.get(f"/v2/{name}/tags/list", token).status == 200
    assert remaining(pull(hub, name, "v1", address, method="HEAD")) == ANONYMOUS


def test_a_pull_as_of_a_time_counts(hub: World, image: tuple[str, bytes], address: str) -> None:
    answer = pull(hub, image[0], "v1?at=2999-01-01T00:00:00Z", address)
    assert (answer.status, remaining(answer)) == (200, ANONYMOUS - 1)
    assert remaining(pull(hub, image[0], "v1?at=2999-01-01T00:00:00Z", address, method="HEAD")) == ANONYMOUS - 1


def test_what_belongs_to_an_image_is_no_pull(hub: World, image: tuple[str, bytes], address: str) -> None:
    name, manifest = image
    owner = hub.person("owner")
    name = f"{owner.name}/signed"
    visitor = hub.by_basic(owner)
    manifest = visitor.push_image(name, "v1")
    subject = descriptor(manifest, OCI_MANIFEST)
    referrer = visitor.push_image(name, "signature", subject=subject, artifactType="application/vnd.test.signature")
    provenance, config = b"provenance", b"{}"
    for content in (provenance, config):
        visitor.push_blob(name, content)
    attestation = a_manifest(
        {
            "config": descriptor(config, OCI_CONFIG),
            "layers": [descriptor(provenance, "application/vnd.in-toto+json")],
        }
    )
    assert visitor.put_manifest(name, "attestation", attestation).status == 201
    listed = a_manifest({"manifests": [descriptor(manifest, OCI_MANIFEST)]}, DOCKER_LIST)
    assert visitor.put_manifest(name, "list", listed, DOCKER_LIST).status == 201
    for reference in ("signature", digest_of(referrer), "attestation", digest_of(attestation), "list"):
        answer = pull(hub, name, reference, address)
        assert (answer.status, remaining(answer)) == (200, ANONYMOUS), reference
    headers = {"Authorization": f"Bearer {hub.token_for(None, name, actions='pull')}", "X-Forwarded-For": address}
    assert hub.server.get(f"/v2/{name}/blobs/{digest_of(provenance)}", headers).status == 200
    assert hub.server.get(f"/v2/{name}/referrers/{digest_of(manifest)}", headers).status == 200
    assert remaining(pull(hub, name, "v1", address)) == ANONYMOUS - 1


def test_what_is_read_through_counts_as_what_is_pushed_here(hub: World, upstream: Upstream, address: str) -> None:
    upstream.script.push("v1", uuid4().bytes)
    for number in range(1, 3):  # fetched, then stored
        answer = pull(hub, "up.example/library/app", "v1", address)
        assert (answer.status, remaining(answer)) == (200, ANONYMOUS - number)
    assert remaining(pull(hub, "up.example/library/app", "v1", address, method="HEAD")) == ANONYMOUS - 2


def test_who_is_not_trusted_counts_as_the_address_that_it_comes_from(
    tmp_path_factory: pytest.TempPathFactory, address: str
) -> None:
    with limited(tmp_path_factory, http__trusted_proxies="[]") as world:
        owner = world.person("owner")
        name = f"{owner.name}/app"
        world.by_basic(owner).push_image(name, "v1")
        for number, each in enumerate((address, "203.0.113.77"), 1):
            answer = pull(world, name, "v1", each)
            assert (answer["docker-ratelimit-source"], remaining(answer)) == ("127.0.0.1", ANONYMOUS - number)


def test_every_pull_counts_also_of_what_was_pulled_before(hub: World, image: tuple[str, bytes], address: str) -> None:
    name, manifest = image
    left = [remaining(pull(hub, name, reference, address)) for reference in ("v1", "v1", digest_of(manifest))]
    assert left == [ANONYMOUS - 1, ANONYMOUS - 2, ANONYMOUS - 3]


def test_over_it_a_get_is_429_and_a_head_says_that_nothing_is_left(
    hub: World, image: tuple[str, bytes], address: str
) -> None:
    for _ in range(ANONYMOUS):
        assert pull(hub, image[0], "v1", address).status == 200
    refused = pull(hub, image[0], "v1", address)
    assert (refused.status, refused.code) == (429, "TOOMANYREQUESTS")
    assert refused.message.startswith("You have reached your pull rate limit")
    assert 0 < int(refused["retry-after"]) <= 21600
    assert remaining(refused) == 0
    head = pull(hub, image[0], "v1", address, method="HEAD")
    assert (head.status, remaining(head)) == (200, 0)


def test_an_account_has_its_own_limit_and_leaves_the_addresss_alone(
    hub: World, image: tuple[str, bytes], address: str
) -> None:
    alice = hub.person("alice")
    answer = pull(hub, image[0], "v1", address, alice)
    assert (answer["ratelimit-limit"], remaining(answer)) == ("200;w=21600", ACCOUNT - 1)
    assert answer["docker-ratelimit-source"] == str(alice.actor.account_id)
    assert remaining(pull(hub, image[0], "v1", address, method="HEAD")) == ANONYMOUS


def test_a_robot_charges_its_organization(hub: World, image: tuple[str, bytes], address: str) -> None:
    owner = hub.person("boss")
    organization = hub.organization(owner)
    robots = [hub.robot(owner, organization) for _ in range(2)]
    left = [remaining(pull(hub, image[0], "v1", address, robot)) for robot in robots]
    assert left == [ACCOUNT - 1, ACCOUNT - 2]


def test_ipv6_counts_by_its_64_bits_of_network(hub: World, image: tuple[str, bytes]) -> None:
    network = f"2001:db8:{uuid4().hex[:4]}:1"
    first = pull(hub, image[0], "v1", f"{network}::1")
    second = pull(hub, image[0], "v1", f"{network}:ffff::2")
    assert (remaining(first), remaining(second)) == (ANONYMOUS - 1, ANONYMOUS - 2)
    assert first["docker-ratelimit-source"].endswith(":1::")


def test_a_challenge_for_a_manifest_shows_what_is_left_and_counts_nothing(
    hub: World, image: tuple[str, bytes], address: str
) -> None:
    for _ in range(2):
        answer = hub.server.get(f"/v2/{image[0]}/manifests/v1", {"X-Forwarded-For": address})
        assert (answer.status, remaining(answer)) == (401, ANONYMOUS)


def test_the_preview_always_exists_and_shows_the_callers_limit(hub: World, address: str) -> None:
    for method in ("HEAD", "GET"):
        answer = pull(hub, "ratelimitpreview/test", "latest", address, method=method)
        assert (answer.status, remaining(answer)) == (200, ANONYMOUS)
    alice = hub.person("alice")
    assert remaining(pull(hub, "ratelimitpreview/test", "latest", address, alice, "HEAD")) == ACCOUNT


def test_a_plan_changes_it(hub: World, image: tuple[str, bytes], address: str) -> None:
    alice = hub.person("alice")
    body = json.dumps({"plan": "pro"}).encode()
    assert admin(hub, "PUT", f"/namespaces/{alice.name}/plan", body).status == 200
    assert pull(hub, image[0], "v1", address, alice).header("ratelimit-limit") is None


def admin(hub: World, method: str, path: str, body: bytes) -> Answer:
    headers = {**hub.administrator.basic, "Content-Type": "application/json"}
    return hub.server.request(method, f"/api/v1{path}", headers, body)


@pytest.mark.parametrize("what", ["repository", "namespace"])
def test_what_is_exempt_is_charged_to_nobody_at_once_and_until_it_is_not(hub: World, address: str, what: str) -> None:
    owner = hub.person("owner")
    name = f"{owner.name}/free"
    hub.by_basic(owner).push_image(name, "v1")
    place = f"/repositories/{name}/-/pulls" if what == "repository" else f"/namespaces/{owner.name}/pulls"
    assert remaining(pull(hub, name, "v1", address)) == ANONYMOUS - 1  # and every worker may have cached it
    assert remaining(pull(hub, name, "v1", address)) == ANONYMOUS - 2
    for flag in (True, False):
        changed = admin(hub, "PUT", place, json.dumps({"pulls_exempt": flag}).encode())
        assert changed.json() == {"pulls_exempt": flag, "in_effect": flag}
        shown = hub.server.get(f"/api/v1/repositories/{name}/-/pulls").json()
        assert shown == {"pulls_exempt": flag and what == "repository", "in_effect": flag}
        for number in range(2):
            answer = pull(hub, name, "v1", address)
            assert answer.status == 200
            if flag:
                assert answer.header("ratelimit-limit") is None
            else:
                assert remaining(answer) == ANONYMOUS - 3 - number


def test_the_api_says_what_is_left_and_when_the_next_is_free(
    hub: World, image: tuple[str, bytes], address: str
) -> None:
    pull(hub, image[0], "v1", address)
    found = hub.server.get("/api/v1/limits", {"X-Forwarded-For": address}).json()
    assert (found["subject"], found["limit"], found["remaining"], found["next_free_in"]) == (address, 100, 99, 0)
    alice = hub.person("alice")
    pull(hub, image[0], "v1", address, alice)
    own = hub.server.get("/api/v1/limits", alice.basic).json()
    assert (own["limit"], own["remaining"], own["window"]) == (200, 199, 21600)
    gone = new_address()
    for _ in range(ANONYMOUS):
        pull(hub, image[0], "v1", gone)
    none_left = hub.server.get("/api/v1/limits", {"X-Forwarded-For": gone}).json()
    refused = pull(hub, image[0], "v1", gone)
    assert none_left["remaining"] == 0
    assert none_left["next_free_in"] - 1 <= int(refused["retry-after"]) <= none_left["next_free_in"] <= 21600
