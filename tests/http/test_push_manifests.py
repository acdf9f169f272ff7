"""Pushing manifests: e7 (distribution-spec, "Pushing manifests")."""

import json
from typing import Any

import pytest

from tests.support.serving import (
    OCI_CONFIG,
    OCI_EMPTY,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    Registry,
    Server,
    a_manifest,
    an_image,
    descriptor,
    digest_of,
)
from tests.support.wire import chunked, head

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
MAX = 4 * 1024 * 1024
CONFIG, LAYER = b'{"os":"linux"}', b"a layer"
ABSENT = descriptor(b"never pushed", OCI_LAYER)


@pytest.fixture
def blobs(registry: Registry, name: str) -> None:
    """The config and the layer of IMAGE are there."""
    for content in (CONFIG, LAYER, b"{}"):
        registry.push_blob(name, content)


IMAGE = an_image(CONFIG, LAYER)


@pytest.mark.usefixtures("blobs")
def test_a_push_by_tag_tells_the_digest_and_where_to_pull(registry: Registry, name: str) -> None:
    answer = registry.put_manifest(name, "v1", IMAGE)
    assert answer.status == 201
    assert answer["docker-content-digest"] == digest_of(IMAGE)
    assert answer["location"] == f"/v2/{name}/manifests/{digest_of(IMAGE)}"
    assert answer.header("oci-subject") is None
    assert answer.header("oci-tag") is None
    assert registry.get(answer["location"]).body == IMAGE


@pytest.mark.usefixtures("blobs")
def test_a_manifest_in_chunked_coding_is_accepted(registry: Registry, name: str) -> None:
    with registry.connect() as connection:
        headers = {"Transfer-Encoding": "chunked", "Content-Type": OCI_MANIFEST}
        connection.send(head("PUT", f"/v2/{name}/manifests/v1", headers) + chunked(IMAGE[:9], IMAGE[9:]))
        assert connection.answer("PUT").status == 201
    assert registry.get(f"/v2/{name}/manifests/v1").body == IMAGE


@pytest.mark.usefixtures("blobs")
@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_a_push_by_digest_moves_every_tag_that_it_names(registry: Registry, name: str, algorithm: str) -> None:
    digest = digest_of(IMAGE, algorithm)
    tags = [f"tag-{number}" for number in range(12)]
    query = "&".join(f"tag={tag}" for tag in [*tags, tags[0]])
    answer = registry.put_manifest(name, f"{digest}?{query}", IMAGE)
    assert answer.status == 201
    assert answer.all("oci-tag") == tags
    for tag in tags:
        assert registry.head(f"/v2/{name}/manifests/{tag}")["docker-content-digest"] == digest


@pytest.mark.usefixtures("blobs")
def test_tags_of_a_push_are_checked_before_anything_is_stored(registry: Registry, name: str) -> None:
    digest = digest_of(IMAGE)
    for query in ("tag=ok&tag=.bad", "tag=", "tag=ok&tag=a%2Fb", "tag=" + "x" * 129):
        answer = registry.put_manifest(name, f"{digest}?{query}", IMAGE)
        assert (answer.status, answer.code) == (400, "MANIFEST_INVALID")
    many = "&".join(f"tag=t{number}" for number in range(101))
    assert registry.put_manifest(name, f"{digest}?{many}", IMAGE).status == 414
    assert registry.put_manifest(name, "v1?tag=v2", IMAGE).status == 400
    assert registry.get(f"/v2/{name}/manifests/{digest}").status == 404


@pytest.mark.usefixtures("blobs")
def test_a_tag_moves_to_what_was_pushed_last_and_the_old_manifest_stays(registry: Registry, name: str) -> None:
    other = an_image(CONFIG, LAYER, annotations={"second": "true"})
    for content in (IMAGE, other, IMAGE, other):
        assert registry.put_manifest(name, "v1", content).status == 201
        assert registry.get(f"/v2/{name}/manifests/v1").body == content
    assert registry.get(f"/v2/{name}/manifests/{digest_of(IMAGE)}").body == IMAGE


@pytest.mark.usefixtures("blobs")
def test_a_wrong_digest_is_refused(registry: Registry, name: str) -> None:
    for wrong in (digest_of(b"other"), digest_of(b"other", "sha512")):
        answer = registry.put_manifest(name, wrong, IMAGE)
        assert (answer.status, answer.code) == (400, "DIGEST_INVALID")
        assert registry.get(f"/v2/{name}/manifests/{wrong}").status == 404


