"""At the doors: for chance-made organizations, teams and grants, what is listed is exactly what can be pulled."""

import json
import random
from typing import Any
from uuid import uuid4

import pytest

from entrepot.access.actor import Role, Scopes
from tests.support.hub_world import Person, World
from tests.support.serving import OCI_INDEX, a_manifest

STEPS, PEOPLE, REPOSITORIES = 25, 4, 8


class Company:
    """Two organizations of one owner, and people around them, as chance has it."""

    def __init__(self, world: World, seed: int) -> None:
        self.world, self.dice = world, random.Random(seed)
        self.word = f"w{uuid4().hex[:10]}"
        self.owner = world.person("olga")
        self.organizations = [world.organization(self.owner) for _ in range(2)]
        self.people = [world.person("p") for _ in range(PEOPLE)]
        for organization in self.organizations:
            world.team(self.owner, organization, "team")
        self.robot = world.robot(self.owner, self.organizations[0])
        self.names = [self._repository() for _ in range(REPOSITORIES)]

    def _repository(self) -> str:
        name = f"{self.dice.choice(self.organizations)}/{self.word}-{uuid4().hex[:8]}"
        self.world.repository(self.owner, name, self.dice.choice(["public", "internal", "private", "private"]))
        index = a_manifest({"manifests": [], "annotations": {"made": uuid4().hex}}, OCI_INDEX)
        assert self.world.by_basic(self.owner).put_manifest(name, "v1", index, OCI_INDEX).status == 201
        return name

    def step(self) -> None:
        """Something that changes who may read what."""
        organization, name = self.dice.choice(self.organizations), self.dice.choice(self.names)
        person, role = self.dice.choice(self.people).name, self.dice.choice(["read", "write", "admin"])
        match self.dice.randrange(8):
            case 0:
                self._ask("PUT", f"/organizations/{organization}/members/{person}", role="member")
            case 1:
                self._ask("DELETE", f"/organizations/{organization}/members/{person}")
            case 2:
                self._ask("PUT", f"/organizations/{organization}/teams/team/members/{person}")
            case 3:
                grantee = self.dice.choice([f"person/{person}", "team/team", f"robot/{self.robot.name}"])
                method = self.dice.choice(["PUT", "PUT", "DELETE"])
                self._ask(method, f"/repositories/{name}/-/grants/{grantee}", role=role)
            case 4:
                grantee = self.dice.choice([f"person/{person}", "team/team"])
                self._ask(
                    self.dice.choice(["PUT", "DELETE"]), f"/namespaces/{organization}/grants/{grantee}", role=role
                )
            case 5:
                self._ask(
                    "PATCH", f"/repositories/{name}", visibility=self.dice.choice(["public", "private", "internal"])
                )
            case 6:
                self._ask(
                    "PATCH", f"/organizations/{organization}", member_role=self.dice.choice(["none", "read", "write"])
                )
            case 7:
                new = f"{name.partition('/')[0]}/{self.word}-{uuid4().hex[:8]}"
                self._ask("POST", f"/repositories/{name}/-/rename", name=new)

    def _ask(self, method: str, path: str, **body: str) -> None:
        """By the API; what cannot be done changes nothing."""
        content = json.dumps(body).encode() if body and method != "DELETE" else None
        headers = {**self.owner.basic, **({"Content-Type": "application/json"} if content else {})}
        self.world.server.request(method, f"/api/v1{path}", headers, content)

    def everybody(self) -> list[Person | None]:
        """Nobody, people, a robot, the administrator, and tokens that are bound to something."""
        rows = self.world.execute("SELECT id, namespace_id FROM repositories WHERE deleted_at IS NULL")
        some = frozenset(row[0] for row in self.dice.sample(rows, min(3, len(rows))))
        spaces = frozenset(row[1] for row in self.dice.sample(rows, 1))
        bound = [
            self.world.personal_token(self.dice.choice([self.owner, *self.people]), Scopes(Role.READ, *scopes))
            for scopes in ((some, None), (None, spaces), (None, None))
        ]
        return [None, self.owner, *self.people, self.robot, self.world.administrator, *bound]

    def all_names(self) -> set[str]:
        """Every repository that there is of this company."""
        rows = self.world.execute("SELECT name FROM repositories WHERE deleted_at IS NULL")
        return {name for (name,) in rows if f"/{self.word}-" in name}


def listed(world: World, headers: dict[str, str], word: str, path: str) -> set[str]:
    """Names on all pages of a list of the API."""
    names: set[str] = set()
    after = ""
    while True:
        answer = world.server.get(f"/api/v1{path}&limit=50{after}", headers)
        assert answer.status == 200, answer
        page: dict[str, Any] = answer.json()
        names |= {each["name"] for each in page["items"]}
        if page["next"] is None:
            return {name for name in names if f"/{word}-" in name}
        after = f"&after={page['next']}"


@pytest.mark.parametrize("seed", range(3))
def test_what_is_listed_is_exactly_what_can_be_pulled(world: World, seed: int) -> None:
    company = Company(world, seed)
    for _ in range(STEPS):
        company.step()
    names = sorted(company.all_names())
    assert len(names) == REPOSITORIES
    for who in company.everybody():
        headers = {} if who is None else who.basic
        by_token = world.by_token(who, *names, actions="pull")
        pulled = {name for name in names if by_token.head(f"/v2/{name}/manifests/v1").status == 200}
        if who is not None:
            by_basic = world.by_basic(who)
            assert pulled == {name for name in names if by_basic.head(f"/v2/{name}/manifests/v1").status == 200}
        in_namespaces = {
            name
            for organization in company.organizations
            for name in listed(world, headers, company.word, f"/repositories?namespace={organization}")
        }
        assert in_namespaces == pulled, who
        assert listed(world, headers, company.word, f"/search?q={company.word}") == pulled, who
        shown = {name for name in names if world.server.get(f"/api/v1/repositories/{name}", headers).status == 200}
        assert shown == pulled, who
        catalog = world.visitor({"Authorization": f"Bearer {world.token(who, 'registry:catalog:*')}"})
        found: set[str] = set()
        for organization in company.organizations:
            page = catalog.get(f"/v2/_catalog?n=1000&last={organization}/").json()["repositories"]
            found |= {name for name in page if name.startswith(f"{organization}/{company.word}-")}
        assert found == pulled, who
