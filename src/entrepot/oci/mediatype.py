"""Media types of manifests (image-spec media-types.md; Docker's of the v2 schema 2 specification)."""

import re

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"

IMAGES = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
INDEXES = frozenset({OCI_INDEX, DOCKER_LIST})
SCHEMA_1 = frozenset(
    {
        "application/vnd.docker.distribution.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
    }
)
FOREIGN_LAYERS = frozenset(
    {
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "application/vnd.docker.image.rootfs.foreign.diff.tar",
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
    }
)
ATTESTATIONS = frozenset(  # layers of what speaks about an image: BuildKit's, cosign's (protocol.md §2.6)
    {
        "application/vnd.in-toto+json",
        "application/vnd.dev.cosign.simplesigning.v1+json",
        "application/vnd.dsse.envelope.v1+json",
    }
)

# RFC 6838 §4.2: at most 127 characters a part; only application/, and nothing that a browser would run or draw.
_MANIFEST_TYPE = re.compile(r"application/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}")
_ACTIVE = re.compile(r"html|xml|script|svg|pdf|flash", re.IGNORECASE)


def without_parameters(content_type: str) -> str:
    """`type/subtype` of a Content-Type header, without its parameters."""
    return content_type.partition(";")[0].strip()


def may_name_a_manifest(media_type: str) -> bool:
    """Whether a manifest may be served under this type: `application/…`, and no HTML, XML or script."""
    return _MANIFEST_TYPE.fullmatch(media_type) is not None and _ACTIVE.search(media_type) is None
