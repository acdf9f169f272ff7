"""Who may do what at `/api/v1` and `/token`: every route, every kind of caller, in one table.

`+` it is done; `-` 401; `!` 403 with a reason; `?` 404, as of what is not there. Changing or deleting one's own account
is asked for with a wrong password, which is 401. The organization and its repositories are private; `reader`, `writer`
and `admin` are members by what they are called. There is no upstream
`up` to look at. `reads` and `token` are personal access tokens of the owner, for
reading and for everything; `bound` and `elsewhere` are for `repo:admin` in this organization, and in a repository of
another one: `~` is 422, as what their account has pulled is more than they are for. Whoever has no valid credential is
answered 401 everywhere.
"""

from dataclasses import replace
from urllib.parse import urlencode

import pytest

from entrepot.access.actor import Role, Scopes
from entrepot.web.operations import Operations
from entrepot.web.token.door import TokenDoor
from entrepot.web.v1 import SearchDoor
from tests.support.api_routes import RECIPES, Cast
from tests.support.hub_world import Person, World, bearer, claims_of
from tests.support.wire import Answer

CALLERS = (
    *("nobody", "stranger", "reader", "writer", "admin", "owner", "administrator", "robot", "reads", "token"),
    *("bound", "elsewhere"),
)
TABLE = """
POST   /accounts                                                  ! ! ! ! ! ! + ! ! ! ! !
GET    /accounts/{name}                                           + + + + + + + + + + + +
GET    /account                                                   ? + + + + + + ? + + + +
PATCH  /account                                                   ? + + + + + + ! ! ! ! !
POST   /account/password                                          ? - - - - - - ! ! ! ! !
POST   /account/delete                                            ? - - - - - - ! ! ! ! !
GET    /admin/accounts                                            ! ! ! ! ! ! + ! ! ! ! !
POST   /admin/accounts/{name}/password                            ! ! ! ! ! ! + ! ! ! ! !
PATCH  /admin/accounts/{name}                                     ! ! ! ! ! ! + ! ! ! ! !
DELETE /admin/accounts/{name}                                     ! ! ! ! ! ! + ! ! ! ! !
POST   /admin/accounts/{name}/disable                             ! ! ! ! ! ! + ! ! ! ! !
POST   /admin/accounts/{name}/enable                              ! ! ! ! ! ! + ! ! ! ! !
GET    /invitations                                               ! + + + + + + ! ! ! ! !
POST   /invitations                                               ! ! ! ! ! ! + ! ! ! ! !
DELETE /invitations/{id}                                          ! ? ? ? ? + + ! ! ! ! !
POST   /invitations/accept                                        + + + + + + + + + + + +
GET    /tokens                                                    ! + + + + + + ! ! ! ! !
POST   /tokens                                                    ! + + + + + + ! ! ! ! !
DELETE /tokens/{id}                                               ! + + + + + + ! ! ! ! !
GET    /sessions                                                  ! + + + + + + ! ! ! ! !
POST   /sessions                                                  + + + + + + + + + + + +
DELETE /sessions/{id}                                             ! + + + + + + ! ! ! ! !
GET    /audit                                                     ! ! ! ! ! ! + ! ! ! ! !
GET    /scrub                                                     ! ! ! ! ! ! + ! ! ! ! !
GET    /scrub/blobs                                               ! ! ! ! ! ! + ! ! ! ! !
GET    /scrub/orphans                                             ! ! ! ! ! ! + ! ! ! ! !
GET    /organizations/{organization}/audit                        ! ! ! ! ! + + ! ! + ! !
GET    /account/audit                                             ! + + + + + + ! ! ! ! !
GET    /organizations                                             + + + + + + + + + + + +
POST   /organizations                                             ! + + + + + + ! ! ! ! !
GET    /organizations/{organization}                              + + + + + + + + + + + +
PATCH  /organizations/{organization}                              ! ! ! ! ! + + ! ! + ! !
DELETE /organizations/{organization}                              ! ! ! ! ! + + ! ! ! ! !
GET    /organizations/{organization}/members                      ! ! + + + + + ! + + ! !
PUT    /organizations/{organization}/members/{person}             ! ! ! ! ! + + ! ! ! ! !
DELETE /organizations/{organization}/members/{person}             ! ! ! ! ! + + ! ! ! ! !
GET    /organizations/{organization}/teams                        ! ! + + + + + ! + + ! !
POST   /organizations/{organization}/teams                        ! ! ! ! ! + + ! ! ! ! !
GET    /organizations/{organization}/teams/{team}                 ! ! + + + + + ! + + ! !
PATCH  /organizations/{organization}/teams/{team}                 ! ! ! ! ! + + ! ! ! ! !
DELETE /organizations/{organization}/teams/{team}                 ! ! ! ! ! + + ! ! ! ! !
GET    /organizations/{organization}/teams/{team}/members         ! ! + + + + + ! + + ! !
PUT    /organizations/{organization}/teams/{team}/members/{person} ! ! ! ! ! + + ! ! ! ! !
DELETE /organizations/{organization}/teams/{team}/members/{person} ! ! ! ! ! + + ! ! ! ! !
GET    /organizations/{organization}/robots                       ! ! ! ! ! + + ! ! ! ! !
POST   /organizations/{organization}/robots                       ! ! ! ! ! + + ! ! ! ! !
GET    /organizations/{organization}/robots/{robot}               ! ! ! ! ! + + ! ! ! ! !
DELETE /organizations/{organization}/robots/{robot}               ! ! ! ! ! + + ! ! ! ! !
POST   /organizations/{organization}/robots/{robot}/token         ! ! ! ! ! + + ! ! ! ! !
DELETE /organizations/{organization}/robots/{robot}/token         ! ! ! ! ! + + ! ! ! ! !
GET    /repositories/{name}/-/grants                              ? ? ! ! + + + ! ! + + ?
GET    /repositories/{name}/-/access                              ? ? ! ! + + + ! ! + + ?
PUT    /repositories/{name}/-/grants/{kind}/{grantee}             ? ? ! ! + + + ! ! + + ?
DELETE /repositories/{name}/-/grants/{kind}/{grantee}             ? ? ! ! + + + ! ! + + ?
GET    /namespaces/{namespace}/grants                             ! ! ! ! ! + + ! ! ! ! !
PUT    /namespaces/{namespace}/grants/{kind}/{grantee}            ! ! ! ! ! + + ! ! ! ! !
DELETE /namespaces/{namespace}/grants/{kind}/{grantee}            ! ! ! ! ! + + ! ! ! ! !
GET    /digests/{digest}                                          + + + + + + + + + + + +
POST   /repositories/{name}/-/purge                               ? ? ! ! + + + ! ! + + ?
GET    /purges                                                    ! ! ! ! ! ! + ! ! ! ! !
GET    /purges/{id}                                               ! ! ! ! ! ! + ! ! ! ! !
GET    /purges/{id}/pulls                                         ! ! ! ! ! ! + ! ! ! ! !
DELETE /purges/{id}                                               ! ! ! ! ! ! + ! ! ! ! !
GET    /namespaces/{namespace}/purges                             ! ! ! ! ! + + ! ! + ! !
GET    /namespaces/{namespace}/purges/{id}                        ! ! ! ! ! + + ! ! + ! !
GET    /namespaces/{namespace}/purges/{id}/pulls                  ! ! ! ! ! + + ! ! + ! !
DELETE /namespaces/{namespace}/purges/{id}                        ! ! ! ! ! ! + ! ! ! ! !
GET    /repositories/{name}/-/retention                           ? ? ! ! + + + ! ! + + ?
PUT    /repositories/{name}/-/retention                           ? ? ! ! + + + ! ! + + ?
GET    /repositories/{name}/-/retention/preview                   ? ? ! ! + + + ! ! + + ?
POST   /repositories/{name}/-/retention/run                       ? ? ! ! + + + ! ! + + ?
PUT    /repositories/{name}/-/tags/{tag}/expiry                   ? ? ! ! + + + ! ! + + ?
GET    /namespaces/{namespace}/retention                          ! ! ! ! ! + + ! ! + ! !
PUT    /namespaces/{namespace}/retention                          ! ! ! ! ! + + ! ! + ! !
DELETE /usage/nodes/{node}                                        ! ! ! ! ! ! + ! ! ! ! !
GET    /tag-rules                                                 ! ! ! ! ! ! + ! ! ! ! !
POST   /tag-rules                                                 ! ! ! ! ! ! + ! ! ! ! !
DELETE /tag-rules/{id}                                            ! ! ! ! ! ! + ! ! ! ! !
GET    /repositories/{name}/-/tag-rules                           ? ? ! ! + + + ! ! + + ?
POST   /repositories/{name}/-/tag-rules                           ? ? ! ! + + + ! ! + + ?
DELETE /repositories/{name}/-/tag-rules/{id}                      ? ? ! ! + + + ! ! + + ?
GET    /namespaces/{namespace}/tag-rules                          ! ! ! ! ! + + ! ! + ! !
POST   /namespaces/{namespace}/tag-rules                          ! ! ! ! ! + + ! ! + ! !
DELETE /namespaces/{namespace}/tag-rules/{id}                     ! ! ! ! ! + + ! ! + ! !
GET    /namespaces/{namespace}/deleted-repositories               ! ! ! ! ! + + ! ! + ! !
POST   /namespaces/{namespace}/deleted-repositories/{id}/restore  ! ! ! ! ! + + ! ! + ! !
POST   /repositories/{name}/-/deletions                           ? ? ! ! + + + ! ! + + ?
GET    /repositories/{name}/-/tags/{tag}/history                  ? ? + + + + + + + + + ?
PUT    /repositories/{name}/-/tags/{tag}                          ? ? ! + + + + + ! + + ?
DELETE /repositories/{name}/-/tags/{tag}                          ? ? ! ! + + + ! ! + + ?
GET    /repositories/{name}/-/manifests/{digest}/deletion         ? ? ! ! + + + ! ! + + ?
DELETE /repositories/{name}/-/manifests/{digest}                  ? ? ! ! + + + ! ! + + ?
POST   /repositories/{name}/-/manifests/{digest}/undo             ? ? ! ! + + + ! ! + + ?
GET    /repositories                                              + + + + + + + + + + + +
POST   /repositories                                              ! ! + + + + + ! ! + + !
GET    /repositories/{name}/-/readme                              ? ? + + + + + + + + + ?
GET    /repositories/{name}/-/me                                  ? ? + + + + + + + + + ?
PUT    /repositories/{name}/-/star                                ? ? + + + + + ! + + + ?
DELETE /repositories/{name}/-/star                                ? ? + + + + + ! + + + ?
POST   /repositories/{name}/-/rename                              ? ? ! ! + + + ! ! + + ?
POST   /repositories/{name}/-/transfer                            ? ? ! ! ! + + ! ! + ! ?
GET    /repositories/{name}                                       ? ? + + + + + + + + + ?
PATCH  /repositories/{name}                                       ? ? ! + + + + + ! + + ?
DELETE /repositories/{name}                                       ? ? ! ! + + + ! ! + + ?
GET    /upstreams                                                 ! + + + + + + + + + + +
POST   /upstreams/{alias}/refresh                                 ! ! ! ! ! ! ? ! ! ! ! !
GET    /limits                                                    + + + + + + + + + + + +
GET    /namespaces/{namespace}/storage                            ? ? ? ? ? + + ? ? + ? ?
GET    /usage                                                     ! + + + + + + + + + ~ ~
GET    /repositories/{name}/-/pulls                               ? ? + + + + + + + + + ?
PUT    /repositories/{name}/-/pulls                               ? ? ! ! ! ! + ! ! ! ! ?
GET    /namespaces/{namespace}/pulls                              + + + + + + + + + + + +
PUT    /namespaces/{namespace}/pulls                              ! ! ! ! ! ! + ! ! ! ! !
GET    /search                                                    + + + + + + + + + + + +
GET    /plans                                                     + + + + + + + + + + + +
POST   /plans                                                     ! ! ! ! ! ! + ! ! ! ! !
PUT    /plans/{name}                                              ! ! ! ! ! ! + ! ! ! ! !
DELETE /plans/{name}                                              ! ! ! ! ! ! + ! ! ! ! !
GET    /namespaces/{namespace}                                    + + + + + + + + + + + +
PATCH  /namespaces/{namespace}                                    ! ! ! ! ! + + ! ! + ! !
PUT    /namespaces/{namespace}/plan                               ! ! ! ! ! ! + ! ! ! ! !
"""
ROWS = {
    (method, path): dict(zip(CALLERS, signs, strict=True))
    for method, path, *signs in (line.split() for line in TABLE.strip().splitlines())
}
SIGNS = {401: "-", 403: "!", 404: "?", 422: "~"}


