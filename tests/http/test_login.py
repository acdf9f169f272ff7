"""Logging in at the doors: passwords and tokens, guesses, and what is never written down."""

import itertools
import json
from pathlib import Path
from urllib.parse import urlencode
from uuid import uuid4

import pytest

from tests.http.conftest import large
from tests.support.hub_world import Person, World, basic, bearer, serving_world
from tests.support.wire import Answer, head

WRONG = "incorrect username or password"
VARYING = ("date", "x-request-id")
_NUMBERS = itertools.count(1)


@pytest.fixture
def home() -> str:
    """An address of the test's own; our proxy tells the server who asks."""
    number = next(_NUMBERS)
    return f"10.{number >> 8}.{number & 255}.1"


@pytest.fixture
def alice(world: World) -> Person:
    """Somebody with a password."""
    return world.person("alice")


def from_address(address: str) -> dict[str, str]:
    """As a proxy writes it."""
    return {"X-Forwarded-For": address}


def login(world: World, name: str, secret: str, address: str) -> Answer:
    """GET /token from somewhere."""
    world.secrets.add(secret)
    return world.server.get("/token?service=x", basic(name, secret) | from_address(address))


def comparable(answer: Answer) -> tuple[int, list[tuple[str, str]], bytes]:
    """All of an answer but its id and its date."""
    return answer.status, [header for header in answer.headers if header[0] not in VARYING], answer.body


def test_a_wrong_secret_is_refused_in_the_words_that_people_search_for(world: World, alice: Person, home: str) -> None:
    at_token = login(world, alice.name, "a wrong one", home)
    assert (at_token.status, at_token.code, at_token.message) == (401, "UNAUTHORIZED", WRONG)
    assert at_token["www-authenticate"] == 'Basic realm="entrepot"'
    at_v2 = world.server.get("/v2/", basic(alice.name, "a wrong one") | from_address(home))
    assert (at_v2.status, at_v2.code, at_v2.message) == (401, "UNAUTHORIZED", WRONG)
    assert at_v2["www-authenticate"].startswith('Bearer realm="http://localhost/token"')


def test_an_answer_never_tells_whether_there_is_such_an_account(world: World, alice: Person, home: str) -> None:
    disabled = world.person("dora")
    world.disable(disabled)
    robot = world.robot(alice, world.organization(alice))
    nobody, token = f"nobody-{uuid4().hex[:8]}", world.personal_token(alice)
    world.revoke(token)
    tries = [
        (alice.name, "a wrong password"), (nobody, "a wrong password"), (disabled.name, disabled.secret),
        (robot.name, "a wrong password"), ("library", "a wrong password"), (alice.name, token.secret),
        (nobody, token.secret), (alice.name, ""), ("", "a wrong password"), ("x" * 500, "y" * 2000),
        ("é", "\N{SNOWMAN}"),
    ]  # fmt: skip
    for target in ("/token?service=x", "/v2/"):
        answers = [
            comparable(world.server.get(target, basic(name, secret) | from_address(f"{home[:-1]}{number}")))
            for number, (name, secret) in enumerate(tries, 10)
        ]
        assert answers == [answers[0]] * len(tries)


@pytest.mark.parametrize("letter", ["\0", "\n", "\x7f"])
def test_control_characters_are_in_no_name_and_no_password(world: World, alice: Person, letter: str) -> None:
    for headers in (basic(f"{alice.name}{letter}", alice.secret), basic(alice.name, f"{alice.secret}{letter}")):
        assert world.server.get("/token?service=x", headers).status == 400
        assert world.server.get("/v2/", headers).status == 400


def test_a_name_is_found_whatever_its_case(world: World, alice: Person, home: str) -> None:
    assert login(world, alice.name.upper(), alice.secret, home).status == 200


def test_a_token_is_its_own_accounts_and_nobody_elses(world: World, alice: Person, home: str) -> None:
    token, other = world.personal_token(alice), world.person("bob")
    assert login(world, alice.name, token.secret, home).status == 200
    assert login(world, other.name, token.secret, home).status == 401
    assert world.server.get("/v2/", basic(alice.name, token.secret)).status == 200


def test_ten_wrong_passwords_are_refused_and_the_eleventh_is_told_to_wait(
    world: World, alice: Person, home: str
) -> None:
    for number in range(10):
        assert login(world, alice.name, f"guess {number}", home).status == 401
    form = urlencode({"grant_type": "password", "username": alice.name, "password": alice.secret}).encode()
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    for answer in (
        login(world, alice.name, "guess 11", home),
        login(world, alice.name, alice.secret, home),
        world.server.get("/v2/", alice.basic | from_address(home)),
        world.server.request("POST", "/token", kind | from_address(home), form),
    ):
        assert (answer.status, answer.code) == (429, "TOOMANYREQUESTS")
        assert 0 < int(answer["retry-after"]) <= 300


def test_who_is_throttled_is_so_only_there_and_only_as_that_name(world: World, alice: Person, home: str) -> None:
    for number in range(10):
        login(world, alice.name, f"guess {number}", home)
    assert login(world, alice.name, alice.secret, home).status == 429
    assert login(world, world.administrator.name, world.administrator.secret, home).status == 200
    assert login(world, alice.name, alice.secret, f"{home}1").status == 200


