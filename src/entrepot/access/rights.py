"""Looking up what the one decision needs, and asking it."""

from collections.abc import Sequence
from typing import Protocol

from entrepot.access.actor import Actor, Role
from entrepot.access.decision import Action, Decision, Facts, decide, role_in


class RightsRows(Protocol):
    """What the database knows of rights."""

    async def facts(self, account_id: int | None, name: str) -> Facts:
        """Of an account (None: nobody) and the repository of this name, in one look-up."""
        ...

    async def namespace_facts(self, account_id: int | None, namespace: str) -> Facts:
        """The same of a namespace alone; `name` is the namespace's."""
        ...

    async def visible(
        self, actor: Actor, after: str, limit: int, *, only: str = "", holding: bool = False
    ) -> Sequence[str]:
        """Up to `limit` names, in byte order after `after`, of what the actor may pull.

        `only`: of one namespace; `holding`: of those that something was pushed to.
        """
        ...


class Rights:
    """The decision over what is stored."""

    def __init__(self, rows: RightsRows) -> None:
        self._rows = rows

    async def decide(self, actor: Actor, action: Action, name: str) -> Decision:
        """Whether the actor may do this to the repository of this name, now."""
        return decide(actor, action, await self._rows.facts(actor.account_id, name))

    async def decide_all(self, actor: Actor, actions: Sequence[Action], name: str) -> dict[Action, Decision]:
        """The same for several actions, by one look-up."""
        facts = await self._rows.facts(actor.account_id, name)
        return {action: decide(actor, action, facts) for action in actions}

    async def facts(self, actor: Actor, name: str) -> Facts:
        """What is known of a repository and the actor's account."""
        return await self._rows.facts(actor.account_id, name)

    async def namespace(self, actor: Actor, namespace: str) -> tuple[Role, Facts]:
        """The actor's role in a namespace as such (OWNER for its owners and administrators), and the facts."""
        facts = await self._rows.namespace_facts(actor.account_id, namespace)
        return role_in(actor, facts)[0] if facts.namespace_id is not None else Role.NONE, facts

    async def visible(
        self, actor: Actor, after: str, limit: int, *, only: str = "", holding: bool = False
    ) -> list[str]:
        """Names of repositories that the actor may pull, in byte order; see the port."""
        return list(await self._rows.visible(actor, after, limit, only=only, holding=holding))
