"""What was taken away is gone: from pulls when the repository itself has changed, from pushes in any case.

"At once" means at both doors of both workers: each question is asked by several new connections, as it is and with a
header that only the ordinary door understands.
"""

from collections.abc import Callable
from dataclasses import dataclass
from uuid import uuid4

import pytest

from tests.support.hub_rows import HERE, Hub
from tests.support.hub_world import ALL, Person, World, bearer
from tests.support.serving import digest_of

ORDINARY = ("X-Ordinary", "1")
SEVERAL = 6


@dataclass
class Scene:
    """A repository with an image in it, and its owner."""

    world: World
    owner: Person
    name: str
    blob: str
    manifest: str

    def token(self, who: Person | None = None, name: str = "") -> str:
        """A token for everything that may be done here; of the owner unless it is somebody else's."""
        return self.world.token_for(who or self.owner, name or self.name)

    def pulls(self, token: str, name: str = "") -> set[int]:
        """What every pull answers, at each door of each worker."""
        name = name or self.name
        targets = ["manifests/v1", f"manifests/{self.manifest}", f"blobs/{self.blob}", "tags/list"]
        return {
            self.world.server.get(f"/v2/{name}/{target}", [*bearer(token).items(), *more]).status
            for target in targets
            for more in ((), (ORDINARY,)) * SEVERAL
        }

    def pushes(self, token: str, name: str = "") -> set[int]:
        """What the beginning of a push answers, at each worker."""
        visitor = self.world.visitor(bearer(token))
        where = f"/v2/{name or self.name}/blobs/uploads/"
        return {visitor.request("POST", where, body=b"").status for _ in range(SEVERAL)}

    def other_name(self) -> str:
        """In the same namespace."""
        return f"{self.name.partition('/')[0]}/other-{uuid4().hex[:8]}"


@pytest.fixture(scope="module")
def owner(world: World) -> Person:
    """Who owns the repositories."""
    return world.person("olga")


@pytest.fixture
def scene(world: World, owner: Person) -> Scene:
    """A public repository of the test's own."""
    name = world.repository(owner, f"{owner.name}/{uuid4().hex[:12]}")
    return filled(world, owner, name)


def filled(world: World, owner: Person, name: str) -> Scene:
    """The repository with an image pushed to it."""
    pusher = world.by_basic(owner)
    manifest = pusher.push_image(name, "v1")
    return Scene(world, owner, name, pusher.push_blob(name, uuid4().bytes), digest_of(manifest))


@pytest.mark.parametrize("visibility", ["internal", "private"])
def test_to_show_a_repository_to_fewer_refuses_every_older_token(scene: Scene, visibility: str) -> None:
    anonymous, old = scene.world.token_for(None, scene.name), scene.token()
    assert scene.pulls(anonymous) == scene.pulls(old) == {200}
    scene.world.show(scene.owner, scene.name, visibility)
    assert scene.pulls(anonymous) == scene.pulls(old) == {401}
    assert scene.pushes(old) == {401}
    assert scene.pulls(scene.token()) == {200}
    assert scene.pushes(scene.token()) == {202}


def test_to_show_a_repository_to_more_ends_nothing(scene: Scene) -> None:
    scene.world.show(scene.owner, scene.name, "private")
    token = scene.token()
    scene.world.show(scene.owner, scene.name, "public")
    assert scene.pulls(token) == {200}
    assert scene.pulls(scene.world.token_for(None, scene.name)) == {200}


def test_a_token_opens_neither_name_after_a_rename(scene: Scene) -> None:
    old, new = scene.token(), scene.other_name()
    both = scene.world.token_for(scene.owner, scene.name, new)
    assert scene.pulls(old) == {200}
    scene.world.rename(scene.owner, scene.name, new)
    for token in (old, both):
        assert scene.pulls(token) == {401}
        assert scene.pushes(token) == {401}
    assert scene.pulls(old, new) == {401}
    assert scene.pulls(scene.token(name=new), new) == {200}
    assert scene.pulls(scene.token()) == {404}


def test_a_token_opens_nothing_else_that_gets_the_name(scene: Scene) -> None:
    world, old = scene.world, scene.world.token_for(None, scene.name)
    assert scene.pulls(old) == {200}
    world.rename(scene.owner, scene.name, scene.other_name())
    other = filled(world, scene.owner, world.repository(scene.owner, scene.other_name()))
    world.rename(scene.owner, other.name, scene.name)
    other.name = scene.name
    assert other.pulls(old) == {401}
    assert other.pulls(world.token_for(None, scene.name)) == {200}


