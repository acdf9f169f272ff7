"""A request for each route of the API, with targets made for it, so that whoever may do the thing really does it."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from uuid import uuid4

from tests.support.hub_world import Person, World
from tests.support.wire import Answer

Body = dict[str, Any] | None
ABSENT = "999999999"  # the id of nothing
_PASSWORD = "a password of one of these tests"


@dataclass(frozen=True)
class Cast:
    """Who comes: people around one organization of `owner`; `guest` is somebody whom nothing depends on."""

    world: World
    organization: str
    owner: Person
    guest: Person
    reader: Person
    writer: Person
    admin: Person
    robot: Person

    def repository(self) -> str:
        """A new private repository with an image, in which everybody has the role they are called after."""
        world, owner = self.world, self.owner
        name = world.repository(owner, f"{self.organization}/{_fresh()}", "private")
        world.by_basic(owner).push_blob(name, uuid4().bytes)
        world.grant(owner, name, "readers", "read", "team")
        world.grant(owner, name, self.writer.name, "write")
        world.grant(owner, name, self.admin.name, "admin")
        world.grant(owner, name, self.robot.name, "write", "robot")
        return name

    def send(self, headers: Mapping[str, str], method: str, path: str, body: Body = None) -> Answer:
        """A request to the API."""
        typed = {**headers, **({} if body is None else {"Content-Type": "application/json"})}
        content = None if body is None else json.dumps(body).encode()
        return self.world.server.request(method, f"/api/v1{path}", typed, content)

    def ask(self, who: Person, method: str, path: str, body: Body = None) -> Any:
        """The JSON of an answer that must be a success."""
        answer = self.send(who.basic, method, path, body)
        assert answer.status < 300, answer
        return answer.json() if answer.body else None

    def member(self) -> str:
        """Somebody new in the organization; the name."""
        who = self.world.person("member")
        self.world.member(self.owner, self.organization, who)
        return who.name

    def team(self) -> str:
        """A new team; the name."""
        name = _fresh()
        self.world.team(self.owner, self.organization, name)
        return name

    def new_robot(self) -> str:
        """A new robot of the organization; its name behind the plus sign."""
        return self.world.robot(self.owner, self.organization).name.partition("+")[2]

    def secret_of_invitation(self) -> str:
        """What an invitation by the administrator is accepted with."""
        return str(self.ask(self.world.administrator, "POST", "/invitations", {})["secret"])

    def invitation_of(self, who: Person) -> str:
        """An invitation that this person has made; one that does not exist where that may not be."""
        made = self.send(who.basic, "POST", "/invitations", {"organization": self.organization})
        return str(made.json()["id"]) if made.status == 201 else ABSENT

    def plan(self) -> str:
        """A new plan."""
        name = _fresh()
        self.ask(self.world.administrator, "POST", "/plans", {"name": name})
        return name


def _fresh() -> str:
    return f"x-{uuid4().hex[:12]}"


Recipe = Callable[[Cast, Person | None], tuple[str, Body]]
"""Makes a request's path, below `/api/v1`, and body, for whoever comes (None: nobody)."""

_O = "/organizations/{organization}"
_R = "/repositories/{name}"
_N = "/namespaces/{namespace}"


def _at(path: str, body: Body = None) -> Recipe:
    return lambda cast, who: (
        path.replace("{organization}", cast.organization).replace("{namespace}", cast.organization),
        body,
    )


def _in_repository(path: str, body: Body = None) -> Recipe:
    return lambda cast, who: (f"/repositories/{cast.repository()}{path}", body)


def _of_person(path: str, body: Body = None) -> Recipe:
    return lambda cast, who: (path.replace("{name}", cast.world.person("someone").name), body)


def _granted(cast: Cast, who: Person | None) -> tuple[str, Body]:
    name = cast.repository()
    cast.world.grant(cast.owner, name, cast.guest.name, "read")
    return f"/repositories/{name}/-/grants/person/{cast.guest.name}", None


def _granted_namespace(cast: Cast, who: Person | None) -> tuple[str, Body]:
    member = cast.member()
    path = f"/namespaces/{cast.organization}/grants/person/{member}"
    cast.ask(cast.owner, "PUT", path, {"role": "read"})
    return path, None


