"""Indexes as builders make them: attestations beside platforms, a BuildKit cache whose manifests are layers."""

import json
from pathlib import Path

import pytest

from tests.support.images import (
    AMD64,
    ARM64,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    Descriptor,
    Layout,
    layout_digests,
    sha256,
    tar,
)
from tests.support.machine import Machine
from tests.support.server import Registry

pytestmark = pytest.mark.needs("crane", "skopeo")

BUILDKIT_CACHE_CONFIG = "application/vnd.buildkit.cacheconfig.v0"
IN_TOTO = "application/vnd.in-toto+json"


def attestation(layout: Layout, image: Descriptor) -> Descriptor:
    """What BuildKit puts beside an image: a manifest of platform unknown/unknown that holds a statement about it."""
    statement = {"_type": "https://in-toto.io/Statement/v0.1", "subject": [{"digest": image["digest"]}]}
    kind = {"in-toto.io/predicate-type": "https://slsa.dev/provenance/v0.2"}
    content = {
        "config": layout.blob(b"{}", "application/vnd.oci.image.config.v1+json"),
        "layers": [layout.blob(json.dumps(statement).encode(), IN_TOTO, annotations=kind)],
    }
    about = {"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": image["digest"]}
    platform = {"os": "unknown", "architecture": "unknown"}
    return layout.document(OCI_MANIFEST, content, platform=platform, annotations=about)


def push_buildkit_cache(registry: Registry, repository: str) -> tuple[bytes, list[Descriptor]]:
    """Push the form that BuildKit exported with `type=registry` by default before v0.21; the cache, what it names."""
    layers = [tar({f"step-{number}": b"cached"}) for number in range(3)]
    config = json.dumps({"layers": [{"blob": sha256(layer)} for layer in layers], "records": []}).encode()
    entries: list[Descriptor] = []
    for blob, media_type in [*((layer, OCI_LAYER) for layer in layers), (config, BUILDKIT_CACHE_CONFIG)]:
        digest = registry.upload_blob(repository, blob)
        entries.append({"mediaType": media_type, "digest": digest, "size": len(blob)})
    cache = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode()
    pushed = registry.put_manifest(repository, "buildcache", OCI_INDEX, cache)
    assert (pushed.status, pushed.digest) == (201, sha256(cache))
    return cache, entries


def test_attestations_travel_with_their_platforms(
    machine: Machine, registry: Registry, layout: Layout, directory: Path
) -> None:
    images = [layout.image([tar({"arch": platform["architecture"].encode()})], platform) for platform in (AMD64, ARM64)]
    children = [*images, *(attestation(layout, image) for image in images)]
    index = layout.index(children)
    layout.tag(index, "v1")
    name = f"{registry.address}/indexes/attested:v1"
    machine.run("crane", "push", layout.directory, name)
    assert machine.run("crane", "digest", name).strip() == index["digest"]
    assert machine.run("crane", "digest", "--platform", "linux/arm64", name).strip() == images[1]["digest"]
    verify = f"--src-tls-verify={not registry.plain_http}".lower()
    machine.run("skopeo", "copy", "--all", verify, f"docker://{name}", f"oci:{directory}:v1")
    assert layout_digests(directory) == layout_digests(layout.directory)
    registry.delete_manifest("indexes/attested", index["digest"])
    for child in children:
        assert registry.manifest("indexes/attested", child["digest"]).status == 404


def test_a_buildkit_cache_whose_manifests_are_layers_is_pushed_and_read_back(
    machine: Machine, registry: Registry
) -> None:
    repository = "indexes/cache"
    cache, entries = push_buildkit_cache(registry, repository)
    assert registry.manifest(repository, "buildcache").body == cache
    assert machine.run("crane", "manifest", f"{registry.address}/{repository}:buildcache").encode().strip() == cache
    for entry in entries:
        assert registry.blob_sha256(repository, entry["digest"]) == entry["digest"]
    registry.delete_manifest(repository, sha256(cache))