def test_a_transfer_ends_the_tokens_of_the_former_owner(scene: Scene) -> None:
    world, old = scene.world, scene.token()
    organization = world.organization(scene.owner)
    new = f"{organization}/{scene.name.partition('/')[2]}"
    assert scene.pulls(old) == {200}

    async def transfer(hub: Hub) -> None:
        await hub.repositories.transfer(scene.owner.actor, scene.name, organization, HERE)

    world.do(transfer)
    assert scene.pulls(old) == scene.pulls(old, new) == {401}
    assert scene.pushes(old) == scene.pushes(old, new) == {401}
    assert scene.pulls(scene.token(name=new), new) == {200}


@pytest.mark.parametrize("by_a_push", [False, True])
def test_a_token_opens_nothing_that_is_made_again_under_the_name(scene: Scene, by_a_push: bool) -> None:
    world, old = scene.world, scene.token()
    assert scene.pulls(old) == {200}
    world.delete(scene.owner, scene.name)
    assert scene.pulls(old) == {401}
    if not by_a_push:
        world.repository(scene.owner, scene.name, "private")
    again = filled(world, scene.owner, scene.name)
    assert again.pulls(old) == {401}
    assert again.pushes(old) == {401}
    assert again.pulls(scene.token()) == {200}


def test_a_token_got_before_the_first_push_serves_it_and_the_pull_after_it(world: World, owner: Person) -> None:
    name = f"{owner.name}/{uuid4().hex[:12]}"
    token = world.token_for(owner, name)
    visitor = world.visitor(bearer(token))
    manifest = visitor.push_image(name, "v1")
    answers = [visitor.get(f"/v2/{name}/manifests/v1") for _ in range(SEVERAL)]
    assert [answer.body for answer in answers] == [manifest] * SEVERAL


def test_a_token_got_before_the_first_push_opens_nothing_that_another_has_made_private(world: World) -> None:
    owner, member = world.person("olga"), world.person("mo")
    organization = world.organization(owner)
    world.member(owner, organization, member)
    name = f"{organization}/{uuid4().hex[:12]}"
    early = world.token_for(member, name)
    scene = filled(world, owner, world.repository(owner, name, "private"))
    assert scene.pulls(early) == {401}
    assert scene.pushes(early) == {401}


def leave_the_team(world: World, scene: Scene, who: Person) -> None:
    """Out of the organization, and so of its teams."""

    async def leave(hub: Hub) -> None:
        await hub.organizations.remove_member(scene.owner.actor, scene.name.partition("/")[0], who.name, HERE)

    world.do(leave)


def lose_the_team(world: World, scene: Scene, who: Person) -> None:
    """The team ends."""

    async def end(hub: Hub) -> None:
        await hub.teams.delete(scene.owner.actor, scene.name.partition("/")[0], "writers", HERE)

    world.do(end)


def be_granted_less(world: World, scene: Scene, who: Person) -> None:
    """The team may only read from now on."""
    world.grant(scene.owner, scene.name, "writers", "read", "team")


def be_disabled(world: World, scene: Scene, who: Person) -> None:
    """By an administrator."""
    world.disable(who)


@pytest.mark.parametrize("end", [leave_the_team, lose_the_team, be_granted_less, be_disabled])
def test_a_push_ends_at_once_with_the_right_to_it_and_a_pull_with_the_token(
    world: World, end: Callable[[World, Scene, Person], None]
) -> None:
    owner, writer = world.person("olga"), world.person("wim")
    organization = world.organization(owner)
    world.member(owner, organization, writer)
    world.team(owner, organization, "writers", writer)
    scene = filled(world, owner, world.repository(owner, f"{organization}/x", "private"))
    world.grant(owner, scene.name, "writers", "write", "team")
    token = scene.token(writer)
    visitor = world.visitor(bearer(token))
    upload = visitor.open_upload(scene.name)
    assert scene.pulls(token) == {200}
    end(world, scene, writer)
    assert scene.pushes(token) == {401}
    assert scene.pulls(token) == {200}
    for method, target in (("GET", upload), ("PATCH", upload), ("PUT", f"{upload}?digest={scene.blob}"),
                           ("DELETE", upload), ("PUT", f"/v2/{scene.name}/manifests/v1"),
                           ("DELETE", f"/v2/{scene.name}/manifests/v1")):  # fmt: skip
        body = b"x" if method in ("PATCH", "PUT") else None
        assert visitor.request(method, target, body=body).status == 401, (method, target)


