"""Deleting: e9, e10 (distribution-spec, "Content management"), and servers with other settings."""

import json
from collections.abc import Iterator

import pytest

from tests.support.serving import (
    OCI_INDEX,
    OCI_MANIFEST,
    Registry,
    Server,
    a_manifest,
    an_image,
    descriptor,
    digest_of,
    serving,
)

ABSENT = digest_of(b"never pushed")


def gone(registry: Registry, target: str) -> None:
    """Every kind of look finds nothing, at once, on every worker."""
    for method in ("HEAD", "GET", "HEAD", "GET", "HEAD", "GET"):
        assert registry.request(method, target).status == 404


def test_a_deleted_tag_is_gone_and_only_the_tag(registry: Registry, name: str) -> None:
    manifest = registry.push_image(name, "v1")
    assert registry.put_manifest(name, "v2", manifest).status == 201
    for reference in ("v1", "v2", digest_of(manifest)):
        assert registry.get(f"/v2/{name}/manifests/{reference}").status == 200
    answer = registry.delete(f"/v2/{name}/manifests/v1")
    assert (answer.status, answer["content-length"]) == (202, "0")
    gone(registry, f"/v2/{name}/manifests/v1")
    assert registry.get(f"/v2/{name}/manifests/v2").body == manifest
    assert registry.get(f"/v2/{name}/manifests/{digest_of(manifest)}").body == manifest
    assert registry.get(f"/v2/{name}/tags/list").json()["tags"] == ["v2"]


def test_a_deleted_manifest_takes_all_its_tags_with_it(registry: Registry, name: str) -> None:
    manifest, other = registry.push_image(name, "v1"), registry.push_image(name, "other")
    assert registry.put_manifest(name, "v2", manifest).status == 201
    assert registry.delete(f"/v2/{name}/manifests/{digest_of(manifest)}").status == 202
    for reference in ("v1", "v2", digest_of(manifest)):
        gone(registry, f"/v2/{name}/manifests/{reference}")
    assert registry.get(f"/v2/{name}/manifests/other").body == other
    assert registry.get(f"/v2/{name}/tags/list").json()["tags"] == ["other"]
    assert registry.put_manifest(name, "v1", manifest).status == 201
    assert registry.get(f"/v2/{name}/manifests/v1").body == manifest


def test_an_index_takes_its_children_but_not_those_that_once_had_a_tag_or_that_another_index_names(
    registry: Registry, name: str
) -> None:
    once, now, shared, only = (registry.push_image(name, f"{number}") for number in range(4))
    contents = [a_manifest(json.loads(each) | {"annotations": {"of": name}}) for each in (shared, only)]
    for content in contents:
        assert registry.put_manifest(name, digest_of(content), content).status == 201
    registry.push_image(name, "0")  # takes the tag of the first
    first = a_manifest({"manifests": [descriptor(each, OCI_MANIFEST) for each in (once, now, *contents)]}, OCI_INDEX)
    second = a_manifest({"manifests": [descriptor(contents[0], OCI_MANIFEST)]}, OCI_INDEX)
    for tag, index in (("first", first), ("second", second)):
        assert registry.put_manifest(name, tag, index, OCI_INDEX).status == 201
    deleted = registry.delete(f"/v2/{name}/manifests/{digest_of(first)}")
    assert (deleted.status, deleted["warning"]) == (202, '299 - "1 manifests that belong to it went with it"')
    for content in (once, now, contents[0], second):
        assert registry.get(f"/v2/{name}/manifests/{digest_of(content)}").body == content
    for content in (first, contents[1]):
        gone(registry, f"/v2/{name}/manifests/{digest_of(content)}")


def test_a_deleted_blob_is_gone_here_and_stays_elsewhere(registry: Registry, name: str) -> None:
    digest = registry.push_blob(name, name.encode())
    assert registry.request("POST", f"/v2/{name}/b/blobs/uploads/?mount={digest}&from={name}").status == 201
    for each in (name, f"{name}/b"):
        assert registry.get(f"/v2/{each}/blobs/{digest}").status == 200
    assert registry.delete(f"/v2/{name}/blobs/{digest}").status == 202
    gone(registry, f"/v2/{name}/blobs/{digest}")
    assert registry.get(f"/v2/{name}/b/blobs/{digest}").body == name.encode()
    assert registry.push_blob(name, name.encode()) == digest
    assert registry.get(f"/v2/{name}/blobs/{digest}").body == name.encode()


def test_what_is_not_there_cannot_be_deleted(registry: Registry, name: str) -> None:
    for target in (f"blobs/{ABSENT}", f"manifests/{ABSENT}", "manifests/v1"):
        assert registry.delete(f"/v2/{name}/{target}").status == 404
    registry.push_image(name, "v1")
    for target, code in (
        (f"blobs/{ABSENT}", "BLOB_UNKNOWN"),
        (f"manifests/{ABSENT}", "MANIFEST_UNKNOWN"),
        ("manifests/v2", "MANIFEST_UNKNOWN"),
    ):
        answer = registry.delete(f"/v2/{name}/{target}")
        assert (answer.status, answer.code) == (404, code)


def test_an_empty_repository_leaves_the_catalog(registry: Registry, name: str) -> None:
    manifest = registry.push_artifact(name)
    assert name in registry.get(f"/v2/_catalog?last={name[:-1]}").json()["repositories"]
    assert registry.delete(f"/v2/{name}/manifests/{manifest['digest']}").status == 202
    assert registry.delete(f"/v2/{name}/blobs/{digest_of(b'{}')}").status == 202
    assert name not in registry.get(f"/v2/_catalog?last={name[:-1]}").json()["repositories"]
    assert registry.get(f"/v2/{name}/tags/list").status == 404


@pytest.fixture(scope="module")
def lenient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that deletes nothing and accepts manifests of missing blobs."""
    directory = tmp_path_factory.mktemp("lenient")
    with serving(directory, storage__delete__enabled="false", manifests__missing="accept") as running:
        yield running


def test_where_deletion_is_off_it_is_405_and_the_other_methods_are_named(lenient: Server, name: str) -> None:
    manifest = lenient.push_image(name, "v1")
    blob = lenient.push_blob(name, b"a blob")
    for target, allowed in (
        ("manifests/v1", "GET, HEAD, PUT"),
        (f"manifests/{digest_of(manifest)}", "GET, HEAD, PUT"),
        (f"blobs/{blob}", "GET, HEAD"),
        (f"blobs/{ABSENT}", "GET, HEAD"),
    ):
        answer = lenient.delete(f"/v2/{name}/{target}")
        assert (answer.status, answer.code, answer["allow"]) == (405, "UNSUPPORTED", allowed)
    assert lenient.get(f"/v2/{name}/manifests/v1").body == manifest
    assert lenient.get(f"/v2/{name}/blobs/{blob}").body == b"a blob"
    assert lenient.delete(lenient.open_upload(name)).status == 204


def test_where_missing_blobs_are_accepted_a_manifest_links_none(lenient: Server, name: str) -> None:
    lenient.push_blob(f"{name}/elsewhere", b"a layer")
    manifest = an_image(b"absent", b"a layer")
    assert lenient.put_manifest(name, "v1", manifest).status == 201
    assert lenient.get(f"/v2/{name}/manifests/v1").body == manifest
    assert lenient.get(f"/v2/{name}/blobs/{digest_of(b'a layer')}").code == "BLOB_UNKNOWN"
    index = a_manifest({"manifests": []}, OCI_INDEX)
    assert lenient.put_manifest(name, "v2", index, OCI_INDEX).status == 201
