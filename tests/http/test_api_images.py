"""Images at the API and by `?at=`: history, previews, deleting what was seen, and undo; on both stores."""

import json
import os
import re
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from tests.support.hub_world import Person, World
from tests.support.serving import OCI_INDEX, OCI_MANIFEST, a_manifest, an_image, descriptor, digest_of
from tests.support.wire import Answer


def ask(world: World, who: Person, method: str, path: str, body: object = None) -> Answer:
    """A request to the API."""
    headers = {**who.basic, **({} if body is None else {"Content-Type": "application/json"})}
    return world.server.request(method, f"/api/v1{path}", headers, None if body is None else json.dumps(body).encode())


def history(world: World, who: Person, name: str, tag: str) -> list[dict[str, Any]]:
    """The moves of a tag, newest first."""
    items: list[dict[str, Any]] = ask(world, who, "GET", f"/repositories/{name}/-/tags/{tag}/history").json()["items"]
    return items


def test_every_move_of_a_tag_is_told_and_each_begins_where_the_last_ended(world: World) -> None:
    olga = world.person()
    name = world.repository(olga, f"{olga.name}/app")
    client = world.by_basic(olga)
    first, second = client.push_image(name, "latest"), client.push_image(name, "latest")
    assert client.put_manifest(name, "latest", second).status == 201  # the same digest again is no move
    assert client.delete(f"/v2/{name}/manifests/latest").status == 202
    restored = ask(world, olga, "PUT", f"/repositories/{name}/-/tags/latest", {"digest": digest_of(first)})
    assert restored.status == 204, restored
    moves = history(world, olga, name, "latest")
    assert [(each["kind"], each["old"], each["new"]) for each in moves] == [
        ("tag.restore", None, digest_of(first)),
        ("tag.delete", digest_of(second), None),
        ("tag.move", digest_of(first), digest_of(second)),
        ("tag.move", None, digest_of(first)),
    ]
    assert [each["account"] for each in moves] == [olga.name] * 4
    times = [each["at"] for each in moves]
    assert times == sorted(times, reverse=True)


def test_from_where_a_tag_was_moved_is_told_to_those_who_may_delete(world: World) -> None:
    olga, sam = world.person(), world.person()
    name = world.repository(olga, f"{olga.name}/app", "public")
    world.by_basic(olga).push_image(name, "v1")
    assert [ip_address(each["address"]).version for each in history(world, olga, name, "v1")] == [4]
    assert [each["address"] for each in history(world, sam, name, "v1")] == [None]


def test_a_free_tag_is_offered_in_place_of_one_that_is_taken(world: World) -> None:
    olga = world.person()
    name = world.repository(olga, f"{olga.name}/app")
    client = world.by_basic(olga)
    old, new = (digest_of(client.push_image(name, "v1")) for _ in range(2))
    taken = ask(world, olga, "PUT", f"/repositories/{name}/-/tags/v1", {"digest": old})
    assert (taken.status, "v1-restored" in taken.json()["detail"]) == (409, True)
    assert ask(world, olga, "PUT", f"/repositories/{name}/-/tags/v1-restored", {"digest": old}).status == 204
    assert client.head(f"/v2/{name}/manifests/v1-restored")["docker-content-digest"] == old
    assert client.head(f"/v2/{name}/manifests/v1")["docker-content-digest"] == new
    again = ask(world, olga, "PUT", f"/repositories/{name}/-/tags/v1", {"digest": old})
    assert "v1-restored-2" in again.json()["detail"]


def test_a_push_of_the_same_digest_again_moves_nothing_and_is_a_later_push(world: World) -> None:
    olga = world.person()
    name = world.repository(olga, f"{olga.name}/app")
    client = world.by_basic(olga)
    manifest = client.push_image(name, "v1")
    statement = "SELECT pushed_at FROM manifests WHERE digest = :digest"
    before = world.execute(statement, digest=digest_of(manifest))[0][0]
    assert client.put_manifest(name, "v1", manifest).status == 201
    assert world.execute(statement, digest=digest_of(manifest))[0][0] > before
    assert len(history(world, olga, name, "v1")) == 1


