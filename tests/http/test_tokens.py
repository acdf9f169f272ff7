"""`/token` and what it issues: who gets which token, what a token must be to be taken, and how long it is."""

import base64
import json
import re
import time
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlencode

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from entrepot.access.actor import Role, Scopes
from entrepot.access.caller import Caller
from entrepot.database.keys import DatabaseSigningKeys
from tests.support.forgeries import FORGERIES, claiming, headed
from tests.support.hub_rows import Hub
from tests.support.hub_world import ALL, Person, World, basic, bearer, claims_of, serving_world
from tests.support.wire import Answer

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
CHALLENGED = 'error="invalid_token"'


@pytest.fixture(scope="module")
def owner(world: World) -> Person:
    """Somebody who owns repositories."""
    return world.person("olga")


@pytest.fixture(scope="module")
def private(world: World, owner: Person) -> str:
    """A private repository of the owner, with an image."""
    name = world.repository(owner, f"{owner.name}/private", "private")
    world.by_basic(owner).push_image(name, "v1")
    return name


@pytest.fixture(scope="module")
def public(world: World, owner: Person) -> str:
    """A public one."""
    return world.repository(owner, f"{owner.name}/public")


def test_a_token_that_is_ours_is_taken_however_it_was_signed(world: World, owner: Person, private: str) -> None:
    token = world.token_for(owner, private)
    for taken in (token, claiming()(world, token), headed(typ="jwt")(world, token)):
        assert world.server.get(f"/v2/{private}/manifests/v1", bearer(taken)).status == 200


@pytest.mark.parametrize("kind", FORGERIES)
def test_a_token_that_is_not_ours_is_refused_everywhere(
    world: World, owner: Person, private: str, public: str, kind: str
) -> None:
    forged = FORGERIES[kind](world, world.token(owner, f"repository:{private}:{ALL}", f"repository:{public}:{ALL}"))
    for method, target in (
        ("GET", "/v2/"),
        ("GET", "/v2/_catalog"),
        ("GET", f"/v2/{private}/manifests/v1"),
        ("HEAD", f"/v2/{private}/manifests/v1"),
        ("POST", f"/v2/{private}/blobs/uploads/"),
        ("POST", f"/v2/{public}/blobs/uploads/"),
    ):
        body = b"" if method == "POST" else None
        answer = world.server.request(method, target, [("Authorization", f"Bearer {forged}")], body)
        assert answer.status == 401, (method, target)
        assert CHALLENGED in answer["www-authenticate"]


def test_a_token_of_100_kilobytes_is_refused_before_it_is_looked_at(world: World, private: str) -> None:
    answer = world.server.get(f"/v2/{private}/manifests/v1", bearer("x" * 100_000))
    assert answer.status in (401, 431)


