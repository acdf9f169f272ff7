"""Who may do what at `/v2/`: every route, every kind of caller, every kind of repository, in one table.

A cell says what pull, push and delete get: `+` it is done; `?` 404, as the caller may know that there is nothing; `-`
401 with a challenge, as for a repository that does not exist; `!` 403 with a reason, as no other token would help.
Whoever can log in asks by a token and then by Basic, and is answered alike. The archived repository is a private one;
that it is archived is told to whoever may push there, by whatever token of theirs.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from uuid import uuid4

import pytest

from entrepot.access.actor import Role, Scopes
from entrepot.web.v2.routes import METHODS
from tests.support.hub_world import ALL, Person, Visitor, World, basic, bearer
from tests.support.serving import OCI_INDEX, a_manifest, digest_of
from tests.support.wire import Answer

REPOSITORIES = ("public", "internal", "private", "archived", "absent")
TABLE = """
                              public  internal  private  archived  absent  ping  catalog
no token                      ---     ---       ---      ---       ---     -     -
anonymous                     +--     ---       ---      ---       ---     +     +
a stranger                    +--     +--       ---      ---       ---     +     +
a reader, by a team           +--     +--       +--      +--       ?+?     +     +
a writer                      ++-     ++-       ++-      +!-       ---     +     +
an admin of the repository    +++     +++       +++      +!!       ---     +     +
an owner                      +++     +++       +++      +!!       ?+?     +     +
an administrator              +++     +++       +++      +!!       ?+?     +     +
a robot that may write        ++-     ++-       ++-      +!-       ---     +     +
a token for reading           +--     +--       +--      +--       ---     +     +
a token for one repository    +--     ---       +++      ---       ---     +     +
a token that has expired      ---     ---       ---      ---       ---     -     -
a token of another repository ---     ---       ---      -!!       ---     +     -
a token older than a rename   ---     ---       ---      -!!       ---     +     -
an account disabled since     +--     +--       +--      +--       ?--     +     +
a credential revoked since    +--     +--       +--      +--       ?--     +     +
"""
PULL, PUSH, DELETE = 0, 1, 2
ROUTES = {
    ("tags", "GET"): (PULL, 200),
    ("tags", "HEAD"): (PULL, 200),
    ("uploads", "POST"): (PUSH, 202),
    ("upload", "GET"): (PUSH, 204),
    ("upload", "PATCH"): (PUSH, 202),
    ("upload", "PUT"): (PUSH, 201),
    ("upload", "DELETE"): (PUSH, 204),
    ("blobs", "GET"): (PULL, 200),
    ("blobs", "HEAD"): (PULL, 200),
    ("blobs", "DELETE"): (DELETE, 202),
    ("manifests", "GET"): (PULL, 200),
    ("manifests", "HEAD"): (PULL, 200),
    ("manifests", "PUT"): (PUSH, 201),
    ("manifests", "DELETE"): (DELETE, 202),
    ("referrers", "GET"): (PULL, 200),
    ("referrers", "HEAD"): (PULL, 200),
}
"""What each route of a repository is, and what it answers when it is done."""
OF_NO_REPOSITORY = {"ping": "/v2/", "catalog": "/v2/_catalog"}
_HEAD, *_LINES = TABLE.strip("\n").splitlines()
CELLS = {line[:30].strip(): dict(zip(_HEAD.split(), line[30:].split(), strict=True)) for line in _LINES}
CATALOG = "registry:catalog:*"


@dataclass
class Place:
    """A repository with an image and an open upload in it, and tokens that were got when they could be."""

    name: str
    config: str = digest_of(b"nothing")
    manifest: str = digest_of(b"nothing")
    upload: str = "0" * 32
    tokens: dict[str, str] = field(default_factory=dict)


class Scene:
    """An organization with a repository of each kind, and everybody who may come."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.owner = world.person("olga")
        self.organization = world.organization(self.owner)
        self.people: dict[str, Person | None] = {"anonymous": None, **self._people()}
        self.places = {kind: self._place(kind) for kind in REPOSITORIES}
        rows = world.execute("SELECT id FROM repositories WHERE name = :name", name=self.places["private"].name)
        one = Scopes(Role.ADMIN, frozenset({rows[0][0]}))
        self.people["a token for one repository"] = world.personal_token(self.owner, one)
        self._end_some()

    def visits(self, caller: str, kind: str) -> Iterator[tuple[Visitor, Place]]:
        """In which ways this caller comes to a repository of this kind; one that is absent is so each time."""
        place = self.places[kind]
        if caller == "no token":
            yield self.world.visitor({}), place
        elif caller in place.tokens:
            yield self.world.visitor(bearer(place.tokens[caller])), place
        else:
            who = self.people[caller]
            for by_token in (True, False):
                if kind == "absent":
                    place = Place(self._name("absent"))
                yield self._live(who, place, by_token=by_token), place

    def _live(self, who: Person | None, place: Place, *, by_token: bool) -> Visitor:
        if by_token:
            return self.world.visitor(bearer(self.world.token(who, f"repository:{place.name}:{ALL}", CATALOG)))
        return self.world.visitor(basic("", "") if who is None else who.basic)

    def _people(self) -> dict[str, Person]:
        world = self.world
        reader = world.person("rita")
        world.member(self.owner, self.organization, reader)
        world.team(self.owner, self.organization, "readers", reader)
        return {
            "a stranger": world.person("sam"),
            "a reader, by a team": reader,
            "a writer": world.person("wim"),
            "an admin of the repository": world.person("ada"),
            "an owner": self.owner,
            "an administrator": world.administrator,
            "a robot that may write": world.robot(self.owner, self.organization),
            "a token for reading": world.personal_token(self.owner, Scopes(Role.READ)),
        }

    def _place(self, kind: str) -> Place:
        """A repository of this kind, with a token from before it was renamed: there and back, or only there."""
        world = self.world
        place = self._filled(kind, "private" if kind in ("archived", "absent") else kind)
        old = world.token(self.owner, f"repository:{place.name}:{ALL}")
        moved = self._name("moved")
        world.rename(self.owner, place.name, moved)
        if kind == "absent":
            return Place(place.name, tokens={"a token older than a rename": old})
        world.rename(self.owner, moved, place.name)
        world.grant(self.owner, place.name, "readers", "read", "team")
        for caller, role in (("a writer", "write"), ("an admin of the repository", "admin")):
            world.grant(self.owner, place.name, self._named(caller), role)
        world.grant(self.owner, place.name, self._named("a robot that may write"), "write", "robot")
        if kind == "archived":
            world.archive(self.owner, place.name)
        place.tokens["a token older than a rename"] = old
        return place

    def _filled(self, kind: str, visibility: str) -> Place:
        name = self.world.repository(self.owner, self._name(kind), visibility)
        pusher = self.world.by_basic(self.owner)
        config = pusher.push_blob(name, uuid4().bytes)
        index = an_index()
        assert pusher.put_manifest(name, "v1", index, OCI_INDEX).status == 201
        upload = pusher.open_upload(name).rpartition("/")[2]
        return Place(name, config, digest_of(index), upload)

    def _end_some(self) -> None:
        """Tokens of an owner that is disabled, and of a credential that is revoked, after they were issued."""
        world = self.world
        leaver, revoked = world.person("dora"), world.personal_token(self.owner)
        world.member(self.owner, self.organization, leaver, "owner")
        elsewhere = self._filled("elsewhere", "public")
        for place in self.places.values():
            scopes = (f"repository:{place.name}:{ALL}", CATALOG)
            place.tokens |= {
                "a token that has expired": world.expired(world.token(self.owner, *scopes)),
                "a token of another repository": world.token_for(self.owner, elsewhere.name),
                "an account disabled since": world.token(leaver, *scopes),
                "a credential revoked since": world.token(revoked, *scopes),
            }
        world.disable(leaver)
        world.revoke(revoked)

    def _named(self, caller: str) -> str:
        person = self.people[caller]
        assert person is not None
        return person.name

    def _name(self, kind: str) -> str:
        return f"{self.organization}/{kind}-{uuid4().hex[:12]}"