def test_history_has_pages(world: World) -> None:
    olga = world.person()
    name = world.repository(olga, f"{olga.name}/app")
    pushed = [digest_of(world.by_basic(olga).push_image(name, "v1")) for _ in range(3)]
    page = ask(world, olga, "GET", f"/repositories/{name}/-/tags/v1/history?limit=2").json()
    rest = ask(world, olga, "GET", f"/repositories/{name}/-/tags/v1/history?limit=2&after={page['next']}").json()
    assert [each["new"] for each in [*page["items"], *rest["items"]]] == pushed[::-1]
    assert rest["next"] is None


def test_a_tag_is_pulled_as_of_a_time(world: World) -> None:
    olga = world.person()
    name = world.repository(olga, f"{olga.name}/app")
    client = world.by_basic(olga)
    first, second = client.push_image(name, "latest"), client.push_image(name, "latest")
    now, before = (each["at"] for each in history(world, olga, name, "latest"))
    rows = world.execute("SELECT at FROM changes WHERE new = :digest AND tag = 'latest'", digest=digest_of(second))
    micro = rows[0][0]
    target = f"/v2/{name}/manifests/latest?at="
    for time, content in ((_time(micro), second), (_time(micro - 1), first), ("2999-01-01T00:00:00Z", second)):
        answer = client.get(target + quote(time))
        assert (answer.status, answer.body) == (200, content)
        assert answer["docker-content-digest"] == digest_of(content)
        assert client.head(target + quote(time))["docker-content-digest"] == digest_of(content)
    assert before <= now
    too_early = client.get(target + "2001-01-01T00:00:00Z")
    assert (too_early.status, too_early.code) == (404, "MANIFEST_UNKNOWN")
    for bad in ("yesterday", "2026-11-01", "2026-11-01T00:00:00", "9999999-01-01T00:00:00Z", ""):
        assert client.get(target + quote(bad)).status == 400, bad
    assert client.get(f"/v2/{name}/manifests/{digest_of(first)}?at=2999-01-01t00:00:00z").body == first


def test_what_was_deleted_is_pulled_as_of_a_time_until_it_is_forgotten(world: World) -> None:
    olga = world.person()
    name = world.repository(olga, f"{olga.name}/app")
    client = world.by_basic(olga)
    manifest = client.push_image(name, "v1")
    at = world.execute("SELECT at FROM changes WHERE new = :digest AND tag = 'v1'", digest=digest_of(manifest))[0][0]
    assert client.delete(f"/v2/{name}/manifests/{digest_of(manifest)}").status == 202
    assert client.get(f"/v2/{name}/manifests/v1").status == 404
    assert client.get(f"/v2/{name}/manifests/v1?at={quote(_time(at))}").body == manifest
    by_digest = f"/v2/{name}/manifests/{digest_of(manifest)}?at="
    assert client.get(by_digest + quote(_time(at))).body == manifest  # as the parts of an index are pulled
    assert client.get(by_digest + "2999-01-01T00:00:00Z").code == "MANIFEST_UNKNOWN"
    stranger = world.person()
    world.execute("UPDATE repositories SET visibility = 'private' WHERE name = :name", name=name)
    assert world.by_basic(stranger).get(by_digest + quote(_time(at))).status in (401, 403, 404)
    assert world.by_basic(stranger).get(f"/v2/{name}/manifests/v1?at={quote(_time(at))}").status in (401, 403, 404)


def test_what_was_purged_is_pulled_as_of_no_time_and_its_tag_says_so(world: World) -> None:
    olga = world.person()
    name = world.repository(olga, f"{olga.name}/app")
    client = world.by_basic(olga)
    digest = digest_of(client.push_image(name, "v1"))
    at = world.execute("SELECT at FROM changes WHERE new = :digest AND tag = 'v1'", digest=digest)[0][0]
    body = {"digest": digest, "confirm": True}
    assert ask(world, olga, "POST", f"/repositories/{name}/-/purge", body).status == 200
    gone = client.get(f"/v2/{name}/manifests/v1?at={quote(_time(at))}")
    assert (gone.status, gone.code) == (404, "MANIFEST_UNKNOWN")
    assert f"{digest} at that time: that was purged on 20" in gone.message
    gone = client.get(f"/v2/{name}/manifests/{digest}?at={quote(_time(at))}")
    assert (gone.status, gone.code, "purged on 20" in gone.message) == (404, "MANIFEST_UNKNOWN", True)


