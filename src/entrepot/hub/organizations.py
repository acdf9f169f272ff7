"""Organizations, their settings and members; and the settings that every namespace has."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from entrepot.access.actor import Actor
from entrepot.access.caller import Caller, caller_of
from entrepot.access.names import LIBRARY, InvalidAccountName, check_account_name
from entrepot.access.rights import Rights
from entrepot.hub.errors import Forbidden, Invalid, NotThere
from entrepot.hub.owners import NO_TOKENS, owned, seen_inside
from entrepot.hub.words import one_of, text_within

CREATION = ("members", "owners")
VISIBILITIES = ("public", "internal", "private")
MEMBER_ROLES = ("none", "read", "write")
MEMBERSHIPS = ("owner", "member")
FULL_NAME_MAX = 200  # characters


@dataclass(frozen=True, slots=True)
class Namespace:
    """An account or an organization as the owner of repositories; `created_at` in microseconds since 1970.

    `kind` is person or organization. `creation`: who may create repositories, members or owners. `member_role`: what
    every member may do in every repository: none, read, write.
    """

    id: int
    name: str
    kind: str
    full_name: str
    creation: str
    default_visibility: str
    member_role: str
    plan: str
    created_at: int


@dataclass(frozen=True, slots=True)
class Settings:
    """What is to be changed of a namespace; None leaves it."""

    full_name: str | None = None
    creation: str | None = None
    default_visibility: str | None = None
    member_role: str | None = None


@dataclass(frozen=True, slots=True)
class Member:
    """A person in an organization: `role` is owner or member; `created_at` in microseconds since 1970."""

    name: str
    full_name: str
    role: str
    created_at: int


class OrganizationRows(Protocol):
    """What organizations need of the database. Pages are in byte order of names, after `after`."""

    async def namespace(self, name: str) -> Namespace | None:
        """An account or organization that is not deleted."""
        ...

    async def organizations(self, member_id: int | None, after: str, limit: int) -> Sequence[Namespace]:
        """Those that an account is a member of; all for None."""
        ...

    async def add_organization(
        self, name: str, name_key: str, full_name: str, owner_id: int, caller: Caller
    ) -> Namespace:
        """A new one with its first owner; Taken when the name is or was somebody's."""
        ...

    async def change_namespace(self, namespace_id: int, settings: Settings, caller: Caller) -> None:
        """Change what is given."""
        ...

    async def remove_organization(self, organization_id: int, name_key: str, caller: Caller) -> None:
        """End it with its teams, robots and grants; Taken while it has repositories. Its name is never given again."""
        ...

    async def members(self, organization_id: int, after: str, limit: int) -> Sequence[Member]:
        """A page of its members."""
        ...

    async def set_member(self, organization_id: int, name: str, role: str, caller: Caller) -> Member:
        """Add a person or change the role; NotThere without such a person, Taken for the last owner."""
        ...

    async def remove_member(self, organization_id: int, name: str, caller: Caller) -> None:
        """With its teams and grants there; NotThere for no member, Taken for the last owner."""
        ...


class Organizations:
    """What people do with organizations. `name_key` gives the keyed hash under which deleted names are kept."""

    def __init__(self, rows: OrganizationRows, rights: Rights, name_key: Callable[[str], str]) -> None:
        self._rows = rows
        self._rights = rights
        self._name_key = name_key

    async def namespace(self, name: str) -> Namespace:
        """An account or organization; names of both are public."""
        found = await self._rows.namespace(name)
        if found is None:
            raise NotThere(f"there is no account or organization {name!r}")
        return found

    async def get(self, name: str) -> Namespace:
        """An organization."""
        found = await self._rows.namespace(name)
        if found is None or found.kind != "organization":
            raise NotThere(f"there is no organization {name!r}")
        return found

    async def mine(self, actor: Actor, after: str, limit: int) -> Sequence[Namespace]:
        """The organizations that the actor is a member of; every one for administrators."""
        if actor.account_id is None:
            return []
        return await self._rows.organizations(None if actor.administrator else actor.account_id, after, limit)

    async def create(self, actor: Actor, name: str, full_name: str, address: str) -> Namespace:
        """A new organization, owned by the person who asks."""
        if actor.account_id is None or actor.kind != "person" or not actor.by_password:
            raise Forbidden(f"organizations are made by people: {NO_TOKENS}")
        try:
            check_account_name(name)
        except InvalidAccountName as refusal:
            raise Invalid(str(refusal), "name") from None
        text_within(full_name, FULL_NAME_MAX, "full_name")
        caller = caller_of(actor, address)
        return await self._rows.add_organization(name, self._name_key(name), full_name, actor.account_id, caller)

    async def change(self, actor: Actor, name: str, settings: Settings, address: str) -> Namespace:
        """Change the settings of an organization, or those that a person's own namespace has."""
        namespace, caller = await owned(self._rights, actor, name, address, organization=False)
        text_within(settings.full_name, FULL_NAME_MAX, "full_name")
        one_of(settings.creation, CREATION, "creation")
        one_of(settings.default_visibility, VISIBILITIES, "default_visibility")
        one_of(settings.member_role, MEMBER_ROLES, "member_role")
        if namespace.namespace_kind != "organization" and (settings.creation or settings.member_role):
            raise Invalid("only organizations have members: a person's namespace has no such setting", "creation")
        assert namespace.namespace_id is not None
        await self._rows.change_namespace(namespace.namespace_id, settings, caller)
        return await self.namespace(name)

    async def delete(self, actor: Actor, name: str, address: str) -> None:
        """End an organization that has no repositories."""
        namespace, caller = await owned(self._rights, actor, name, address, by_person=True)
        if name == LIBRARY:
            raise Forbidden("the organization library belongs to the installation and stays")
        assert namespace.namespace_id is not None
        await self._rows.remove_organization(namespace.namespace_id, self._name_key(name), caller)

    async def members(self, actor: Actor, name: str, after: str, limit: int) -> Sequence[Member]:
        """Who is in it; told to members."""
        return await self._rows.members(await seen_inside(self._rights, actor, name), after, limit)

    async def set_member(self, actor: Actor, name: str, member: str, role: str, address: str) -> Member:
        """Add a person, or change the role of one."""
        namespace, caller = await owned(self._rights, actor, name, address, by_person=True)
        one_of(role, MEMBERSHIPS, "role")
        assert namespace.namespace_id is not None
        return await self._rows.set_member(namespace.namespace_id, member, role, caller)

    async def remove_member(self, actor: Actor, name: str, member: str, address: str) -> None:
        """Remove a person; everybody may leave by themselves."""
        if member == actor.name and actor.kind == "person" and actor.by_password:
            organization_id = await seen_inside(self._rights, actor, name)
            await self._rows.remove_member(organization_id, member, caller_of(actor, address))
            return
        namespace, caller = await owned(self._rights, actor, name, address, by_person=True)
        assert namespace.namespace_id is not None
        await self._rows.remove_member(namespace.namespace_id, member, caller)
