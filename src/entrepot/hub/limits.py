"""What a caller has left: of the pull limit, and of a namespace's storage."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from entrepot.access.actor import Actor, Role
from entrepot.access.limits import Limits
from entrepot.access.pulls import PullCounter
from entrepot.access.rights import Rights
from entrepot.access.throttling import subject_address
from entrepot.hub.errors import NotThere
from entrepot.hub.usage import Puller, Usage

_NAMED = 20  # of those who used it most


@dataclass(frozen=True, slots=True)
class LimitView:
    """A pull limit: `limit` and `remaining` are None when there is none; `next_free_in` is in seconds, 0 while some
    are left. `subject` is whom pulls are charged to: an address, or an account's id. `used_by`: who pulled most."""

    subject: str
    limit: int | None
    window: int
    remaining: int | None
    next_free_in: int
    used_by: Sequence[Puller]


@dataclass(frozen=True, slots=True)
class StorageView:
    """What a namespace stores in bytes; `limit` is None when its plan has none.

    `undoable` is what only deleted images hold, while their deletion can be undone.
    """

    used: int
    images: int
    undoable: int
    loose: int
    uploads: int
    limit: int | None


class StorageRows(Protocol):
    """What the database knows of storage."""

    async def storage(self, namespace_id: int) -> StorageView:
        """What a namespace stores."""
        ...


class LimitViews:
    """Shows limits to those whom they are for."""

    def __init__(
        self, limits: Limits, counter: PullCounter, usage: Usage, storage: StorageRows, rights: Rights
    ) -> None:
        self._limits = limits
        self._counter = counter
        self._usage = usage
        self._storage = storage
        self._rights = rights

    async def pulls(self, actor: Actor, address: str) -> LimitView:
        """The caller's own: of the account that pays, or of the address. An unlimited one is only said to be so.

        A token that is bound to some repositories is not told who else has used it.
        """
        limit, window = await self._limits.of(actor), self._limits.window
        source = subject_address(address) if actor.payer_id is None else str(actor.payer_id)
        if limit is None:
            return LimitView(source, None, window, None, 0, [])
        kind = "address" if actor.payer_id is None else "account"
        spent = await self._counter.look(f"{kind}:{source}", limit)
        if not actor.scopes.everywhere:
            used_by: Sequence[Puller] = []
        elif actor.payer_id is None:
            used_by = await self._usage.top_of_address(source, window, _NAMED)
        else:
            used_by = await self._usage.top_of_account(actor.payer_id, window, _NAMED)
        return LimitView(source, limit.limit, window, spent.remaining, spent.retry_after, used_by)

    async def storage(self, actor: Actor, namespace: str) -> StorageView:
        """What a namespace stores, for its owners: sizes tell of private repositories."""
        role, facts = await self._rights.namespace(actor, namespace)
        if facts.namespace_id is None or role < Role.OWNER:
            raise NotThere(f"there is no account or organization {namespace[:60]!r} that is yours")
        return await self._storage.storage(facts.namespace_id)