def test_where_a_digest_was_is_told_when_nothing_of_it_can_be_brought_back(world: World) -> None:
    olga, sam = world.person(), world.person()
    name = world.repository(olga, f"{olga.name}/app", "private")
    client = world.by_basic(olga)
    digest, other = (digest_of(client.push_image(name, tag)) for tag in ("v1", "other"))
    body = {"digest": digest, "confirm": True}
    assert ask(world, olga, "POST", f"/repositories/{name}/-/purge", body).status == 200
    assert client.put_manifest(name, "v1", client.get(f"/v2/{name}/manifests/other").body).status == 201
    (found,) = ask(world, olga, "GET", f"/digests/{digest}").json()["items"]
    assert (found["repository"], found["manifest"], found["role"], found["deleted_at"]) == (name, digest, "gone", None)
    (span,) = found["tags"]
    assert (span["tag"], span["now"], span["since"] <= span["until"]) == ("v1", other, True)
    assert ask(world, sam, "GET", f"/digests/{digest}").json()["items"] == []


def test_a_preview_says_what_a_delete_takes_and_an_undo_brings_it_back(world: World) -> None:
    olga = world.person()
    name = world.repository(olga, f"{olga.name}/app")
    client = world.by_basic(olga)
    child = client.push_image(name, "untouched")
    only = a_manifest(json.loads(child) | {"annotations": {"platform": "arm64"}})
    assert client.put_manifest(name, digest_of(only), only).status == 201
    children = [{"mediaType": OCI_MANIFEST, "digest": digest_of(each), "size": len(each)} for each in (child, only)]
    index = a_manifest({"manifests": children}, OCI_INDEX)
    assert client.put_manifest(name, "multi", index, OCI_INDEX).status == 201
    signature = client.push_artifact(name, subject={**children[1]})["digest"]
    path = f"/repositories/{name}/-/manifests/{digest_of(index)}"
    preview = ask(world, olga, "GET", f"{path}/deletion").json()
    gone = sorted([digest_of(index), digest_of(only), signature])
    assert (preview["manifests"], preview["tags"], preview["holders"]) == (gone, ["multi"], [])
    assert preview["refusals"] == []
    assert preview["freed"] >= len(index) + len(only)
    assert client.get(f"/v2/{name}/manifests/multi").body == index
    held = ask(world, olga, "DELETE", f"/repositories/{name}/-/manifests/{digest_of(child)}")
    assert (held.status, digest_of(index) in held.json()["detail"]) == (409, True)
    moved = ask(world, olga, "DELETE", f"{path}?tag=other")
    assert (moved.status, moved.json()["code"]) == (409, "moved")
    assert ask(world, olga, "DELETE", f"{path}?tag=multi").json() == {"manifests": gone, "tags": ["multi"]}
    for digest in gone:
        assert client.get(f"/v2/{name}/manifests/{digest}").status == 404
    assert client.get(f"/v2/{name}/manifests/untouched").body == child
    assert ask(world, olga, "POST", f"{path}/undo").json() == {
        "manifests": gone,
        "tags": ["multi"],
        "left": [],
    }
    assert client.get(f"/v2/{name}/manifests/multi").body == index
    assert ask(world, olga, "POST", f"{path}/undo").status == 404


