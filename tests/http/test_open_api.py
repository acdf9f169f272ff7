"""The API without accounts: whoever may push may look after images too; on both stores."""

import json
from typing import Any
from urllib.parse import quote

from tests.support.serving import Registry, digest_of
from tests.support.wire import Answer

Body = dict[str, Any] | None


def ask(registry: Registry, method: str, path: str, body: Body = None) -> Answer:
    """A request to the API."""
    headers = {} if body is None else {"Content-Type": "application/json"}
    return registry.request(method, f"/api/v1{path}", headers, None if body is None else json.dumps(body).encode())


def test_what_an_engine_prints_leads_to_tags_and_their_history(registry: Registry, name: str) -> None:
    first = registry.push_image(name, "latest")
    second = registry.push_image(name, "latest")
    config = json.loads(first)["config"]["digest"]
    (found,) = [
        each for each in ask(registry, "GET", f"/digests/{config}").json()["items"] if each["repository"] == name
    ]
    (span,) = found["tags"]
    assert (found["manifest"], span["tag"], span["now"]) == (digest_of(first), "latest", digest_of(second))
    moves = ask(registry, "GET", f"/repositories/{name}/-/tags/latest/history").json()["items"]
    assert [(each["kind"], each["new"], each["account"]) for each in moves] == [
        ("tag.move", digest_of(second), None),
        ("tag.move", digest_of(first), None),
    ]
    assert moves[0]["address"]
    at = quote("2999-01-01T00:00:00Z")
    assert registry.get(f"/v2/{name}/manifests/latest?at={at}").body == second


def test_images_are_deleted_as_seen_and_come_back(registry: Registry, name: str) -> None:
    manifest = registry.push_image(name, "v1")
    digest = digest_of(manifest)
    path = f"/repositories/{name}/-/manifests/{digest}"
    preview = ask(registry, "GET", f"{path}/deletion").json()
    assert (preview["manifests"], preview["tags"]) == ([digest], ["v1"])
    assert ask(registry, "DELETE", f"{path}?tag=v2").status == 409
    assert ask(registry, "DELETE", f"{path}?tag=v1").json()["tags"] == ["v1"]
    assert registry.get(f"/v2/{name}/manifests/v1").status == 404
    assert ask(registry, "POST", f"{path}/undo").json()["tags"] == ["v1"]
    gone = ask(registry, "DELETE", f"/repositories/{name}/-/tags/v1?digest={digest}").json()
    assert digest in gone["note"]
    assert registry.get(f"/v2/{name}/manifests/{digest}").body == manifest
    assert ask(registry, "PUT", f"/repositories/{name}/-/tags/v1", {"digest": digest}).status == 204
    wanted = {"items": [{"tag": "v1", "digest": digest}, {"tag": "v9", "digest": digest}]}
    items = ask(registry, "POST", f"/repositories/{name}/-/deletions", wanted).json()["items"]
    assert [each["outcome"] for each in items] == ["deleted", "absent"]


def test_a_purge_is_of_the_whole_registry_until_it_is_lifted(registry: Registry, name: str) -> None:
    image = registry.push_image(name, "v1")
    (layer,) = json.loads(image)["layers"]
    content = registry.get(f"/v2/{name}/blobs/{layer['digest']}").body
    registry.push_blob(f"{name}/other", content)
    body = {"digest": layer["digest"], "reason": "a key"}
    looked = ask(registry, "POST", f"/repositories/{name}/-/purge", body).json()
    assert (looked["done"], [each["tags"] for each in looked["holders"]]) == (False, [["v1"]])
    done = ask(registry, "POST", f"/repositories/{name}/-/purge", {**body, "confirm": True}).json()
    assert "without accounts nobody has noted who pulled it" in done["report"]["advice"][0]
    for target in (f"{name}/manifests/v1", f"{name}/blobs/{layer['digest']}", f"{name}/other/blobs/{layer['digest']}"):
        assert registry.get(f"/v2/{target}").status == 404
    location = registry.open_upload(f"{name}/third")
    separator = "&" if "?" in location else "?"
    refused = registry.request("PUT", f"{location}{separator}digest={quote(layer['digest'])}", (), content)
    assert (refused.status, refused.code) == (403, "DENIED")
    assert "purged from this registry" in refused.message
    identity = done["report"]["purge"]["id"]
    assert ask(registry, "GET", f"/purges/{identity}").json()["purge"]["reason"] == "a key"
    assert identity in [each["id"] for each in ask(registry, "GET", "/purges?limit=100").json()["items"]]
    assert ask(registry, "DELETE", f"/purges/{identity}").status == 204
    assert registry.push_blob(f"{name}/third", content) == layer["digest"]