ACCEPTED: dict[str, tuple[str, dict[str, Any]]] = {
    "docker image": (DOCKER_MANIFEST, {"config": descriptor(CONFIG, "application/vnd.docker.container.image.v1+json")}),
    "no layers": (OCI_MANIFEST, {"config": descriptor(CONFIG, OCI_CONFIG), "layers": []}),
    "unknown types": (
        OCI_MANIFEST,
        {"config": descriptor(CONFIG, "x/y"), "layers": [descriptor(LAYER, "application/x.unknown; version=1")]},
    ),
    "extra fields": (OCI_MANIFEST, {"config": descriptor(CONFIG, OCI_CONFIG), "future": {"a": [None, 1.5]}}),
    "data": (OCI_MANIFEST, {"config": descriptor(b"{}", OCI_EMPTY, data="e30="), "artifactType": "application/x"}),
    "absent subject": (OCI_MANIFEST, {"config": descriptor(CONFIG, OCI_CONFIG), "subject": ABSENT}),
    "foreign layer": (
        OCI_MANIFEST,
        {
            "config": descriptor(CONFIG, OCI_CONFIG),
            "layers": [
                {**ABSENT, "mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", "urls": ["x"]}
            ],
        },
    ),
    "empty index": (OCI_INDEX, {"manifests": []}),
    "index of absent children": (OCI_INDEX, {"manifests": [{**ABSENT, "mediaType": OCI_MANIFEST}]}),
    "nested index": (OCI_INDEX, {"manifests": [descriptor(b"an index", OCI_INDEX)]}),
    "docker list": (DOCKER_LIST, {"manifests": [{**ABSENT, "mediaType": DOCKER_MANIFEST}]}),
    "cache index of layers": (OCI_INDEX, {"manifests": [descriptor(LAYER, OCI_LAYER)]}),
    "old artifact": ("application/vnd.oci.artifact.manifest.v1+json", {"blobs": [], "subject": ABSENT}),
}


@pytest.mark.usefixtures("blobs")
@pytest.mark.parametrize("case", ACCEPTED)
def test_every_kind_of_manifest_is_accepted_and_keeps_its_type(registry: Registry, name: str, case: str) -> None:
    media_type, document = ACCEPTED[case]
    content = a_manifest(document, media_type)
    assert registry.put_manifest(name, "v1", content, media_type).status == 201
    answer = registry.get(f"/v2/{name}/manifests/v1")
    assert (answer["content-type"], answer.body) == (media_type, content)


@pytest.mark.usefixtures("blobs")
@pytest.mark.parametrize(
    ("header", "inside", "stored"),
    [
        (OCI_MANIFEST, None, OCI_MANIFEST),
        (f"{OCI_MANIFEST}; charset=utf-8", OCI_MANIFEST, OCI_MANIFEST),
        (None, OCI_MANIFEST, OCI_MANIFEST),
        (None, DOCKER_MANIFEST, DOCKER_MANIFEST),
        (None, None, OCI_MANIFEST),
        ("application/vnd.example.thing.v1+json", None, "application/vnd.example.thing.v1+json"),
    ],
)
def test_the_type_is_the_headers_or_the_manifests_own(
    registry: Registry, name: str, header: str | None, inside: str | None, stored: str
) -> None:
    document = json.loads(IMAGE)
    del document["mediaType"]
    content = json.dumps({**document, **({"mediaType": inside} if inside else {})}).encode()
    headers = {"Content-Type": header} if header else {}
    assert registry.request("PUT", f"/v2/{name}/manifests/v1", headers, content).status == 201
    assert registry.get(f"/v2/{name}/manifests/v1")["content-type"] == stored


@pytest.mark.parametrize(
    "media_type",
    [
        "text/html", "application/xhtml+xml", "application/xml", "application/javascript", "application/ecmascript",
        "image/svg+xml", "application/svg", "application/x-Script", "text/plain", "application/", "application", "*/*",
        "application/a b", "application/é", "application/pdf", "multipart/mixed", "application/" + "x" * 200,
    ],
)  # fmt: skip
def test_a_media_type_that_a_browser_would_run_is_refused(server: Server, name: str, media_type: str) -> None:
    answer = server.put_manifest(name, "v1", b'{"schemaVersion":2}', media_type)
    assert (answer.status, answer.code) == (400, "MANIFEST_INVALID")
    assert server.get(f"/v2/{name}/manifests/v1").status == 404


