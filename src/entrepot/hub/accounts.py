"""Accounts of people: sign-up, profile, password, and what administrators do with them."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from entrepot.access.actor import Actor
from entrepot.access.caller import Caller, caller_of
from entrepot.access.login import Login
from entrepot.access.names import InvalidAccountName, check_account_name
from entrepot.access.passwords import InvalidPassword, Passwords, check_new_password
from entrepot.hub.errors import Forbidden, Invalid, NotThere
from entrepot.hub.words import text_within

FULL_NAME_MAX = 200  # characters
_EMAIL_MAX = 254  # characters (RFC 5321 §4.5.3.1.3)
_EMAIL = re.compile(r"[^\s@\x00-\x1f\x7f]{1,64}@[^\s@\x00-\x1f\x7f]{1,253}")
_BY_PASSWORD = "log in with a password: tokens and robots cannot touch accounts, passwords or e-mail"  # noqa: S105
_OF_A_FILE = "accounts come from a file here (auth.htpasswd): take the line out of it, or disable the account"
_ELSEWHERE = "passwords are kept elsewhere here (auth.htpasswd): change them there"


@dataclass(frozen=True, slots=True)
class Account:
    """A person's account; `email` is as its owner wrote it, `created_at` in microseconds since 1970."""

    id: int
    name: str
    full_name: str
    email: str | None
    administrator: bool
    plan: str
    created_at: int
    disabled: bool


@dataclass(frozen=True, slots=True)
class NewAccount:
    """An account that is to be; `name_key` is the keyed hash under which names of deleted accounts are kept."""

    name: str
    name_key: str
    full_name: str
    email: str | None
    password_hash: str
    administrator: bool = False


@dataclass(frozen=True, slots=True)
class Changes:
    """What is to be changed of a profile; None leaves it."""

    full_name: str | None = None
    email: str | None = None


class AccountRows(Protocol):
    """What accounts need of the database. A deleted account is not there."""

    async def account(self, name: str) -> Account | None:
        """The account of this name."""
        ...

    async def account_by_id(self, account_id: int) -> Account | None:
        """The same by its id."""
        ...

    async def accounts(self, after: str, limit: int) -> Sequence[Account]:
        """A page of all, in byte order of names."""
        ...

    async def add(self, new: NewAccount, caller: Caller) -> Account:
        """Make one; Taken when the name is or was somebody's. An e-mail address that is taken is silently not ours."""
        ...

    async def change(self, account_id: int, changes: Changes, caller: Caller) -> None:
        """Change a profile."""
        ...

    async def set_password(self, account_id: int, password_hash: str, caller: Caller, *, reset: bool) -> None:
        """A new password; what the old one obtained ends. `reset`: by an administrator, and every credential ends.

        LoginRefused when the password that the caller came with is not the present one any more.
        """
        ...

    async def set_administrator(self, account_id: int, flag: bool, caller: Caller) -> None:
        """Whether it administers the installation; Forbidden for the last one."""
        ...

    async def set_disabled(self, account_id: int, flag: bool, caller: Caller) -> None:
        """Whether it is disabled; Forbidden for the last administrator."""
        ...

    async def remove(self, account_id: int, name_key: str, caller: Caller) -> None:
        """End it. Taken while it owns repositories, or is an organization's last owner."""
        ...