def test_a_repository_is_deleted_and_comes_back(registry: Registry, name: str) -> None:
    manifest = registry.push_image(name, "v1")
    assert ask(registry, "GET", f"/repositories/{name}").json()["name"] == name
    assert ask(registry, "DELETE", f"/repositories/{name}").status == 204
    assert registry.get(f"/v2/{name}/manifests/v1").status == 404
    assert ask(registry, "GET", f"/repositories/{name}").status == 404
    other = registry.push_image(name, "v1")
    deleted = ask(registry, "GET", "/deleted-repositories?limit=100").json()["items"]
    (identity,) = [each["id"] for each in deleted if each["name"] == name]
    taken = ask(registry, "POST", f"/deleted-repositories/{identity}/restore", {})
    assert (taken.status, f"{name}-restored" in taken.json()["detail"]) == (409, True)
    wanted = {"name": f"{name}-back"}
    assert ask(registry, "POST", f"/deleted-repositories/{identity}/restore", wanted).json() == wanted
    assert registry.get(f"/v2/{name}-back/manifests/v1").body == manifest
    assert registry.get(f"/v2/{name}/manifests/v1").body == other


def test_rules_of_tags_hold_and_retention_asks_for_no_pulls(registry: Registry, name: str) -> None:
    digest = digest_of(registry.push_image(name, "v1"))
    place = f"/repositories/{name}/-"
    rule = ask(registry, "POST", f"{place}/tag-rules", {"kind": "immutable", "pattern": "v*"}).json()["id"]
    assert registry.delete(f"/v2/{name}/manifests/v1").code == "DENIED"
    assert ask(registry, "DELETE", f"/repositories/{name}").status == 403
    assert ask(registry, "DELETE", f"{place}/tag-rules/{rule}").status == 204
    used = {"rules": [{"action": "delete", "tags": "*", "not_pulled_within": "1d"}]}
    assert ask(registry, "PUT", f"{place}/retention", used).status == 422
    policy = {"rules": [{"action": "delete", "tags": "v*"}, {"action": "keep", "tags": "v*", "younger_than": "1d"}]}
    assert ask(registry, "PUT", f"{place}/retention", policy).status == 204
    assert ask(registry, "GET", f"{place}/retention/preview").json()["items"] == []
    policy["rules"].pop()
    assert ask(registry, "PUT", f"{place}/retention", policy).status == 204
    doomed = [{"tag": "v1", "digest": digest, "rule": 1, "manifests": [], "tags": []}]
    assert ask(registry, "GET", f"{place}/retention/preview").json()["items"] == doomed
    assert ask(registry, "POST", f"{place}/retention/run").json()["items"] == doomed
    assert registry.get(f"/v2/{name}/manifests/v1").status == 404


def test_what_needs_accounts_is_not_there(registry: Registry) -> None:
    for path in ("/accounts/somebody", "/organizations", "/tokens", "/usage"):
        assert ask(registry, "GET", path).status == 404
    paths = ask(registry, "GET", "/openapi.json").json()["paths"]
    assert "/api/v1/digests/{digest}" in paths
    assert not any("accounts" in path for path in paths)