@pytest.mark.parametrize(
    ("media_type", "content"),
    [
        ("application/vnd.docker.distribution.manifest.v1+json", b'{"schemaVersion":1,"name":"x","tag":"v1"}'),
        ("application/vnd.docker.distribution.manifest.v1+prettyjws", b'{"schemaVersion":1,"signatures":[]}'),
        ("application/json", b'{"schemaVersion":1,"fsLayers":[]}'),
    ],
)
def test_schema_1_is_refused_with_a_way_out(server: Server, name: str, media_type: str, content: bytes) -> None:
    answer = server.put_manifest(name, "v1", content, media_type)
    assert (answer.status, answer.code) == (400, "MANIFEST_INVALID")
    assert "schema 1" in answer.message
    assert "skopeo" in answer.message


def test_a_header_that_disagrees_with_the_manifest_is_refused(server: Server, name: str) -> None:
    answer = server.put_manifest(name, "v1", a_manifest({"manifests": []}, OCI_INDEX), DOCKER_LIST)
    assert (answer.status, answer.code) == (400, "MANIFEST_INVALID")
    assert OCI_INDEX in answer.message
    assert DOCKER_LIST in answer.message


@pytest.mark.parametrize("part", ["config", "layer", "both"])
def test_missing_blobs_are_named(registry: Registry, name: str, part: str) -> None:
    pushed = {"config": [LAYER], "layer": [CONFIG], "both": []}[part]
    for content in pushed:
        registry.push_blob(name, content)
    registry.push_blob(f"{name}/elsewhere", CONFIG)
    registry.push_blob(f"{name}/elsewhere", LAYER)
    answer = registry.put_manifest(name, "v1", IMAGE)
    assert (answer.status, answer.code) == (400, "MANIFEST_BLOB_UNKNOWN")
    missing = [digest_of(content) for content in (CONFIG, LAYER) if content not in pushed]
    assert answer.json()["errors"][0]["detail"]["digests"] == missing
    assert registry.get(f"/v2/{name}/manifests/v1").status == 404


@pytest.mark.usefixtures("blobs")
def test_a_subject_is_answered_on_the_push_of_images_and_indexes(registry: Registry, name: str) -> None:
    subject = descriptor(IMAGE, OCI_MANIFEST)
    image = an_image(CONFIG, LAYER, subject=subject)
    index = a_manifest({"manifests": [], "subject": subject}, OCI_INDEX)
    assert registry.put_manifest(name, "v1", image)["oci-subject"] == digest_of(IMAGE)
    assert registry.put_manifest(name, digest_of(index), index, OCI_INDEX)["oci-subject"] == digest_of(IMAGE)


def padded(size: int) -> bytes:
    """A manifest of exactly this many bytes."""
    empty = a_manifest({"manifests": [], "annotations": {"padding": ""}}, OCI_INDEX)
    return empty.replace(b'"padding": ""', b'"padding": "%b"' % (b"x" * (size - len(empty))))


def test_4_mib_are_a_manifest_and_a_byte_more_is_413(registry: Registry, name: str) -> None:
    assert registry.put_manifest(name, "v1", padded(MAX), OCI_INDEX).status == 201
    assert registry.get(f"/v2/{name}/manifests/v1").body == padded(MAX)
    answer = registry.put_manifest(name, "v2", padded(MAX + 1), OCI_INDEX)
    assert (answer.status, answer.code) == (413, "SIZE_INVALID")
    with registry.connect() as connection:
        connection.send(head("PUT", f"/v2/{name}/manifests/v2", {"Transfer-Encoding": "chunked"}))
        connection.send(chunked(padded(MAX + 1)))
        answer = connection.answer("PUT")
        assert (answer.status, answer.code) == (413, "SIZE_INVALID")
        assert connection.ask(head("GET", "/v2/")).status == 200
    assert registry.get(f"/v2/{name}/manifests/v2").status == 404


def test_a_manifest_that_is_announced_too_large_is_refused_before_its_body(server: Server, name: str) -> None:
    with server.connect() as connection:
        headers = {"Content-Length": str(1 << 40), "Expect": "100-continue"}
        assert connection.ask(head("PUT", f"/v2/{name}/manifests/v1", headers), "PUT").status == 413


def test_a_manifest_whose_body_ends_early_is_not_stored(server: Server, name: str) -> None:
    content = a_manifest({"manifests": []}, OCI_INDEX)
    with server.connect() as connection:
        headers = {"Content-Length": str(len(content) + 1), "Content-Type": OCI_INDEX}
        connection.send(head("PUT", f"/v2/{name}/manifests/v1", headers) + content)
        connection.finish_sending()
        assert connection.ended()
    assert server.get(f"/v2/{name}/manifests/v1").status == 404