def test_valid_tokens_are_never_throttled(world: World, alice: Person, home: str) -> None:
    personal = world.personal_token(alice)
    access = world.token(alice)
    for number in range(12):
        last = login(world, alice.name, f"guess {number}", home)
    assert last.status == 429
    assert login(world, alice.name, personal.secret, home).status == 200
    assert world.server.get("/v2/", personal.basic | from_address(home)).status == 200
    assert world.server.get("/v2/", bearer(access) | from_address(home)).status == 200


def test_a_right_password_forgives_the_mistypings_before_it(world: World, alice: Person, home: str) -> None:
    for _ in range(9):
        assert login(world, alice.name, "a guess", home).status == 401
    assert login(world, alice.name, alice.secret, home).status == 200
    for _ in range(9):
        assert login(world, alice.name, "a guess", home).status == 401


def test_an_address_has_thirty_guesses_whatever_the_names(world: World, home: str) -> None:
    for number in range(30):
        assert login(world, f"nobody-{number}", "a guess", home).status == 401
    assert login(world, "nobody-30", "a guess", home).status == 429


def test_an_address_of_ipv6_is_its_network(world: World, alice: Person) -> None:
    network = f"2001:db8:{uuid4().hex[:4]}"
    for number in range(10):
        assert login(world, alice.name, "a guess", f"{network}:1::{number}").status == 401
    assert login(world, alice.name, "a guess", f"{network}:1:ffff::1").status == 429
    assert login(world, alice.name, "a guess", f"{network}:2::1").status == 401


def test_nobody_can_lock_an_account_out_of_where_it_has_been(small_world: World, home: str) -> None:
    world, alice = small_world, small_world.person("alice")
    assert login(world, alice.name, alice.secret, home).status == 200
    alice = world.change_password(alice)  # no worker remembers this one
    botnet = [f"172.16.{next(_NUMBERS) & 255}.{number}" for number in range(11)]
    answers = [login(world, alice.name, "a guess", botnet[number // 10]) for number in range(101)]
    assert [answer.status for answer in answers] == [401] * 100 + [429]
    assert login(world, alice.name, alice.secret, botnet[-1]).status == 429
    assert login(world, alice.name, alice.secret, home).status == 200


def test_no_secret_is_ever_logged(world: World, alice: Person, home: str) -> None:
    personal, robot = world.personal_token(alice), world.robot(alice, world.organization(alice))
    headers = [alice.basic, personal.basic, robot.basic, basic(alice.name, "a wrong one, written nowhere"),
               bearer(world.token(alice)), bearer(world.token(alice)[:-9]), bearer(personal.secret)]  # fmt: skip
    world.secrets |= {"a wrong one, written nowhere", alice.secret, personal.secret, robot.secret}
    for each in headers:
        for method, target in (("GET", "/v2/"), ("GET", "/token?service=x"), ("POST", "/v2/library/x/blobs/uploads/")):
            last = world.visitor(each).request(method, target, from_address(home), b"" if method == "POST" else None)
    assert world.server.logged(last["x-request-id"])["from"] == home
    assert world.logged_secrets() == []


def test_a_challenge_for_a_manifest_tells_the_pull_limit_and_counts_nothing(tmp_path: Path) -> None:
    with serving_world(tmp_path, limits__pulls__anonymous="100", limits__pulls__window="21600") as world:
        owner = world.person("olga")
        private = world.repository(owner, f"{owner.name}/private", "private")
        for _ in range(3):
            for name in (private, f"{owner.name}/nothing"):
                for method in ("GET", "HEAD"):
                    answer = world.server.request(method, f"/v2/{name}/manifests/v1", from_address("192.0.2.9"))
                    assert answer.status == 401
                    assert answer["ratelimit-limit"] == "100;w=21600"
                    assert answer["ratelimit-remaining"] == "100;w=21600"
                    assert answer["docker-ratelimit-source"] == "192.0.2.9"
        with world.server.connect() as connection:
            connection.send(head("HEAD", f"/v2/{private}/manifests/v1", {"Connection": "close"}))
            raw = connection.rest()
        for written in (b"\r\nratelimit-limit: ", b"\r\nratelimit-remaining: ", b"\r\ndocker-ratelimit-source: "):
            assert written in raw
        for target in ("/v2/", f"/v2/{private}/tags/list", f"/v2/{private}/blobs/sha256:{'0' * 64}"):
            assert world.server.get(target).header("ratelimit-limit") is None


@pytest.mark.xdist_group("large")
def test_a_changed_password_is_forgotten_by_every_worker_of_every_node_at_once(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: str, s3_server: str
) -> None:
    with (
        large(postgres_server, s3_server) as where,
        serving_world(tmp_path_factory.mktemp("one"), **where) as one,
        serving_world(tmp_path_factory.mktemp("other"), **where) as other,
    ):
        alice, new = one.person("alice"), f"another {uuid4().hex}"
        for world in (one, other):
            world.secrets |= {alice.secret, new}
            for _ in range(8):  # so that each worker remembers it
                assert world.server.get("/v2/", alice.basic).status == 200
        body = json.dumps({"current": alice.secret, "new": new}).encode()
        headers = {**alice.basic, "Content-Type": "application/json"}
        assert one.server.request("POST", "/api/v1/account/password", headers, body).status == 204
        for world in (one, other):
            for _ in range(4):  # ten are plainly refused
                assert world.server.get("/v2/", alice.basic).status == 401
            assert world.server.get("/v2/", basic(alice.name, new)).status == 200
