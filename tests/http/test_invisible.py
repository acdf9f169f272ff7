"""Private means invisible: who may not read a repository is answered as for one that does not exist."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode
from uuid import uuid4

import pytest

from entrepot.access.actor import Role, Scopes
from entrepot.web.v2.routes import METHODS
from tests.support.hub_world import ALL, Person, Visitor, World, basic, bearer, claims_of, serving_world
from tests.support.serving import (
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    a_manifest,
    an_image,
    descriptor,
    digest_of,
)
from tests.support.wire import Answer

VARYING = ("date", "x-request-id")
Body = tuple[dict[str, str], bytes | None]


@dataclass(frozen=True)
class Secret:
    """What is in a private repository."""

    name: str
    config: bytes
    layer: bytes
    manifest: bytes
    upload: str


@pytest.fixture(scope="module")
def owner(world: World) -> Person:
    """Who owns what is private."""
    return world.person("olga")


@pytest.fixture(scope="module")
def organization(world: World, owner: Person) -> str:
    """Where it is."""
    return world.organization(owner)


@pytest.fixture(scope="module")
def secret(world: World, owner: Person, organization: str) -> Secret:
    """A private repository with an image, a referrer of it, and an open upload."""
    name = world.repository(owner, f"{organization}/private-{uuid4().hex[:8]}", "private")
    pusher = world.by_basic(owner)
    config, layer = json.dumps({"made": uuid4().hex}).encode(), uuid4().bytes
    for content in (config, layer):
        pusher.push_blob(name, content)
    manifest = an_image(config, layer)
    assert pusher.put_manifest(name, "v1", manifest).status == 201
    pusher.push_artifact(name, subject=descriptor(manifest, OCI_MANIFEST))
    return Secret(name, config, layer, manifest, pusher.open_upload(name).rpartition("/")[2])


@pytest.fixture(scope="module")
def nothing(world: World, owner: Person, organization: str) -> list[str]:
    """Names of the same length where nothing is: never was, was renamed, was deleted, and of nobody's."""
    names = [f"{organization}/{word}-{uuid4().hex[:8]}" for word in ("nothing", "renamed", "deleted", "another")]
    for name in names[1:3]:
        world.repository(owner, name, "private")
    world.rename(owner, names[1], f"{organization}/elsewhere-{uuid4().hex[:8]}")
    world.delete(owner, names[2])
    return [*names[:3], names[3].replace(organization, f"org-{uuid4().hex[:12]}")]


CALLERS = ("no token", "anonymous", "anonymous by Basic", "stranger", "stranger by Basic", "member", "catalog token")


def visitor(world: World, caller: str, name: str, somebody: Person, member: Person) -> Visitor:
    """Somebody who may not read `name`, with the best token that there is for it."""
    scope = f"repository:{name}:{ALL}"
    match caller:
        case "no token":
            return world.visitor({})
        case "anonymous":
            return world.visitor(bearer(world.token(None, scope)))
        case "anonymous by Basic":
            return world.visitor(basic("", ""))
        case "stranger":
            return world.visitor(bearer(world.token(somebody, scope)))
        case "stranger by Basic":
            return world.visitor(somebody.basic)
        case "member":
            return world.visitor(bearer(world.token(member, scope)))
    return world.visitor(bearer(world.token(somebody, "registry:catalog:*")))


@pytest.fixture(scope="module")
def somebody(world: World) -> Person:
    """Who has nothing to do with it."""
    return world.person("sam")


@pytest.fixture(scope="module")
def member(world: World, owner: Person, organization: str) -> Person:
    """A member of the organization, where only owners create and members read nothing by themselves."""
    who = world.person("mo")
    world.member(owner, organization, who)
    world.execute("UPDATE accounts SET creation = 'owners' WHERE name = :name", name=organization)
    return who


@pytest.mark.parametrize("caller", CALLERS)
def test_every_route_answers_byte_for_byte_as_for_nothing(
    world: World, secret: Secret, nothing: list[str], somebody: Person, member: Person, caller: str
) -> None:
    seen = set()
    for route, method, path, (headers, body) in requests(secret):
        seen.add((route, method))
        answers = []
        for name in (secret.name, *nothing):
            answer = visitor(world, caller, name, somebody, member).request(method, f"/v2/{name}{path}", headers, body)
            answers.append(nameless(answer, name))
        assert answers[0][0] == 401
        assert answers == [answers[0]] * len(answers), (method, path)
    assert seen == {
        (route, method) for route, methods in METHODS.items() for method in methods if route not in ("ping", "catalog")
    }


