"""Grants: read, write or admin, to a person, a robot or a team, on a repository or on everything in a namespace."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from entrepot.access.actor import Actor, Role
from entrepot.access.caller import Caller, caller_of
from entrepot.access.decision import Action
from entrepot.access.names import namespace_of
from entrepot.access.rights import Rights
from entrepot.hub.errors import Invalid
from entrepot.hub.owners import owned, permitted
from entrepot.hub.words import one_of

ROLES = ("read", "write", "admin")
GRANTEES = ("person", "robot", "team")


@dataclass(frozen=True, slots=True)
class Target:
    """What a grant is on: a repository, or when that is None everything in the namespace."""

    namespace_id: int
    repository_id: int | None


@dataclass(frozen=True, slots=True)
class Grant:
    """A role of somebody: `kind` is person, robot or team, `name` the account's or the team's.

    `everywhere`: on the whole namespace; `created_at` in microseconds since 1970.
    """

    id: int
    kind: str
    name: str
    role: str
    everywhere: bool
    created_at: int


@dataclass(frozen=True, slots=True)
class Access:
    """Who has access to a repository, and why: owner, member, granted, granted on the namespace, visibility."""

    kind: str
    name: str
    role: str
    reason: str


class GrantRows(Protocol):
    """What grants need of the database."""

    async def grants(self, target: Target, after: int, limit: int) -> Sequence[Grant]:
        """A page of those on a repository or on its namespace (of a namespace, only these), by id after `after`."""
        ...

    async def set_grant(self, target: Target, kind: str, name: str, role: str, caller: Caller) -> Grant:
        """Give or change it. NotThere without such a grantee, in the namespace's organization for teams and robots."""
        ...

    async def remove_grant(self, target: Target, kind: str, name: str, caller: Caller) -> None:
        """NotThere when nothing is granted to them there."""
        ...


class Grants:
    """What administrators of repositories, and owners of namespaces, give to others."""

    def __init__(self, rows: GrantRows, rights: Rights) -> None:
        self._rows = rows
        self._rights = rights

    async def of_repository(self, actor: Actor, name: str, after: int, limit: int) -> Sequence[Grant]:
        """Who was granted something there, or on its namespace."""
        target, _ = await self._repository(actor, name, "")
        return await self._rows.grants(target, after, limit)

    async def of_namespace(self, actor: Actor, name: str, after: int, limit: int) -> Sequence[Grant]:
        """What was granted on everything in a namespace."""
        target, _ = await self._namespace(actor, name, "")
        return await self._rows.grants(target, after, limit)

    async def everybody(self, actor: Actor, name: str) -> Sequence[Access]:
        """Who has access without any grant, and why: the owners, the members, and those that the visibility lets in."""
        facts, _ = await permitted(self._rights, actor, Action.DELETE, name, archived_too=True)
        namespace = namespace_of(name)
        found = [Access("owners", namespace, Role.OWNER.word, "owners of the namespace")]
        if facts.namespace_kind == "organization" and facts.member_role != "none":
            found.append(Access("members", namespace, facts.member_role, "members of the organization"))
        if facts.visibility == "public":
            found.append(Access("everybody", "", Role.READ.word, "the repository is public"))
        if facts.visibility == "internal":
            found.append(Access("accounts", "", Role.READ.word, "the repository is internal: any login may read it"))
        return found

    async def set_on_repository(
        self, actor: Actor, name: str, kind: str, grantee: str, role: str, address: str
    ) -> Grant:
        """Give somebody a role in a repository; nobody gives more than they have."""
        target, caller = await self._repository(actor, name, address)
        return await self._set(target, kind, grantee, role, caller)

    async def set_on_namespace(
        self, actor: Actor, name: str, kind: str, grantee: str, role: str, address: str
    ) -> Grant:
        """Give somebody a role in every repository of a namespace, also in those to come."""
        target, caller = await self._namespace(actor, name, address)
        return await self._set(target, kind, grantee, role, caller)

    async def remove_from_repository(self, actor: Actor, name: str, kind: str, grantee: str, address: str) -> None:
        """Take what was granted on the repository itself."""
        target, caller = await self._repository(actor, name, address)
        await self._rows.remove_grant(target, one_kind(kind), grantee, caller)

    async def remove_from_namespace(self, actor: Actor, name: str, kind: str, grantee: str, address: str) -> None:
        """Take what was granted on the namespace; grants on its repositories stay."""
        target, caller = await self._namespace(actor, name, address)
        await self._rows.remove_grant(target, one_kind(kind), grantee, caller)

    async def _set(self, target: Target, kind: str, grantee: str, role: str, caller: Caller) -> Grant:
        one_of(role, ROLES, "role")
        return await self._rows.set_grant(target, one_kind(kind), grantee, role, caller)

    async def _repository(self, actor: Actor, name: str, address: str) -> tuple[Target, Caller]:
        facts, decision = await permitted(self._rights, actor, Action.DELETE, name, archived_too=True)
        assert facts.namespace_id is not None
        caller = caller_of(actor, address, Action.DELETE, decision)
        return Target(facts.namespace_id, facts.repository_id), caller

    async def _namespace(self, actor: Actor, name: str, address: str) -> tuple[Target, Caller]:
        facts, caller = await owned(self._rights, actor, name, address, organization=False, by_person=True)
        assert facts.namespace_id is not None
        return Target(facts.namespace_id, None), caller


def one_kind(kind: str) -> str:
    """The kind of a grantee; Invalid for any other word."""
    if kind not in GRANTEES:
        raise Invalid(f"a grant is for one of {', '.join(GRANTEES)}; {kind[:40]!r} is not", "kind")
    return kind