def test_an_undo_onto_a_tag_that_names_something_else_by_now_does_nothing_and_offers_another(world: World) -> None:
    olga = world.person()
    name = world.repository(olga, f"{olga.name}/app")
    client = world.by_basic(olga)
    old = client.push_image(name, "v1")
    assert client.put_manifest(name, "v1.0", old).status == 201
    assert client.delete(f"/v2/{name}/manifests/{digest_of(old)}").status == 202
    new = client.push_image(name, "v1")
    path = f"/repositories/{name}/-/manifests/{digest_of(old)}/undo"
    refused = ask(world, olga, "POST", path)
    assert (refused.status, refused.json()["code"]) == (409, "moved")
    assert f"v1 names {digest_of(new)} now" in refused.json()["detail"]
    assert client.get(f"/v2/{name}/manifests/v1.0").status == 404
    offer = json.loads(re.search("{.*}", refused.json()["detail"])[0])  # type: ignore[index]
    assert offer == {"tags": {"v1": "v1-restored"}}
    for unusable, status in (({"v1": "v1"}, 409), ({"v1": "-"}, 422), ({"v1": "v1.0"}, 409), ({"v2": None}, 422)):
        assert ask(world, olga, "POST", path, {"tags": unusable}).status == status, unusable
    back = ask(world, olga, "POST", path, offer)
    assert back.json() == {"manifests": [digest_of(old)], "tags": ["v1-restored", "v1.0"], "left": []}
    for reference, content in (("v1", new), ("v1-restored", old), ("v1.0", old), (digest_of(old), old)):
        assert client.get(f"/v2/{name}/manifests/{reference}").body == content
    moves = [(each["kind"], each["old"], each["new"]) for each in history(world, olga, name, "v1.0")]
    assert moves[:2] == [("tag.restore", None, digest_of(old)), ("tag.delete", digest_of(old), None)]


def test_an_undo_brings_back_no_tag_that_was_to_be_left_and_none_against_a_rule(world: World) -> None:
    olga = world.person()
    name = world.repository(olga, f"{olga.name}/app")
    client = world.by_basic(olga)
    images: list[bytes] = []
    for _ in range(2):
        images.append(client.push_image(name, "v1"))
        assert client.delete(f"/v2/{name}/manifests/{digest_of(images[-1])}").status == 202
    old = images[0]
    rule = {"kind": "immutable", "pattern": "v*"}
    assert ask(world, olga, "POST", f"/repositories/{name}/-/tag-rules", rule).status == 201
    path = f"/repositories/{name}/-/manifests/{digest_of(old)}/undo"
    assert ask(world, olga, "POST", path).status == 403, "an immutable v1 was another one last"
    back = ask(world, olga, "POST", path, {"tags": {"v1": None}})
    assert back.json() == {"manifests": [digest_of(old)], "tags": [], "left": ["v1"]}
    assert client.get(f"/v2/{name}/manifests/v1").status == 404
    assert client.get(f"/v2/{name}/manifests/{digest_of(old)}").body == old


def test_an_index_leaves_a_child_that_was_given_a_tag_once(world: World) -> None:
    olga = world.person()
    name = world.repository(olga, f"{olga.name}/app")
    client = world.by_basic(olga)
    child = a_manifest(json.loads(client.push_image(name, "other")) | {"annotations": {"of": name}})
    assert client.put_manifest(name, digest_of(child), child).status == 201
    index = a_manifest({"manifests": [descriptor(child, OCI_MANIFEST)]}, OCI_INDEX)
    assert client.put_manifest(name, "multi", index, OCI_INDEX).status == 201
    path = f"/repositories/{name}/-"
    assert ask(world, olga, "PUT", f"{path}/tags/arm64", {"digest": digest_of(child)}).status == 204
    assert ask(world, olga, "DELETE", f"{path}/tags/arm64").status == 200
    gone = ask(world, olga, "DELETE", f"{path}/manifests/{digest_of(index)}")
    assert gone.json() == {"manifests": [digest_of(index)], "tags": ["multi"]}
    assert client.get(f"/v2/{name}/manifests/{digest_of(child)}").body == child


def test_a_tag_that_has_moved_since_it_was_seen_is_not_deleted_nor_taken(world: World) -> None:
    olga = world.person()
    name = world.repository(olga, f"{olga.name}/app")
    client = world.by_basic(olga)
    old, new = (digest_of(client.push_image(name, "v1")) for _ in range(2))
    path = f"/repositories/{name}/-/tags/v1"
    assert ask(world, olga, "DELETE", f"{path}?digest={old}").status == 409
    assert ask(world, olga, "PUT", path, {"digest": old}).status == 409
    gone = ask(world, olga, "DELETE", f"{path}?digest={new}")
    assert (gone.status, gone.json()["digest"]) == (200, new)
    assert new in gone.json()["note"]
    assert client.get(f"/v2/{name}/manifests/{new}").status == 200
    assert ask(world, olga, "PUT", path, {"digest": old}).status == 204
    assert client.head(f"/v2/{name}/manifests/v1")["docker-content-digest"] == old
    assert ask(world, olga, "PUT", path, {"digest": "sha256:short"}).status == 422


