"""Purging what leaked: nobody gets a byte of it, it does not come back, and the report says who may have it."""

import json
import os
import re
from contextlib import closing
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from entrepot.database.sqlite import connect
from entrepot.storage import layout
from tests.support.cache_nodes import Reader
from tests.support.hub_world import Person, World
from tests.support.purges import ask, cut_by, keys_of, layers_of, purge
from tests.support.serving import OCI_INDEX, OCI_MANIFEST, a_manifest, digest_of

MIB = 1024 * 1024


def test_a_layer_goes_with_every_image_of_the_namespace_that_holds_it(world: World) -> None:
    olga, sam = world.person(), world.person()
    one, two = (world.repository(olga, f"{olga.name}/{name}") for name in ("one", "two"))
    client = world.by_basic(olga)
    leaked = client.push_image(one, "v1")
    (layer,) = layers_of(leaked)
    content = client.get(f"/v2/{one}/blobs/{layer}").body
    assert client.push_blob(two, content) == layer
    also = client.push_image(two, "other")
    both = a_manifest({**json.loads(also), "layers": [*json.loads(leaked)["layers"], *json.loads(also)["layers"]]})
    assert client.put_manifest(two, "v2", both).status == 201
    elsewhere = world.repository(sam, f"{sam.name}/mine")
    assert world.by_basic(sam).push_blob(elsewhere, content) == layer

    looked = purge(world, olga, one, layer, confirm=False)
    assert (looked["done"], looked["report"]) == (False, None)
    held = {(each["repository"], each["digest"]): each["tags"] for each in looked["holders"]}
    assert held == {(one, digest_of(leaked)): ["v1"], (two, digest_of(both)): ["v2"]}
    assert client.get(f"/v2/{one}/manifests/v1").status == 200

    done = purge(world, olga, one, layer, reason="an AWS key")
    assert {(each["repository"], each["digest"]) for each in done["holders"]} >= set(held)
    for target in (
        f"{one}/manifests/v1",
        f"{one}/manifests/{digest_of(leaked)}",
        f"{one}/manifests/v1?at={quote('2999-01-01T00:00:00Z')}",
        f"{two}/manifests/{digest_of(both)}",
        f"{one}/blobs/{layer}",
        f"{two}/blobs/{layer}",
    ):
        assert client.get(f"/v2/{target}").status == 404, target
    assert client.get(f"/v2/{two}/manifests/other").body == also
    assert world.by_basic(sam).get(f"/v2/{elsewhere}/blobs/{layer}").body == content
    undone = ask(world, olga, "POST", f"/repositories/{one}/-/manifests/{digest_of(leaked)}/undo")
    assert undone.status == 404
    _comes_not_back(world, olga, sam, one, leaked, content)


def _comes_not_back(world: World, olga: Person, sam: Person, name: str, leaked: bytes, content: bytes) -> None:
    """Neither by an upload, nor by a mount, nor in a manifest, until the purge is lifted."""
    client, layer = world.by_basic(olga), digest_of(content)
    location = client.open_upload(name)
    separator = "&" if "?" in location else "?"
    refused = client.request("PUT", f"{location}{separator}digest={quote(layer)}", (), content)
    assert (refused.status, refused.code) == (403, "DENIED")
    assert "an AWS key" in refused.message
    mounted = client.request("POST", f"/v2/{name}/blobs/uploads/?mount={quote(layer)}&from={sam.name}/mine")
    assert mounted.status == 403
    assert client.put_manifest(name, "v1", leaked).status == 400  # it is not here, and cannot be
    (listed,) = ask(world, olga, "GET", f"/namespaces/{olga.name}/purges").json()["items"]
    assert (listed["digest"], listed["reason"], listed["lifted_at"]) == (layer, "an AWS key", None)
    place, admin = f"/namespaces/{olga.name}/purges/{listed['id']}", world.administrator
    assert ask(world, olga, "DELETE", place).status == 403, "whoever may purge does not lift it"
    assert ask(world, admin, "DELETE", place).status == 204
    assert ask(world, admin, "DELETE", place).status == 404
    (audited,) = ask(world, admin, "GET", f"/audit?kind=purge.lift&namespace={olga.name}").json()["items"]
    assert (audited["who"], audited["new"], audited["repository"]) == (admin.name, layer, name)
    assert client.push_blob(name, content) == layer


def test_the_bytes_are_removed_before_the_answer(world: World) -> None:
    olga = world.person()
    name = world.repository(olga, f"{olga.name}/app")
    client = world.by_basic(olga)
    image = client.push_image(name, "v1")
    (layer,) = layers_of(image)
    (key,) = keys_of(world, layer)
    purge(world, olga, name, digest_of(image))
    assert keys_of(world, layer) == []
    assert world.execute("SELECT key FROM trash WHERE key = :key", key=key) == []
    assert not [path for path in world.server.blob_files() if key in path.name]


