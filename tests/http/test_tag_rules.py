"""Immutable and protected tags, at every door that could move, delete or rename; on both stores."""

import json
from typing import Any

import pytest

from tests.support.hub_world import Person, World
from tests.support.serving import OCI_INDEX, OCI_MANIFEST, a_manifest, digest_of
from tests.support.wire import Answer


def ask(world: World, who: Person, method: str, path: str, body: object = None) -> Answer:
    """A request to the API."""
    headers = {**who.basic, **({} if body is None else {"Content-Type": "application/json"})}
    return world.server.request(method, f"/api/v1{path}", headers, None if body is None else json.dumps(body).encode())


def rule(world: World, who: Person, place: str, kind: Any = "immutable", **more: Any) -> int:
    """A new rule; its id."""
    made = ask(world, who, "POST", f"{place}/tag-rules", {"kind": kind, **more})
    assert made.status == 201, made
    return int(made.json()["id"])


def test_an_immutable_tag_is_not_moved_nor_deleted_until_the_rule_is_lifted(world: World) -> None:
    olga = world.person()
    name = world.repository(olga, f"{olga.name}/app")
    client, place = world.by_basic(olga), f"/repositories/{name}/-"
    number = rule(world, olga, place, pattern="v*", **{"except": ["*-rc*"]})
    first = client.push_image(name, "v1")
    assert client.put_manifest(name, "v1", first).status == 201  # the same image again is no move
    other = client.push_image(name, "other")
    for tag in ("v1-rc1", "edge"):
        client.push_image(name, tag)
        assert client.put_manifest(name, tag, other).status == 201
    refused = client.put_manifest(name, "v1", other)
    assert (refused.status, refused.code) == (403, "DENIED")
    assert f"rule {number} of the repository: immutable glob v* except *-rc*" in refused.body.decode()
    for target in ("v1", digest_of(first)):
        assert client.delete(f"/v2/{name}/manifests/{target}").status == 403
    preview = ask(world, olga, "GET", f"{place}/manifests/{digest_of(first)}/deletion").json()
    assert preview["tags"] == ["v1"]
    assert [f"rule {number} of the repository" in each for each in preview["refusals"]] == [True]
    assert ask(world, olga, "DELETE", f"{place}/tags/v1").status == 403
    assert ask(world, olga, "DELETE", f"/repositories/{name}").status == 403
    renamed = ask(world, olga, "POST", f"{place}/rename", {"name": f"{name}-other"})
    assert (renamed.status, renamed.json()["code"]) == (403, "denied")
    assert client.get(f"/v2/{name}/manifests/v1").body == first
    assert ask(world, olga, "DELETE", f"{place}/tag-rules/{number}").status == 204
    assert client.put_manifest(name, "v1", other).status == 201
    kinds = [each["kind"] for each in ask(world, world.administrator, "GET", "/audit?limit=100").json()["items"]]
    assert {"tag_rule.create", "tag_rule.delete"} <= set(kinds)


def test_an_immutable_tag_that_went_is_restored_to_what_it_was_and_to_nothing_else(world: World) -> None:
    olga = world.person()
    name = world.repository(olga, f"{olga.name}/app")
    client, place = world.by_basic(olga), f"/repositories/{name}/-"
    first, other = (digest_of(client.push_image(name, tag)) for tag in ("v1", "other"))
    assert client.delete(f"/v2/{name}/manifests/v1").status == 202
    rule(world, olga, place, pattern="v[0-9]+", syntax="re2")
    assert ask(world, olga, "PUT", f"{place}/tags/v1", {"digest": other}).status == 403
    assert ask(world, olga, "PUT", f"{place}/tags/v1", {"digest": first}).status == 204


def test_rules_of_a_namespace_and_of_the_installation_hold_in_every_repository(world: World) -> None:
    olga = world.person()
    name = world.repository(olga, f"{olga.name}/app")
    client = world.by_basic(olga)
    rule(world, olga, f"/namespaces/{olga.name}", pattern="stable")
    number = rule(world, world.administrator, "", pattern=f"release-{olga.name}")
    for tag in ("stable", f"release-{olga.name}"):
        client.push_image(name, tag)
        assert client.put_manifest(name, tag, client.push_image(name, "other")).status == 403
    assert ask(world, olga, "DELETE", f"/tag-rules/{number}").status == 403
    assert ask(world, world.administrator, "DELETE", f"/repositories/{name}/-/tag-rules/{number}").status == 404
    assert ask(world, world.administrator, "DELETE", f"/tag-rules/{number}").status == 204


