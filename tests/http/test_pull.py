"""Pulling: e1 to e3 (distribution-spec, "Endpoints" and "Pull")."""

import json
import re

import pytest

from tests.support.serving import OCI_EMPTY, OCI_MANIFEST, Registry, Server, a_manifest, descriptor, digest_of

CONTENT = bytes(range(256)) * 8
SIZE = len(CONTENT)
ABSENT = "sha256:" + "0" * 64


@pytest.mark.parametrize("target", ["/v2/", "/v2"])
def test_the_ping_is_an_empty_object(server: Server, target: str) -> None:
    answer = server.get(target)
    assert (answer.status, answer["content-type"], answer.body) == (200, "application/json", b"{}")


def test_a_blob_comes_back_byte_for_byte_with_all_that_clients_look_at(registry: Registry, name: str) -> None:
    digest = registry.push_blob(name, CONTENT)
    answer = registry.get(f"/v2/{name}/blobs/{digest}", {"Accept-Encoding": "gzip, zstd"})
    assert (answer.status, answer.body) == (200, CONTENT)
    assert answer["content-type"] == "application/octet-stream"
    assert answer["docker-content-digest"] == digest
    assert answer["etag"] == f'"{digest}"'
    assert answer["accept-ranges"] == "bytes"
    assert answer["cache-control"] == "max-age=31536000"
    head = registry.head(f"/v2/{name}/blobs/{digest}")
    same = {"content-type", "content-length", "docker-content-digest", "etag", "accept-ranges", "cache-control"}
    assert {(key, value) for key, value in head.headers if key in same} == {
        (key, value) for key, value in answer.headers if key in same
    }
    assert head["content-length"] == str(SIZE)


def test_a_large_blob_comes_back_byte_for_byte(registry: Registry, name: str) -> None:
    content = CONTENT * 1024
    digest = registry.push_blob(name, content)
    assert registry.get(f"/v2/{name}/blobs/{digest}").body == content
    part = registry.get(f"/v2/{name}/blobs/{digest}", {"Range": "bytes=300000-"})
    assert (part.status, part.body) == (206, content[300000:])


@pytest.mark.parametrize("content", [b"", b"{}", b"\n"], ids=repr)
def test_tiny_blobs_are_blobs(registry: Registry, name: str, content: bytes) -> None:
    digest = registry.push_blob(name, content)
    answer = registry.get(f"/v2/{name}/blobs/{digest}")
    assert (answer.status, answer.body, answer["content-length"]) == (200, content, str(len(content)))
    assert registry.get(f"/v2/{name}/blobs/{digest}", {"Range": "bytes=5-9"}).status == 416


@pytest.mark.parametrize(
    ("wanted", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=500-1499", 500, 1499),
        ("bytes=500-", 500, SIZE - 1),
        ("bytes=-500", SIZE - 500, SIZE - 1),
        ("bytes=-99999", 0, SIZE - 1),
        ("bytes=2000-5000", 2000, SIZE - 1),
        ("bytes=0-18446744073709551615", 0, SIZE - 1),
        ("Bytes=1-2", 1, 2),
    ],
)
def test_a_range_of_a_blob_is_answered_exactly(
    registry: Registry, name: str, wanted: str, first: int, last: int
) -> None:
    digest = registry.push_blob(name, CONTENT)
    answer = registry.get(f"/v2/{name}/blobs/{digest}", {"Range": wanted})
    assert (answer.status, answer.body) == (206, CONTENT[first : last + 1])
    assert answer["content-range"] == f"bytes {first}-{last}/{SIZE}"
    assert answer["content-length"] == str(last + 1 - first)
    assert answer["docker-content-digest"] == digest


@pytest.mark.parametrize("wanted", ["bytes=500-0", "bytes=2048-", "bytes=5000-10000", "bytes=-0", "bytes=9999-,8888-"])
def test_a_range_beyond_the_blob_is_416_and_tells_the_size(server: Server, name: str, wanted: str) -> None:
    digest = server.push_blob(name, CONTENT)
    answer = server.get(f"/v2/{name}/blobs/{digest}", {"Range": wanted})
    assert (answer.status, answer["content-range"]) == (416, f"bytes */{SIZE}")


@pytest.mark.parametrize(
    "wanted", ["", "bytes", "bytes=", "bytes=-", "bytes=a-b", "bytes=1", "lines=0-1", "bytes=1-2;"]
)
def test_a_range_that_cannot_be_read_is_ignored(server: Server, name: str, wanted: str) -> None:
    digest = server.push_blob(name, CONTENT)
    answer = server.get(f"/v2/{name}/blobs/{digest}", {"Range": wanted})
    assert (answer.status, answer.body) == (200, CONTENT)


