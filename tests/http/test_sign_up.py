"""Where accounts come from: by signing up, where that is open, and from an htpasswd file of registry:2."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import bcrypt
import pytest

from tests.http.conftest import large
from tests.support.hub_world import World, basic, serving_world
from tests.support.serving import serving
from tests.support.wire import Answer

PASSWORD = "a password of these tests"


def posted(world: World, path: str, headers: dict[str, str], **body: object) -> Answer:
    content = json.dumps(body).encode()
    return world.server.request("POST", f"/api/v1{path}", {**headers, "Content-Type": "application/json"}, content)


@pytest.fixture(scope="module", params=["sqlite", pytest.param("large", marks=pytest.mark.xdist_group("large"))])
def open_world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A server that lets people sign up."""
    directory = tmp_path_factory.mktemp("open")
    if request.param == "sqlite":
        with serving_world(directory, accounts__sign_up="open") as world:
            yield world
        return
    servers = request.getfixturevalue("postgres_server"), request.getfixturevalue("s3_server")
    with large(*servers) as where, serving_world(directory, accounts__sign_up="open", **where) as world:
        yield world


def fresh() -> str:
    return f"new-{uuid4().hex[:12]}"


def test_whoever_signs_up_pushes_to_a_namespace_of_their_own(open_world: World) -> None:
    name = fresh()
    made = posted(open_world, "/accounts", {}, name=name, password=PASSWORD)
    assert made.status == 201
    visitor = open_world.visitor(basic(name.upper(), PASSWORD))  # a login ignores case
    visitor.push_image(f"{name}/app", "v1")
    assert visitor.get("/v2/library/app/tags/list").status == 401
    taken = posted(open_world, "/accounts", {}, name=name, password="another password")
    assert (taken.status, taken.json()["field"]) == (409, "name")
    assert posted(open_world, "/accounts", basic(name, PASSWORD), name=fresh(), password=PASSWORD).status == 403


@pytest.mark.parametrize("name", ["Alice-in-Capitals", "library", "x", "a.b", "v2"])
def test_a_name_that_cannot_be_is_said_to_whoever_signs_up(open_world: World, name: str) -> None:
    refused = posted(open_world, "/accounts", {}, name=name, password=PASSWORD)
    assert (refused.status, refused.json()["field"]) == (422, "name")
    assert "alice-in-capitals" in refused.json()["detail"] or name != "Alice-in-Capitals"


def test_a_taken_address_is_answered_as_a_new_one_in_every_word(open_world: World) -> None:
    address = f"{uuid4().hex}@example.com"
    answers: list[dict[str, Any]] = []
    for each in (address, address.upper(), f"{uuid4().hex}@example.com"):
        name = fresh()
        answer = posted(open_world, "/accounts", {}, name=name, password=PASSWORD, email=each)
        assert answer.status == 201
        own = open_world.server.get("/api/v1/account", basic(name, PASSWORD))
        assert own.json()["email"] == each
        public = open_world.server.get(f"/api/v1/accounts/{name}").body
        assert each.encode() not in answer.body + public
        answers.append({key: None if key in ("name", "created_at") else value for key, value in answer.json().items()})
    assert answers[0] == answers[1] == answers[2]


def line(name: str) -> str:
    return f"{name}:{bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()}\n"


def replace(file: Path, *names: str) -> None:
    """Another file in its place, at once."""
    file.with_suffix(".new").write_text("".join(line(name) for name in names))
    file.with_suffix(".new").rename(file)


def wait_until(world: World, headers: dict[str, str], status: int) -> None:
    """Each worker looks at the file once a second; more than ten refusals would be throttled."""
    while world.server.get("/v2/", headers).status != status:
        time.sleep(0.5)


def test_an_htpasswd_file_is_the_only_source_of_accounts(tmp_path: Path) -> None:
    file = tmp_path / "htpasswd"
    replace(file, "alice", "admin", "acme")
    with serving(tmp_path / "served") as server:  # without accounts, as registry:2 may have been
        for name in ("alice/app", "acme/app", "other/app", "hello"):
            server.push_image(name, "v1")
    with serving_world(tmp_path / "served", auth__htpasswd=str(file)) as world:
        alice, admin = basic("alice", PASSWORD), basic("admin", PASSWORD)
        for name, status in (("alice/app", 202), ("new/app", 401), ("acme/app", 401), ("other/app", 401)):
            target = f"/v2/{name}/blobs/uploads/"
            assert world.server.request("POST", target, alice, b"").status == status, name
            assert world.server.request("POST", target, basic("Alice", PASSWORD), b"").status == status, name
        assert world.server.request("POST", "/v2/other/app/blobs/uploads/", admin, b"").status == 202
        assert world.server.request("POST", "/v2/acme/app/blobs/uploads/", basic("acme", PASSWORD), b"").status == 202
        for wrong in (basic("alice", "something else"), basic("nobody", PASSWORD)):
            refused = world.server.get("/v2/", wrong)
            assert (refused.status, refused.message) == (401, "incorrect username or password")
        assert posted(world, "/accounts", admin, name=fresh(), password=PASSWORD).status == 403
        assert posted(world, "/account/password", alice, current=PASSWORD, new="a new password").status == 403
        assert world.server.request("DELETE", "/api/v1/admin/accounts/alice", admin).status == 403

        token = posted(world, "/tokens", alice, label="ci", role="repo:write").json()["secret"]
        world.secrets.add(token)
        assert world.server.get("/v2/", basic("alice", token)).status == 200
        replace(file, "bob", "admin")
        wait_until(world, basic("bob", PASSWORD), 200)
        wait_until(world, basic("alice", token), 401)
        wait_until(world, alice, 401)


def test_a_name_of_the_file_that_an_organization_has_does_not_log_in(tmp_path: Path) -> None:
    file = tmp_path / "htpasswd"
    replace(file, "admin")
    with serving_world(tmp_path / "served", auth__htpasswd=str(file)) as world:
        assert posted(world, "/organizations", basic("admin", PASSWORD), name="acme").status == 201
        replace(file, "admin", "acme", "last")
        wait_until(world, basic("last", PASSWORD), 200)
        for _ in range(4):  # each worker
            assert world.server.get("/v2/", basic("acme", PASSWORD)).status == 401
