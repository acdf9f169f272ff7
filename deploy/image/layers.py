"""A layer: a directory tree packed so that the same content always gives the same digest."""

import gzip
import hashlib
import io
import json
import os
import shutil
import stat
import tarfile
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

MTIME = 315532800
"""1980-01-01, the earliest time a zip file can hold: a layer's digest follows its content, not the day it was built."""


@dataclass(frozen=True)
class Layer:
    """One packed layer; its compressed bytes are the file `digest` names in the blob directory."""

    title: str
    digest: str
    """sha256:… of the compressed tar"""
    diff_id: str
    """sha256:… of the uncompressed tar"""
    size: int
    """bytes of the compressed tar"""
    unpacked: int
    """bytes of the uncompressed tar"""


def blob_path(blobs: Path, digest: str) -> Path:
    """Where a blob lies under an OCI layout's blobs directory."""
    algorithm, value = digest.split(":")
    return blobs / algorithm / value


def store(blobs: Path, data: bytes) -> str:
    """Write `data` as a blob and return its digest, sha256:…."""
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    path = blob_path(blobs, digest)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return digest


def key(parts: Iterable[bytes]) -> str:
    """One digest over everything a layer is made from; equal keys mean an equal layer."""
    total = hashlib.sha256()
    for part in parts:
        total.update(hashlib.sha256(part).digest())
    return total.hexdigest()


def layer(work: Path, title: str, inputs: str, fill: Callable[[Path], None], owners: dict[str, int]) -> Layer:
    """The layer `title`, filled into `work`/`title`, packed into `work`/blobs; last time's if `inputs` are equal.

    `owners` maps a path to the user and group id that own it; everything else is root's.
    """
    tree, record = work / title, work / f"{title}.json"
    if record.exists() and tree.is_dir():
        kept = json.loads(record.read_text())
        if kept.pop("inputs") == inputs and blob_path(work / "blobs", kept["digest"]).is_file():
            return Layer(**kept)
    record.unlink(missing_ok=True)
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir(parents=True)
    fill(tree)
    packed = _pack(tree, title, work / "blobs", owners)
    record.write_text(json.dumps({"inputs": inputs, **asdict(packed)}))
    return packed


def _pack(tree: Path, title: str, blobs: Path, owners: dict[str, int]) -> Layer:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(tree.rglob("*")):
            name = path.relative_to(tree).as_posix()
            _add(archive, path, name, owners.get(name, 0))
    plain = buffer.getvalue()
    compressed = gzip.compress(plain, mtime=0)
    return Layer(
        title=title,
        digest=store(blobs, compressed),
        diff_id=f"sha256:{hashlib.sha256(plain).hexdigest()}",
        size=len(compressed),
        unpacked=len(plain),
    )


def _add(archive: tarfile.TarFile, path: Path, name: str, owner: int) -> None:
    """Append one file, link or directory with the modes every image of ours has, whatever the builder's umask."""
    member = tarfile.TarInfo(name)
    member.mtime, member.uid, member.gid = MTIME, owner, owner
    if path.is_symlink():
        member.type, member.linkname, member.mode = tarfile.SYMTYPE, os.readlink(path), 0o777
        archive.addfile(member)
    elif path.is_dir():
        member.type, member.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
        archive.addfile(member)
    else:
        info = path.stat()
        member.size, member.mode = info.st_size, 0o755 if info.st_mode & stat.S_IXUSR else 0o644
        with path.open("rb") as content:
            archive.addfile(member, content)
