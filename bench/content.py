"""The bytes that are pushed and pulled: made and hashed before any clock starts."""

import hashlib
import json
import mmap
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
_OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
SMALL_IMAGE_SIZES = (200, 8 * KIB, 64 * KIB)
_TAIL = 64


def digest_of(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


@dataclass(frozen=True)
class Blob:
    """A small blob in memory."""

    content: bytes
    digest: str


def random_blob(size: int, source: random.Random) -> Blob:
    content = source.randbytes(size)
    return Blob(content, digest_of(content))


class Block:
    """64 MiB of random bytes in one anonymous file, from which blobs of any size are sent without being copied.

    A large blob is this block over and over with a tail of its own, so each has its own digest, and one more of the
    same size costs neither memory nor another pass of SHA-256.
    """

    SIZE = 64 * MIB

    def __init__(self) -> None:
        self.fd = os.memfd_create("bench-block")
        os.truncate(self.fd, self.SIZE)
        self.view = mmap.mmap(self.fd, self.SIZE)
        self.view[:] = random.Random(0).randbytes(self.SIZE)
        self._heads: dict[int, hashlib._Hash] = {}
        self._made = 0

    def pieces(self, size: int) -> Iterator[int]:
        """The lengths, each from the block's start, that make the first `size` bytes of a large blob."""
        while size > 0:
            yield min(size, self.SIZE)
            size -= self.SIZE

    def large_blob(self, size: int) -> "LargeBlob":
        """A blob of `size` bytes that was never made before."""
        head_size = size - _TAIL
        if head_size not in self._heads:
            head = hashlib.sha256()
            with memoryview(self.view) as view:
                for length in self.pieces(head_size):
                    head.update(view[:length])
            self._heads[head_size] = head
        whole = self._heads[head_size].copy()
        self._made += 1
        tail = self._made.to_bytes(8, "big") + os.urandom(_TAIL - 8)
        whole.update(tail)
        return LargeBlob(self, head_size, tail, "sha256:" + whole.hexdigest())


@dataclass(frozen=True)
class LargeBlob:
    """A blob of any size: `head_size` bytes of the block, then the tail."""

    block: Block
    head_size: int
    tail: bytes
    digest: str

    @property
    def size(self) -> int:
        return self.head_size + len(self.tail)


@dataclass(frozen=True)
class Image:
    """A config, layers, and the manifest that names them."""

    blobs: tuple[Blob, ...]
    manifest: bytes


def small_image(source: random.Random) -> Image:
    """An image of three blobs of 0.2, 8 and 64 KiB that nobody has seen before."""
    blobs = tuple(random_blob(size, source) for size in SMALL_IMAGE_SIZES)
    descriptors = [{"mediaType": _OCI_LAYER, "digest": blob.digest, "size": len(blob.content)} for blob in blobs]
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptors[0] | {"mediaType": _OCI_CONFIG},
        "layers": descriptors[1:],
    }
    return Image(blobs, json.dumps(manifest).encode())
