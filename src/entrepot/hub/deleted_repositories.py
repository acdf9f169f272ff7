"""Repositories that were deleted and can still come back, with everything that is in them."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from entrepot.access.actor import Actor
from entrepot.access.caller import Caller, caller_of
from entrepot.access.names import namespace_of
from entrepot.access.rights import Rights
from entrepot.hub.errors import Invalid
from entrepot.hub.owners import owned
from entrepot.oci.reference import InvalidName, check_name


class DeletedRepository(NamedTuple):
    """A repository that was deleted under this name; times in microseconds since 1970."""

    id: int
    name: str
    deleted_at: int
    until: int


class DeletedRepositoryRows(Protocol):
    """What this needs of the database; the namespace is None, which is all of them, where there are no accounts."""

    async def waiting(self, namespace_id: int | None, after: int, limit: int) -> Sequence[DeletedRepository]:
        """Those of a namespace that can still come back, by id."""
        ...

    async def restore(self, namespace_id: int | None, identity: int, name: str | None, caller: Caller) -> str:
        """Bring one back under this name, or its own; the name. NotThere, LimitReached; Taken names a free one."""
        ...


class DeletedRepositories:
    """What owners of a namespace have deleted."""

    def __init__(self, rows: DeletedRepositoryRows, rights: Rights) -> None:
        self._rows = rows
        self._rights = rights

    async def list(self, actor: Actor, namespace: str, after: int, limit: int) -> Sequence[DeletedRepository]:
        """A page of them."""
        where, _ = await self._place(actor, namespace, "")
        return await self._rows.waiting(where, after, limit)

    async def restore(self, actor: Actor, namespace: str, identity: int, name: str | None, address: str) -> str:
        """Bring one back with its tags and images; what was granted on it, and its stars, ended with it."""
        where, caller = await self._place(actor, namespace, address)
        if name is not None:
            try:
                check_name(name)
            except InvalidName as refusal:
                raise Invalid(str(refusal), "name") from None
            if namespace and namespace_of(name) != namespace:
                raise Invalid(f"it stays in {namespace}: the name begins with {namespace}/", "name")
        return await self._rows.restore(where, identity, name, caller)

    async def _place(self, actor: Actor, namespace: str, address: str) -> tuple[int | None, Caller]:
        if actor.everybody:
            return None, caller_of(actor, address)
        facts, caller = await owned(self._rights, actor, namespace, address, organization=False)
        return facts.namespace_id, caller