def test_a_grant_that_was_taken_away_is_in_no_new_token(scene: Scene) -> None:
    world, reader = scene.world, scene.world.person("rita")
    world.show(scene.owner, scene.name, "private")
    world.grant(scene.owner, scene.name, reader.name, "write")
    token = scene.token(reader)
    world.ungrant(scene.owner, scene.name, reader.name)
    assert scene.pushes(token) == {401}
    assert scene.pulls(token) == {200}
    assert scene.pulls(scene.token(reader)) == {401}


def test_a_changed_password_ends_pushes_by_what_the_old_one_got(scene: Scene) -> None:
    world, who = scene.world, scene.world.person("wim")
    world.grant(scene.owner, scene.name, who.name, "write")
    old, personal = scene.token(who), scene.token(world.personal_token(who))
    assert scene.pushes(old) == {202}
    after = world.change_password(who)
    assert scene.pushes(old) == {401}
    assert scene.pulls(old) == {200}
    assert scene.pushes(scene.token(after)) == {202}
    assert scene.pushes(personal) == {202}
    for _ in range(SEVERAL):  # no worker remembers the old one
        assert world.ask_token(who, f"repository:{scene.name}:{ALL}").status == 401


def test_a_revoked_token_pushes_no_more(scene: Scene) -> None:
    personal = scene.world.personal_token(scene.owner)
    token = scene.token(personal)
    assert scene.pushes(token) == {202}
    scene.world.revoke(personal)
    assert scene.pushes(token) == {401}
    assert scene.pulls(token) == {200}
    assert scene.world.ask_token(personal).status == 401


def test_an_expired_personal_token_pushes_no_more(scene: Scene) -> None:
    personal = scene.world.personal_token(scene.owner)
    token = scene.token(personal)
    assert scene.pushes(token) == {202}
    scene.world.execute("UPDATE credentials SET expires_at = now_us() WHERE id = :id", id=personal.actor.credential_id)
    assert scene.pushes(token) == {401}
    assert scene.world.ask_token(personal).status == 401


def test_what_a_refresh_token_got_ends_with_the_token_that_obtained_that(scene: Scene) -> None:
    world, personal = scene.world, scene.world.personal_token(scene.owner)
    refresh = str(world.ask_token(personal, offline_token="true", client_id="docker").json()["refresh_token"])
    token = scene.token(Person(scene.owner.actor, refresh))
    assert scene.pushes(token) == {202}
    world.revoke(personal)
    assert scene.pushes(token) == {401}
    assert scene.pulls(token) == {200}


@pytest.mark.parametrize("way", ["rotate", "revoke", "delete"])
def test_a_robot_pushes_no_more_by_a_token_that_has_ended(world: World, way: str) -> None:
    owner = world.person("olga")
    organization = world.organization(owner)
    robot = world.robot(owner, organization)
    scene = filled(world, owner, world.repository(owner, f"{organization}/x", "private"))
    world.grant(owner, scene.name, robot.name, "write", "robot")
    token = scene.token(robot)
    assert scene.pushes(token) == {202}

    async def end(hub: Hub) -> None:
        short = robot.name.partition("+")[2]
        match way:
            case "rotate":
                await hub.robots.rotate(owner.actor, organization, short, None, HERE)
            case "revoke":
                await hub.robots.revoke(owner.actor, organization, short, HERE)
            case _:
                await hub.robots.delete(owner.actor, organization, short, HERE)

    world.do(end)
    assert scene.pushes(token) == {401}
    assert world.ask_token(robot).status == 401


def test_what_is_archived_is_pulled_on_and_pushed_to_no_more(scene: Scene) -> None:
    token = scene.token()
    upload = scene.world.visitor(bearer(token)).open_upload(scene.name)
    scene.world.archive(scene.owner, scene.name)
    assert scene.pulls(token) == {200}
    assert scene.pushes(token) == {403}
    assert scene.world.visitor(bearer(token)).request("PUT", f"{upload}?digest={scene.blob}", body=b"").status == 403
