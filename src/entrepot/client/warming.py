"""Pulling an image only so that a cache has it: its manifests and blobs are read and thrown away."""

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from entrepot.client.errors import RemoteError
from entrepot.client.remote import Remote
from entrepot.oci.mediatype import INDEXES

_AT_ONCE = 3  # blobs, as Docker does

Tell = Callable[[str], None]
"""Is told, in a few words, what has been done."""


class Image(NamedTuple):
    """A repository of a cache, and a tag or digest."""

    repository: str
    reference: str


def read_image(text: str) -> Image:
    """An image as people write it, `nginx:1.25` or `ghcr.io/org/app@sha256:…`, as a cache names it by path."""
    name, at, digest = text.partition("@")
    head, slash, last = name.rpartition("/")
    last, colon, tag = last.partition(":")
    name = f"{head}{slash}{last}"
    first, slash, rest = name.partition("/")
    if not slash:
        name = f"docker.io/library/{name}"
    elif "." not in first and ":" not in first and first != "localhost":
        name = f"docker.io/{name}"
    else:
        name = f"{first.replace(':', '_')}/{rest}"
    return Image(name, digest if at else tag if colon else "latest")


def at_its_mirror(image: Image) -> Image:
    """The image as a mirror of its registry names it: without the registry."""
    return image._replace(repository=image.repository.partition("/")[2])


def read_list(lines: Iterable[str]) -> list[str]:
    """Images that stand in a list, one a line; `#` begins a comment."""
    return [image for line in lines if (image := line.partition("#")[0].strip())]


async def warm(remote: Remote, image: Image, platform: str | None, tell: Tell) -> int:
    """Read an image through `remote`: of an index the images of `platform` (`os/architecture`), or all. The bytes.

    RemoteError when some of it cannot be had.
    """
    fetched = await remote.manifest(image.repository, image.reference)
    document = json.loads(fetched.content)
    total = len(fetched.content)
    if fetched.media_type in INDEXES:
        for child in document.get("manifests", []):
            if platform is None or platform_of(child) == platform:
                total += await warm(remote, Image(image.repository, child["digest"]), None, tell)
        return total
    limit = asyncio.Semaphore(_AT_ONCE)

    async def read(digest: str) -> int:
        async with limit, remote.blob(image.repository, digest) as arriving:
            size = 0
            async for chunk in arriving.chunks:
                size += len(chunk)
            if arriving.size is not None and size != arriving.size:
                raise RemoteError(f"{digest} broke off after {size} of {arriving.size} bytes")
            return size

    wanted = [document.get("config"), *document.get("layers", [])]
    digests = {each["digest"] for each in wanted if isinstance(each, dict) and not each.get("urls")}
    sizes = await asyncio.gather(*(read(digest) for digest in sorted(digests)))
    tell(f"{image.repository}@{image.reference[:19]}: {len(sizes)} blobs, {sum(sizes):,} bytes")
    return total + sum(sizes)


def platform_of(child: Mapping[str, Any]) -> str:
    """The platform of an index's child as `os/architecture`."""
    platform = child.get("platform") or {}
    return f"{platform.get('os', '')}/{platform.get('architecture', '')}"
