"""The images' configuration and manifest, and the forms in which they leave: an OCI layout and tars to load.

Formats: OCI image specification 1.1 (config.md, manifest.md, image-layout.md); `Healthcheck` is Docker's addition to
the configuration; `manifest.json` in the tar is what `docker save` writes, read by every engine.
"""

import io
import json
import shutil
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.image.layers import MTIME, Layer, blob_path, store

USER_ID = 10001
"""Neither root nor a number that a host is likely to give to a person or a service."""
DATA_DIRECTORY = "/var/lib/registry"
CONFIGURATION = "/etc/entrepot/entrepot.yaml"
HEALTH_CHECK = {
    "Test": ["CMD", "entrepot", "health"],
    "Interval": 10_000_000_000,
    "Timeout": 5_000_000_000,
    "StartPeriod": 10_000_000_000,
    "StartInterval": 1_000_000_000,
    "Retries": 3,
}
"""Docker's HEALTHCHECK; durations in nanoseconds. StartInterval is for Docker 25 and newer, others ignore it."""


@dataclass(frozen=True)
class Release:
    """What the images say about themselves."""

    version: str
    revision: str
    created: str
    """RFC 3339"""
    architecture: str


@dataclass(frozen=True)
class Image:
    """An image whose blobs are all stored: what an index or a `manifest.json` needs to name it."""

    tag: str
    manifest: Mapping[str, Any]
    """its descriptor"""
    config: str
    """digest of the configuration, which is Docker's image id"""
    layers: tuple[str, ...]
    """digests, lowest first"""

    @property
    def name(self) -> str:
        """The name under which an engine loads it."""
        return f"entrepot:{self.tag}"

    @property
    def blobs(self) -> tuple[str, ...]:
        """The digests of everything it consists of."""
        return (str(self.manifest["digest"]), self.config, *self.layers)


def assemble(blobs: Path, tag: str, command: list[str], layers: list[Layer], release: Release) -> Image:
    """Store the configuration and the manifest of one image that runs `entrepot` with `command`."""
    config = store(blobs, _json(_configuration(command, layers, release)))
    config_size = blob_path(blobs, config).stat().st_size
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": _descriptor("application/vnd.oci.image.config.v1+json", config, config_size),
            "layers": [
                _descriptor("application/vnd.oci.image.layer.v1.tar+gzip", layer.digest, layer.size) for layer in layers
            ],
        }
    )
    descriptor = _descriptor("application/vnd.oci.image.manifest.v1+json", store(blobs, manifest), len(manifest))
    descriptor["platform"] = {"architecture": release.architecture, "os": "linux"}
    return Image(tag, descriptor, config, tuple(layer.digest for layer in layers))


def _configuration(command: list[str], layers: list[Layer], release: Release) -> dict[str, Any]:
    return {
        "created": release.created,
        "architecture": release.architecture,
        "os": "linux",
        "config": {
            "User": f"{USER_ID}:{USER_ID}",
            "ExposedPorts": {"5000/tcp": {}},
            "Env": ["PATH=/usr/local/bin:/usr/bin", f"ENTREPOT_CONFIG={CONFIGURATION}"],
            "Entrypoint": ["entrepot"],
            "Cmd": command,
            "Healthcheck": HEALTH_CHECK,
            "Volumes": {DATA_DIRECTORY: {}},
            "WorkingDir": "/",
            "StopSignal": "SIGTERM",
            "Labels": {
                "org.opencontainers.image.title": "Entrepot",
                "org.opencontainers.image.description": "A container registry and hub",
                "org.opencontainers.image.licenses": "Apache-2.0",
                "org.opencontainers.image.version": release.version,
                "org.opencontainers.image.revision": release.revision,
            },
        },
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
        "history": [{"created": release.created, "created_by": f"make image: {layer.title}"} for layer in layers],
    }


def write_layout(directory: Path, blobs: Path, images: Iterable[Image]) -> None:
    """Write `directory` anew as an OCI layout that holds all `images`, each under its tag."""
    shutil.rmtree(directory, ignore_errors=True)
    images = list(images)
    for digest in sorted({digest for image in images for digest in image.blobs}):
        path = blob_path(directory / "blobs", digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(blob_path(blobs, digest), path)
    for name, content in _layout_files(images).items():
        (directory / name).write_bytes(content)


def write_tar(path: Path, blobs: Path, image: Image) -> None:
    """Write one image as a tar for `docker load`, `podman load` and `ctr images import`; also an OCI layout."""
    saved = {
        "Config": f"blobs/{image.config.replace(':', '/')}",
        "RepoTags": [image.name],
        "Layers": [f"blobs/{digest.replace(':', '/')}" for digest in image.layers],
    }
    files = _layout_files([image]) | {"manifest.json": _json([saved])}
    for digest in image.blobs:
        files[f"blobs/{digest.replace(':', '/')}"] = blob_path(blobs, digest).read_bytes()
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in sorted(files.items()):
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(content), MTIME
            archive.addfile(member, io.BytesIO(content))


def _layout_files(images: list[Image]) -> dict[str, bytes]:
    """The files of an OCI layout beside its blobs."""
    manifests = []
    for image in images:
        names = {
            "org.opencontainers.image.ref.name": image.tag,
            "io.containerd.image.name": f"docker.io/library/{image.name}",
        }
        manifests.append({**image.manifest, "annotations": names})
    index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": manifests}
    return {"oci-layout": _json({"imageLayoutVersion": "1.0.0"}), "index.json": _json(index)}


def _descriptor(media_type: str, digest: str, size: int) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest, "size": size}


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
