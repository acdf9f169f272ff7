"""Who pulled what, when, how often and from where; and who used up a limit."""

import pytest

from entrepot.access.actor import Role, Scopes
from tests.support.hub_world import serving_world
from tests.support.pulling import ACCOUNT, LIMITS, new_address, pull


@pytest.fixture
def address() -> str:
    """An address that no other test comes from."""
    return new_address()


def test_the_api_says_who_used_it_and_not_to_a_token_that_is_bound(
    tmp_path_factory: pytest.TempPathFactory, address: str
) -> None:
    directory = tmp_path_factory.mktemp("used")
    with serving_world(directory, **LIMITS) as world:
        alice = world.person("alice")
        name = f"{alice.name}/app"
        world.by_basic(alice).push_image(name, "v1")
        for who in (alice, None):
            pull(world, name, "v1", address, who)
        ids = [row[0] for row in world.execute("SELECT id FROM repositories WHERE name = :name", name=name)]
        bound = world.personal_token(alice, Scopes(Role.READ, frozenset(ids)))
        world.server.stop()  # what a worker has written is counted when it has ended
    with serving_world(directory, **LIMITS) as world:
        found: list[dict[str, object]] = []
        while not found:  # each worker's are counted for themselves
            found = world.server.get("/api/v1/limits", alice.basic).json()["used_by"]
        (used,) = found
        assert (used["account"], used["address"], used["pulls"]) == (alice.name, address, 1)
        while not found or found[0]["account"]:
            found = world.server.get("/api/v1/limits", {"X-Forwarded-For": address}).json()["used_by"]
        assert (found[0]["address"], found[0]["pulls"]) == (address, 1)
        by_token = world.server.get("/api/v1/limits", bound.basic).json()
        assert (by_token["remaining"], by_token["used_by"]) == (ACCOUNT - 1, [])


def test_usage_says_who_pulled_what_as_json_and_csv(tmp_path_factory: pytest.TempPathFactory, address: str) -> None:
    directory = tmp_path_factory.mktemp("usage")
    with serving_world(directory, **LIMITS) as world:
        owner, alice = world.person("owner"), world.person("alice")
        name = f"{owner.name}/app"
        world.by_basic(owner).push_image(name, "v1")
        for _ in range(3):
            pull(world, name, "v1", address, alice)
        world.server.stop()  # what a worker has written is counted when it has ended
    with serving_world(directory, **LIMITS) as world:
        target = f"/api/v1/usage?namespace={owner.name}&group=repository&group=account&group=address&group=tag"
        items: list[dict[str, object]] = []
        while [each["pulls"] for each in items] != [3]:  # each worker's are counted for themselves
            items = world.server.get(target, owner.basic).json()["items"]
        (item,) = items
        assert (item["repository"], item["account"], item["address"], item["tag"], item["pulls"]) == (
            name,
            alice.name,
            address,
            "v1",
            3,
        )
        table = world.server.get(f"{target}&format=csv", owner.basic)
        assert table["content-type"].startswith("text/csv")
        assert name in table.body.decode()
        assert world.server.get(target, alice.basic).status == 403
        assert world.server.get("/api/v1/usage", {}).status == 403
        mine = world.server.get("/api/v1/usage?group=repository", alice.basic).json()["items"]
        assert [each["pulls"] for each in mine] == [3]
        storage = f"/api/v1/namespaces/{owner.name}/storage"
        found = world.server.get(storage, owner.basic).json()
        assert found["images"] == found["used"] > 0
        assert world.server.get(storage, alice.basic).status == 404
