"""What a manifest says: image manifests, indexes, and opaque artifacts (image-spec manifest.md, image-index.md)."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from entrepot.oci.digest import Digest, InvalidDigest
from entrepot.oci.mediatype import (
    ATTESTATIONS,
    FOREIGN_LAYERS,
    IMAGES,
    INDEXES,
    OCI_EMPTY,
    OCI_INDEX,
    OCI_MANIFEST,
    SCHEMA_1,
    may_name_a_manifest,
    without_parameters,
)

MAX_SIZE = 4 * 1024 * 1024  # bytes; distribution and ECR take as much, containerd reads up to 4,393,216
_MAX_DESCRIPTOR_SIZE = 2**63 - 1
_MAX_MEDIA_TYPE = 255  # characters: RFC 6838 §4.2 allows 127 on each side of the slash


class InvalidManifest(ValueError):
    """The bytes are no manifest; the message says what to change."""


class ObsoleteManifest(InvalidManifest):
    """Docker's schema 1."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What the registry needs to know; the bytes themselves are never changed.

    `blobs` are the config and the layers, `children` the manifests of an index, as digests in their order;
    `foreign` those layers that need not be here. `annotations` is JSON text.
    """

    media_type: str
    artifact_type: str | None
    config: str | None
    layers: tuple[str, ...]
    foreign: frozenset[str]
    children: tuple[str, ...]
    subject: str | None
    annotations: str | None
    kind: str
    """image, index, referrer (it has a subject) or attestation: only an image is a pull that counts."""


def parse(content: bytes, content_type: str | None) -> Manifest:
    """Read a pushed manifest; `content_type` is the request's header. InvalidManifest says what is wrong."""
    document = _decode(content)
    media_type = _media_type(document, content_type)
    if media_type in IMAGES | INDEXES and document.get("schemaVersion") != 2:
        raise InvalidManifest("schemaVersion must be 2")
    layers = _descriptors(document, "layers")
    config = _descriptor(document.get("config"), "config") if document.get("config") is not None else None
    subject = _descriptor(document.get("subject"), "subject") if document.get("subject") is not None else None
    if media_type in IMAGES and config is None:
        raise InvalidManifest("an image manifest needs a config")
    artifact_type = _type(document, "artifactType")
    if media_type == OCI_MANIFEST and config and config["mediaType"] == OCI_EMPTY and not artifact_type:
        raise InvalidManifest("artifactType is required when the config is the empty one (image-spec manifest.md)")
    if media_type not in INDEXES and not artifact_type and config is not None:
        artifact_type = config["mediaType"]
    return Manifest(
        media_type=media_type,
        artifact_type=artifact_type or None,
        config=config["digest"] if config else None,
        layers=tuple(dict.fromkeys(layer["digest"] for layer in layers)),
        foreign=frozenset(layer["digest"] for layer in layers if layer["mediaType"] in FOREIGN_LAYERS),
        children=tuple(dict.fromkeys(child["digest"] for child in _descriptors(document, "manifests"))),
        subject=subject["digest"] if subject else None,
        annotations=_annotations(document.get("annotations")),
        kind=_kind(media_type, subject is not None, {layer["mediaType"] for layer in layers}),
    )


def _kind(media_type: str, has_subject: bool, layers: set[str]) -> str:
    if media_type in INDEXES:
        return "index"
    if has_subject:
        return "referrer"
    return "attestation" if layers and layers <= ATTESTATIONS else "image"


def _decode(content: bytes) -> Mapping[str, Any]:
    if not content:
        raise InvalidManifest("the manifest is empty")
    try:
        document = json.loads(
            content.decode("utf-8"), object_pairs_hook=_without_duplicates, parse_constant=_no_constant
        )
    except UnicodeDecodeError:
        raise InvalidManifest("a manifest is UTF-8 text") from None
    except RecursionError:
        raise InvalidManifest("the manifest is nested too deeply") from None
    except ValueError as error:
        raise InvalidManifest(f"the manifest is not valid JSON: {error}") from None
    if not isinstance(document, dict):
        raise InvalidManifest("a manifest is a JSON object")
    return document


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Two parsers may disagree on a key that comes twice (image-spec descriptor.md forbids it), so it is refused."""
    result = dict(pairs)
    if len(result) != len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"the key {twice[:100]!r} comes twice")
    return result


def _no_constant(name: str) -> None:
    """`NaN` and `Infinity`, which Python's parser takes and JSON (RFC 8259 §6) does not have."""
    raise ValueError(f"{name} is no number")


def _type(document: Mapping[str, Any], key: str, where: str = "") -> str | None:
    """A media type, known or not: no control characters, no half of a surrogate pair; None without one."""
    value = document.get(key)
    if value is None or (isinstance(value, str) and len(value) <= _MAX_MEDIA_TYPE and value.isprintable()):
        return value
    raise InvalidManifest(f"{where}{key} must be printable text of at most {_MAX_MEDIA_TYPE} characters")


def _media_type(document: Mapping[str, Any], content_type: str | None) -> str:
    inside = _type(document, "mediaType")
    outside = without_parameters(content_type) if content_type else None
    if inside and outside and inside != outside:
        raise InvalidManifest(
            f"the Content-Type is {outside[:150]!r}, but the manifest's mediaType is {inside[:150]!r}"
        )
    media_type = outside or inside or (OCI_INDEX if "manifests" in document else OCI_MANIFEST)
    if media_type in SCHEMA_1 or document.get("schemaVersion") == 1:
        raise ObsoleteManifest(
            "Docker schema 1 manifests are not accepted: push with Docker 1.10 or newer, or convert the image"
            " with 'skopeo copy --format v2s2'"
        )
    if not may_name_a_manifest(media_type):
        raise InvalidManifest(
            f"{media_type[:150]!r} is no media type of a manifest: it must be application/… and inert"
        )
    return media_type


def _descriptors(document: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    items = document.get(key)
    if items is None:
        return []
    if not isinstance(items, list):
        raise InvalidManifest(f"{key} must be a list")
    return [_descriptor(item, f"{key}[{position}]") for position, item in enumerate(items)]


def _descriptor(item: Any, where: str) -> Mapping[str, Any]:
    """Check one descriptor (image-spec descriptor.md): mediaType, digest, size."""
    if not isinstance(item, dict):
        raise InvalidManifest(f"{where} must be a descriptor (an object with mediaType, digest and size)")
    if not _type(item, "mediaType", f"{where}."):
        raise InvalidManifest(f"{where}.mediaType must be text")
    size = item.get("size")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= _MAX_DESCRIPTOR_SIZE:
        raise InvalidManifest(f"{where}.size must be a number of bytes")
    digest = item.get("digest")
    if not isinstance(digest, str):
        raise InvalidManifest(f"{where}.digest must be text")
    try:
        Digest.parse(digest)
    except InvalidDigest as error:
        raise InvalidManifest(f"{where}.digest: {error}") from None
    return item


def _annotations(annotations: Any) -> str | None:
    if annotations is None:
        return None
    if not isinstance(annotations, dict) or not all(isinstance(value, str) for value in annotations.values()):
        raise InvalidManifest("annotations must be an object of texts")
    text = json.dumps(annotations, separators=(",", ":"), ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidManifest("annotations must be Unicode text: half of a surrogate pair stands in them") from None
    return text if annotations else None