@pytest.fixture(scope="module")
def scene(world: World) -> Scene:
    """Made once for a server."""
    return Scene(world)


def test_the_table_has_every_route() -> None:
    routes = {(route, method) for route, methods in METHODS.items() for method in methods}
    assert routes == ROUTES.keys() | {(route, method) for route in OF_NO_REPOSITORY for method in ("GET", "HEAD")}


@pytest.mark.parametrize("kind", REPOSITORIES)
@pytest.mark.parametrize("caller", CELLS)
def test_every_route_of_a_repository_answers_as_the_table_says(scene: Scene, caller: str, kind: str) -> None:
    wrong = []
    for (route, method), (action, done) in ROUTES.items():
        cell = CELLS[caller][kind][action]
        for visitor, place in scene.visits(caller, kind):
            target, headers, body = a_request(scene, place, route, method, real=cell == "+" and kind != "absent")
            answer = visitor.request(method, target, headers, body)
            absent = kind == "absent" and route == "upload"
            if not fits(answer, method, route, "?" if cell == "+" and absent else cell, done):
                wrong.append((method, target, cell, answer))
    assert wrong == []


@pytest.mark.parametrize("caller", CELLS)
def test_what_is_of_no_repository_answers_as_the_table_says(scene: Scene, caller: str) -> None:
    wrong = []
    for route, target in OF_NO_REPOSITORY.items():
        for method in ("GET", "HEAD"):
            for visitor, _ in scene.visits(caller, "public"):
                answer = visitor.request(method, target)
                if not fits(answer, method, route, CELLS[caller][route], 200):
                    wrong.append((method, target, answer))
    assert wrong == []


