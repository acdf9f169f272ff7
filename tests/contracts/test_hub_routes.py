"""The API's routes of organizations, teams, robots, grants, repositories, plans, namespaces and search, over SQLite.

Who asks is put into the request's scope, as the frame of the API does; refusals are the hub's errors.
"""

import json
from collections.abc import MutableMapping
from typing import Any, cast
from urllib.parse import unquote

import pytest
from fastapi import FastAPI

from entrepot.access.actor import Actor
from entrepot.access.login import Login
from entrepot.access.request_limits import RequestLimits
from entrepot.hub.errors import HubError, Invalid, NotThere
from entrepot.web.api.frame import Api
from entrepot.web.api.grants import grant_routes
from entrepot.web.api.namespaces import namespace_routes
from entrepot.web.api.organizations import organization_routes
from entrepot.web.api.plans import plan_routes
from entrepot.web.api.repositories import repository_routes, search_routes
from entrepot.web.api.robots import robot_routes
from entrepot.web.api.shapes import ACTOR, ADDRESS
from entrepot.web.api.teams import team_routes
from tests.support.hub_rows import HERE, NOBODY, Hub, hub_over
from tests.support.rows import Database

NO_LOGIN = cast(Login, None)  # nobody logs in by a header here


class Caller:
    """A client of the API that is whoever it is told to be."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.actor: Actor = NOBODY
        self.app = FastAPI()
        for routes in (
            organization_routes(hub.organizations),
            team_routes(hub.teams),
            robot_routes(hub.robots),
            grant_routes(hub.grants),
            repository_routes(hub.repositories),
            search_routes(hub.search),
            plan_routes(hub.plans),
            namespace_routes(hub.organizations, hub.plans),
        ):
            self.app.include_router(routes)

    async def ask(self, method: str, path: str, status: int = 200, **body: object) -> Any:
        """The JSON of an answer that has this status."""
        got, content = await self.send(method, path, json.dumps(body).encode() if body else b"")
        assert got == status, content
        return json.loads(content) if content else None

    async def send(self, method: str, target: str, body: bytes = b"") -> tuple[int, bytes]:
        """Status and body of an answer."""
        path, _, query = target.partition("?")
        scope = {
            "type": "http",
            "method": method,
            "path": unquote(path),
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [(b"content-type", b"application/json"), (b"host", b"hub")],
            "scheme": "http",
            ACTOR: self.actor,
            ADDRESS: HERE,
        }
        sent: list[MutableMapping[str, Any]] = []

        async def receive() -> MutableMapping[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: MutableMapping[str, Any]) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        return int(sent[0]["status"]), b"".join(message.get("body", b"") for message in sent[1:])


@pytest.fixture
async def caller(sqlite: Database) -> Caller:
    """The API over an empty database; olga asks."""
    caller = Caller(hub_over(sqlite.engine()))
    caller.actor = await caller.hub.person("olga")
    return caller


async def test_an_organization_from_its_beginning_to_its_end(caller: Caller) -> None:
    made = await caller.ask("POST", "/organizations", 201, name="acme", full_name="Acme Ltd.")
    assert made["created_at"].endswith("Z")
    assert await caller.ask("GET", "/organizations/acme") == made == await caller.ask("GET", "/namespaces/acme")
    changed = await caller.ask("PATCH", "/organizations/acme", creation="owners")
    assert (changed["creation"], changed["full_name"]) == ("owners", "Acme Ltd.")
    await caller.hub.person("mia")
    assert (await caller.ask("PUT", "/organizations/acme/members/mia", role="member"))["role"] == "member"
    first = await caller.ask("GET", "/organizations/acme/members?limit=1")
    assert ([each["name"] for each in first["items"]], first["next"]) == (["mia"], "mia")
    last = await caller.ask("GET", f"/organizations/acme/members?limit=1&after={first['next']}")
    assert ([each["name"] for each in last["items"]], last["next"]) == (["olga"], None)
    await caller.ask("DELETE", "/organizations/acme/members/mia", 204)
    await caller.ask("DELETE", "/organizations/acme", 204)
    assert await caller.ask("GET", "/organizations") == {"items": [], "next": None}


async def test_a_team_and_its_members(caller: Caller) -> None:
    await caller.ask("POST", "/organizations", 201, name="acme")
    await caller.ask("POST", "/organizations/acme/teams", 201, name="backend", description="servers")
    await caller.ask("PUT", "/organizations/acme/teams/backend/members/olga", 204)
    assert (await caller.ask("PATCH", "/organizations/acme/teams/backend", name="platform"))["members"] == 1
    assert (await caller.ask("GET", "/organizations/acme/teams/platform"))["description"] == "servers"
    members = await caller.ask("GET", "/organizations/acme/teams/platform/members")
    assert members == {"items": [{"name": "olga"}], "next": None}
    await caller.ask("DELETE", "/organizations/acme/teams/platform/members/olga", 204)
    await caller.ask("DELETE", "/organizations/acme/teams/platform", 204)
    assert (await caller.ask("GET", "/organizations/acme/teams"))["items"] == []


async def test_a_robots_token_is_shown_when_it_is_made_and_never_again(caller: Caller) -> None:
    await caller.ask("POST", "/organizations", 201, name="acme")
    made = await caller.ask("POST", "/organizations/acme/robots", 201, name="ci", expires_in_days=7)
    assert made["name"] == "acme+ci"
    assert made["token"].startswith("entb_")
    rotated = await caller.ask("POST", "/organizations/acme/robots/ci/token", expires_in_days=None)
    assert rotated["token"] != made["token"]
    assert rotated["token_expires_at"] is None
    for path in ("/organizations/acme/robots", "/organizations/acme/robots/ci"):
        assert b'"token"' not in (await caller.send("GET", path))[1]
    await caller.ask("DELETE", "/organizations/acme/robots/ci/token", 204)
    assert (await caller.ask("GET", "/organizations/acme/robots/ci"))["token_created_at"] is None
    await caller.ask("DELETE", "/organizations/acme/robots/ci", 204)


async def test_a_repository_from_its_beginning_to_its_end(caller: Caller) -> None:
    made = await caller.ask("POST", "/repositories", 201, name="olga/tools/app", description="a tool", readme="# App")
    assert (made["visibility"], made["stars"], made["archived_at"]) == ("public", 0, None)
    assert await caller.ask("GET", "/repositories/olga/tools/app") == made
    assert await caller.ask("GET", "/repositories/olga/tools/app/-/readme") == {"readme": "# App"}
    await caller.ask("PUT", "/repositories/olga/tools/app/-/star", 204)
    assert await caller.ask("GET", "/repositories/olga/tools/app/-/me") == {"role": "owner", "starred": True}
    changed = await caller.ask("PATCH", "/repositories/olga/tools/app", visibility="private", archived=True, readme="x")
    assert (changed["visibility"], changed["archived_at"] is None, changed["stars"]) == ("private", False, 1)
    await caller.ask("PATCH", "/repositories/olga/tools/app", archived=False, description="another")
    renamed = await caller.ask("POST", "/repositories/olga/tools/app/-/rename", name="olga/app")
    assert (renamed["id"], renamed["name"], renamed["description"]) == (made["id"], "olga/app", "another")
    await caller.ask("POST", "/organizations", 201, name="acme")
    moved = await caller.ask("POST", "/repositories/olga/app/-/transfer", namespace="acme")
    assert moved["name"] == "acme/app"
    assert [each["name"] for each in (await caller.ask("GET", "/repositories?namespace=acme"))["items"]] == ["acme/app"]
    found = await caller.ask("GET", "/search?q=app")
    assert [each["name"] for each in found["items"]] == ["acme/app"]
    await caller.ask("DELETE", "/repositories/acme/app/-/star", 204)
    await caller.ask("DELETE", "/repositories/acme/app", 204)
    assert (await caller.ask("GET", "/repositories"))["items"] == []


async def test_a_repository_may_be_called_as_a_part_of_another_is(caller: Caller) -> None:
    for name in ("olga/app", "olga/app/star", "olga/app/grants", "olga/app/me"):
        await caller.ask("POST", "/repositories", 201, name=name)
    await caller.ask("DELETE", "/repositories/olga/app/star", 204)
    await caller.ask("DELETE", "/repositories/olga/app/-/star", 204)
    assert (await caller.ask("GET", "/repositories/olga/app"))["name"] == "olga/app"
    assert (await caller.ask("GET", "/repositories/olga/app/grants"))["name"] == "olga/app/grants"
    assert (await caller.ask("GET", "/repositories/olga/app/-/grants"))["items"] == []
    assert (await caller.ask("GET", "/repositories/olga%2Fapp%2Fme"))["name"] == "olga/app/me"


async def test_grants_on_a_repository_and_on_a_namespace(caller: Caller) -> None:
    await caller.hub.person("sam")
    await caller.ask("POST", "/repositories", 201, name="olga/app", visibility="internal")
    grant = await caller.ask("PUT", "/repositories/olga/app/-/grants/person/sam", role="write")
    assert (grant["name"], grant["role"], grant["everywhere"]) == ("sam", "write", False)
    await caller.ask("PUT", "/namespaces/olga/grants/person/sam", role="read")
    first = await caller.ask("GET", "/repositories/olga/app/-/grants?limit=1")
    assert first["items"] == [grant]
    last = await caller.ask("GET", f"/repositories/olga/app/-/grants?limit=1&after={first['next']}")
    assert [each["everywhere"] for each in last["items"]] == [True]
    assert (await caller.ask("GET", "/namespaces/olga/grants"))["items"] == last["items"]
    access = await caller.ask("GET", "/repositories/olga/app/-/access")
    assert [(each["kind"], each["role"]) for each in access] == [("owners", "owner"), ("accounts", "read")]
    await caller.ask("DELETE", "/repositories/olga/app/-/grants/person/sam", 204)
    await caller.ask("DELETE", "/namespaces/olga/grants/person/sam", 204)
    assert (await caller.ask("GET", "/repositories/olga/app/-/grants"))["items"] == []
    await caller.ask("PUT", "/repositories/olga/app/-/grants/group/sam", 422, role="read")


async def test_plans_and_who_has_them(caller: Caller) -> None:
    caller.actor = await caller.hub.person("root", administrator=True)
    made = await caller.ask("POST", "/plans", 201, name="startup", pulls=1000)
    assert made == {"name": "startup", "private_repositories": None, "storage": None, "pulls": 1000}
    assert (await caller.ask("PUT", "/plans/startup", private_repositories=3))["pulls"] is None
    assert (await caller.ask("PUT", "/namespaces/olga/plan", plan="startup"))["plan"] == "startup"
    await caller.ask("PUT", "/namespaces/olga/plan", plan="pro")
    await caller.ask("DELETE", "/plans/startup", 204)
    caller.actor = NOBODY
    assert len((await caller.ask("GET", "/plans"))["items"]) == 4


@pytest.mark.parametrize(
    "path", ["/repositories/olga/secret", "/repositories/olga/secret/-/readme", "/search?q=secret"]
)
async def test_nobody_sees_what_is_private(caller: Caller, path: str) -> None:
    await caller.ask("POST", "/repositories", 201, name="olga/secret", visibility="private")
    caller.actor = NOBODY
    if path.startswith("/search"):
        assert await caller.ask("GET", path) == {"items": [], "next": None}
        return
    with pytest.raises(NotThere) as private:
        await caller.ask("GET", path)
    with pytest.raises(NotThere) as absent:
        await caller.ask("GET", path.replace("secret", "absent"))
    assert private.value.message == absent.value.message.replace("absent", "secret")


async def test_search_pages_go_on_by_number(caller: Caller) -> None:
    for number in range(3):
        await caller.ask("POST", "/repositories", 201, name=f"olga/app-{number}")
    first = await caller.ask("GET", "/search?q=app&limit=2")
    assert first["next"] == "2"
    last = await caller.ask("GET", f"/search?q=app&limit=2&after={first['next']}")
    assert ([each["name"] for each in last["items"]], last["next"]) == (["olga/app-2"], None)


@pytest.mark.parametrize("path", ["/search", "/search?q=a&limit=101", "/search?q=a&after=-1", "/repositories?limit=0"])
async def test_a_page_that_cannot_be_is_refused(caller: Caller, path: str) -> None:
    await caller.ask("GET", path, 422)


async def test_every_operation_is_described_once(caller: Caller) -> None:
    operations = [
        operation
        for path in caller.app.openapi()["paths"].values()
        for method, operation in path.items()
        if method in ("get", "put", "post", "patch", "delete")
    ]
    assert len({operation["operationId"] for operation in operations}) == len(operations) > 40
    assert all(operation["summary"] and operation["tags"] for operation in operations)


async def test_a_query_that_is_too_long_is_the_hubs_refusal(caller: Caller) -> None:
    with pytest.raises(HubError, match="at most 200"):
        await caller.ask("GET", f"/search?q={'x' * 201}")


@pytest.mark.parametrize("target", ["/organizations/%00", "/repositories?after=a%00", "/repositories/olga/%00"])
async def test_a_nul_in_an_address_is_refused_before_anything_is_looked_up(caller: Caller, target: str) -> None:
    api = Api(
        [organization_routes(caller.hub.organizations), repository_routes(caller.hub.repositories)],
        NO_LOGIN,
        RequestLimits(None, None),
    )
    caller.app = api  # type: ignore[assignment]
    status, content = await caller.send("GET", f"/api/v1{target}")
    assert (status, json.loads(content)["code"]) == (400, "invalid")


@pytest.mark.parametrize("namespace", ["\0", "x" * 300])
async def test_a_name_that_cannot_be_stored_is_refused_in_a_body_too(caller: Caller, namespace: str) -> None:
    await caller.ask("POST", "/repositories", 201, name="olga/app")
    with pytest.raises(Invalid):
        await caller.ask("POST", "/repositories/olga/app/-/transfer", namespace=namespace)
