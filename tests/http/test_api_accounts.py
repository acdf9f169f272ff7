"""Accounts, personal tokens and sessions by the API, and what they then open at the registry's doors."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest

from tests.support.hub_world import Person, World, basic, bearer
from tests.support.wire import Answer

API = "/api/v1"


class Client:
    """JSON to and from the API."""

    def __init__(self, world: World, headers: dict[str, str] | None = None) -> None:
        self.world = world
        self.headers = headers or {}

    def ask(self, method: str, path: str, status: int, **body: object) -> Any:
        """The JSON of an answer that has this status; None without a body."""
        answer = self.send(method, path, **body)
        assert answer.status == status, answer
        if answer.status >= 400:
            assert answer["content-type"] == "application/problem+json"
            assert answer.json()["detail"]
        return answer.json() if answer.body else None

    def send(self, method: str, path: str, **body: object) -> Answer:
        """An answer, whatever it is."""
        content = json.dumps(body).encode() if body else None
        headers = {**self.headers, **({"Content-Type": "application/json"} if body else {})}
        return self.world.server.request(method, f"{API}{path}", headers, content)


@pytest.fixture
def alice(world: World) -> Person:
    return world.person("alice")


@pytest.fixture
def own(world: World, alice: Person) -> Client:
    return Client(world, alice.basic)


@pytest.fixture
def admin(world: World) -> Client:
    return Client(world, world.administrator.basic)


def fresh() -> str:
    return f"new-{uuid4().hex[:12]}"


def test_an_administrator_makes_an_account_that_can_log_in(world: World, admin: Client) -> None:
    name, password = fresh(), f"secret {uuid4().hex}"
    world.secrets.add(password)
    made = admin.ask("POST", "/accounts", 201, name=name, password=password, email="a@example.com")
    assert made.keys() == {"name", "full_name", "created_at"}
    found = Client(world, basic(name, password)).ask("GET", "/account", 200)
    assert (found["name"], found["email"], found["administrator"]) == (name, "a@example.com", False)
    assert "email" not in Client(world).ask("GET", f"/accounts/{name}", 200)


@pytest.mark.parametrize(
    ("name", "words"), [("Alice", "lower case"), ("a", "2 to 40"), ("library", "reserved"), ("a.b", "no dot")]
)
def test_a_name_that_cannot_be_says_why(admin: Client, name: str, words: str) -> None:
    problem = admin.ask("POST", "/accounts", 422, name=name, password="long enough")
    assert words in problem["detail"]
    assert problem["field"] == "name"


def test_nobody_signs_up_where_that_is_closed(world: World, own: Client) -> None:
    for client in (Client(world), own):
        client.ask("POST", "/accounts", 403, name=fresh(), password="long enough")


def test_a_taken_name_is_said_and_a_taken_address_is_not(admin: Client, alice: Person) -> None:
    admin.ask("POST", "/accounts", 409, name=alice.name, password="long enough")
    address = f"{uuid4().hex}@example.com"
    answers = [
        admin.ask("POST", "/accounts", 201, name=fresh(), password="long enough", email=address) for _ in range(2)
    ]
    assert answers[0].keys() == answers[1].keys()


def test_a_password_is_changed_with_the_present_one(world: World, own: Client, alice: Person) -> None:
    new = f"new {uuid4().hex}"
    world.secrets.add(new)
    own.ask("POST", "/account/password", 401, current="not it", new=new)
    own.ask("POST", "/account/password", 422, current=alice.secret, new="short")
    own.ask("POST", "/account/password", 204, current=alice.secret, new=new)
    own.ask("GET", "/account", 401)
    Client(world, basic(alice.name, new)).ask("GET", "/account", 200)


def test_a_token_is_shown_once_and_does_what_its_role_says(world: World, own: Client, alice: Person) -> None:
    made = own.ask("POST", "/tokens", 201, label="ci", role="repo:write", expires_in=3600)
    world.secrets.add(made["secret"])
    listed = own.ask("GET", "/tokens", 200)["items"]
    assert [each["label"] for each in listed] == ["ci"]
    assert made["secret"] not in json.dumps(listed)
    ci = Person(alice.actor, made["secret"])
    name = f"{alice.name}/app"
    visitor = world.by_token(ci, name)
    visitor.push_image(name, "v1")
    assert visitor.delete(f"/v2/{name}/manifests/v1").status == 401
    own.ask("DELETE", f"/tokens/{made['credential']['id']}", 204)
    own.ask("DELETE", f"/tokens/{made['credential']['id']}", 204)
    assert visitor.request("POST", f"/v2/{name}/blobs/uploads/", body=b"").status == 401
    assert world.ask_token(ci).status == 401


def test_a_token_for_one_repository_is_for_no_other_also_not_of_its_name(
    world: World, own: Client, alice: Person
) -> None:
    names = [f"{alice.name}/one", f"{alice.name}/two"]
    for name in names:
        world.repository(alice, name, "private")
    made = own.ask("POST", "/tokens", 201, label="one", role="repo:read", repositories=names[:1])
    world.secrets.add(made["secret"])
    assert made["credential"]["repositories"] == names[:1]
    token = Person(alice.actor, made["secret"])
    assert [world.by_basic(token).get(f"/v2/{name}/tags/list").status for name in names] == [404, 401]
    world.delete(alice, names[0])
    world.repository(alice, names[0], "private")
    assert world.by_basic(token).get(f"/v2/{names[0]}/tags/list").status == 401


def test_a_token_cannot_name_what_its_maker_may_not_see(world: World, own: Client) -> None:
    other = world.person("other")
    hidden = world.repository(other, f"{other.name}/hidden", "private")
    answers = [
        own.send("POST", "/tokens", label="x", role="repo:read", repositories=[name])
        for name in (hidden, f"{other.name}/absent")
    ]
    assert [answer.status for answer in answers] == [404, 404]
    details = [answer.json()["detail"].replace("hidden", "absent") for answer in answers]
    assert details[0] == details[1]


def test_tokens_and_robots_touch_no_credentials(world: World, own: Client, alice: Person) -> None:
    made = own.ask("POST", "/tokens", 201, label="ci", role="repo:admin")
    world.secrets.add(made["secret"])
    organization = world.organization(alice)
    robot = world.robot(alice, organization)
    for headers in (basic(alice.name, made["secret"]), bearer(made["secret"]), robot.basic):
        client = Client(world, headers)
        client.ask("POST", "/tokens", 403, label="more", role="repo:read")
        client.ask("GET", "/tokens", 403)
        client.ask("POST", "/account/password", 403, current="x", new="long enough")
        client.ask("PUT", f"/organizations/{organization}/members/{alice.name}", 403, role="member")


def test_a_session_opens_the_api_and_not_the_registry(world: World, alice: Person) -> None:
    made = Client(world).ask("POST", "/sessions", 201, name=alice.name, password=alice.secret)
    world.secrets.add(made["secret"])
    session = Client(world, bearer(made["secret"]))
    assert session.ask("GET", "/account", 200)["name"] == alice.name
    assert [each["kind"] for each in session.ask("GET", "/sessions", 200)["items"]] == ["session"]
    assert world.visitor(bearer(made["secret"])).get("/v2/").status == 401
    assert world.visitor(basic(alice.name, made["secret"])).get("/v2/").status == 401
    assert world.ask_token(Person(alice.actor, made["secret"])).status == 401
    session.ask("DELETE", f"/sessions/{made['credential']['id']}", 204)
    session.ask("GET", "/account", 401)


def test_a_token_of_the_registry_is_not_for_the_api(world: World, alice: Person) -> None:
    token = world.token(alice, f"repository:{alice.name}/app:pull")
    Client(world, bearer(token)).ask("GET", "/account", 401)


def test_a_refresh_token_is_listed_ended_by_hand_and_by_a_new_password(
    world: World, own: Client, alice: Person
) -> None:
    refresh = world.ask_token(alice, offline_token="true", client_id="docker").json()["refresh_token"]
    again = world.ask_token(alice, offline_token="true", client_id="docker").json()["refresh_token"]
    assert refresh == again
    listed = own.ask("GET", "/sessions", 200)["items"]
    assert [(each["kind"], each["label"]) for each in listed] == [("refresh", "docker here")]
    Client(world, basic(alice.name, refresh)).ask("GET", "/account", 401)
    own.ask("DELETE", f"/sessions/{listed[0]['id']}", 204)
    assert world.ask_token(Person(alice.actor, refresh)).status == 401
    other = world.ask_token(alice, offline_token="true", client_id="docker").json()["refresh_token"]
    assert other != refresh
    own.ask("POST", "/account/password", 204, current=alice.secret, new=f"new {uuid4().hex}")
    assert world.ask_token(Person(alice.actor, other)).status == 401


def test_a_disabled_account_is_out_and_an_enabled_one_in_again(world: World, admin: Client, own: Client) -> None:
    name = own.ask("GET", "/account", 200)["name"]
    admin.ask("POST", f"/admin/accounts/{name}/disable", 204)
    own.ask("GET", "/account", 401)
    admin.ask("POST", f"/admin/accounts/{name}/enable", 204)
    own.ask("GET", "/account", 200)


def test_only_administrators_do_what_administrators_do(world: World, own: Client, alice: Person) -> None:
    for client in (own, Client(world)):
        client.ask("GET", "/admin/accounts", 403)
        client.ask("POST", f"/admin/accounts/{alice.name}/disable", 403)


def test_a_deleted_account_is_gone_and_its_name_stays_nobodys(world: World, admin: Client, alice: Person) -> None:
    own = Client(world, alice.basic)
    own.ask("POST", "/account/delete", 401, password="not it")
    own.ask("POST", "/account/delete", 204, password=alice.secret)
    own.ask("GET", "/account", 401)
    admin.ask("GET", f"/accounts/{alice.name}", 404)
    admin.ask("POST", "/accounts", 409, name=alice.name, password="long enough")


def test_an_owner_invites_somebody_into_an_organization_once(world: World, own: Client, alice: Person) -> None:
    organization = world.organization(alice)
    made = own.ask("POST", "/invitations", 201, organization=organization, note="for Carl")
    world.secrets.add(made["secret"])
    name, password = fresh(), f"secret {uuid4().hex}"
    world.secrets.add(password)
    stranger = Client(world)
    wrong = made["secret"][:20] + made["secret"][20:].swapcase()
    stranger.ask(
        "POST",
        "/invitations/accept",
        403,
        secret=wrong,
        name=name,
        password=password,
    )
    accepted = {"secret": made["secret"], "name": name, "password": password}
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: stranger.send("POST", "/invitations/accept", **accepted), range(4)))
    assert sorted(answer.status for answer in answers)[0] == 201
    assert {answer.status for answer in answers} <= {201, 403, 409}
    assert sum(answer.status == 201 for answer in answers) == 1
    stranger.ask("POST", "/invitations/accept", 403, **{**accepted, "name": fresh()})
    members = own.ask("GET", f"/organizations/{organization}/members", 200)["items"]
    assert {each["name"]: each["role"] for each in members} == {alice.name: "owner", name: "member"}
    (listed,) = own.ask("GET", "/invitations", 200)["items"]
    assert (listed["used_by"], listed["note"]) == (name, "for Carl")
    assert made["secret"] not in json.dumps(listed)


def test_an_invitation_that_was_withdrawn_is_no_more(world: World, admin: Client, own: Client) -> None:
    made = admin.ask("POST", "/invitations", 201, note="nobody in particular")
    world.secrets.add(made["secret"])
    own.ask("DELETE", f"/invitations/{made['id']}", 404)
    admin.ask("DELETE", f"/invitations/{made['id']}", 204)
    accepted = {"secret": made["secret"], "name": fresh(), "password": "long enough"}
    Client(world).ask("POST", "/invitations/accept", 403, **accepted)


def test_who_owns_nothing_invites_nobody(world: World, own: Client, alice: Person) -> None:
    own.ask("POST", "/invitations", 403, note="anybody")
    own.ask("POST", "/invitations", 403, organization="library")
    Client(world).ask("GET", "/invitations", 403)
