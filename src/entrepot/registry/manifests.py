"""Manifests: pull and push (distribution-spec, "Pulling manifests", "Pushing manifests")."""

from collections.abc import Sequence
from dataclasses import dataclass

from entrepot.access.caller import Caller
from entrepot.access.grant import Grant
from entrepot.oci import manifest as oci
from entrepot.oci.digest import CANONICAL, Digest
from entrepot.registry.admission import admitted, missing
from entrepot.registry.errors import (
    DigestInvalid,
    ManifestBlobUnknown,
    ManifestInvalid,
    ManifestTooLarge,
    ManifestUnverified,
    Unauthorized,
)
from entrepot.registry.ports import ManifestRows, NewManifest, StoredManifest


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a push has done: the manifest's digest, the tags that now name it, and its subject when it has one."""

    digest: str
    tags: tuple[str, ...]
    subject: str | None


class Manifests:
    """The manifests and tags of all repositories."""

    def __init__(self, rows: ManifestRows, *, accept_missing: bool, durable: bool = True) -> None:
        """`accept_missing`: take manifests whose config or layers are not in the repository; `durable`: what is pushed
        survives a power cut, which what can be fetched again need not."""
        self._rows = rows
        self._durable = durable
        self._accept_missing = accept_missing

    async def find(self, repository: str, reference: str, grant: Grant) -> StoredManifest:
        """By tag or digest; ManifestUnknown, NameUnknown, or Unauthorized when the grant is not for the repository."""
        found = await self._rows.find_manifest(repository, reference)
        if found is None:
            raise missing(await admitted(self._rows, repository, grant), repository, reference)
        if not grant.covers(repository, found.repository_id, found.rights_version):
            raise Unauthorized
        return found

    async def push(
        self,
        repository: str,
        content: bytes,
        content_type: str | None,
        digest: Digest | None,
        tags: Sequence[str],
        caller: Caller,
    ) -> Pushed:
        """Store these bytes and move the tags to them. `digest` is what the client pushed by, if it did."""
        if len(content) > oci.MAX_SIZE:
            raise ManifestTooLarge(f"a manifest has at most {oci.MAX_SIZE} bytes")
        actual = Digest.of(content, digest.algorithm if digest else CANONICAL)
        if digest is not None and digest != actual:
            raise DigestInvalid(f"the manifest has the digest {actual}, not {digest}", {"digest": str(digest)})
        try:
            manifest = oci.parse(content, content_type)
        except oci.ObsoleteManifest as error:
            raise ManifestUnverified(str(error)) from None
        except oci.InvalidManifest as error:
            raise ManifestInvalid(str(error)) from None
        new = self._new(manifest, str(actual), content)
        absent = await self._rows.put_manifest(repository, new, tags, caller, durable=self._durable)
        if absent:
            raise ManifestBlobUnknown(
                f"the manifest names {len(absent)} blob(s) that {repository} does not have: push them first,"
                f" {absent[0]} for one",
                {"digest": absent[0], "digests": absent[:100]},
            )
        return Pushed(str(actual), tuple(tags), manifest.subject)

    def _new(self, manifest: oci.Manifest, digest: str, content: bytes) -> NewManifest:
        blobs = [(manifest.config, "config")] if manifest.config else []
        blobs += [(layer, "layer") for layer in manifest.layers]
        required = () if self._accept_missing else tuple(blob for blob, _ in blobs if blob not in manifest.foreign)
        return NewManifest(
            digest=digest,
            media_type=manifest.media_type,
            content=content,
            artifact_type=manifest.artifact_type,
            annotations=manifest.annotations,
            subject=manifest.subject,
            kind=manifest.kind,
            required=tuple(dict.fromkeys(required)),
            references=tuple(dict.fromkeys([*blobs, *((child, "child") for child in manifest.children)])),
        )
