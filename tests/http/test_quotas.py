"""Storage quotas and private repositories of a plan, at the doors."""

import json
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from tests.support.hub_world import Person, Visitor, World
from tests.support.serving import an_image, digest_of
from tests.support.wire import Answer

KB = 1000
ROOM = 100 * KB


@pytest.fixture
def owner(world: World) -> Person:
    """Somebody whose plan allows a hundred kilobytes and one private repository."""
    plan = f"small-{uuid4().hex[:8]}"
    person = world.person("small")
    world.execute(
        "INSERT INTO plans (name, private_repositories, storage, pulls) VALUES (:name, 1, :storage, NULL)",
        name=plan,
        storage=ROOM,
    )
    world.execute("UPDATE accounts SET plan = :plan WHERE id = :id", plan=plan, id=person.actor.account_id)
    return person


@pytest.fixture
def visitor(world: World, owner: Person) -> Visitor:
    return world.by_basic(owner)


@pytest.fixture
def name(owner: Person) -> str:
    return f"{owner.name}/app"


def content(size: int) -> bytes:
    return (uuid4().bytes * (size // 16 + 1))[:size]


def refused(answer: Answer) -> bool:
    """Whether it is a refusal that says what is used by what."""
    if answer.status != 403:
        return False
    assert answer.code == "DENIED"
    assert "100 kB of storage" in answer.message
    assert "by images" in answer.message
    return True


def test_what_fits_is_taken_and_what_does_not_is_refused_on_its_headers(visitor: Visitor, name: str) -> None:
    visitor.push_blob(name, content(60 * KB))
    body = content(50 * KB)
    location = visitor.open_upload(name)
    assert refused(visitor.request("PUT", f"{location}?digest={digest_of(body)}", body=body))
    visitor.push_blob(name, content(30 * KB))


def test_a_chunked_body_is_cut_when_it_passes_the_rest(visitor: Visitor, name: str) -> None:
    location = visitor.open_upload(name)
    with visitor.connect() as connection:
        head = f"PATCH {location} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
        for key, value in visitor.sent.items():
            head += f"{key}: {value}\r\n"
        chunk = content(30 * KB)
        body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for _ in range(6)) + b"0\r\n\r\n"
        answer = connection.ask(head.encode() + b"\r\n" + body, "PATCH")
    assert refused(answer)
    visitor.push_blob(name, content(90 * KB))  # nothing of it stayed


def test_nothing_is_begun_where_nothing_is_left(visitor: Visitor, name: str) -> None:
    visitor.push_blob(name, content(ROOM))
    assert refused(visitor.request("POST", f"/v2/{name}/blobs/uploads/", body=b""))


def test_the_same_bytes_count_once_in_all_repositories_of_a_namespace(visitor: Visitor, owner: Person) -> None:
    body = content(80 * KB)
    visitor.push_blob(f"{owner.name}/one", body)
    mounted = visitor.request(
        "POST", f"/v2/{owner.name}/two/blobs/uploads/?mount={digest_of(body)}&from={owner.name}/one", body=b""
    )
    assert mounted.status == 201
    visitor.push_blob(f"{owner.name}/two", content(15 * KB))


def test_two_pushes_at_once_do_not_pass_it_together(visitor: Visitor, name: str) -> None:
    bodies = [content(40 * KB) for _ in range(6)]
    locations = [visitor.open_upload(name) for _ in bodies]

    def push(place: int) -> Answer:
        target = f"{locations[place]}?digest={digest_of(bodies[place])}"
        return visitor.request("PUT", target, body=bodies[place])

    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(push, range(6)))
    assert sorted(answer.status for answer in answers) == [201] * 2 + [403] * 4
    assert sum(refused(answer) for answer in answers) == 4


def test_a_manifest_that_does_not_fit_is_refused_and_one_that_is_there_is_not(visitor: Visitor, name: str) -> None:
    config, layer = json.dumps({"made": uuid4().hex}).encode(), content(98 * KB)
    visitor.push_blob(name, config)
    visitor.push_blob(name, layer)
    small = an_image(config, layer)
    assert visitor.put_manifest(name, "v1", small).status == 201
    large = an_image(config, layer, annotations={"padding": "x" * 2 * KB})
    assert refused(visitor.put_manifest(name, "v2", large))
    assert visitor.put_manifest(name, "v2", small).status == 201


def test_deleting_makes_room(visitor: Visitor, name: str) -> None:
    digest = visitor.push_blob(name, content(90 * KB))
    assert visitor.request("DELETE", f"/v2/{name}/blobs/{digest}").status == 202
    visitor.push_blob(name, content(90 * KB))