DESCRIPTOR = json.dumps(descriptor(b"{}", "application/x"), separators=(",", ":"))
BAD = {
    "empty": b"",
    "no JSON": b"hello",
    "a list": b"[]",
    "a number": b"2",
    "null": b"null",
    "cut": b'{"schemaVersion":2,',
    "two documents": b"{}{}",
    "a byte-order mark": b"\xef\xbb\xbf{}",
    "invalid UTF-8": b'{"a":"\xff"}',
    "UTF-16": '{"schemaVersion":2}'.encode("utf-16"),
    "a control character": b'{"a":"\x01"}',
    "NaN": b'{"schemaVersion":2,"manifests":[],"a":NaN}',
    "Infinity": b'{"schemaVersion":2,"manifests":[],"a":-Infinity}',
    "a duplicate key": b'{"schemaVersion":2,"manifests":[],"manifests":[]}',
    "a duplicate key inside": b'{"schemaVersion":2,"manifests":[],"a":{"b":1,"b":1}}',
    "a trailing comma": b'{"schemaVersion":2,"manifests":[],}',
    "a comment": b'{"schemaVersion":2,"manifests":[]/**/}',
    "no version": b'{"manifests":[]}',
    "version as text": b'{"schemaVersion":"2","manifests":[]}',
    "version 3": b'{"schemaVersion":3,"manifests":[]}',
    "manifests as object": b'{"schemaVersion":2,"manifests":{}}',
    "a child as text": b'{"schemaVersion":2,"manifests":["x"]}',
    "a child without anything": b'{"schemaVersion":2,"manifests":[{}]}',
    "a bad digest": b'{"schemaVersion":2,"manifests":[{"mediaType":"a/b","size":1,"digest":"sha256:x"}]}',
    "mediaType as number": b'{"schemaVersion":2,"manifests":[],"mediaType":1}',
    "artifactType as list": b'{"schemaVersion":2,"manifests":[],"artifactType":[]}',
    "artifactType with NUL": b'{"schemaVersion":2,"manifests":[],"artifactType":"a\\u0000b"}',
    "artifactType as half a surrogate": b'{"schemaVersion":2,"manifests":[],"artifactType":"\\ud800"}',
    "artifactType without end": b'{"schemaVersion":2,"manifests":[],"artifactType":"%b"}' % (b"x" * 9999),
    "annotations as list": b'{"schemaVersion":2,"manifests":[],"annotations":[]}',
    "annotations of numbers": b'{"schemaVersion":2,"manifests":[],"annotations":{"a":1}}',
    "annotations of half a surrogate": b'{"schemaVersion":2,"manifests":[],"annotations":{"a":"\\udfff"}}',
    "a subject as text": b'{"schemaVersion":2,"manifests":[],"subject":"x"}',
    **{
        f"a size of {size}": DESCRIPTOR.replace('"size":2', f'"size":{size}').join(
            ['{"schemaVersion":2,"manifests":[', "]}"]
        ).encode()
        for size in ("-1", "1.0", '"1"', "true", "null", "1e400", "9223372036854775808", "9" * 5000)
    },
    "a hundred thousand brackets": b"[" * 100_000,
    "a hundred thousand objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_manifest_is_refused_with_a_reason(registry: Registry, name: str, case: str) -> None:
    answer = registry.put_manifest(name, "v1", BAD[case], OCI_INDEX)
    assert (answer.status, answer.code) == (400, "MANIFEST_INVALID")
    assert registry.get(f"/v2/{name}/manifests/v1").status == 404


@pytest.mark.parametrize(
    "change",
    [
        {"config": None},
        {"config": {}},
        {"layers": {}},
        {"layers": [1]},
        {"config": descriptor(b"{}", OCI_EMPTY)},
        {"config": {**descriptor(b"{}", OCI_CONFIG), "mediaType": "a\x7fb"}},
    ],
)
def test_an_image_without_what_an_image_has_is_refused(server: Server, name: str, change: dict[str, Any]) -> None:
    content = json.dumps({**json.loads(IMAGE), **change}).encode()
    answer = server.put_manifest(name, "v1", content)
    assert (answer.status, answer.code) == (400, "MANIFEST_INVALID")


def test_a_duplicate_key_at_the_end_of_many_is_found_at_once(server: Server, name: str) -> None:
    """Looking for each key among all others took minutes for a manifest of 4 MiB, with the whole worker."""
    many = ",".join(f'"{number}":0' for number in range(300_000))
    answer = server.put_manifest(name, "v1", f'{{"schemaVersion":2,{many},"299999":0}}'.encode(), OCI_INDEX)
    assert "299999" in answer.message