def test_head_ignores_ranges(server: Server, name: str) -> None:
    digest = server.push_blob(name, CONTENT)
    for wanted in ("bytes=0-9", "bytes=9999-"):
        answer = server.head(f"/v2/{name}/blobs/{digest}", {"Range": wanted})
        assert (answer.status, answer["content-length"]) == (200, str(SIZE))


def test_several_ranges_are_answered_as_multipart(registry: Registry, name: str) -> None:
    digest = registry.push_blob(name, CONTENT)
    answer = registry.get(f"/v2/{name}/blobs/{digest}", {"Range": "bytes=0-9, 100-199, -5, 9999-"})
    assert answer.status == 206
    match = re.fullmatch("multipart/byteranges; boundary=([0-9a-f]+)", answer["content-type"])
    assert match
    pieces = answer.body.split(b"\r\n--" + match[1].encode())
    assert pieces[0] == b""
    assert pieces[-1] == b"--\r\n"
    assert pieces[1:-1] == [
        b"\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes %d-%d/%d\r\n\r\n%b"
        % (first, last, SIZE, CONTENT[first : last + 1])
        for first, last in ((0, 9), (100, 199), (SIZE - 5, SIZE - 1))
    ]


def test_ranges_that_ask_for_more_than_the_blob_get_the_blob_once(server: Server, name: str) -> None:
    digest = server.push_blob(name, CONTENT)
    answer = server.get(f"/v2/{name}/blobs/{digest}", {"Range": "bytes=" + ",".join(["0-"] * 60)})
    assert (answer.status, answer.body) == (200, CONTENT)


def test_if_range_holds_a_range_to_the_blob_that_the_client_has_begun(server: Server, name: str) -> None:
    digest = server.push_blob(name, CONTENT)
    target = f"/v2/{name}/blobs/{digest}"
    assert server.get(target, {"Range": "bytes=5-", "If-Range": f'"{digest}"'}).status == 206
    for other in ('"sha256:other"', f'W/"{digest}"', "Mon, 23 Nov 2026 10:00:00 GMT"):
        answer = server.get(target, {"Range": "bytes=5-", "If-Range": other})
        assert (answer.status, answer.body) == (200, CONTENT)


