"""Lists of upstreams' repositories: the upstream's own where it answers, else what is stored here."""

import asyncio
import json
from typing import Any, NamedTuple
from urllib.parse import urlencode

import structlog

from entrepot.access.grant import Grant
from entrepot.client.errors import RemoteAbsent, RemoteError, RemoteSilent, RemoteUnusable
from entrepot.client.remote import Listing
from entrepot.oci.digest import Digest
from entrepot.proxy.errors import ANSWER_SECONDS, as_answer, check_allowed
from entrepot.proxy.manifests import ProxiedManifests
from entrepot.proxy.sources import Sources
from entrepot.proxy.upstream import Place
from entrepot.registry.errors import RegistryError, Unauthorized

_PAGES = 100  # of an upstream's list that are put into one answer
_BYTES = 3 * 1024 * 1024  # of these pages: an answer stays below the 4 MiB that clients read
_log = structlog.get_logger()

Descriptors = list[dict[str, Any]]


class ProxiedReferrers(NamedTuple):
    """Descriptors, and the query that asks the upstream for the rest of them, None at the end."""

    descriptors: Descriptors
    next_query: str | None


class Tags(NamedTuple):
    """Tags of a page of an upstream, and whether more follow."""

    tags: list[str]
    more: bool


class ProxiedListings:
    """Asks upstreams for lists."""

    def __init__(self, sources: Sources, manifests: ProxiedManifests) -> None:
        self._sources = sources
        self._manifests = manifests

    async def tags(self, place: Place, query: str) -> Tags | RegistryError:
        """A page of `tags/list`, or why the upstream does not give it. Denied."""
        check_allowed(place)
        try:
            page = await self._page(place, "tags/list", query, _deadline())
            tags = _tags_in(page.content)
            if tags is None:
                raise _no_list(place)
        except RemoteError as error:
            return _not_given(place, error)
        return Tags(tags, page.next_query is not None)

    async def referrers(
        self, name: str, place: Place, subject: Digest, artifact_type: str | None, grant: Grant
    ) -> ProxiedReferrers | RegistryError:
        """What refers to a subject, of this type only when there is one, or why the upstream does not say it. Where it
        has no such list, what clients keep under a tag for that is read (distribution-spec, "Referrers Tag Schema"):
        ManifestUnknown when there is no such tag either.
        """
        check_allowed(place)
        query = urlencode({"artifactType": artifact_type}) if artifact_type else ""
        try:
            return await self._referrers(place, subject, query, artifact_type)
        except RemoteAbsent:
            return await self._by_tag(name, place, subject, artifact_type, grant)
        except RemoteError as error:
            return _not_given(place, error)

    async def more_referrers(
        self, place: Place, subject: Digest, query: str, artifact_type: str | None
    ) -> ProxiedReferrers:
        """The rest, by the `next_query` of what came before. RegistryError: nothing stored can take its place."""
        check_allowed(place)
        try:
            return await self._referrers(place, subject, query, artifact_type)
        except RemoteError as error:
            raise as_answer(error) from error

    async def stored_by_tag(self, name: str, subject: Digest, artifact_type: str | None) -> Descriptors:
        """What is stored of the tag that clients keep for such a list; whoever asks must be allowed to have it."""
        stored = await self._manifests.stored(name, _tag_of(subject))
        return _of_type(_descriptors_in(stored.content) or [], artifact_type) if stored is not None else []

    async def _referrers(
        self, place: Place, subject: Digest, query: str, artifact_type: str | None
    ) -> ProxiedReferrers:
        """The page of this query and those that follow, as many as are one answer. A page that cannot be had is an
        error when it is the first; later it is the rest."""
        found: Descriptors = []
        size, rest, until = 0, query, _deadline()
        for number in range(_PAGES):
            try:
                page = await self._page(place, f"referrers/{subject}", rest, until)
                descriptors = _descriptors_in(page.content)
                if descriptors is None:
                    raise _no_list(place)
            except RemoteError:
                if not number:
                    raise
                break
            size += len(page.content)
            if number and size > _BYTES:
                break
            found += descriptors if "artifactType" in page.filters else _of_type(descriptors, artifact_type)
            if page.next_query is None or page.next_query == rest:
                return ProxiedReferrers(found, None)
            rest = page.next_query
        return ProxiedReferrers(found, rest)

    async def _by_tag(
        self, name: str, place: Place, subject: Digest, artifact_type: str | None, grant: Grant
    ) -> ProxiedReferrers | RegistryError:
        try:
            stored = await self._manifests.find(name, _tag_of(subject), place, grant)
        except Unauthorized:
            raise
        except RegistryError as error:
            return error
        descriptors = _descriptors_in(stored.content)
        return ProxiedReferrers(_of_type(descriptors or [], artifact_type), None)

    async def _page(self, place: Place, path: str, query: str, until: float) -> Listing:
        try:
            async with asyncio.timeout_at(until):
                return await self._sources.of(place).listing(place.path, f"{path}?{query}" if query else path)
        except TimeoutError:
            alias = place.upstream.alias
            raise RemoteSilent(f"{alias} did not answer within {ANSWER_SECONDS:.0f} seconds") from None


def _tag_of(subject: Digest) -> str:
    return f"{subject.algorithm}-{subject.encoded[:64]}"


def _deadline() -> float:
    return asyncio.get_running_loop().time() + ANSWER_SECONDS


def _not_given(place: Place, error: RemoteError) -> RegistryError:
    _log.info("a list comes from what is stored", upstream=place.upstream.alias, reason=error.message)
    return as_answer(error)


def _no_list(place: Place) -> RemoteUnusable:
    return RemoteUnusable(f"{place.upstream.alias} answers with what is no list")


def _tags_in(content: bytes) -> list[str] | None:
    """The tags of another registry's page; None when it is none."""
    try:
        tags = json.loads(content).get("tags") or []
    except (ValueError, AttributeError, RecursionError):
        return None
    return tags if isinstance(tags, list) and all(isinstance(tag, str) for tag in tags) else None


def _descriptors_in(content: bytes) -> Descriptors | None:
    """Those of a list of referrers, whatever type it was sent with (Harbor has once said another); None for anything
    else."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return None
    found = document.get("manifests") if isinstance(document, dict) else None
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else None


def _of_type(descriptors: Descriptors, artifact_type: str | None) -> Descriptors:
    return [each for each in descriptors if artifact_type is None or each.get("artifactType") == artifact_type]
