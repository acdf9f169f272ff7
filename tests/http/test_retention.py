"""Retention at the API: policies, what they would do, doing it, undoing it; on both stores."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.http.conftest import BOTH, large
from tests.support.hub_world import Person, World, serving_world
from tests.support.s3 import Bucket
from tests.support.serving import OCI_INDEX, OCI_MANIFEST, a_manifest, descriptor, digest_of
from tests.support.wire import Answer

HOUR = 3_600_000_000
OCI_IMAGE_OR_INDEX = {"index": OCI_MANIFEST, "above": OCI_INDEX}  # what the tag's manifest names
TABLES = ("repositories", "manifests", "tags", "links", "blobs", "deletions", "changes", "retention", "trash")


def ask(world: World, who: Person, method: str, path: str, body: object = None) -> Answer:
    """A request to the API."""
    headers = {**who.basic, **({} if body is None else {"Content-Type": "application/json"})}
    return world.server.request(method, f"/api/v1{path}", headers, None if body is None else json.dumps(body).encode())


def aged(world: World, name: str, tag: str, hours: int) -> None:
    """Let a tag have been moved, and its manifest pushed, some hours ago."""
    for statement in (
        "UPDATE tags SET moved_at = now_us() - CAST(:age AS bigint) WHERE name = :tag AND repository_id ="
        " (SELECT id FROM repositories WHERE name = :name)",
        "UPDATE manifests SET pushed_at = now_us() - CAST(:age AS bigint) WHERE id = (SELECT t.manifest_id FROM tags t"
        " WHERE t.name = :tag AND t.repository_id = (SELECT id FROM repositories WHERE name = :name))",
    ):
        world.execute(statement, age=hours * HOUR, tag=tag, name=name)


@pytest.fixture(params=BOTH)
def alone(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[World, Bucket | None]]:
    """A server that nobody else uses, and its bucket, where its bytes are in one."""
    with ExitStack() as stack:
        where: dict[str, str] = {}
        if request.param != "sqlite and files":
            servers = (request.getfixturevalue(name) for name in ("postgres_server", "s3_server"))
            where = stack.enter_context(large(*servers))
        world = stack.enter_context(serving_world(tmp_path, **where))
        name = where.get("storage__s3__bucket")
        yield world, Bucket(where["storage__s3__endpoint"], name) if name else None


def every_byte(world: World, bucket: Bucket | None) -> dict[str, tuple[object, ...]]:
    """All files or objects of a store: when they were written, how long they are, what is in them."""
    if bucket is not None:
        return dict(bucket.everything())
    found = {
        str(path): (path.stat(), path.read_bytes())
        for path in [*world.server.blob_files(), world.server.data / "store"]
    }
    return {path: (stat.st_ino, stat.st_mtime_ns, stat.st_size, content) for path, (stat, content) in found.items()}


def every_row_of(world: World) -> list[Any]:
    """All rows that a run could change."""
    return [world.execute(f"SELECT * FROM {table} ORDER BY 1, 2") for table in TABLES]


def test_a_dry_run_says_exactly_what_a_run_does_and_changes_nothing(alone: tuple[World, Bucket | None]) -> None:
    """That it changes no row at all is in tests/contracts/test_retention_rows.py, where no server works beside it."""
    world, bucket = alone
    olga = world.person()
    name = world.repository(olga, f"{olga.name}/app")
    client, place = world.by_basic(olga), f"/repositories/{name}/-"
    pushed = {tag: digest_of(client.push_image(name, tag)) for tag in ("v1", "v2", "v3", "pr-1", "pr-2", "release")}
    for hours, tag in enumerate(pushed, 1):
        aged(world, name, tag, 100 - hours)
    assert ask(world, olga, "POST", f"{place}/tag-rules", {"kind": "immutable", "pattern": "release"}).status == 201
    rules = [
        {"action": "delete", "tags": "*", "older_than": "2d"},
        {"action": "keep", "tags": "v*", "last": 2},
    ]
    assert ask(world, olga, "PUT", f"{place}/retention", {"rules": rules}).status == 204
    assert ask(world, olga, "GET", f"{place}/retention").json()["rules"] == rules
    rows, stored = every_row_of(world), every_byte(world, bucket)
    assert len(stored) == 13  # and whose they are
    preview = ask(world, olga, "GET", f"{place}/retention/preview").json()["items"]
    assert every_row_of(world) == rows
    assert every_byte(world, bucket) == stored
    by_itself: dict[str, Any] = {"rule": 1, "manifests": [], "tags": []}
    expected = [{"tag": tag, "digest": pushed[tag], **by_itself} for tag in ("pr-1", "pr-2", "v1")]
    assert preview == expected
    done = ask(world, olga, "POST", f"{place}/retention/run")
    assert (done.status, done.json()["items"]) == (200, expected)
    assert client.get(f"/v2/{name}/tags/list").json()["tags"] == ["release", "v2", "v3"]
    (last, *_) = ask(world, olga, "GET", f"{place}/tags/v1/history").json()["items"]
    assert (last["kind"], last["old"]) == ("tag.retention", pushed["v1"])
    assert client.get(f"/v2/{name}/manifests/{pushed['v1']}").status == 200  # it keeps its image
    assert ask(world, olga, "PUT", f"{place}/tags/v1", {"digest": pushed["v1"]}).status == 204


def test_the_use_of_a_part_keeps_every_index_above_it_and_signatures_stay_with_their_image(world: World) -> None:
    olga = world.person()
    name = world.repository(olga, f"{olga.name}/app")
    client, place = world.by_basic(olga), f"/repositories/{name}/-/retention"
    parts = [client.push_image(name, tag) for tag in ("part", "unused")]
    for tag in ("index", "above"):
        content = a_manifest({"manifests": [descriptor(parts[0], OCI_IMAGE_OR_INDEX[tag])]}, OCI_INDEX)
        assert client.put_manifest(name, tag, content, OCI_INDEX).status == 201
        parts.insert(0, content)
    signatures = [f"{digest_of(part).replace(':', '-')}.sig" for part in parts]
    for tag in signatures:
        client.push_image(name, tag)
    for tag in ("part", "unused", "index", "above", *signatures):
        aged(world, name, tag, 100)
    assert client.delete(f"/v2/{name}/manifests/part").status == 202  # the tag
    used = digest_of(parts[2])
    assert client.head(f"/v2/{name}/manifests/{used}").status == 200
    rules = [{"action": "delete", "tags": "*", "not_pulled_within": "1h"}]
    assert ask(world, olga, "PUT", place, {"rules": rules}).status == 204
    assert [each["tag"] for each in ask(world, olga, "POST", f"{place}/run").json()["items"]] == ["unused"]
    assert client.get(f"/v2/{name}/tags/list").json()["tags"] == sorted(["index", "above", *signatures])


def test_what_has_no_tag_goes_only_by_a_rule_for_it_and_can_come_back(world: World) -> None:
    olga = world.person()
    name = world.repository(olga, f"{olga.name}/app")
    client, namespace = world.by_basic(olga), f"/namespaces/{olga.name}/retention"
    loose = digest_of(client.push_image(name, "gone"))
    aged(world, name, "gone", 100)
    assert client.delete(f"/v2/{name}/manifests/gone").status == 202
    world.execute("UPDATE changes SET at = at - CAST(:age AS bigint) WHERE old = :digest", age=100 * HOUR, digest=loose)
    assert ask(world, olga, "PUT", namespace, {"rules": [{"action": "delete", "tags": "*"}]}).status == 204
    assert ask(world, olga, "POST", f"/repositories/{name}/-/retention/run").json()["items"] == []
    rules = [{"action": "delete", "untagged": True, "older_than": "2d"}]
    assert ask(world, olga, "PUT", namespace, {"rules": rules}).status == 204
    signature = digest_of(client.push_image(name, tag := f"{loose.replace(':', '-')}.sig"))
    preview = ask(world, olga, "GET", f"/repositories/{name}/-/retention/preview").json()["items"]
    done = ask(world, olga, "POST", f"/repositories/{name}/-/retention/run").json()["items"]
    assert done == preview == [{"tag": "", "digest": loose, "rule": 1, "manifests": [signature], "tags": [tag]}]
    assert client.get(f"/v2/{name}/manifests/{loose}").status == 404
    assert ask(world, olga, "POST", f"/repositories/{name}/-/manifests/{loose}/undo").status == 200
    assert client.get(f"/v2/{name}/manifests/{loose}").status == 200
    assert ask(world, olga, "PUT", namespace, {"rules": []}).status == 204
    assert ask(world, olga, "GET", namespace).json() == {"rules": [], "ran_at": None}


def test_nothing_runs_while_the_pulls_of_a_node_are_not_counted(world: World) -> None:
    olga = world.person()
    name = world.repository(olga, f"{olga.name}/app")
    world.by_basic(olga).push_image(name, "v1")
    place = f"/repositories/{name}/-/retention"
    assert ask(world, olga, "PUT", place, {"rules": [{"action": "delete", "tags": "*"}]}).status == 204
    world.execute("INSERT INTO usage_nodes (id, complete_until) VALUES ('lost', now_us())")
    preview = ask(world, olga, "GET", f"{place}/preview").json()
    assert (preview["waits_for"], [each["tag"] for each in preview["items"]]) == (["lost"], ["v1"])
    refused = ask(world, olga, "POST", f"{place}/run")
    assert refused.status == 409
    assert "node lost" in refused.json()["detail"]
    assert "DELETE /api/v1/usage/nodes/lost" in refused.json()["detail"]
    assert world.by_basic(olga).get(f"/v2/{name}/manifests/v1").status == 200
    assert ask(world, world.administrator, "DELETE", "/usage/nodes/lost").status == 204
    assert ask(world, olga, "POST", f"{place}/run").status == 200


def test_a_policy_that_cannot_be_used_is_refused(world: World) -> None:
    olga = world.person()
    place = f"/repositories/{world.repository(olga, f'{olga.name}/app')}/-/retention"
    for rules, field in (
        ([{"action": "keep", "last": 3}], "rules"),
        ([{"action": "delete", "tags": "*"}, {"action": "keep", "last": -1}], "rules.2.last"),
        ([{"action": "delete"}] * 51, "rules"),
    ):
        refused = ask(world, olga, "PUT", place, {"rules": rules})
        assert (refused.status, refused.json()["field"]) == (422, field)


def test_a_tag_expires_unless_it_has_moved_or_may_not_go(world: World) -> None:
    olga = world.person()
    name = world.repository(olga, f"{olga.name}/app")
    client, place = world.by_basic(olga), f"/repositories/{name}/-"
    old, new = (digest_of(client.push_image(name, "pr-7")) for _ in range(2))
    at = datetime.now(UTC).isoformat()
    later = "2999-01-01T00:00:00Z"
    for digest, when, status in ((old, at, 409), (new, "tomorrow", 422), (new, later, 204), (new, None, 204)):
        body = {"digest": digest, "at": when}
        assert ask(world, olga, "PUT", f"{place}/tags/pr-7/expiry", body).status == status
    assert ask(world, olga, "POST", f"{place}/tag-rules", {"kind": "immutable", "pattern": "*"}).status == 201
    assert ask(world, olga, "PUT", f"{place}/tags/pr-7/expiry", {"digest": new, "at": at}).status == 403