def _starred(cast: Cast, who: Person | None) -> tuple[str, Body]:
    path = f"/repositories/{cast.repository()}/-/star"
    if who is not None:
        cast.send(who.basic, "PUT", path)
    return path, None


def _transferred(cast: Cast, who: Person | None) -> tuple[str, Body]:
    target = cast.world.organization(cast.owner)
    if (
        who is not None
        and who.actor.kind == "person"
        and who.name not in (cast.owner.name, cast.world.administrator.name)
    ):
        cast.world.member(cast.owner, target, who, "owner")
    return f"/repositories/{cast.repository()}/-/transfer", {"namespace": target}


def _gone_organization(cast: Cast, who: Person | None) -> tuple[str, Body]:
    name = cast.world.organization(cast.owner)
    for each in (cast.reader, cast.writer, cast.admin):
        cast.world.member(cast.owner, name, each)
    return f"/organizations/{name}", None


def _team_member(cast: Cast, who: Person | None) -> tuple[str, Body]:
    team, member = cast.team(), cast.member()
    path = f"/organizations/{cast.organization}/teams/{team}/members/{member}"
    cast.ask(cast.owner, "PUT", path)
    return path, None


def _image(path: str, body: Body = None, *, deleted: bool = False) -> Recipe:
    """Something to do with a new image, tagged v1; {digest} stands for its digest, in the body too."""

    def recipe(cast: Cast, who: Person | None) -> tuple[str, Body]:
        name = cast.repository()
        content = cast.world.by_basic(cast.owner).push_image(name, "v1")
        digest = f"sha256:{sha256(content).hexdigest()}"
        if deleted:
            cast.ask(cast.owner, "DELETE", f"/repositories/{name}/-/manifests/{digest}")
        filled = (
            None if body is None else {key: digest if value == "{digest}" else value for key, value in body.items()}
        )
        return f"/repositories/{name}/-{path.replace('{digest}', digest)}", filled

    return recipe


def _own_token(cast: Cast, who: Person | None) -> tuple[str, Body]:
    made = cast.world.personal_token(who).actor.credential_id if who is not None else ABSENT
    return f"/tokens/{made}", None


def _own_session(cast: Cast, who: Person | None) -> tuple[str, Body]:
    if who is None or who.actor.kind != "person" or who.actor.credential_kind != "password":
        return f"/sessions/{ABSENT}", None
    assert cast.send({}, "POST", "/sessions", {"name": who.name, "password": who.secret}).status == 201
    (first, *_) = cast.ask(who, "GET", "/sessions")["items"]
    return f"/sessions/{first['id']}", None


def _team(path: str, body: Body = None) -> Recipe:
    return lambda cast, who: (f"/organizations/{cast.organization}/teams/{cast.team()}{path}", body)


def _robot(path: str, body: Body = None) -> Recipe:
    return lambda cast, who: (f"/organizations/{cast.organization}/robots/{cast.new_robot()}{path}", body)


_RULE = {"kind": "protected", "pattern": "never-used-*", "role": "owner"}


def _rule(place: str) -> Recipe:
    """A rule of a place, made by whoever may."""

    def recipe(cast: Cast, who: Person | None) -> tuple[str, Body]:
        name = cast.repository() if "{name}" in place else ""
        path = place.replace("{name}", name).replace("{namespace}", cast.organization)
        maker = cast.owner if name or "{namespace}" in place else cast.world.administrator
        return f"{path}/{cast.ask(maker, 'POST', path, _RULE)['id']}", None

    return recipe


def _purge(cast: Cast, who: Person | None) -> tuple[str, Body]:
    name = cast.repository()
    digest = f"sha256:{sha256(cast.world.by_basic(cast.owner).push_image(name, 'v1')).hexdigest()}"
    body = {"digest": digest, "confirm": True}
    made = cast.ask(cast.owner, "POST", f"/repositories/{name}/-/purge", body)
    return f"/namespaces/{cast.organization}/purges/{made['report']['purge']['id']}", None


def _installation_purge(cast: Cast, who: Person | None) -> tuple[str, Body]:
    """As one that was made before there were accounts."""
    cast.world.execute(
        "INSERT INTO purges (repository_id, digest, reason, at) SELECT id, :digest, '', now_us() FROM repositories"
        " WHERE name = :name",
        name=cast.repository(),
        digest=(digest := f"sha256:{uuid4().hex}{uuid4().hex}"),
    )
    ((identity,),) = cast.world.execute("SELECT id FROM purges WHERE digest = :digest", digest=digest)
    return f"/purges/{identity}", None