class Accounts:
    """What people and administrators do with accounts."""

    def __init__(
        self,
        rows: AccountRows,
        passwords: Passwords,
        login: Login,
        name_key: Callable[[str], str],
        *,
        sign_up: bool,
        passwords_here: bool,
    ) -> None:
        """`sign_up`: people may make accounts for themselves. `passwords_here`: they are kept in this database."""
        self._rows = rows
        self._passwords = passwords
        self._login = login
        self._name_key = name_key
        self._sign_up = sign_up
        self._here = passwords_here

    async def new(self, name: str, password: str, full_name: str = "", email: str | None = None) -> NewAccount:
        """A checked account whose password is hashed; Invalid says what to change."""
        self._passwords_are_here()
        try:
            check_account_name(name)
        except InvalidAccountName as error:
            raise Invalid(str(error), "name") from None
        text_within(full_name, FULL_NAME_MAX, "full_name")
        checked = _checked_email(email)
        return NewAccount(name, self._name_key(name), full_name, checked, await self._hash(password))

    async def create(
        self, actor: Actor, name: str, password: str, full_name: str, email: str | None, address: str
    ) -> Account:
        """Sign up, where that is open, or make an account for somebody else, as an administrator."""
        if not (actor.administrator and actor.by_password) and not (self._sign_up and actor.anonymous):
            raise Forbidden("accounts are made by administrators or by invitation here (accounts.sign_up is closed)")
        return await self._rows.add(await self.new(name, password, full_name, email), caller_of(actor, address))

    async def profile(self, name: str) -> Account:
        """Anybody's public profile."""
        found = await self._rows.account(name)
        if found is None:
            raise NotThere(f"there is no account {name[:60]!r}")
        return found

    async def own(self, actor: Actor) -> Account:
        """The actor's own account; without its e-mail address when a token asks."""
        found = None if actor.account_id is None else await self._rows.account_by_id(actor.account_id)
        if found is None:
            raise NotThere("nobody is logged in, or it is a robot")
        return found if actor.by_password else replace(found, email=None)

    async def change(self, actor: Actor, changes: Changes, address: str) -> Account:
        """Change one's own profile."""
        own = await self._person(actor)
        text_within(changes.full_name, FULL_NAME_MAX, "full_name")
        checked = Changes(changes.full_name, _checked_email(changes.email))
        await self._rows.change(own.id, checked, caller_of(actor, address))
        return await self.own(actor)

    async def change_password(self, actor: Actor, current: str, new: str, address: str, agent: str) -> None:
        """Change one's own password, which takes the present one."""
        self._passwords_are_here()
        own = await self._person(actor)
        proved = await self._login.basic(own.name, current, address, agent)
        if not proved.by_password:
            raise Forbidden(_BY_PASSWORD)
        await self._rows.set_password(own.id, await self._hash(new), caller_of(proved, address), reset=False)

    async def delete(self, actor: Actor, password: str, address: str, agent: str) -> None:
        """End one's own account, which takes the password."""
        self._passwords_are_here()
        own = await self._person(actor)
        if not (await self._login.basic(own.name, password, address, agent)).by_password:
            raise Forbidden(_BY_PASSWORD)
        await self._rows.remove(own.id, self._name_key(own.name), caller_of(actor, address))

    async def list(self, actor: Actor, after: str, limit: int) -> Sequence[Account]:
        """Every account, for administrators."""
        _administrator(actor)
        return await self._rows.accounts(after, limit)

    async def reset_password(self, actor: Actor, name: str, password: str, address: str) -> None:
        """Give somebody a new password; everything the account has handed out ends."""
        self._passwords_are_here()
        found = await self._of(actor, name)
        await self._rows.set_password(found.id, await self._hash(password), caller_of(actor, address), reset=True)

    async def set_administrator(self, actor: Actor, name: str, flag: bool, address: str) -> None:
        """Let somebody administer the installation, or not any more."""
        found = await self._of(actor, name)
        await self._rows.set_administrator(found.id, flag, caller_of(actor, address))

    async def set_disabled(self, actor: Actor, name: str, flag: bool, address: str) -> None:
        """Let nobody log in to an account, or let them again."""
        found = await self._of(actor, name)
        await self._rows.set_disabled(found.id, flag, caller_of(actor, address))

    async def remove(self, actor: Actor, name: str, address: str) -> None:
        """End somebody's account. One of a file would come back by its next login."""
        if not self._here:
            raise Forbidden(_OF_A_FILE)
        found = await self._of(actor, name)
        await self._rows.remove(found.id, self._name_key(found.name), caller_of(actor, address))

    async def _of(self, actor: Actor, name: str) -> Account:
        _administrator(actor)
        return await self.profile(name)

    async def _person(self, actor: Actor) -> Account:
        if not actor.by_password and not actor.anonymous:
            raise Forbidden(_BY_PASSWORD)
        return await self.own(actor)

    async def _hash(self, password: str) -> str:
        try:
            return await self._passwords.hash(check_new_password(password))
        except InvalidPassword as error:
            raise Invalid(str(error), "password") from None

    def _passwords_are_here(self) -> None:
        if not self._here:
            raise Forbidden(_ELSEWHERE)


def _administrator(actor: Actor) -> None:
    if not actor.administrator:
        raise Forbidden("only administrators may do this")
    if not actor.by_password:
        raise Forbidden(_BY_PASSWORD)


def _checked_email(email: str | None) -> str | None:
    """An address that looks like one; whether it is anybody's is not known until something was sent there."""
    if email is None:
        return None
    if len(email) > _EMAIL_MAX or not _EMAIL.fullmatch(email):
        raise Invalid("email must look like name@example.com", "email")
    return email
