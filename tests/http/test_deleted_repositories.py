"""Deleted repositories come back whole within the undo window; many deletes at once; on both stores."""

import json

from tests.http.test_api_images import ask
from tests.support.hub_world import Person, World
from tests.support.serving import digest_of


def waiting(world: World, who: Person) -> list[tuple[int, str]]:
    """The deleted repositories of a person's namespace: (id, name)."""
    items = ask(world, who, "GET", f"/namespaces/{who.name}/deleted-repositories").json()["items"]
    return [(each["id"], each["name"]) for each in items]


def test_a_deleted_repository_comes_back_with_its_tags_images_and_history(world: World) -> None:
    olga, sam = world.person(), world.person()
    name = world.repository(olga, f"{olga.name}/app", "private")
    client = world.by_basic(olga)
    old, new = client.push_image(name, "latest"), client.push_image(name, "latest")
    (layer,) = json.loads(new)["layers"]
    assert ask(world, olga, "DELETE", f"/repositories/{name}").status == 204
    assert client.get(f"/v2/{name}/manifests/latest").status == 404
    ((identity, was),) = waiting(world, olga)
    assert was == name
    place = f"/namespaces/{olga.name}/deleted-repositories/{identity}/restore"
    assert ask(world, sam, "POST", place, {}).status == 403
    assert ask(world, olga, "POST", place, {}).json() == {"name": name}
    assert client.get(f"/v2/{name}/manifests/latest").body == new
    assert client.get(f"/v2/{name}/manifests/{digest_of(old)}").body == old
    assert client.get(f"/v2/{name}/blobs/{layer['digest']}").status == 200
    assert client.get(f"/v2/{name}/tags/list").json()["tags"] == ["latest"]
    moves = ask(world, olga, "GET", f"/repositories/{name}/-/tags/latest/history").json()["items"]
    assert [each["new"] for each in moves] == [digest_of(new), digest_of(old)]
    assert world.by_basic(sam).get(f"/v2/{name}/manifests/latest").status in (401, 403, 404)  # still private
    assert waiting(world, olga) == []
    assert ask(world, olga, "POST", place, {}).status == 404


def test_onto_a_name_that_is_taken_it_does_not_come_back_and_a_free_name_is_offered(world: World) -> None:
    olga = world.person()
    name = world.repository(olga, f"{olga.name}/app")
    client = world.by_basic(olga)
    first = client.push_image(name, "v1")
    assert ask(world, olga, "DELETE", f"/repositories/{name}").status == 204
    second = client.push_image(world.repository(olga, name), "v1")
    ((identity, _),) = waiting(world, olga)
    place = f"/namespaces/{olga.name}/deleted-repositories/{identity}/restore"
    taken = ask(world, olga, "POST", place, {})
    assert (taken.status, taken.json()["code"]) == (409, "taken")
    assert f"'{name}-restored'" in taken.json()["detail"]
    assert ask(world, olga, "POST", place, {"name": "elsewhere/app"}).status == 422
    assert ask(world, olga, "POST", place, {"name": f"{name}-restored"}).json() == {"name": f"{name}-restored"}
    assert client.get(f"/v2/{name}/manifests/v1").body == second
    assert client.get(f"/v2/{name}-restored/manifests/v1").body == first


def test_a_repository_that_is_being_emptied_or_whose_time_is_over_does_not_come_back(world: World) -> None:
    olga = world.person()
    names = [world.repository(olga, f"{olga.name}/{each}") for each in ("over", "emptied", "waits")]
    for name in names:
        assert ask(world, olga, "DELETE", f"/repositories/{name}").status == 204
    over, emptied, waits = (identity for identity, _ in waiting(world, olga))
    world.execute("UPDATE repositories SET deleted_at = now_us() - 20 * 86400000000 WHERE id = :id", id=over)
    world.execute("UPDATE repositories SET sighted = -1 WHERE id = :id", id=emptied)
    assert [identity for identity, _ in waiting(world, olga)] == [waits]
    for identity in (over, emptied):
        place = f"/namespaces/{olga.name}/deleted-repositories/{identity}/restore"
        assert ask(world, olga, "POST", place, {}).status == 404


def test_what_is_purged_goes_from_deleted_repositories_too_and_the_rest_comes_back(world: World) -> None:
    olga = world.person()
    name, other = (world.repository(olga, f"{olga.name}/{each}") for each in ("app", "other"))
    client = world.by_basic(olga)
    leaked, fine = client.push_image(name, "leaked"), client.push_image(name, "fine")
    (layer,) = json.loads(leaked)["layers"]
    client.push_blob(other, client.get(f"/v2/{name}/blobs/{layer['digest']}").body)
    assert ask(world, olga, "DELETE", f"/repositories/{name}").status == 204
    ((identity, _),) = waiting(world, olga)
    body = {"digest": layer["digest"], "confirm": True}
    assert ask(world, olga, "POST", f"/repositories/{other}/-/purge", body).status == 200
    place = f"/namespaces/{olga.name}/deleted-repositories/{identity}/restore"
    assert ask(world, olga, "POST", place, {}).status == 200
    assert client.get(f"/v2/{name}/manifests/leaked").status == 404
    assert client.get(f"/v2/{name}/manifests/{digest_of(leaked)}").status == 404
    assert client.get(f"/v2/{name}/blobs/{layer['digest']}").status == 404
    assert client.get(f"/v2/{name}/manifests/fine").body == fine


def test_many_are_deleted_at_once_each_only_if_it_is_what_was_seen(world: World) -> None:
    olga = world.person()
    name = world.repository(olga, f"{olga.name}/app")
    client = world.by_basic(olga)
    pushed = {tag: digest_of(client.push_image(name, tag)) for tag in ("v1", "v2", "v3", "kept", "whole")}
    old = pushed["v2"]
    pushed["v2"] = digest_of(client.push_image(name, "v2"))
    rule = {"kind": "immutable", "pattern": "kept"}
    assert ask(world, olga, "POST", f"/repositories/{name}/-/tag-rules", rule).status == 201
    wanted = [
        {"tag": "v1", "digest": pushed["v1"]},
        {"tag": "v2", "digest": old},
        {"tag": "gone", "digest": old},
        {"tag": "kept", "digest": pushed["kept"]},
        {"digest": pushed["whole"]},
        {"tag": "v3", "digest": pushed["v3"]},
    ]
    place = f"/repositories/{name}/-/deletions"
    items = ask(world, olga, "POST", place, {"items": wanted}).json()["items"]
    outcomes = [(each["tag"], each["outcome"]) for each in items]
    assert outcomes == [
        ("v1", "deleted"),
        ("v2", "moved"),
        ("gone", "absent"),
        ("kept", "refused"),
        (None, "deleted"),
        ("v3", "deleted"),
    ]
    assert (items[4]["manifests"], items[4]["tags"]) == ([pushed["whole"]], ["whole"])
    assert "immutable" in items[3]["detail"]
    assert f"DELETE …/-/manifests/{pushed['v1']}" in items[0]["detail"]  # a tag's delete deletes no image
    assert client.get(f"/v2/{name}/manifests/{pushed['v1']}").status == 200
    assert client.get(f"/v2/{name}/tags/list").json()["tags"] == ["kept", "v2"]
    none: list[object] = []
    for items in (none, [{"tag": "v2", "digest": "short"}], [wanted[0]] * 201):
        assert ask(world, olga, "POST", place, {"items": items}).status == 422
