"""Invitations: a secret by which somebody makes an account, and perhaps joins an organization with it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from entrepot.access.actor import Actor
from entrepot.access.caller import Caller, caller_of
from entrepot.access.credentials import NewSecret, Secrets, lookup_of
from entrepot.access.rights import Rights
from entrepot.hub.accounts import Account, Accounts, NewAccount
from entrepot.hub.errors import Forbidden, NotThere
from entrepot.hub.organizations import MEMBERSHIPS
from entrepot.hub.owners import owned
from entrepot.hub.words import one_of, text_within

LIFETIME = 7 * 86400 * 1_000_000
"""Microseconds that an invitation holds."""

_NOTE_MAX = 200  # characters
_ENDED = "the invitation is unknown, used, withdrawn or expired: ask for another"


@dataclass(frozen=True, slots=True)
class Invitation:
    """An invitation without its secret; times in microseconds since 1970. `used_by` is the account it became."""

    id: int
    organization: str | None
    role: str
    note: str
    created_at: int
    expires_at: int
    used_at: int | None
    used_by: str | None
    revoked_at: int | None


@dataclass(frozen=True, slots=True)
class NewInvitation:
    """An invitation that is to be."""

    secret: NewSecret
    organization_id: int | None
    role: str
    note: str


class InvitationRows(Protocol):
    """What invitations need of the database."""

    async def add_invitation(self, new: NewInvitation, lifetime: int, caller: Caller) -> Invitation:
        """A new one."""
        ...

    async def invitations(self, creator_id: int, after: int, limit: int) -> Sequence[Invitation]:
        """Those that an account has made, by id."""
        ...

    async def withdraw(self, creator_id: int, invitation_id: int, caller: Caller) -> bool:
        """End one that was not used; False when there is none."""
        ...

    async def proof(self, lookup: str) -> str | None:
        """The hash of the secret of an invitation that still holds."""
        ...

    async def accept(self, lookup: str, new: NewAccount, caller: Caller) -> Account | None:
        """Use it up, make the account, and let it in: all or nothing. None when somebody else was first."""
        ...


class Invitations:
    """What people do with invitations."""

    def __init__(self, rows: InvitationRows, accounts: Accounts, rights: Rights, secrets: Secrets) -> None:
        self._rows = rows
        self._accounts = accounts
        self._rights = rights
        self._secrets = secrets

    async def create(
        self, actor: Actor, organization: str | None, role: str, note: str, address: str
    ) -> tuple[Invitation, str]:
        """An invitation and its secret: by an administrator, or into an organization by one of its owners."""
        one_of(role, MEMBERSHIPS, "role")
        text_within(note, _NOTE_MAX, "note")
        if organization is not None:
            facts, caller = await owned(self._rights, actor, organization, address, by_person=True)
            organization_id = facts.namespace_id
        elif actor.administrator and actor.by_password:
            organization_id, caller = None, caller_of(actor, address)
        else:
            raise Forbidden("name an organization that is yours; others are invited by administrators")
        secret = self._secrets.make("invitation")
        made = await self._rows.add_invitation(NewInvitation(secret, organization_id, role, note), LIFETIME, caller)
        return made, secret.text

    async def list(self, actor: Actor, after: int, limit: int) -> Sequence[Invitation]:
        """Those that the actor has made."""
        return await self._rows.invitations(_person(actor), after, limit)

    async def withdraw(self, actor: Actor, invitation_id: int, address: str) -> None:
        """End one that was not used."""
        if not await self._rows.withdraw(_person(actor), invitation_id, caller_of(actor, address)):
            raise NotThere("there is no such invitation of yours that was not used")

    async def accept(self, secret: str, name: str, password: str, email: str | None, address: str) -> Account:
        """Make the account that was invited, whether signing up is open or not."""
        lookup = lookup_of(secret)
        proof = None if lookup is None else await self._rows.proof(lookup)
        if lookup is None or proof is None or not self._secrets.matches(secret, proof):
            raise Forbidden(_ENDED)
        new = await self._accounts.new(name, password, "", email)
        made = await self._rows.accept(lookup, new, Caller(address=address))
        if made is None:
            raise Forbidden(_ENDED)
        return made


def _person(actor: Actor) -> int:
    if actor.account_id is None or not actor.by_password:
        raise Forbidden("log in with a password: invitations are people's")
    return actor.account_id