def test_what_an_engine_prints_leads_to_the_tags_that_have_it_and_had_it(world: World) -> None:
    olga, sam = world.person(), world.person()
    name = world.repository(olga, f"{olga.name}/app", "private")
    client = world.by_basic(olga)
    first = client.push_image(name, "latest")
    document = json.loads(first)
    children = [{"mediaType": OCI_MANIFEST, "digest": digest_of(first), "size": len(first)}]
    index = a_manifest({"manifests": children}, OCI_INDEX)
    assert client.put_manifest(name, "multi", index, OCI_INDEX).status == 201
    second = client.push_image(name, "latest")
    for digest, role in (
        (document["config"]["digest"], "config"),
        (document["layers"][0]["digest"], "layer"),
        (digest_of(first), "image"),
    ):
        items = ask(world, olga, "GET", f"/digests/{digest}").json()["items"]
        found = {each["manifest"]: each for each in items}
        assert (found[digest_of(first)]["role"], found[digest_of(index)]["role"]) == (role, "child")
        (span,) = found[digest_of(first)]["tags"]
        assert (span["tag"], span["now"]) == ("latest", digest_of(second))
        assert span["since"] <= span["until"]
        (span,) = found[digest_of(index)]["tags"]
        assert (span["tag"], span["until"], span["now"]) == ("multi", None, digest_of(index))
        assert ask(world, sam, "GET", f"/digests/{digest}").json()["items"] == []
    assert ask(world, olga, "GET", "/digests/sha256:short").status == 422


def _time(micro: int) -> str:
    return datetime.fromtimestamp(micro / 1_000_000, UTC).isoformat(timespec="microseconds")


def test_what_a_deletion_frees_tells_nothing_of_what_is_private_elsewhere(world: World) -> None:
    olga, sam = world.person("olga"), world.person("sam")
    config, layer = uuid4().bytes, os.urandom(50_000)
    manifest = an_image(config, layer)
    places = {who.name: world.repository(who, f"{who.name}/app", "private") for who in (olga, sam)}
    freed = {}
    for number, who in enumerate((olga, sam)):
        client, name = world.by_basic(who), places[who.name]
        for content in (config, layer):
            client.push_blob(name, content)
        assert client.put_manifest(name, "v1", manifest).status == 201
        preview = ask(world, who, "GET", f"/repositories/{name}/-/manifests/{digest_of(manifest)}/deletion").json()
        freed[number] = preview["freed"]
    assert freed[0] == freed[1] == len(config) + len(layer) + len(manifest)
    world.show(olga, places[olga.name], "public")
    path = f"/repositories/{places[sam.name]}/-/manifests/{digest_of(manifest)}/deletion"
    assert ask(world, sam, "GET", path).json()["freed"] == len(manifest)


def test_what_one_may_read_is_found_among_many_that_one_may_not(world: World) -> None:
    olga, sam = world.person(), world.person()
    name, hidden = (world.repository(who, f"{who.name}/app", "private") for who in (olga, sam))
    manifest = json.loads(world.by_basic(sam).push_image(hidden, "v0"))
    layer = manifest["layers"][0]["digest"]
    for number in range(201):
        content = json.dumps(manifest | {"annotations": {"number": str(number)}}).encode()
        assert world.by_basic(sam).put_manifest(hidden, f"v{number}", content, OCI_MANIFEST).status == 201
    client = world.by_basic(olga)
    assert ask(world, olga, "GET", f"/digests/{layer}").json()["items"] == []
    for blob in (layer, manifest["config"]["digest"]):
        content = world.by_basic(sam).get(f"/v2/{hidden}/blobs/{blob}").body
        assert client.push_blob(name, content) == blob
    assert client.put_manifest(name, "mine", json.dumps(manifest).encode(), OCI_MANIFEST).status == 201
    (found,) = ask(world, olga, "GET", f"/digests/{layer}").json()["items"]
    assert (found["repository"], found["role"], found["tags"][0]["tag"]) == (name, "layer", "mine")