@pytest.fixture(scope="module")
def cast(world: World) -> Cast:
    """One organization and those who come to it."""
    owner = world.person("olga")
    organization = world.organization(owner)
    people = {role: world.person(role) for role in ("reader", "writer", "admin")}
    for each in people.values():
        world.member(owner, organization, each)
    world.team(owner, organization, "readers", people["reader"])
    return Cast(world, organization, owner, world.person("guest"), **people, robot=world.robot(owner, organization))


@pytest.fixture(scope="module")
def callers(cast: Cast) -> dict[str, Person | None]:
    world = cast.world
    elsewhere = world.repository(cast.owner, f"{world.organization(cast.owner)}/app", "private")
    return {
        "nobody": None,
        "stranger": world.person("sam"),
        "reader": cast.reader,
        "writer": cast.writer,
        "admin": cast.admin,
        "owner": cast.owner,
        "administrator": world.administrator,
        "robot": cast.robot,
        "reads": world.personal_token(cast.owner, Scopes(Role.READ)),
        "token": world.personal_token(cast.owner),
        "bound": world.personal_token(
            cast.owner, Scopes(Role.ADMIN, namespaces=_id(cast, _ACCOUNT, cast.organization))
        ),
        "elsewhere": world.personal_token(cast.owner, Scopes(Role.ADMIN, _id(cast, _REPOSITORY, elsewhere))),
    }