def test_an_answer_says_how_long_the_token_holds_and_is_not_to_be_stored(world: World, owner: Person) -> None:
    answer = world.ask_token(owner)
    told, claims = answer.json(), claims_of(answer.json()["token"])
    assert answer["cache-control"] == "no-store"
    assert told["access_token"] == told["token"]
    assert told["expires_in"] == claims["exp"] - claims["iat"] == 300
    issued = datetime.strptime(told["issued_at"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    assert int(issued.timestamp()) == claims["iat"]
    assert claims["sub"] == owner.name
    assert set(told) == {"token", "access_token", "expires_in", "issued_at"}


def test_published_keys_verify_tokens(world: World, owner: Person) -> None:
    keys = KeySet.import_key_set(world.server.get("/token/jwks.json").json())
    token = world.token(owner)
    assert jwt.decode(token, keys, algorithms=["ES256"]).claims == claims_of(token)
    assert b'"d"' not in world.server.get("/token/jwks.json").body


@pytest.mark.parametrize("one_by_one", [True, False])
def test_several_scopes_come_in_both_encodings_and_are_merged(
    world: World, owner: Person, private: str, public: str, one_by_one: bool
) -> None:
    scopes = [f"repository:{private}:pull", f"repository:{public}:pull", f"repository:{private}:push,pull"]
    token = world.token(owner, *scopes) if one_by_one else world.token(owner, " ".join(scopes))
    assert access(token) == {private: ["pull", "push"], public: ["pull"]}


def test_what_cannot_be_read_or_is_not_known_is_dropped_without_an_error(
    world: World, owner: Person, private: str
) -> None:
    odd = ("", "repository", f"repository:{private}", f"repository:{private}:fly", f"image:{private}:pull", "::",
           "repository:UPPER/Case:pull", 'repository:a"b:pull', "registry:catalog:fly")  # fmt: skip
    assert access(world.token(owner, *odd, f"repository:{private}:pull,fly")) == {private: ["pull"]}


def test_a_star_is_everything_that_the_caller_may(world: World, owner: Person, public: str) -> None:
    assert access(world.token(owner, f"repository:{public}:*")) == {public: ["delete", "pull", "push"]}
    assert access(world.token(None, f"repository:{public}:*")) == {public: ["pull"]}


def test_what_is_not_allowed_is_left_out_of_the_token(world: World, owner: Person, private: str, public: str) -> None:
    stranger, both = world.person("sam"), [f"repository:{private}:{ALL}", f"repository:{public}:{ALL}"]
    assert access(world.token(stranger, *both)) == {public: ["pull"]}
    world.grant(owner, private, stranger.name, "read")
    assert access(world.token(stranger, *both)) == {public: ["pull"], private: ["pull"]}
    reading = world.personal_token(owner, Scopes(Role.READ))
    assert access(world.token(reading, *both)) == {public: ["pull"], private: ["pull"]}


@pytest.mark.parametrize("headers", [{}, basic("", "")])
def test_without_a_name_the_token_is_anonymous(
    world: World, private: str, public: str, headers: dict[str, str]
) -> None:
    scope = urlencode([("scope", f"repository:{name}:pull") for name in (private, public)])
    answer = world.server.get(f"/token?offline_token=true&{scope}", headers)
    token = answer.json()["token"]
    assert "refresh_token" not in answer.json()
    assert access(token) == {public: ["pull"]}
    assert claims_of(token)["sub"] == ""


def test_a_relying_service_gets_an_audience_of_its_own_and_no_way_in_here(
    world: World, owner: Person, private: str
) -> None:
    scope = {"service": "relying.example", "scope": f"repository:{private}:pull registry:catalog:*"}
    for who, catalog in ((owner, False), (world.administrator, True)):
        token = world.server.get(f"/token?{urlencode(scope)}", who.basic).json()["token"]
        claims = claims_of(token)
        assert claims["aud"] == "relying.example"
        assert any(each["type"] == "registry" for each in claims["access"]) == catalog
        assert world.server.get(f"/v2/{private}/manifests/v1", bearer(token)).status == 401


@pytest.mark.parametrize("value", ["!!", "bm9jb2xvbg==", "/w=="])
def test_basic_that_cannot_be_read_is_a_bad_request(world: World, value: str) -> None:
    for target in ("/token?service=x", "/v2/"):
        assert world.server.get(target, {"Authorization": f"Basic {value}"}).status == 400


def test_a_form_gets_the_same_by_post(world: World, owner: Person, private: str) -> None:
    answer = post(world, grant_type="password", username=owner.name, password=owner.secret, service="x", client_id="c",
                  scope=f"repository:{private}:pull,push")  # fmt: skip
    told = answer.json()
    assert told["scope"] == f"repository:{private}:pull,push"
    assert (told["token_type"], told["expires_in"]) == ("Bearer", 300)
    assert "refresh_token" not in told
    assert world.server.get(f"/v2/{private}/manifests/v1", bearer(told["access_token"])).status == 200


def test_a_refresh_token_is_the_same_each_time_and_gets_tokens(world: World, owner: Person, private: str) -> None:
    first, second = (offline(world, owner, "docker") for _ in range(2))
    assert first == second
    assert first != offline(world, owner, "another client")
    query = urlencode({"service": "here", "offline_token": "true", "client_id": "docker"})
    assert world.server.get(f"/token?{query}", owner.basic).json()["refresh_token"]
    told = refreshed(world, first, f"repository:{private}:{ALL}").json()
    assert told["refresh_token"] == first
    assert access(told["access_token"]) == {private: ["delete", "pull", "push"]}


def test_a_refresh_token_is_never_wider_than_what_obtained_it(world: World, owner: Person, private: str) -> None:
    reading = world.personal_token(owner, Scopes(Role.READ))
    refresh = offline(world, reading, "docker")
    token = refreshed(world, refresh, f"repository:{private}:{ALL}").json()["access_token"]
    assert access(token) == {private: ["pull"]}


@pytest.mark.parametrize("generations", [1, 2, 3, 4])
def test_a_refresh_token_ends_with_what_obtained_it_whatever_lies_between(
    world: World, owner: Person, generations: int
) -> None:
    token = world.personal_token(owner)
    held = token.secret
    for number in range(generations):
        again = post(world, grant_type="password", username=owner.name, password=held, service="x",
                     client_id=f"client {number}", access_type="offline")  # fmt: skip
        held = again.json().get("refresh_token", held)
    assert refreshed(world, held).status == 200
    world.revoke(token)
    assert refreshed(world, held).status == 401


def test_a_refresh_token_ends_when_the_personal_token_expires(world: World, owner: Person) -> None:
    token = world.personal_token(owner, expires_at=int(time.time() + 3600) * 1_000_000)
    refresh = offline(world, token, "docker")
    assert refreshed(world, refresh).status == 200
    world.execute("UPDATE credentials SET expires_at = now_us() WHERE id = :id", id=token.actor.credential_id)
    assert refreshed(world, refresh).status == 401


def test_a_refresh_token_ends_with_the_account(world: World) -> None:
    leaver = world.person("dora")
    refresh = offline(world, leaver, "docker")
    assert refreshed(world, refresh).status == 200
    world.disable(leaver)
    assert refreshed(world, refresh).status == 401


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({}, "unsupported_grant_type"),
        ({"grant_type": "client_credentials"}, "unsupported_grant_type"),
        ({"grant_type": "authorization_code", "code": "x"}, "unsupported_grant_type"),
    ],
)
def test_another_grant_is_refused_as_oauth_does(world: World, form: dict[str, str], error: str) -> None:
    answer = post(world, **form)
    assert answer.status == 400
    assert answer.json()["error"] == error


