"""Repositories as people see them: what they are called, who sees them, what they are about."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from entrepot.access.actor import Actor, Basis, Role
from entrepot.access.caller import Caller, caller_of
from entrepot.access.decision import Action, Decision, Facts, may_create, role_in
from entrepot.access.names import namespace_of
from entrepot.access.rights import Rights
from entrepot.hub.errors import Forbidden, Invalid, NotThere, ReadThrough, Taken
from entrepot.hub.organizations import VISIBILITIES
from entrepot.hub.owners import no_repository, owned, permitted
from entrepot.hub.words import one_of, text_within
from entrepot.oci.reference import InvalidName, check_name

DESCRIPTION_MAX = 200  # characters: a line in a list (100 at Docker Hub)
README_MAX = 25_000  # characters (Docker Hub: 25,000)


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository; times in microseconds since 1970, `archived_at` None for one that is in use."""

    id: int
    name: str
    visibility: str
    description: str
    stars: int
    created_at: int
    archived_at: int | None


@dataclass(frozen=True, slots=True)
class Description:
    """What a repository is about; in a change, None leaves it as it is."""

    description: str | None = None
    readme: str | None = None


class HubRepositoryRows(Protocol):
    """What this needs of the database.

    A method with a caller acts on what its basis names; Taken when that has changed meanwhile.
    """

    async def repositories(self, names: Sequence[str]) -> Sequence[Repository]:
        """Those of these names that exist, in byte order."""
        ...

    async def readme(self, repository_id: int) -> str:
        """Its README, empty for none."""
        ...

    async def create_repository(self, name: str, description: Description, caller: Caller) -> None:
        """Make it with the visibility of the basis. Taken, LimitReached."""
        ...

    async def describe(self, description: Description, caller: Caller) -> None:
        """Change what it is about."""
        ...

    async def set_visibility(self, visibility: str, caller: Caller) -> None:
        """Show it to more or fewer: to fewer ends the rights that were handed out. LimitReached."""
        ...

    async def set_archived(self, archived: bool, caller: Caller) -> None:
        """Make it read-only, or not."""
        ...

    async def rename(self, name: str, namespace_id: int, caller: Caller) -> None:
        """Rename it, into this namespace when that is another one: then its grants end. Taken, LimitReached."""
        ...

    async def delete(self, caller: Caller) -> None:
        """Take its name, and end its uploads, grants and stars; its tags and manifests wait for an undo."""
        ...

    async def set_star(self, repository_id: int, account_id: int, starred: bool) -> None:
        """Give or take an account's star; nothing when it is so already. NotThere."""
        ...

    async def starred(self, repository_id: int, account_id: int) -> bool:
        """Whether the account has starred it."""
        ...