_ACCOUNT = "SELECT id FROM accounts WHERE name = :name"
_REPOSITORY = "SELECT id FROM repositories WHERE name = :name"


def _id(cast: Cast, statement: str, name: str) -> frozenset[int]:
    return frozenset(row[0] for row in cast.world.execute(statement, name=name))


def test_the_table_has_every_route(world: World) -> None:
    paths = world.server.get("/api/v1/openapi.json").json()["paths"]
    routes = {(method.upper(), path.removeprefix("/api/v1")) for path, methods in paths.items() for method in methods}
    assert routes == ROWS.keys() == RECIPES.keys()


@pytest.mark.parametrize("route", ROWS, ids=" ".join)
def test_every_route_answers_as_the_table_says(
    cast: Cast, callers: dict[str, Person | None], route: tuple[str, str]
) -> None:
    found = {}
    for name, who in callers.items():
        path, body = RECIPES[route](cast, who)
        answer = cast.send({} if who is None else who.basic, route[0], path, body)
        found[name] = "+" if answer.status < 300 else SIGNS[answer.status]
    assert found == ROWS[route]


def test_who_has_no_valid_credential_is_answered_401_everywhere(cast: Cast) -> None:
    wrong = []
    for number, route in enumerate(RECIPES):
        if number % 4 == 0:  # more failures of one account, or from one address, would be throttled
            here, ended = {"X-Forwarded-For": f"10.99.0.{number}"}, _ended(cast)
        path, body = RECIPES[route](cast, None)
        for headers in ended:
            answer = cast.send(headers | here, route[0], path, body)
            if answer.status != 401:
                wrong.append((route, answer))
    assert wrong == []