def test_an_image_goes_alone_and_what_shares_its_layers_is_named(world: World) -> None:
    olga = world.person()
    name = world.repository(olga, f"{olga.name}/app")
    client = world.by_basic(olga)
    image = client.push_image(name, "v1")
    rebuilt = a_manifest({**json.loads(image), "annotations": {"build": "2"}})
    assert client.put_manifest(name, "v2", rebuilt).status == 201
    children = [{"mediaType": OCI_MANIFEST, "digest": digest_of(image), "size": len(image)}]
    index = a_manifest({"manifests": children}, OCI_INDEX)
    assert client.put_manifest(name, "multi", index, OCI_INDEX).status == 201
    done = purge(world, olga, name, digest_of(image))
    gone = {each["digest"] for each in done["holders"]}
    assert gone == {digest_of(image), digest_of(index)}
    shared = {(each["digest"], each["layer"]) for each in done["report"]["shared"]}
    assert shared == {(digest_of(rebuilt), layers_of(image)[0])}
    assert client.get(f"/v2/{name}/manifests/v2").body == rebuilt
    assert client.get(f"/v2/{name}/blobs/{layers_of(image)[0]}").status == 200
    refused = client.put_manifest(name, "v1", image)
    assert (refused.status, refused.code) == (403, "DENIED")
    assert client.put_manifest(name, "multi", index, OCI_INDEX).status == 403


def test_the_report_says_who_pushed_it_and_who_pulled_it(world: World) -> None:
    olga, sam = world.person(), world.person()
    name = world.repository(olga, f"{olga.name}/app")
    image = world.by_basic(olga).push_image(name, "v1")
    repository = world.execute("SELECT id FROM repositories WHERE name = :name", name=name)[0][0]
    world.execute(
        "INSERT INTO usage_hours (hour, repository_id, digest, tag, kind, account_id, credential_id, address, agent,"
        " subject, requests, bytes, first_at, last_at) VALUES (0, :repository, :digest, 'v1', 'image', :account, 0,"
        " '203.0.113.9', 'docker', '203.0.113.9', 3, 30, 1000, 2000)",
        repository=repository,
        digest=digest_of(image),
        account=sam.actor.account_id,
    )
    report = purge(world, olga, name, digest_of(image))["report"]
    (pushed, tagged) = report["pushes"]
    assert (pushed["tag"], pushed["account"], pushed["digest"]) == (None, olga.name, digest_of(image))
    assert (tagged["tag"], tagged["account"], tagged["until"] is not None) == ("v1", olga.name, True)
    (pull,) = report["pulls"]
    assert (pull["account"], pull["address"], pull["agent"], pull["requests"]) == (sam.name, "203.0.113.9", "docker", 3)
    assert any("backups" in each for each in report["unreachable"])
    words = " ".join(report["advice"])
    assert "rotate" in words
    assert ".dockerignore" in words
    assert f"{name}:v1" in words
    again = ask(world, olga, "GET", f"/namespaces/{olga.name}/purges/{report['purge']['id']}").json()
    assert (again["pulls"], again["pushes"]) == (report["pulls"], report["pushes"])


def test_the_report_counts_every_pull_and_lists_them_by_pages(world: World) -> None:
    olga = world.person()
    name = world.repository(olga, f"{olga.name}/app")
    image = world.by_basic(olga).push_image(name, "v1")
    world.execute(
        "INSERT INTO usage_hours (hour, repository_id, digest, tag, kind, account_id, credential_id, address, agent,"
        " subject, requests, bytes, first_at, last_at) WITH RECURSIVE hours (hour) AS (SELECT 1 UNION ALL"
        " SELECT hour + 1 FROM hours WHERE hour < 1005) SELECT hour, (SELECT id FROM repositories WHERE name = :name),"
        " :digest, 'v1', 'image', 0, 0, '203.0.113.9', 'docker', '203.0.113.9', 2, 30, hour, hour FROM hours",
        name=name,
        digest=digest_of(image),
    )
    report = purge(world, olga, name, digest_of(image))["report"]
    assert (report["pulled"], len(report["pulls"])) == (2010, 1000)
    assert "it was pulled 2010 times" in report["advice"][0]
    place = f"/namespaces/{olga.name}/purges/{report['purge']['id']}/pulls"
    pulls: list[Any] = []
    after: str | None = "0"
    while after is not None:
        found = ask(world, olga, "GET", f"{place}?limit=100&after={after}").json()
        pulls, after = [*pulls, *found["items"]], found["next"]
    assert pulls[:1000] == report["pulls"]
    assert sum(each["requests"] for each in pulls) == 2010