@pytest.mark.parametrize("form", ['"{}"', "{}", 'W/"{}"', '"other", "{}"', "*"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_what_the_client_has_already_is_304(server: Server, name: str, form: str, method: str) -> None:
    digest = server.push_blob(name, CONTENT)
    manifest = digest_of(server.push_image(name, "v1"))
    for kind, have in (("blobs", digest), ("manifests", manifest)):
        target = f"/v2/{name}/{kind}/{have}"
        answer = server.request(method, target, {"If-None-Match": form.format(have), "Range": "bytes=0-1"})
        assert (answer.status, answer.body, answer["etag"]) == (304, b"", f'"{have}"')
        assert answer["docker-content-digest"] == have
        assert server.request(method, target, {"If-None-Match": f'"{ABSENT}"'}).status == 200


def test_a_manifest_is_answered_as_it_was_pushed_by_tag_and_by_digest(registry: Registry, name: str) -> None:
    manifest = registry.push_image(name, "v1")
    digest = digest_of(manifest)
    for reference, caching in (("v1", "no-cache"), (digest, "max-age=31536000")):
        for accept in ("text/html", "*/*", OCI_MANIFEST, "application/vnd.docker.distribution.manifest.v1+json"):
            answer = registry.get(f"/v2/{name}/manifests/{reference}", {"Accept": accept})
            assert (answer.status, answer.body) == (200, manifest)
            assert answer["content-type"] == OCI_MANIFEST
            assert answer["docker-content-digest"] == digest
            assert answer["etag"] == f'"{digest}"'
            assert answer["cache-control"] == caching
        head = registry.head(f"/v2/{name}/manifests/{reference}")
        assert (head.status, head["content-length"]) == (200, str(len(manifest)))
        assert (head["content-type"], head["docker-content-digest"]) == (OCI_MANIFEST, digest)


def test_odd_white_space_order_and_fields_of_a_manifest_stay_as_they_are(registry: Registry, name: str) -> None:
    registry.push_blob(name, b"{}")
    empty = json.dumps(descriptor(b"{}", OCI_EMPTY, data="e30="), separators=(" ,", " : "))
    odd = (
        f'\r\n\t {{ "layers":[ ] ,\n"x-unknown": [1E400, -0, "\\u00e9\u00e9\\/"], "config"  :{empty},'
        f'"artifactType":"application/x.test", "mediaType":"{OCI_MANIFEST}", "schemaVersion":2.0 }} \n\n'
    ).encode()
    assert registry.put_manifest(name, "odd", odd).status == 201
    assert registry.get(f"/v2/{name}/manifests/odd").body == odd
    assert registry.get(f"/v2/{name}/manifests/{digest_of(odd)}").body == odd


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_what_is_not_there_is_404_with_the_code_of_what_is_missing(registry: Registry, name: str, method: str) -> None:
    nowhere = f"/v2/{name}"
    for target, code in (
        (f"{nowhere}/blobs/{ABSENT}", "BLOB_UNKNOWN"),
        (f"{nowhere}/manifests/{ABSENT}", "NAME_UNKNOWN"),
        (f"{nowhere}/manifests/latest", "NAME_UNKNOWN"),
    ):
        answer = registry.request(method, target)
        assert answer.status == 404
        assert answer.body == b"" if method == "HEAD" else answer.code == code
    registry.push_image(name, "v1")
    answer = registry.request(method, f"{nowhere}/manifests/latest")
    assert answer.status == 404
    assert answer.body == b"" if method == "HEAD" else answer.code == "MANIFEST_UNKNOWN"


def test_a_blob_is_readable_only_where_it_was_pushed(registry: Registry, name: str) -> None:
    digest = registry.push_blob(name, CONTENT)
    registry.push_image(f"{name}/other", "v1")
    assert registry.get(f"/v2/{name}/other/blobs/{digest}").code == "BLOB_UNKNOWN"


def test_the_digest_of_the_answer_is_by_the_algorithm_of_the_request(registry: Registry, name: str) -> None:
    blob = registry.push_blob(name, CONTENT, "sha512")
    assert registry.get(f"/v2/{name}/blobs/{blob}")["docker-content-digest"] == blob
    assert registry.get(f"/v2/{name}/blobs/{digest_of(CONTENT)}").status == 404
    registry.push_blob(name, b"{}")
    manifest = a_manifest({"config": descriptor(b"{}", OCI_EMPTY), "layers": [], "artifactType": "application/x"})
    digest = digest_of(manifest, "sha512")
    pushed = registry.put_manifest(name, digest, manifest)
    assert (pushed.status, pushed["docker-content-digest"]) == (201, digest)
    for method in ("GET", "HEAD"):
        answer = registry.request(method, f"/v2/{name}/manifests/{digest}")
        assert (answer.status, answer["docker-content-digest"]) == (200, digest)


@pytest.mark.parametrize(
    ("target", "allowed"),
    [
        ("/v2/", "GET, HEAD"),
        ("/v2/_catalog", "GET, HEAD"),
        ("/v2/{}/tags/list", "GET, HEAD"),
        ("/v2/{}/blobs/" + ABSENT, "GET, HEAD, DELETE"),
        ("/v2/{}/manifests/v1", "GET, HEAD, PUT, DELETE"),
        ("/v2/{}/referrers/" + ABSENT, "GET, HEAD"),
        ("/v2/{}/blobs/uploads/", "POST"),
        ("/v2/{}/blobs/uploads", "POST"),
        ("/v2/{}/blobs/uploads/0193a-x", "GET, PATCH, PUT, DELETE"),
        ("/livez", "GET, HEAD"),
        ("/metrics", "GET, HEAD"),
    ],
)
def test_any_other_method_is_405_and_names_those_allowed(server: Server, name: str, target: str, allowed: str) -> None:
    methods = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"}
    for method in sorted(methods - set(allowed.split(", "))):
        answer = server.request(method, target.format(name))
        assert (answer.status, answer["allow"]) == (405, allowed), method


@pytest.mark.parametrize(
    "target",
    ["/v1/_ping", "/v3/", "/v2/x", "/v2/x/", "/v2/x/tags", "/v2/x/tags/list/", "/v2//", "/v2/x/blobs/", "/%00v2"],
)
def test_what_is_no_endpoint_is_a_clear_4xx(server: Server, target: str) -> None:
    answer = server.get(target)
    assert answer.status in (400, 404)
    assert answer.code in ("UNSUPPORTED", "NAME_INVALID")


def test_route_words_may_stand_in_the_name_of_a_repository(registry: Registry, name: str) -> None:
    for part in ("blobs/uploads", "manifests", "tags/list", "referrers", "blobs"):
        inside = f"{name}/{part}/x"
        manifest = registry.push_image(inside, "list")
        assert registry.get(f"/v2/{inside}/manifests/list").body == manifest
        assert registry.get(f"/v2/{inside}/tags/list").json() == {"name": inside, "tags": ["list"]}
    inside = f"{name}/blobs/uploads"
    assert registry.put_manifest(inside, "v1", b"{}").code == "MANIFEST_INVALID"
    digest = registry.push_blob(inside, CONTENT)
    assert registry.get(f"/v2/{inside}/blobs/{digest}").body == CONTENT
