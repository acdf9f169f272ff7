"""The audit by the API: who did what, from where, with which decision; logins among it; and who may see it."""

from typing import Any
from uuid import uuid4

import pytest

from tests.support.hub_world import Person, World, basic
from tests.support.wire import Answer

API = "/api/v1"


@pytest.fixture
def owner(world: World) -> Person:
    return world.person("owner")


def ask(world: World, who: Person | None, target: str) -> Answer:
    return world.server.get(f"{API}{target}", {} if who is None else who.basic)


def entries(world: World, who: Person, target: str) -> list[dict[str, Any]]:
    answer = ask(world, who, target)
    assert answer.status == 200, answer
    found: list[dict[str, Any]] = answer.json()["items"]
    return found


def test_pushes_rights_and_deletes_are_there_with_who_from_where_and_why(world: World, owner: Person) -> None:
    organization = world.organization(owner)
    name = f"{organization}/app"
    visitor = world.visitor({**owner.basic, "X-Forwarded-For": "198.51.100.7"})
    visitor.push_image(name, "v1")
    world.show(owner, name, "private")
    visitor.delete(f"/v2/{name}/manifests/v1")
    found = entries(world, owner, f"/organizations/{organization}/audit?repository={name}")
    kinds = [each["kind"] for each in found]
    assert kinds[0] == "tag.delete"
    assert {"repository.create", "manifest.push", "tag.move", "tag.delete"} <= set(kinds)
    move = next(each for each in found if each["kind"] == "tag.move")
    assert (move["who"], move["address"], move["repository"], move["tag"]) == (owner.name, "198.51.100.7", name, "v1")
    assert move["reason"] == "owner of the organization"


def test_an_administrator_sees_everything_and_others_do_not(world: World, owner: Person) -> None:
    assert entries(world, world.administrator, "/audit?limit=5")
    for who in (owner, None):
        assert ask(world, who, "/audit").status == 403
    organization = world.organization(owner)
    assert ask(world, world.person("stranger"), f"/organizations/{organization}/audit").status in (403, 404)


def test_logins_and_failures_are_merged_by_the_minute(world: World, owner: Person) -> None:
    address = f"198.51.101.{uuid4().int % 250 + 1}"
    wrong = {**world.visitor({}).sent, "X-Forwarded-For": address}
    for _ in range(3):
        headers = {**wrong, **Person(owner.actor, "not the password").basic}
        assert world.server.get("/token", headers).status == 401
    found: list[dict[str, Any]] = []
    while sum(each["count"] for each in found) < 3:  # they are written down a moment later
        found = entries(world, world.administrator, f"/audit?kind=login.failed&address={address}")
    assert {each["who"] for each in found} == {owner.name}
    assert len(found) <= 2  # of one minute, or of two


def test_a_name_that_is_no_account_is_not_written_down(world: World) -> None:
    address = f"198.51.102.{uuid4().int % 250 + 1}"
    typed = f"my-password-{uuid4().hex}"
    world.server.get("/token", {**Person(world.administrator.actor, "x").basic, "X-Forwarded-For": address})
    headers = {"X-Forwarded-For": address}
    world.server.get("/token", {**headers, **basic(typed, "x")})
    found: list[dict[str, Any]] = []
    while not any(each["who"] is None for each in found):
        found = entries(world, world.administrator, f"/audit?kind=login&address={address}")
    assert typed not in str(found)


def test_pages_go_on_where_the_last_one_ended_and_csv_has_it_all(world: World, owner: Person) -> None:
    organization = world.organization(owner)
    for number in range(5):
        world.repository(owner, f"{organization}/app-{number}")
    target = f"/organizations/{organization}/audit?kind=repository"
    whole = entries(world, owner, target)
    assert len(whole) == 5
    paged: list[dict[str, Any]] = []
    after = ""
    while True:
        answer = ask(world, owner, f"{target}&limit=2&after={after}").json()
        paged += answer["items"]
        if (after := answer["next"]) is None:
            break
    assert paged == whole
    table = ask(world, owner, f"{target}&format=csv")
    assert table["content-type"].startswith("text/csv")
    assert len(table.body.decode().strip().splitlines()) == 6


def test_everybody_sees_what_concerns_themselves(world: World, owner: Person) -> None:
    world.repository(owner, f"{owner.name}/mine")
    kinds = {each["kind"] for each in entries(world, owner, "/account/audit")}
    assert "repository.create" in kinds
    assert ask(world, None, "/account/audit").status == 403