def test_a_purge_beside_a_reader_of_the_database_says_that_the_log_still_has_it(small_world: World) -> None:
    """A backup, say; when that has ended, the log is emptied, and the report says so no more."""
    world, olga = small_world, small_world.person()
    name = world.repository(olga, f"{olga.name}/app")
    image = world.by_basic(olga).push_image(name, "v1")
    file = layout.database_file(world.server.data)
    with closing(connect(file, read_only=True)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT 1 FROM manifests").fetchall()
        report = purge(world, olga, name, digest_of(image))["report"]
        assert any("write-ahead log of this registry's own" in each for each in report["unreachable"])
        assert image in file.with_name(f"{file.name}-wal").read_bytes() + file.read_bytes()
    place = f"/namespaces/{olga.name}/purges/{report['purge']['id']}"
    while any("own database" in each for each in ask(world, olga, "GET", place).json()["unreachable"]):
        pass
    assert image not in file.with_name(f"{file.name}-wal").read_bytes() + file.read_bytes()


def test_a_running_download_is_cut_and_reported(world: World) -> None:
    olga = world.person()
    name = world.repository(olga, f"{olga.name}/app")
    client = world.by_basic(olga)
    content = os.urandom(MIB) * 48
    layer = client.push_blob(name, content)
    other = client.push_blob(name, content[:-1])
    reading, untouched = (
        Reader(world.server, f"/v2/{name}/blobs/{digest}", 1000, **olga.basic) for digest in (layer, other)
    )
    report = purge(world, olga, name, layer)["report"]
    assert len(reading.rest()) < len(content)
    assert untouched.rest() == content[:-1]
    (cut,) = cut_by(world.server, f"/namespaces/{olga.name}/purges/{report['purge']['id']}", 1, **olga.basic)
    assert cut.endswith(layer)


def test_whoever_may_not_purge_everywhere_purges_nothing(world: World) -> None:
    olga, sam = world.person(), world.person()
    mine, hidden = (world.repository(olga, f"{olga.name}/{name}", "private") for name in ("mine", "hidden"))
    world.grant(olga, mine, sam.name, "admin")
    client = world.by_basic(olga)
    image = client.push_image(mine, "v1")
    (layer,) = layers_of(image)
    client.push_blob(hidden, client.get(f"/v2/{mine}/blobs/{layer}").body)
    body = {"digest": layer, "confirm": True}
    refused = ask(world, sam, "POST", f"/repositories/{mine}/-/purge", body)
    assert refused.status == 403
    assert hidden not in refused.body.decode()
    assert client.get(f"/v2/{mine}/manifests/v1").body == image
    assert purge(world, olga, mine, layer)["done"]


def test_what_an_immutable_tag_names_is_purged_when_the_rule_is_lifted(world: World) -> None:
    olga = world.person()
    name = world.repository(olga, f"{olga.name}/app")
    image = world.by_basic(olga).push_image(name, "v1")
    place = f"/repositories/{name}/-"
    rule = ask(world, olga, "POST", f"{place}/tag-rules", {"kind": "immutable", "pattern": "v*"}).json()["id"]
    body = {"digest": digest_of(image), "confirm": True}
    refused = ask(world, olga, "POST", f"{place}/purge", body)
    assert (refused.status, f"rule {rule}" in refused.json()["detail"]) == (403, True)
    assert ask(world, olga, "DELETE", f"{place}/tag-rules/{rule}").status == 204
    assert purge(world, olga, name, digest_of(image))["done"]


def test_what_is_not_there_and_what_is_no_digest_is_refused(world: World) -> None:
    olga = world.person()
    name = world.repository(olga, f"{olga.name}/app")
    absent = {"digest": "sha256:" + "a" * 64, "confirm": True}
    assert ask(world, olga, "POST", f"/repositories/{name}/-/purge", absent).status == 404
    for body in ({"digest": "v1", "confirm": True}, {"digest": absent["digest"], "confirm": True, "reason": "x" * 201}):
        assert ask(world, olga, "POST", f"/repositories/{name}/-/purge", body).status == 422


def test_nothing_of_a_purged_manifest_is_left_in_the_files_of_sqlite(small_world: World) -> None:
    world, secret = small_world, uuid4().hex
    olga = world.person()
    name = world.repository(olga, f"{olga.name}/app")
    client = world.by_basic(olga)
    image = client.push_image(name, "v1")
    leaked = a_manifest({**json.loads(image), "annotations": {"token": secret}})
    assert client.put_manifest(name, "leaked", leaked).status == 201
    files = [path for path in world.server.data.iterdir() if re.match(r"entrepot\.db", path.name)]
    assert any(secret.encode() in path.read_bytes() for path in files)
    purge(world, olga, name, digest_of(leaked))
    assert not any(secret.encode() in path.read_bytes() for path in files)