class Repositories:
    """What people do with repositories besides pushing and pulling."""

    def __init__(self, rows: HubRepositoryRows, rights: Rights) -> None:
        self._rows = rows
        self._rights = rights

    async def list(self, actor: Actor, after: str, limit: int, namespace: str = "") -> Sequence[Repository]:
        """A page of what the actor may see, of one namespace or of all, in byte order of names."""
        names = await self._rights.visible(actor, after, limit, only=namespace)
        return await self._rows.repositories(names)

    async def get(self, actor: Actor, name: str) -> Repository:
        """One repository."""
        await permitted(self._rights, actor, Action.PULL, name)
        return await self._one(name)

    async def readme(self, actor: Actor, name: str) -> str:
        """Its README as it was written: Markdown."""
        facts, _ = await permitted(self._rights, actor, Action.PULL, name)
        assert facts.repository_id is not None
        return await self._rows.readme(facts.repository_id)

    async def role(self, actor: Actor, name: str) -> Role:
        """What the actor is in it."""
        facts, _ = await permitted(self._rights, actor, Action.PULL, name)
        return role_in(actor, facts)[0]

    async def create(
        self, actor: Actor, name: str, visibility: str | None, description: Description, address: str
    ) -> Repository:
        """A new, empty repository; without a visibility, the namespace's default."""
        facts = await self._free_name(actor, name)
        one_of(visibility, VISIBILITIES, "visibility")
        _check(description)
        assert facts.namespace_id is not None
        basis = Basis(facts.namespace_id, None, 0, visibility or facts.default_visibility)
        decision = Decision(True, True, may_create(actor, facts)[1], basis)
        await self._rows.create_repository(name, description, caller_of(actor, address, Action.PUSH, decision))
        return await self._one(name)

    async def describe(self, actor: Actor, name: str, description: Description, address: str) -> None:
        """Another description or README: whoever may push may say what it is."""
        _, decision = await permitted(self._rights, actor, Action.PUSH, name)
        _check(description)
        await self._rows.describe(description, caller_of(actor, address, Action.PUSH, decision))

    async def set_visibility(self, actor: Actor, name: str, visibility: str, address: str) -> None:
        """Public, internal or private."""
        one_of(visibility, VISIBILITIES, "visibility")
        await self._rows.set_visibility(visibility, await self._administrator(actor, name, address))

    async def set_archived(self, actor: Actor, name: str, archived: bool, address: str) -> None:
        """Read-only, or in use again."""
        await self._rows.set_archived(archived, await self._administrator(actor, name, address))

    async def rename(self, actor: Actor, name: str, new: str, address: str) -> Repository:
        """Another name in the same namespace; the old one answers as absent and stays the owner's for 30 days."""
        facts, decision = await permitted(self._rights, actor, Action.DELETE, name)
        _check_name(new)
        if namespace_of(new) != namespace_of(name):
            raise Invalid("a rename stays in its namespace: transfer it to another one", "name")
        if new == name:
            return await self._one(name)
        there = await self._rights.facts(actor, new)
        owner = role_in(actor, replace(there, repository_id=None, visibility=""))[0] >= Role.OWNER
        if there.repository_id is not None or (there.former and not owner):
            raise _taken(new)
        assert facts.namespace_id is not None
        await self._rows.rename(new, facts.namespace_id, caller_of(actor, address, Action.DELETE, decision))
        return await self._one(new)

    async def transfer(self, actor: Actor, name: str, namespace: str, address: str) -> Repository:
        """Into another namespace of the same owner; what was granted on it ends, as others own it now."""
        facts, decision = await permitted(self._rights, actor, Action.OWN, name)
        there, _ = await owned(self._rights, actor, namespace, address, organization=False)
        assert there.namespace_id is not None
        if there.namespace_id == facts.namespace_id:
            raise Invalid(f"{name} is in {namespace} already", "namespace")
        new = f"{namespace}/{name.partition('/')[2] or name}"
        _check_name(new)
        if (await self._rights.facts(actor, new)).repository_id is not None:
            raise _taken(new)
        await self._rows.rename(new, there.namespace_id, caller_of(actor, address, Action.OWN, decision))
        return await self._one(new)

    async def delete(self, actor: Actor, name: str, address: str) -> None:
        """End it with everything in it."""
        await self._rows.delete(await self._administrator(actor, name, address))

    async def set_star(self, actor: Actor, name: str, starred: bool) -> None:
        """Give or take the actor's star."""
        facts, _ = await permitted(self._rights, actor, Action.PULL, name)
        if actor.account_id is None or actor.kind != "person":
            raise Forbidden("stars are given by people: log in as one")
        assert facts.repository_id is not None
        await self._rows.set_star(facts.repository_id, actor.account_id, starred)

    async def starred(self, actor: Actor, name: str) -> bool:
        """Whether the actor has starred it."""
        facts, _ = await permitted(self._rights, actor, Action.PULL, name)
        if actor.account_id is None or facts.repository_id is None:
            return False
        return await self._rows.starred(facts.repository_id, actor.account_id)

    async def _administrator(self, actor: Actor, name: str, address: str) -> Caller:
        _, decision = await permitted(self._rights, actor, Action.DELETE, name, archived_too=True)
        return caller_of(actor, address, Action.DELETE, decision)

    async def _free_name(self, actor: Actor, name: str) -> Facts:
        """The facts of a name that the actor may give to a new repository.

        Whoever may not create there is told so before it is looked whether there is one.
        """
        _check_name(name)
        facts = await self._rights.facts(actor, name)
        if facts.upstream:
            raise ReadThrough(f"{namespace_of(name)} is another registry that is read through this one", "name")
        if facts.namespace_id is None:
            raise NotThere(f"there is no account or organization {namespace_of(name)!r}", "name")
        may, reason = may_create(actor, facts)
        if not may:
            raise Forbidden(f"{name}: {reason}")
        if facts.repository_id is not None:
            raise _taken(name)
        return facts

    async def _one(self, name: str) -> Repository:
        found = await self._rows.repositories([name])
        if not found:
            raise no_repository(name)
        return found[0]


def _taken(name: str) -> Taken:
    return Taken(f"the name {name!r} is taken, or was until less than 30 days ago: choose another", "name")


def _check_name(name: str) -> None:
    try:
        check_name(name)
    except InvalidName as refusal:
        raise Invalid(str(refusal), "name") from None


def _check(description: Description) -> None:
    text_within(description.description, DESCRIPTION_MAX, "description")
    text_within(description.readme, README_MAX, "readme")