def _deleted_repository(cast: Cast, who: Person | None) -> tuple[str, Body]:
    name = cast.repository()
    cast.ask(cast.owner, "DELETE", f"/repositories/{name}")
    path = f"/namespaces/{cast.organization}/deleted-repositories"
    after = "0"
    found: list[int] = []
    while not found:
        page = cast.ask(cast.owner, "GET", f"{path}?limit=100&after={after}")
        found = [each["id"] for each in page["items"] if each["name"] == name]
        after = page["next"]
    return f"{path}/{found[0]}/restore", {}


_POLICY = {"rules": [{"action": "delete", "tags": "never-*", "older_than": "30d"}]}


def _node(cast: Cast, who: Person | None) -> tuple[str, Body]:
    node = _fresh()
    # Nobody waits for it: it has answered what it was never asked.
    statement = "INSERT INTO usage_nodes (id, complete_until, answered) VALUES (:node, now_us(), 1000000)"
    cast.world.execute(statement, node=node)
    return f"/usage/nodes/{node}", None


RECIPES: dict[tuple[str, str], Recipe] = {
    ("POST", "/accounts"): lambda cast, who: ("/accounts", {"name": _fresh(), "password": _PASSWORD}),
    ("GET", "/accounts/{name}"): _of_person("/accounts/{name}"),
    ("GET", "/account"): _at("/account"),
    ("PATCH", "/account"): _at("/account", {"full_name": "A name"}),
    ("POST", "/account/password"): _at("/account/password", {"current": "not it", "new": _PASSWORD}),
    ("POST", "/account/delete"): _at("/account/delete", {"password": "not it"}),
    ("GET", "/admin/accounts"): _at("/admin/accounts"),
    ("POST", "/admin/accounts/{name}/password"): _of_person("/admin/accounts/{name}/password", {"password": _PASSWORD}),
    ("PATCH", "/admin/accounts/{name}"): _of_person("/admin/accounts/{name}", {"administrator": False}),
    ("DELETE", "/admin/accounts/{name}"): _of_person("/admin/accounts/{name}"),
    ("POST", "/admin/accounts/{name}/disable"): _of_person("/admin/accounts/{name}/disable"),
    ("POST", "/admin/accounts/{name}/enable"): _of_person("/admin/accounts/{name}/enable"),
    ("GET", "/invitations"): _at("/invitations"),
    ("POST", "/invitations"): _at("/invitations", {}),
    ("DELETE", "/invitations/{id}"): lambda cast, who: (
        f"/invitations/{cast.invitation_of(who) if who else ABSENT}",
        None,
    ),
    ("POST", "/invitations/accept"): lambda cast, who: (
        "/invitations/accept",
        {"secret": cast.secret_of_invitation(), "name": _fresh(), "password": _PASSWORD},
    ),
    ("GET", "/tokens"): _at("/tokens"),
    ("POST", "/tokens"): _at("/tokens", {"label": "ci", "role": "repo:read"}),
    ("DELETE", "/tokens/{id}"): _own_token,
    ("GET", "/sessions"): _at("/sessions"),
    ("POST", "/sessions"): lambda cast, who: ("/sessions", {"name": cast.guest.name, "password": cast.guest.secret}),
    ("DELETE", "/sessions/{id}"): _own_session,
    ("GET", "/audit"): _at("/audit"),
    **{("GET", path): _at(path) for path in ("/scrub", "/scrub/blobs", "/scrub/orphans")},
    ("GET", f"{_O}/audit"): _at(f"{_O}/audit"),
    ("GET", "/account/audit"): _at("/account/audit"),
    ("GET", "/organizations"): _at("/organizations"),
    ("POST", "/organizations"): lambda cast, who: ("/organizations", {"name": _fresh()}),
    ("GET", _O): _at(_O),
    ("PATCH", _O): _at(_O, {"full_name": "A name"}),
    ("DELETE", _O): _gone_organization,
    ("GET", f"{_O}/members"): _at(f"{_O}/members"),
    ("PUT", f"{_O}/members/{{person}}"): lambda cast, who: (
        f"/organizations/{cast.organization}/members/{cast.world.person('someone').name}",
        {"role": "member"},
    ),
    ("DELETE", f"{_O}/members/{{person}}"): lambda cast, who: (
        f"/organizations/{cast.organization}/members/{cast.member()}",
        None,
    ),
    ("GET", f"{_O}/teams"): _at(f"{_O}/teams"),
    ("POST", f"{_O}/teams"): lambda cast, who: (f"/organizations/{cast.organization}/teams", {"name": _fresh()}),
    ("GET", f"{_O}/teams/{{team}}"): _team(""),
    ("PATCH", f"{_O}/teams/{{team}}"): _team("", {"description": "Something"}),
    ("DELETE", f"{_O}/teams/{{team}}"): _team(""),
    ("GET", f"{_O}/teams/{{team}}/members"): _team("/members"),
    ("PUT", f"{_O}/teams/{{team}}/members/{{person}}"): lambda cast, who: (
        f"/organizations/{cast.organization}/teams/{cast.team()}/members/{cast.member()}",
        None,
    ),
    ("DELETE", f"{_O}/teams/{{team}}/members/{{person}}"): _team_member,
    ("GET", f"{_O}/robots"): _at(f"{_O}/robots"),
    ("POST", f"{_O}/robots"): lambda cast, who: (f"/organizations/{cast.organization}/robots", {"name": _fresh()}),
    ("GET", f"{_O}/robots/{{robot}}"): _robot(""),
    ("DELETE", f"{_O}/robots/{{robot}}"): _robot(""),
    ("POST", f"{_O}/robots/{{robot}}/token"): _robot("/token", {}),
    ("DELETE", f"{_O}/robots/{{robot}}/token"): _robot("/token"),
    ("GET", f"{_R}/-/grants"): _in_repository("/-/grants"),
    ("GET", f"{_R}/-/access"): _in_repository("/-/access"),
    ("PUT", f"{_R}/-/grants/{{kind}}/{{grantee}}"): lambda cast, who: (
        f"/repositories/{cast.repository()}/-/grants/person/{cast.guest.name}",
        {"role": "read"},
    ),
    ("DELETE", f"{_R}/-/grants/{{kind}}/{{grantee}}"): _granted,
    ("GET", f"{_N}/grants"): _at(f"{_N}/grants"),
    ("PUT", f"{_N}/grants/{{kind}}/{{grantee}}"): lambda cast, who: (
        f"/namespaces/{cast.organization}/grants/person/{cast.member()}",
        {"role": "read"},
    ),
    ("DELETE", f"{_N}/grants/{{kind}}/{{grantee}}"): _granted_namespace,
    ("GET", "/digests/{digest}"): _at("/digests/sha256:" + "a" * 64),
    ("POST", f"{_R}/-/purge"): _image("/purge", {"digest": "{digest}"}),
    ("GET", "/purges"): _at("/purges"),
    ("GET", "/purges/{id}"): _installation_purge,
    ("DELETE", "/purges/{id}"): _installation_purge,
    ("GET", "/purges/{id}/pulls"): lambda cast, who: (f"{_installation_purge(cast, who)[0]}/pulls", None),
    ("GET", f"{_N}/purges"): _at(f"{_N}/purges"),
    ("GET", f"{_N}/purges/{{id}}"): _purge,
    ("DELETE", f"{_N}/purges/{{id}}"): _purge,
    ("GET", f"{_N}/purges/{{id}}/pulls"): lambda cast, who: (f"{_purge(cast, who)[0]}/pulls", None),
    ("GET", f"{_R}/-/retention"): _in_repository("/-/retention"),
    ("PUT", f"{_R}/-/retention"): _in_repository("/-/retention", _POLICY),
    ("GET", f"{_R}/-/retention/preview"): _in_repository("/-/retention/preview"),
    ("POST", f"{_R}/-/retention/run"): _in_repository("/-/retention/run"),
    ("PUT", f"{_R}/-/tags/{{tag}}/expiry"): _image("/tags/v1/expiry", {"digest": "{digest}", "at": None}),
    ("GET", f"{_N}/retention"): _at(f"{_N}/retention"),
    ("PUT", f"{_N}/retention"): _at(f"{_N}/retention", _POLICY),
    ("DELETE", "/usage/nodes/{node}"): _node,
    ("GET", "/tag-rules"): _at("/tag-rules"),
    ("POST", "/tag-rules"): _at("/tag-rules", _RULE),
    ("DELETE", "/tag-rules/{id}"): _rule("/tag-rules"),
    ("GET", f"{_R}/-/tag-rules"): _in_repository("/-/tag-rules"),
    ("POST", f"{_R}/-/tag-rules"): _in_repository("/-/tag-rules", _RULE),
    ("DELETE", f"{_R}/-/tag-rules/{{id}}"): _rule(f"{_R}/-/tag-rules"),
    ("GET", f"{_N}/tag-rules"): _at(f"{_N}/tag-rules"),
    ("POST", f"{_N}/tag-rules"): _at(f"{_N}/tag-rules", _RULE),
    ("DELETE", f"{_N}/tag-rules/{{id}}"): _rule(f"{_N}/tag-rules"),
    ("GET", f"{_N}/deleted-repositories"): _at(f"{_N}/deleted-repositories"),
    ("POST", f"{_N}/deleted-repositories/{{id}}/restore"): _deleted_repository,
    ("POST", f"{_R}/-/deletions"): _image("/deletions", {"items": [{"digest": "sha256:" + "a" * 64}]}),
    ("GET", f"{_R}/-/tags/{{tag}}/history"): _image("/tags/v1/history"),
    ("PUT", f"{_R}/-/tags/{{tag}}"): _image("/tags/v2", {"digest": "{digest}"}),
    ("DELETE", f"{_R}/-/tags/{{tag}}"): _image("/tags/v1"),
    ("GET", f"{_R}/-/manifests/{{digest}}/deletion"): _image("/manifests/{digest}/deletion"),
    ("DELETE", f"{_R}/-/manifests/{{digest}}"): _image("/manifests/{digest}"),
    ("POST", f"{_R}/-/manifests/{{digest}}/undo"): _image("/manifests/{digest}/undo", deleted=True),
    ("GET", "/repositories"): _at("/repositories"),
    ("POST", "/repositories"): lambda cast, who: ("/repositories", {"name": f"{cast.organization}/{_fresh()}"}),
    ("GET", f"{_R}/-/readme"): _in_repository("/-/readme"),
    ("GET", f"{_R}/-/me"): _in_repository("/-/me"),
    ("PUT", f"{_R}/-/star"): _in_repository("/-/star"),
    ("DELETE", f"{_R}/-/star"): _starred,
    ("POST", f"{_R}/-/rename"): lambda cast, who: (
        f"/repositories/{cast.repository()}/-/rename",
        {"name": f"{cast.organization}/{_fresh()}"},
    ),
    ("POST", f"{_R}/-/transfer"): _transferred,
    ("GET", _R): _in_repository(""),
    ("PATCH", _R): _in_repository("", {"description": "Something"}),
    ("DELETE", _R): _in_repository(""),
    ("GET", "/upstreams"): _at("/upstreams"),
    ("POST", "/upstreams/{alias}/refresh"): _at("/upstreams/up/refresh", {"repository": "a/b", "tag": "v1"}),
    ("GET", "/limits"): _at("/limits"),
    ("GET", f"{_N}/storage"): _at(f"{_N}/storage"),
    ("GET", "/usage"): _at("/usage"),
    ("GET", f"{_R}/-/pulls"): _in_repository("/-/pulls"),
    ("PUT", f"{_R}/-/pulls"): _in_repository("/-/pulls", {"pulls_exempt": True}),
    ("GET", f"{_N}/pulls"): _at(f"{_N}/pulls"),
    ("PUT", f"{_N}/pulls"): _at(f"{_N}/pulls", {"pulls_exempt": False}),
    ("GET", "/search"): _at("/search?q=nothing"),
    ("GET", "/plans"): _at("/plans"),
    ("POST", "/plans"): lambda cast, who: ("/plans", {"name": _fresh()}),
    ("PUT", "/plans/{name}"): lambda cast, who: (f"/plans/{cast.plan()}", {"storage": 1000}),
    ("DELETE", "/plans/{name}"): lambda cast, who: (f"/plans/{cast.plan()}", None),
    ("GET", _N): _at(_N),
    ("PATCH", _N): _at(_N, {"full_name": "A name"}),
    ("PUT", f"{_N}/plan"): _at(f"{_N}/plan", {"plan": "unlimited"}),
}
"""By method and path template below `/api/v1`."""
