"""Whose pulls are charged to nobody: of a repository, or of everything in a namespace. Administrators say so."""

from dataclasses import dataclass
from typing import Protocol

from entrepot.access.actor import Actor
from entrepot.access.caller import Caller, caller_of
from entrepot.access.decision import Action
from entrepot.access.rights import Rights
from entrepot.hub.errors import Forbidden, NotThere
from entrepot.hub.owners import permitted


@dataclass(frozen=True, slots=True)
class Exemption:
    """Whether pulls are charged to nobody: as it was said of the thing itself, and what comes of that."""

    pulls_exempt: bool
    in_effect: bool


class ExemptionRows(Protocol):
    """What exemptions need of the database."""

    async def of_repository(self, repository_id: int) -> Exemption:
        """Of a repository; its namespace's is in effect for it too."""
        ...

    async def of_namespace(self, namespace: str) -> Exemption | None:
        """Of an account or organization; None without either."""
        ...

    async def exempt_repository(self, flag: bool, caller: Caller) -> None:
        """Change it for what the caller's basis names; Taken when that has changed meanwhile."""
        ...

    async def exempt_namespace(self, namespace: str, flag: bool, caller: Caller) -> None:
        """Change it; NotThere."""
        ...


class Exemptions:
    """Shown to whoever may pull there, changed by administrators."""

    def __init__(self, rows: ExemptionRows, rights: Rights) -> None:
        self._rows = rows
        self._rights = rights

    async def of_repository(self, actor: Actor, name: str) -> Exemption:
        """Of a repository."""
        facts, _ = await permitted(self._rights, actor, Action.PULL, name)
        assert facts.repository_id is not None
        return await self._rows.of_repository(facts.repository_id)

    async def of_namespace(self, namespace: str) -> Exemption:
        """Of an account or organization; their names and plans are public too."""
        found = await self._rows.of_namespace(namespace)
        if found is None:
            raise NotThere(f"there is no account or organization {namespace[:60]!r}")
        return found

    async def exempt_repository(self, actor: Actor, name: str, flag: bool, address: str) -> Exemption:
        """Charge pulls of this repository to nobody, or to whoever pulls."""
        await permitted(self._rights, actor, Action.PULL, name)
        _administrator(actor)
        _, decision = await permitted(self._rights, actor, Action.OWN, name)
        await self._rows.exempt_repository(flag, caller_of(actor, address, Action.OWN, decision))
        return await self.of_repository(actor, name)

    async def exempt_namespace(self, actor: Actor, namespace: str, flag: bool, address: str) -> Exemption:
        """The same of everything in a namespace, whatever is pushed there later."""
        _administrator(actor)
        await self._rows.exempt_namespace(namespace, flag, caller_of(actor, address))
        return await self.of_namespace(namespace)


def _administrator(actor: Actor) -> None:
    if not actor.administers:
        raise Forbidden("exemptions are given by administrators who have logged in with a password")
