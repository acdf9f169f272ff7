"""Images that are always here: fetched when the server starts and again and again, and never evicted."""

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import structlog

from entrepot.access.grant import EVERYTHING
from entrepot.client.warming import Image, platform_of
from entrepot.oci.digest import Digest, InvalidDigest
from entrepot.oci.mediatype import INDEXES
from entrepot.proxy.blobs import ProxiedBlobs
from entrepot.proxy.manifests import ProxiedManifests
from entrepot.proxy.upstream import Place, Upstreams
from entrepot.registry.errors import RegistryError
from entrepot.registry.ports import ManifestRows, StoredManifest

Held = tuple[str, str]
"""A repository, and the digest of a blob there."""

_DEEPEST = 4  # indexes in indexes
_log = structlog.get_logger()


class Keeping:
    """Knows which images are kept, has them fetched, and says what of them is stored."""

    def __init__(
        self,
        listed: Callable[[], Iterable[Image]],
        platforms: Sequence[str],
        upstreams: Upstreams,
        rows: ManifestRows,
        manifests: ProxiedManifests,
        blobs: ProxiedBlobs,
    ) -> None:
        """`platforms`: of an image for several only these, as `os/architecture`; empty for all. `listed` is asked each
        time, as a list in a file may change."""
        self._listed = listed
        self._platforms = platforms
        self._upstreams = upstreams
        self._rows = rows
        self._manifests = manifests
        self._blobs = blobs

    async def fetch(self) -> int:
        """Have everything that is missing fetched, and tags looked at as their freshness wants; returns how many images
        are here. What cannot be had is logged, and tried again the next time."""
        done = 0
        for image in self._listed():
            place = self._upstreams.place(image.repository)
            if place is None:
                _log.warning("an image to keep is of no upstream", image=f"{image.repository}:{image.reference}")
                continue
            try:
                await self._fetch(image.repository, image.reference, place, _DEEPEST)
            except (RegistryError, InvalidDigest) as error:
                reason = getattr(error, "message", "") or str(error)
                _log.warning("an image to keep cannot be had", repository=image.repository, reason=reason)
                continue
            done += 1
        return done

    async def held(self) -> set[Held]:
        """The blobs of these images, as far as their manifests are stored."""
        found: set[Held] = set()
        for image in self._listed():
            await self._hold(image.repository, image.reference, found, _DEEPEST)
        return found

    async def _fetch(self, name: str, reference: str, place: Place, depth: int) -> None:
        manifest = await self._manifests.find(name, reference, place, EVERYTHING)
        children, blobs = self._named(manifest)
        for digest in children if depth else []:
            await self._fetch(name, digest, place, depth - 1)
        for digest in blobs:
            blob = await self._blobs.find(name, Digest.parse(digest), place, EVERYTHING)
            if blob.reader is not None:
                async for _ in blob.reader(0, None):
                    pass  # nobody wants it now: it is stored

    async def _hold(self, name: str, reference: str, found: set[Held], depth: int) -> None:
        manifest = await self._rows.find_manifest(name, reference)
        if manifest is None:
            return
        children, blobs = self._named(manifest)
        found.update((name, digest) for digest in blobs)
        for digest in children if depth else []:
            await self._hold(name, digest, found, depth - 1)

    def _named(self, manifest: StoredManifest) -> tuple[list[str], list[str]]:
        """The children that are wanted, and the blobs, that a manifest names."""
        document = json.loads(manifest.content)
        if manifest.media_type in INDEXES:
            children = [each for each in document.get("manifests") or [] if isinstance(each, dict)]
            return [str(each["digest"]) for each in children if self._wanted(each)], []
        named = [document.get("config"), *(document.get("layers") or [])]
        return [], [str(each["digest"]) for each in named if isinstance(each, dict) and not each.get("urls")]

    def _wanted(self, child: dict[str, Any]) -> bool:
        return not self._platforms or platform_of(child) in self._platforms