def _ended(cast: Cast) -> list[dict[str, str]]:
    """What somebody sends who was disabled, whose token has expired or was revoked, or has a token of `/v2/`."""
    world = cast.world
    gone, leaver = world.person("gone"), world.person("leaver")
    past, revoked = world.personal_token(leaver, expires_at=1), world.personal_token(leaver)
    of_v2 = bearer(world.token_for(leaver, "library/anything"))
    world.disable(gone)
    world.revoke(revoked)
    return [gone.basic, past.basic, revoked.basic, of_v2]


ELSEWHERE = {
    "/token": "+ + -",
    "/token/jwks.json": "+ + +",
    "/token/certificates.pem": "+ + +",
    "/v1/_ping": "+ + +",
    "/v1/search?q=app": "+ + -",
    "/": "+ + +",
    "/livez": "+ + +",
    "/readyz": "+ + +",
    "/metrics": "+ + +",
}
"""The doors beside `/v2/` and `/api/v1`: what nobody gets, whoever can log in, and whoever cannot any more."""


def test_the_table_has_every_other_door() -> None:
    paths = TokenDoor.paths | SearchDoor.paths | Operations.paths
    assert {target.partition("?")[0] for target in ELSEWHERE} == paths


@pytest.mark.parametrize("target", ELSEWHERE)
def test_every_other_door_answers_as_the_table_says(cast: Cast, callers: dict[str, Person | None], target: str) -> None:
    world = cast.world
    able = [who.basic for who in callers.values() if who is not None]
    groups: list[list[dict[str, str]]] = [[{}], able, _ended(cast)[:3]]
    found = [{world.server.get(target, headers).status for headers in group} for group in groups]
    signs = ["+" if each == {200} else SIGNS[each.pop()] if len(each) == 1 else str(each) for each in found]
    assert " ".join(signs) == ELSEWHERE[target]


