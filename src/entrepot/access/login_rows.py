"""What logging in needs to know of accounts and credentials."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class StoredIdentity:
    """A way for an account to prove itself: `secret` is the hash of its password, changed at `changed_at` (µs).

    Where it is kept in a file, `changed_at` is a negative number that changes with it.
    """

    id: int
    account_id: int
    name: str
    kind: str
    administrator: bool
    disabled: bool
    secret: str | None
    changed_at: int


@dataclass(frozen=True, slots=True)
class StoredCredential:
    """A token of an account. `ended`: it, what obtained it, or the account was revoked, disabled or deleted, or what
    obtained it has expired. `owner_id` is a robot's organization; `scopes` is JSON; `expires_at` is in µs."""

    id: int
    credential_kind: str
    hash: str
    scopes: str
    expires_at: int | None
    ended: bool
    account_id: int
    name: str
    kind: str
    administrator: bool
    owner_id: int | None


class LoginRows(Protocol):
    """Accounts and credentials as logging in sees them."""

    async def identity(self, name: str) -> StoredIdentity | None:
        """The password identity of the account of this name."""
        ...

    async def identity_by_account(self, account_id: int) -> StoredIdentity | None:
        """The same by the account's id."""
        ...

    async def credential(self, lookup: str) -> StoredCredential | None:
        """A token by what it is looked up by."""
        ...

    async def credential_by_id(self, credential_id: int) -> StoredCredential | None:
        """The same by its id."""
        ...

    def dummy(self, name: str) -> str | None:
        """A hash that no password has and that costs what one of this name would; None where all cost the same."""
        ...
