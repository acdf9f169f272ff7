"""Refresh tokens: what `docker login` keeps instead of a password (protocol.md §2.2, §3.3).

A refresh token belongs to the credential that obtained it, is never wider, and ends with it. Clients keep it for ever
and share it between machines, so it is not rotated: one per credential and client, the same each time it is asked for.
"""

from typing import Protocol

from entrepot.access.actor import Actor
from entrepot.access.caller import Caller, caller_of
from entrepot.access.credentials import Secrets
from entrepot.access.login import write_scopes


class RefreshRows(Protocol):
    """Where refresh tokens are kept."""

    async def refresh_lookup(
        self, account_id: int, parent_id: int | None, client: str, scopes: str, fresh: tuple[str, str], caller: Caller
    ) -> str:
        """The lookup of the live refresh token of this credential and client.

        When there is none, one is made of `fresh`: a new lookup and the hash of what it proves. LoginRefused when the
        password or the credential has ended meanwhile.
        """
        ...


class RefreshTokens:
    """Hands out refresh tokens."""

    def __init__(self, rows: RefreshRows, secrets: Secrets) -> None:
        self._rows = rows
        self._secrets = secrets

    async def obtain(self, actor: Actor, client: str, service: str, address: str) -> str:
        """The refresh token of this actor's credential for this client."""
        assert actor.account_id is not None
        fresh = self._secrets.derived("refresh", self._secrets.make("refresh").lookup)
        lookup = await self._rows.refresh_lookup(
            actor.account_id,
            actor.credential_id,
            f"{client} {service}".strip(),
            write_scopes(actor.scopes),
            (fresh.lookup, fresh.hash),
            caller_of(actor, address),
        )
        return self._secrets.derived("refresh", lookup).text