def storage(world: World, owner: Person) -> dict[str, int]:
    """What the API says."""
    found: dict[str, int] = world.server.get(f"/api/v1/namespaces/{owner.name}/storage", owner.basic).json()
    assert found["used"] == sum(found[part] for part in ("images", "undoable", "loose", "uploads"))
    return found


def an_image_of(visitor: Visitor, name: str, size: int) -> tuple[str, str, int]:
    """Push an image with a layer of this size; the manifest's digest, the layer's, and the size of all of it."""
    config, layer = json.dumps({"made": uuid4().hex}).encode(), content(size)
    visitor.push_blob(name, config)
    digest = visitor.push_blob(name, layer)
    manifest = an_image(config, layer)
    assert visitor.put_manifest(name, "v1", manifest).status == 201
    return digest_of(manifest), digest, len(config) + len(layer) + len(manifest)


def test_what_can_be_undone_counts_and_is_shown_apart(world: World, visitor: Visitor, owner: Person, name: str) -> None:
    manifest, layer, size = an_image_of(visitor, name, 80 * KB)
    assert storage(world, owner) == {
        "used": size, "images": size, "undoable": 0, "loose": 0, "uploads": 0, "limit": ROOM
    }  # fmt: skip
    assert visitor.request("DELETE", f"/v2/{name}/manifests/{manifest}").status == 202
    assert (storage(world, owner)["images"], storage(world, owner)["undoable"]) == (0, size)
    assert visitor.request("DELETE", f"/v2/{name}/blobs/{layer}").status == 202  # the undo brings it back too
    assert storage(world, owner)["undoable"] == size
    refusal = visitor.request("PUT", f"{visitor.open_upload(name)}?digest={layer}", body=content(50 * KB))
    assert refused(refusal)
    assert "kB by deleted ones while that can be undone" in refusal.message
    undone = world.server.request("POST", f"/api/v1/repositories/{name}/-/manifests/{manifest}/undo", owner.basic)
    assert undone.status < 300
    assert (storage(world, owner)["images"], storage(world, owner)["undoable"]) == (size, 0)
    assert world.server.request("DELETE", f"/api/v1/repositories/{name}", owner.basic).status == 204
    assert storage(world, owner)["undoable"] == size


def test_what_an_image_and_a_deleted_one_share_is_the_images(
    world: World, visitor: Visitor, owner: Person, name: str
) -> None:
    config, layer = json.dumps({"made": uuid4().hex}).encode(), content(60 * KB)
    visitor.push_blob(name, config)
    visitor.push_blob(name, layer)
    kept, gone = an_image(config, layer), an_image(config, layer, annotations={"another": "one"})
    for tag, manifest in (("kept", kept), ("gone", gone)):
        assert visitor.put_manifest(name, tag, manifest).status == 201
    assert visitor.request("DELETE", f"/v2/{name}/manifests/{digest_of(gone)}").status == 202
    found = storage(world, owner)
    assert (found["images"], found["undoable"]) == (len(config) + len(layer) + len(kept), len(gone))


def test_a_transfer_that_does_not_fit_is_refused(world: World, visitor: Visitor, owner: Person) -> None:
    from_where = world.organization(owner)
    for name, size in ((f"{from_where}/small", 40 * KB), (f"{from_where}/large", 70 * KB)):
        an_image_of(visitor, name, size)
    for part, status in (("small", 200), ("large", 403)):
        body = json.dumps({"namespace": owner.name}).encode()
        answer = world.server.request(
            "POST",
            f"/api/v1/repositories/{from_where}/{part}/-/transfer",
            {**owner.basic, "Content-Type": "application/json"},
            body,
        )
        assert answer.status == status, answer
    problem = answer.json()
    assert (problem["code"], problem["field"]) == ("limit_reached", "namespace")
    assert "would be used" in problem["detail"]
    assert visitor.get(f"/v2/{from_where}/large/tags/list").status == 200


def test_a_second_private_repository_is_refused_with_the_name_of_the_first_and_not_made_public(
    world: World, visitor: Visitor, owner: Person
) -> None:
    world.execute("UPDATE accounts SET default_visibility = 'private' WHERE id = :id", id=owner.actor.account_id)
    visitor.push_blob(f"{owner.name}/first", b"one")
    answer = visitor.request("POST", f"/v2/{owner.name}/second/blobs/uploads/", body=b"")
    assert (answer.status, answer.code) == (403, "DENIED")
    assert f"{owner.name}/first" in answer.message
    names = world.execute(
        "SELECT name, visibility FROM repositories WHERE namespace_id = :id", id=owner.actor.account_id
    )
    assert names == [(f"{owner.name}/first", "private")]