def requests(secret: Secret) -> Iterator[tuple[str, str, str, Body]]:
    """Every route with what is really there in the private repository."""
    manifest, blob = digest_of(secret.manifest), digest_of(secret.layer)
    for method in ("GET", "HEAD"):
        yield "tags", method, "/tags/list", ({}, None)
        yield "tags", method, "/tags/list?n=1&last=a", ({}, None)
        yield "blobs", method, f"/blobs/{blob}", ({}, None)
        yield "blobs", method, f"/blobs/{blob}", ({"Range": "bytes=0-0", "If-None-Match": f'"{blob}"'}, None)
        yield "manifests", method, "/manifests/v1", ({}, None)
        yield "manifests", method, f"/manifests/{manifest}", ({"If-None-Match": f'"{manifest}"'}, None)
        yield "referrers", method, f"/referrers/{manifest}", ({}, None)
    yield "uploads", "POST", "/blobs/uploads/", ({}, b"")
    yield "uploads", "POST", f"/blobs/uploads/?digest={blob}", ({}, secret.layer)
    yield "uploads", "POST", f"/blobs/uploads/?mount={blob}&from=library/hello", ({}, b"")
    yield "upload", "GET", f"/blobs/uploads/{secret.upload}", ({}, None)
    yield "upload", "PATCH", f"/blobs/uploads/{secret.upload}", ({}, b"x")
    yield "upload", "PUT", f"/blobs/uploads/{secret.upload}?digest={blob}", ({}, secret.layer)
    yield "upload", "DELETE", f"/blobs/uploads/{secret.upload}", ({}, None)
    yield "manifests", "PUT", "/manifests/v1", ({"Content-Type": OCI_MANIFEST}, secret.manifest)
    yield "manifests", "DELETE", "/manifests/v1", ({}, None)
    yield "manifests", "DELETE", f"/manifests/{manifest}", ({}, None)
    yield "blobs", "DELETE", f"/blobs/{blob}", ({}, None)


def test_a_token_says_the_same_of_what_is_private_and_of_nothing(
    world: World, secret: Secret, nothing: list[str], somebody: Person
) -> None:
    for who in (None, somebody):
        told = []
        for name in (secret.name, *nothing):
            answer = world.ask_token(who, f"repository:{name}:{ALL}")
            claims = {key: value for key, value in claims_of(answer.json()["token"]).items() if key not in TIMES}
            told.append((answer.status, claims, sorted(answer.json())))
        assert told == [told[0]] * len(told)
        assert told[0][1]["access"] == []


TIMES = ("jti", "iat", "nbf", "exp")


def test_what_is_private_is_in_no_list_of_those_who_may_not_read_it(
    world: World, owner: Person, secret: Secret, somebody: Person
) -> None:
    def catalog(visitor: Visitor) -> list[str]:
        names: list[str] = visitor.get("/v2/_catalog?n=1000").json()["repositories"]
        return names

    def search(headers: dict[str, str]) -> list[str]:
        query = urlencode({"q": secret.name.partition("/")[2], "n": 100})
        return [each["name"] for each in world.server.get(f"/v1/search?{query}", headers).json()["results"]]

    for who in (somebody, owner):
        for visitor in (world.by_basic(who), world.visitor(bearer(world.token(who, "registry:catalog:*")))):
            assert (secret.name in catalog(visitor)) == (who is owner)
        assert (secret.name in search(who.basic)) == (who is owner)
    assert secret.name not in catalog(world.visitor(bearer(world.token(None, "registry:catalog:*"))))
    assert secret.name not in search({})


def test_a_mount_from_what_one_may_not_pull_is_a_plain_upload(
    world: World, secret: Secret, nothing: list[str], somebody: Person
) -> None:
    mine, digest = world.repository(somebody, f"{somebody.name}/mine"), digest_of(secret.layer)
    sources = [f"&from={name}" for name in (secret.name, *nothing, "library", "UPPER", '"')] + ["", "&from="]
    for mount in (f"?mount={digest}{source}" for source in sources):
        for visitor in (
            world.by_basic(somebody),
            world.by_token(somebody, mine),
            world.by_token(somebody, mine, secret.name, nothing[0]),
        ):
            answer = visitor.request("POST", f"/v2/{mine}/blobs/uploads/{mount}", body=b"")
            assert answer.status == 202, (mount, answer)
            assert answer.header("docker-content-digest") is None
            assert answer["range"] == "0-0"
    assert world.by_basic(somebody).get(f"/v2/{mine}/blobs/{digest}").status == 404


def test_a_mount_is_within_the_scopes_of_the_credential_that_asks(world: World, owner: Person, secret: Secret) -> None:
    target, mount = world.repository(owner, f"{owner.name}/{uuid4().hex}"), f"?mount={digest_of(secret.layer)}"
    where = f"/v2/{target}/blobs/uploads/{mount}&from={secret.name}"
    bound = world.execute("SELECT id FROM repositories WHERE name = :name", name=target)[0][0]
    narrow = world.personal_token(owner, Scopes(Role.ADMIN, repositories=frozenset({bound})))
    for client in (world.by_token(narrow, target), world.by_token(narrow, target, secret.name), world.by_basic(narrow)):
        assert client.request("POST", where, body=b"").status == 202
    for client in (world.by_token(owner, target), world.by_token(owner, target, secret.name), world.by_basic(owner)):
        assert client.request("POST", where, body=b"").status == 201