def test_a_protected_tag_is_made_moved_and_deleted_by_its_role_only(world: World) -> None:
    olga, wim = world.person(), world.person()
    name = world.repository(olga, f"{olga.name}/app")
    world.grant(olga, name, wim.name, "write")
    rule(world, olga, f"/repositories/{name}/-", "protected", pattern="prod", role="admin")
    mine, his = world.by_basic(olga), world.by_basic(wim)
    image = his.push_image(name, "edge")
    refused = his.put_manifest(name, "prod", image)
    assert (refused.status, "only the role admin" in refused.body.decode()) == (403, True)
    assert mine.put_manifest(name, "prod", image).status == 201
    moved = his.push_image(name, "edge")
    assert his.put_manifest(name, "prod", moved).status == 403
    assert mine.put_manifest(name, "prod", moved).status == 201
    world.grant(olga, name, wim.name, "admin")
    assert his.put_manifest(name, "prod", image).status == 201
    assert his.delete(f"/v2/{name}/manifests/prod").status == 202


def test_what_a_protected_tag_names_and_its_repository_go_only_by_its_role(world: World) -> None:
    olga, ada = world.person(), world.person()
    name = world.repository(olga, f"{olga.name}/app")
    world.grant(olga, name, ada.name, "admin")
    number = rule(world, olga, f"/namespaces/{olga.name}", "protected", pattern="prod", role="owner")
    hers, place = world.by_basic(ada), f"/repositories/{name}/-"
    image = world.by_basic(olga).push_image(name, "prod")
    digest = digest_of(image)
    for path in (f"{place}/manifests/{digest}", f"{place}/tags/prod", f"/repositories/{name}"):
        refused = ask(world, ada, "DELETE", path)
        assert (refused.status, "only the role owner" in refused.json()["detail"]) == (403, True), path
    assert hers.delete(f"/v2/{name}/manifests/{digest}").status == 403
    assert ask(world, ada, "POST", f"{place}/rename", {"name": f"{name}-other"}).status == 403
    many = {"items": [{"tag": "prod", "digest": digest}, {"digest": digest}]}
    outcomes = ask(world, ada, "POST", f"{place}/deletions", many).json()["items"]
    assert [each["outcome"] for each in outcomes] == ["refused", "refused"]
    assert ask(world, ada, "DELETE", f"/namespaces/{olga.name}/tag-rules/{number}").status == 403
    assert hers.get(f"/v2/{name}/manifests/prod").body == image
    assert ask(world, olga, "DELETE", f"/repositories/{name}").status == 204


def test_signatures_may_be_added_under_an_immutable_rule_and_none_taken_away(world: World) -> None:
    olga = world.person()
    name = world.repository(olga, f"{olga.name}/app")
    client = world.by_basic(olga)
    rule(world, olga, f"/repositories/{name}/-", pattern="*")
    subject = digest_of(client.push_image(name, "v1")).replace(":", "-")
    images = [client.push_image(name, f"part-{number}") for number in range(3)]
    described = [{"mediaType": OCI_MANIFEST, "digest": digest_of(each), "size": len(each)} for each in images]
    for count, status in ((1, 201), (3, 201), (2, 403)):
        index = a_manifest({"manifests": described[:count]}, OCI_INDEX)
        assert client.put_manifest(name, subject, index, OCI_INDEX).status == status
    document = json.loads(images[0])
    layers = [json.loads(each)["layers"][0] for each in images]
    for suffix in (".sig", ".att"):
        for wanted, status in ((layers[:1], 201), (layers[:2], 201), (layers[1:], 403), (layers, 201)):
            signatures = a_manifest({**document, "layers": wanted})
            assert client.put_manifest(name, subject + suffix, signatures).status == status
    assert client.put_manifest(name, subject + ".sbom", images[0]).status == 201
    assert client.put_manifest(name, subject + ".sbom", images[1]).status == 403


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"kind": "eternal", "pattern": "v*"}, "kind"),
        ({"kind": "immutable", "pattern": ""}, "pattern"),
        ({"kind": "immutable", "pattern": "x" * 201}, "pattern"),
        ({"kind": "immutable", "pattern": "(", "syntax": "re2"}, "pattern"),
        ({"kind": "immutable", "pattern": r"(a)\1", "syntax": "re2"}, "pattern"),
        ({"kind": "immutable", "pattern": "v*", "syntax": "regex"}, "syntax"),
        ({"kind": "immutable", "pattern": "v*", "except": [""]}, "except"),
        ({"kind": "immutable", "pattern": "v*", "except": ["x"] * 21}, "except"),
        ({"kind": "immutable", "pattern": "v*", "role": "admin"}, "role"),
        ({"kind": "protected", "pattern": "v*"}, "role"),
        ({"kind": "protected", "pattern": "v*", "role": "write"}, "role"),
    ],
)
def test_a_rule_that_cannot_be_used_is_refused(world: World, body: dict[str, Any], field: str) -> None:
    olga = world.person()
    name = world.repository(olga, f"{olga.name}/app")
    refused = ask(world, olga, "POST", f"/repositories/{name}/-/tag-rules", body)
    assert (refused.status, refused.json()["field"]) == (422, field)
