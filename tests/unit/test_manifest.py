"""Whatever is pushed as a manifest is understood, or refused by InvalidManifest: no other error gets out."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entrepot.oci.digest import Digest
from entrepot.oci.manifest import InvalidManifest, Manifest, ObsoleteManifest, parse
from entrepot.oci.mediatype import DOCKER_LIST, DOCKER_MANIFEST, OCI_EMPTY, OCI_INDEX, OCI_MANIFEST, may_name_a_manifest

examples = settings(max_examples=400, derandomize=True, deadline=None)
TYPES = st.sampled_from(
    [OCI_MANIFEST, OCI_INDEX, DOCKER_LIST, DOCKER_MANIFEST, OCI_EMPTY, "application/x", "text/html", ""]
)
CONTENT_TYPES = st.one_of(st.none(), TYPES, TYPES.map("{}; charset=utf-8".format), st.text(max_size=10))
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5))
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
DIGESTS = st.sampled_from([str(Digest.of(b"a")), str(Digest.of(b"b", "sha512")), "sha256:x", "a"])
DESCRIPTORS = st.fixed_dictionaries(
    {}, optional={"mediaType": TYPES | SCALARS, "digest": DIGESTS | SCALARS, "size": st.integers(-1, 2**64) | SCALARS}
)
MANIFESTS = st.fixed_dictionaries(
    {"schemaVersion": st.sampled_from([2, 2, 2, 1, "2", None])},
    optional={
        "mediaType": TYPES | SCALARS,
        "config": DESCRIPTORS | ANYTHING,
        "layers": st.lists(DESCRIPTORS, max_size=2) | ANYTHING,
        "manifests": st.lists(DESCRIPTORS, max_size=2) | ANYTHING,
        "subject": DESCRIPTORS | ANYTHING,
        "artifactType": TYPES | SCALARS,
        "annotations": st.dictionaries(st.text(max_size=3), st.text(max_size=3)) | ANYTHING,
        "other": ANYTHING,
    },
)


def understood(content: bytes, content_type: str | None) -> Manifest | None:
    """The manifest, when it is one; then everything in it can be stored and shown."""
    try:
        manifest = parse(content, content_type)
    except InvalidManifest as error:
        str(error).encode("ascii", "backslashreplace")
        return None
    assert may_name_a_manifest(manifest.media_type)
    for digest in (*manifest.layers, *manifest.children, *filter(None, (manifest.config, manifest.subject))):
        Digest.parse(digest)
    assert manifest.foreign <= set(manifest.layers)
    for text in (manifest.artifact_type, manifest.annotations):
        if text is not None:
            assert "\0" not in text.encode().decode()
    assert manifest.annotations is None or json.loads(manifest.annotations)
    return manifest


@examples
@given(st.binary(max_size=60), CONTENT_TYPES)
def test_any_bytes_are_understood_or_refused(content: bytes, content_type: str | None) -> None:
    understood(content, content_type)


@examples
@given(ANYTHING, CONTENT_TYPES)
def test_any_json_is_understood_or_refused(document: object, content_type: str | None) -> None:
    understood(json.dumps(document).encode(), content_type)


@settings(parent=examples, max_examples=600)
@given(MANIFESTS, CONTENT_TYPES)
def test_whatever_looks_like_a_manifest_is_understood_or_refused(document: object, content_type: str | None) -> None:
    understood(json.dumps(document).encode(), content_type)


@examples
@given(st.binary(max_size=20), st.integers(0, 400), st.integers(0, 20))
def test_a_manifest_with_a_wound_is_understood_or_refused(wound: bytes, place: int, length: int) -> None:
    config = {"mediaType": "application/x", "digest": str(Digest.of(b"a")), "size": 1}
    whole = json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [config]}).encode()
    assert understood(whole, OCI_MANIFEST)
    understood(whole[:place] + wound + whole[place + length :], OCI_MANIFEST)


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'[{"a":'])
@pytest.mark.parametrize("depth", [500, 2_000, 100_000, 600_000])
def test_nesting_never_breaks_the_parser(opening: bytes, depth: int) -> None:
    content = b'{"schemaVersion":2,"manifests":[],"deep":' + opening * depth
    with pytest.raises(InvalidManifest):
        parse(content, OCI_INDEX)


def test_what_a_manifest_names_is_found() -> None:
    def descriptor(content: bytes, media_type: str) -> dict[str, Any]:
        return {"mediaType": media_type, "digest": str(Digest.of(content)), "size": len(content)}

    foreign = descriptor(b"foreign", "application/vnd.oci.image.layer.nondistributable.v1.tar")
    document = {
        "schemaVersion": 2,
        "config": descriptor(b"config", "application/x.config"),
        "layers": [descriptor(b"layer", "a/b"), foreign, descriptor(b"layer", "a/b")],
        "subject": descriptor(b"subject", OCI_MANIFEST),
        "annotations": {"ü": "\x00"},
    }
    assert parse(json.dumps(document).encode(), OCI_MANIFEST) == Manifest(
        media_type=OCI_MANIFEST,
        artifact_type="application/x.config",
        config=str(Digest.of(b"config")),
        layers=(str(Digest.of(b"layer")), str(Digest.of(b"foreign"))),
        foreign=frozenset({str(Digest.of(b"foreign"))}),
        children=(),
        subject=str(Digest.of(b"subject")),
        annotations='{"ü":"\\u0000"}',
        kind="referrer",
    )


def test_schema_1_is_told_apart() -> None:
    with pytest.raises(ObsoleteManifest):
        parse(b'{"schemaVersion":1}', None)