def test_a_blob_opens_in_no_repository_that_has_no_link_to_it(
    world: World, owner: Person, secret: Secret, somebody: Person
) -> None:
    mine = world.repository(somebody, f"{somebody.name}/{uuid4().hex}")
    theirs = world.repository(owner, f"{owner.name}/{uuid4().hex}")
    for visitor, name in ((world.by_basic(somebody), mine), (world.by_token(somebody, mine), mine),
                          (world.by_basic(owner), theirs)):  # fmt: skip
        for digest in (digest_of(secret.layer), digest_of(b"never pushed " + uuid4().bytes)):
            for method in ("GET", "HEAD"):
                assert visitor.request(method, f"/v2/{name}/blobs/{digest}").status == 404
                assert visitor.request(method, f"/v2/{name}/manifests/{digest}").status == 404


def test_knowing_a_digest_gives_nothing_without_the_bytes(world: World, secret: Secret, somebody: Person) -> None:
    mine, visitor = world.repository(somebody, f"{somebody.name}/{uuid4().hex}"), world.by_basic(somebody)
    for content in (secret.layer, uuid4().bytes):
        at_once = visitor.request("POST", f"/v2/{mine}/blobs/uploads/?digest={digest_of(content)}", body=b"")
        later = visitor.request("PUT", f"{visitor.open_upload(mine)}?digest={digest_of(content)}", body=b"other")
        assert [(answer.status, answer.code) for answer in (at_once, later)] == [(400, "DIGEST_INVALID")] * 2
        assert visitor.get(f"/v2/{mine}/blobs/{digest_of(content)}").status == 404


def test_a_crafted_manifest_opens_nothing_and_is_answered_as_if_nothing_were_there(
    world: World, secret: Secret, somebody: Person
) -> None:
    mine, visitor = world.repository(somebody, f"{somebody.name}/{uuid4().hex}"), world.by_basic(somebody)
    answers = []
    for config, layer in ((secret.config, secret.layer), (uuid4().bytes, uuid4().bytes)):
        crafted = visitor.put_manifest(mine, "v1", an_image(config, layer))
        answers.append((crafted.status, crafted.code, crafted.message.replace(digest_of(config), "DIGEST")))
    assert answers[0] == answers[1]
    assert answers[0][:2] == (400, "MANIFEST_BLOB_UNKNOWN")
    index = a_manifest({"manifests": [descriptor(secret.manifest, OCI_MANIFEST)]}, OCI_INDEX)
    assert visitor.put_manifest(mine, "index", index, OCI_INDEX).status == 201
    visitor.push_artifact(mine, subject=descriptor(secret.manifest, OCI_MANIFEST))
    assert_closed(visitor, mine, secret)


def test_a_crafted_manifest_opens_nothing_where_missing_blobs_are_accepted(tmp_path: Path) -> None:
    with serving_world(tmp_path, manifests__missing="accept") as world:
        owner, somebody = world.person("olga"), world.person("sam")
        config, layer = b"{}", uuid4().bytes
        private = world.repository(owner, f"{owner.name}/private", "private")
        pusher, visitor, mine = world.by_basic(owner), world.by_basic(somebody), f"{somebody.name}/mine"
        for content in (config, layer):
            pusher.push_blob(private, content)
        manifest = an_image(config, layer)
        assert pusher.put_manifest(private, "v1", manifest).status == 201
        crafted = a_manifest(
            {"config": descriptor(config, OCI_CONFIG), "layers": [descriptor(layer, OCI_LAYER)], "x": "crafted"}
        )
        assert visitor.put_manifest(mine, "v1", crafted).status == 201
        assert_closed(visitor, mine, Secret(private, config, layer, manifest, ""))


def assert_closed(visitor: Visitor, mine: str, secret: Secret) -> None:
    """Neither bytes nor manifest of the secret can be had from here."""
    for content in (secret.config, secret.layer):
        assert visitor.get(f"/v2/{mine}/blobs/{digest_of(content)}").status == 404
    assert visitor.get(f"/v2/{mine}/manifests/{digest_of(secret.manifest)}").status == 404


def test_a_challenge_stays_one_header_whatever_a_request_names(world: World, somebody: Person) -> None:
    for source in ('a",error="x', "a%22b", "%C3%A9", "a\\", "%E2%98%83"):
        answer = world.server.request(
            "POST", f"/v2/{somebody.name}/x/blobs/uploads/?mount={digest_of(b'')}&from={source}", body=b""
        )
        challenge = answer["www-authenticate"]
        assert answer.status == 401
        assert challenge.count('"') == 6
        assert challenge.endswith(f'scope="repository:{somebody.name}/x:pull,push"')


def nameless(answer: Answer, name: str) -> tuple[int, list[tuple[str, str]], bytes]:
    """All of an answer but its id, its date, and the repository's name where it is said back."""
    headers = [(key, value.replace(name, "NAME")) for key, value in answer.headers if key not in VARYING]
    return answer.status, headers, answer.body.replace(name.encode(), b"NAME")