def test_a_form_that_is_none_or_too_large_is_a_bad_request(world: World) -> None:
    for headers, body in (({}, b"grant_type=password"), (FORM, b"\xff=%ff"), (FORM, b"a" * 70_000)):
        assert world.server.request("POST", "/token", headers, body).status in (400, 413)


@pytest.mark.parametrize("odd", [b"a\0b", b"\xed\xa0\x80", b"\n", b"x" * 5000])
def test_no_letter_in_a_form_is_too_odd(world: World, owner: Person, odd: bytes) -> None:
    form = {"grant_type": "password", "username": owner.name, "password": owner.secret, "access_type": "offline"}
    for field in ("grant_type", "username", "password", "scope", "client_id", "service", "refresh_token"):
        value = b"repository:" + odd + b":pull" if field == "scope" else odd
        answer = world.server.request("POST", "/token", FORM, urlencode({**form, field: value}).encode())
        assert answer.status in (200, 400, 401)


def test_nothing_else_can_be_done_at_the_token_endpoint(world: World) -> None:
    for method in ("PUT", "DELETE", "PATCH"):
        answer = world.server.request(method, "/token", body=b"")
        assert answer.status == 405
        assert answer["allow"] == "GET, POST"


def test_a_new_key_signs_on_every_worker_and_old_tokens_hold(tmp_path: Path) -> None:
    async def rotate(hub: Hub) -> None:
        await DatabaseSigningKeys(hub.engine).rotate(Caller())

    with serving_world(tmp_path) as before:
        old = before.token(before.administrator, "repository:library/x:pull")
        before.do(rotate)
        before.execute("UPDATE signing_keys SET created_at = created_at - 700000000")  # it is published for ten minutes
    with serving_world(tmp_path) as after:
        new = after.token(after.administrator, "repository:library/x:pull")
        kinds = [json.loads(base64.urlsafe_b64decode(token.split(".")[0] + "==")) for token in (old, new)]
        assert kinds[0]["kid"] != kinds[1]["kid"]
        assert {key["kid"] for key in after.server.get("/token/jwks.json").json()["keys"]} == {k["kid"] for k in kinds}
        for token in (old, new) * 8:  # a connection each: both workers are asked
            assert after.server.get("/v2/", bearer(token)).status == 200


def access(token: str) -> dict[str, list[str]]:
    """What a token allows, by repository."""
    return {each["name"]: each["actions"] for each in claims_of(token)["access"] if each["type"] == "repository"}


def post(world: World, **form: str) -> Answer:
    """POST /token."""
    answer = world.server.request("POST", "/token", FORM, urlencode(form).encode())
    if answer.status == 200:
        world.secrets |= {answer.json()[key] for key in ("access_token", "refresh_token") if key in answer.json()}
    return answer


def offline(world: World, who: Person, client: str) -> str:
    """The refresh token of somebody's credential for a client."""
    answer = post(world, grant_type="password", username=who.name, password=who.secret, service="x", client_id=client,
                  access_type="offline")  # fmt: skip
    return str(answer.json()["refresh_token"])


def refreshed(world: World, refresh: str, scope: str = "") -> Answer:
    """What a refresh token gets."""
    return post(world, grant_type="refresh_token", refresh_token=refresh, service="x", client_id="docker", scope=scope)


def test_tokens_that_are_issued_are_counted_in_a_metric_and_are_no_audit(world: World) -> None:
    alice, before = world.person("alice"), issued(world)
    world.token(alice)  # whose password is remembered by a worker or by both then
    written = audited(world)
    for _ in range(10):
        world.token_for(alice, f"{alice.name}/app")
    assert issued(world) >= before + 11
    assert audited(world) - written <= {"login"}


def issued(world: World) -> int:
    """Access tokens that were issued, of all workers."""
    found = re.search(r"^entrepot_tokens_issued_total (\d+)", world.server.get("/metrics").body.decode(), re.MULTILINE)
    assert found
    return int(found[1])


def audited(world: World) -> set[str]:
    """Kinds of what stands in the audit."""
    entries = world.server.get("/api/v1/audit?limit=1000", world.administrator.basic).json()["items"]
    return {each["kind"] for each in entries}