def a_request(
    scene: Scene, place: Place, route: str, method: str, *, real: bool
) -> tuple[str, dict[str, str], bytes | None]:
    """Target, headers and body. What is to be ended or deleted for `real` is made for it first, by the owner."""
    owner, base = scene.world.by_basic(scene.owner), f"/v2/{place.name}"
    made = real and method not in ("GET", "HEAD")
    match route:
        case "tags":
            return f"{base}/tags/list", {}, None
        case "uploads":
            return f"{base}/blobs/uploads/", {}, b""
        case "upload":
            upload = owner.open_upload(place.name).rpartition("/")[2] if made else place.upload
            content = {"PATCH": b"some", "PUT": b""}.get(method)
            end = f"?digest={digest_of(b'')}" if method == "PUT" else ""
            return f"{base}/blobs/uploads/{upload}{end}", {}, content
        case "blobs":
            blob = owner.push_blob(place.name, uuid4().bytes) if made else place.config
            return f"{base}/blobs/{blob}", {}, None
        case "referrers":
            return f"{base}/referrers/{place.manifest}", {}, None
    index = an_index()
    if method == "PUT":
        return f"{base}/manifests/{digest_of(index)}", {"Content-Type": OCI_INDEX}, index
    if made:
        assert owner.put_manifest(place.name, digest_of(index), index, OCI_INDEX).status == 201
    return f"{base}/manifests/{digest_of(index) if made else place.manifest}", {}, None


def fits(answer: Answer, method: str, route: str, cell: str, done: int) -> bool:
    """Whether this answer is what a cell stands for."""
    match cell:
        case "+":
            return answer.status == done
        case "?":  # nobody has to exist to be referred to
            return answer.status == (200 if route == "referrers" else 404)
        case "!":
            return answer.status == 403 and answer.code == "DENIED"
    challenge = answer.header("www-authenticate") or ""
    coded = method == "HEAD" or (answer.status == 401 and answer.code == "UNAUTHORIZED")
    return answer.status == 401 and coded and challenge.startswith("Bearer realm=")


def an_index() -> bytes:
    """An index without images, unlike any other: it needs nothing to be pushed before."""
    return a_manifest({"manifests": [], "annotations": {"made": uuid4().hex}}, OCI_INDEX)
