"""Lists of upstreams' repositories: the upstream's own where it answers, else what is stored here."""

import asyncio

import structlog

from entrepot.client.errors import RemoteError
from entrepot.client.remote import Listing
from entrepot.proxy.errors import ANSWER_SECONDS, check_allowed
from entrepot.proxy.sources import Sources
from entrepot.proxy.upstream import Place

_log = structlog.get_logger()


class ProxiedListings:
    """Asks upstreams for lists."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    async def ask(self, place: Place, path: str) -> Listing | None:
        """`tags/list` or `referrers/DIGEST`, with their parameters; None when the upstream does not give it. Denied."""
        check_allowed(place)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await self._sources.of(place).listing(place.path, path)
        except TimeoutError:
            _log.info("a list comes from what is stored", upstream=place.upstream.alias, reason="it is slow")
            return None
        except RemoteError as error:
            _log.info("a list comes from what is stored", upstream=place.upstream.alias, reason=error.message)
            return None
