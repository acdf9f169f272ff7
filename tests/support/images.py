"""Images made by hand: layers, OCI layouts that clients push, and the root file system of a small container."""

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from shutil import which
from typing import Any

from tests.support.tools import search_path

Descriptor = dict[str, Any]
"""A content descriptor of the OCI image specification, as JSON."""

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
AMD64 = {"os": "linux", "architecture": "amd64"}
ARM64 = {"os": "linux", "architecture": "arm64"}

_APPLETS = ("sh", "cat", "echo", "ls", "nc", "httpd", "sleep", "true", "wget")


def tar(files: Mapping[str, bytes]) -> bytes:
    """A tar archive of ordinary files, the same bytes for the same `files`."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def busybox_tar(files: Mapping[str, bytes] | None = None) -> bytes:
    """The root file system of a container that needs nothing else: a static busybox, links to it, and `files`."""
    program = which("busybox", path=search_path())
    assert program is not None
    buffer = io.BytesIO(tar({"bin/busybox": Path(program).read_bytes(), **(files or {})}))
    with tarfile.open(fileobj=buffer, mode="a") as archive:
        for applet in _APPLETS:
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(link)
    return buffer.getvalue()


def sha256(content: bytes) -> str:
    """The digest of `content`."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class Layout:
    """An OCI image layout in a directory, written piece by piece."""

    def __init__(self, directory: Path) -> None:
        """Begin a layout in an existing, empty directory."""
        self.directory = directory
        (directory / "blobs" / "sha256").mkdir(parents=True)
        (directory / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        self._index: list[Descriptor] = []

    def blob(self, content: bytes, media_type: str, **more: Any) -> Descriptor:
        """Add a blob; `more` are further fields of its descriptor."""
        digest = sha256(content)
        self.path(digest).write_bytes(content)
        return {"mediaType": media_type, "digest": digest, "size": len(content), **more}

    def path(self, digest: str) -> Path:
        """The file of a blob."""
        return self.directory / "blobs" / "sha256" / digest.removeprefix("sha256:")

    def document(self, media_type: str, content: Mapping[str, Any], **more: Any) -> Descriptor:
        """Add a manifest or index of the given content, with its schema version and media type."""
        document = {"schemaVersion": 2, "mediaType": media_type, **content}
        return self.blob(json.dumps(document, indent=2).encode(), media_type, **more)

    def layer(self, archive: bytes) -> Descriptor:
        """Add a gzip layer."""
        return self.blob(gzip.compress(archive, mtime=0), f"{OCI_LAYER}+gzip")

    def image(self, archives: Sequence[bytes], platform: Mapping[str, str] = AMD64) -> Descriptor:
        """Add an image of `archives` (tar, lowest first), each a gzip layer."""
        layers = [self.layer(archive) for archive in archives]
        return self.image_of([sha256(archive) for archive in archives], layers, platform)

    def image_of(
        self, archive_digests: Sequence[str], layers: Sequence[Descriptor], platform: Mapping[str, str] = AMD64
    ) -> Descriptor:
        """Add an image of `layers` that are in the layout already; `archive_digests` are those of the tars in them."""
        config = {
            **platform,
            "config": {"Cmd": ["/bin/sh"], "Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": list(archive_digests)},
        }
        content = {"config": self.blob(json.dumps(config).encode(), OCI_CONFIG), "layers": list(layers)}
        return self.document(OCI_MANIFEST, content, platform=dict(platform))

    def index(self, manifests: Sequence[Descriptor], **more: Any) -> Descriptor:
        """Add an image index."""
        return self.document(OCI_INDEX, {"manifests": list(manifests), **more})

    def tag(self, descriptor: Descriptor, name: str) -> None:
        """Let `name` name a manifest of this layout, and write the layout's index.json."""
        annotated = {**descriptor, "annotations": {"org.opencontainers.image.ref.name": name}}
        self._index.append(annotated)
        document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": self._index}
        (self.directory / "index.json").write_text(json.dumps(document))


def layout_digests(directory: Path) -> set[str]:
    """The digests of all blobs in an OCI layout, each checked against its bytes."""
    digests = set()
    for path in (directory / "blobs" / "sha256").iterdir():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name
        digests.add(f"sha256:{path.name}")
    return digests