TOKENS = {
    "nobody": "",
    "stranger": "",
    "reader": "pull",
    "writer": "pull,push",
    "admin": "delete,pull,push",
    "owner": "delete,pull,push",
    "administrator": "delete,pull,push",
    "robot": "pull,push",
    "reads": "pull",
    "token": "delete,pull,push",
    "bound": "delete,pull,push",
    "elsewhere": "",
}
"""What an access token for everything on the private repository says."""


@pytest.mark.parametrize("caller", CALLERS)
def test_the_token_service_gives_what_the_table_says_by_each_of_its_forms(
    cast: Cast, callers: dict[str, Person | None], caller: str
) -> None:
    world, who, name = cast.world, callers[caller], cast.repository()
    scope = f"repository:{name}:pull,push,delete"
    answers = [world.ask_token(who, scope)]
    if who is not None:
        password = {"grant_type": "password", "username": who.name, "password": who.secret, "access_type": "offline"}
        answers.append(_posted(world, scope, password))
        refresh = {"grant_type": "refresh_token", "refresh_token": answers[-1].json()["refresh_token"]}
        answers.append(_posted(world, scope, refresh))
    for answer in answers:
        assert answer.status == 200, answer
        access = claims_of(answer.json()["access_token"])["access"]
        assert [each["actions"] for each in access] == ([TOKENS[caller].split(",")] if TOKENS[caller] else [])
        assert {each["name"] for each in access} <= {name}


def test_the_token_service_refuses_who_has_no_valid_credential(cast: Cast) -> None:
    world = cast.world
    gone, past = world.person("gone"), world.personal_token(cast.owner, expires_at=1)
    revoked = world.personal_token(cast.owner)
    world.disable(gone)
    world.revoke(revoked)
    for who in (gone, past, revoked, replace(cast.guest, secret="not it")):
        assert world.ask_token(who, "repository:a/b:pull").status == 401
        form = {"grant_type": "password", "username": who.name, "password": who.secret}
        assert _posted(world, "repository:a/b:pull", form).status == 401
    form = {"grant_type": "refresh_token", "refresh_token": "entr_something"}
    assert _posted(world, "repository:a/b:pull", form).status == 401


def _posted(world: World, scope: str, form: dict[str, str]) -> Answer:
    content = urlencode({"service": "here", "client_id": "matrix", "scope": scope, **form}).encode()
    answer = world.server.request("POST", "/token", {"Content-Type": "application/x-www-form-urlencoded"}, content)
    if answer.status == 200:
        world.secrets |= {
            answer.json()["access_token"],
            answer.json().get("refresh_token", answer.json()["access_token"]),
        }
    return answer
