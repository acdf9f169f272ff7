"""Who is this: a name and a secret become an actor, or a refusal that never says which of the two was wrong.

The steps are tried in order: a secret that this registry made is looked up by its own row; anything else is a password,
proved by the identities of the account. Other providers (LDAP, OIDC, a second factor) are further steps.
"""

import json
import time
from typing import NoReturn, Protocol

from entrepot.access.actor import Actor, Role, Scopes
from entrepot.access.credentials import Secrets, lookup_of
from entrepot.access.errors import LoginRefused, Throttled
from entrepot.access.login_rows import LoginRows, StoredCredential, StoredIdentity
from entrepot.access.passwords import Passwords, VerifiedPasswords
from entrepot.access.throttling import Throttling

_AS_PASSWORD = frozenset({"personal", "robot", "refresh"})  # what may stand in a password's place
_WRONG = "incorrect username or password"  # Docker Hub's words, which people search for


class LoginNotes(Protocol):
    """Where logins are written down, off the request's way."""

    def used(self, credential_id: int, address: str, agent: str) -> None:
        """A credential has been used."""
        ...

    def login(self, account_id: int | None, name: str, address: str, outcome: str, reason: str) -> None:
        """`outcome` is login, login.failed or login.throttled; `account_id` is None when the name is no account."""
        ...


class Login:
    """Turns what a request says into an actor."""

    def __init__(
        self,
        rows: LoginRows,
        secrets: Secrets,
        passwords: Passwords,
        throttling: Throttling,
        notes: LoginNotes,
    ) -> None:
        self._rows = rows
        self._secrets = secrets
        self._passwords = passwords
        self._throttling = throttling
        self._notes = notes
        self._verified = VerifiedPasswords()

    async def basic(self, user: str, secret: str, address: str, agent: str) -> Actor:
        """An actor by name and secret: a password, or a personal, robot or refresh token of that account.

        LoginRefused when they do not belong together, Throttled when nothing was looked at.
        """
        name = user.lower()
        if lookup_of(secret) is not None:
            actor = await self._by_secret(secret, name, _AS_PASSWORD)
            if actor is not None:
                return self._welcome(actor, address, agent)
            identity = await self._rows.identity(name)  # so that who answers for the account sees that it was tried
            account = None if identity is None else identity.account_id
            await self._check(account, name, address, known=False)
            await self._refuse(account, name, address, known=False, reason="no such token")
        return await self._by_password(name, secret, address)

    async def by_secret(self, secret: str, address: str, agent: str, kinds: frozenset[str]) -> Actor:
        """An actor by a secret of these kinds alone; LoginRefused when it is none of ours, or has ended."""
        actor = await self._by_secret(secret, None, kinds)
        if actor is None:
            raise LoginRefused("the token is unknown, revoked or expired")
        return self._welcome(actor, address, agent)

    async def again(self, account_id: int, credential_id: int | None, password_at: int) -> Actor | None:
        """The actor behind an access token as it is now; None when the account or the credential has ended since."""
        if credential_id is not None:
            credential = await self._rows.credential_by_id(credential_id)
            return None if credential is None else _by_credential(credential)
        identity = await self._rows.identity_by_account(account_id)
        if identity is None or identity.disabled or identity.changed_at != password_at:
            return None
        return _by_identity(identity)

    def _welcome(self, actor: Actor, address: str, agent: str) -> Actor:
        assert actor.credential_id is not None
        self._notes.used(actor.credential_id, address, agent)
        return actor

    async def _by_secret(self, secret: str, name: str | None, kinds: frozenset[str]) -> Actor | None:
        lookup = lookup_of(secret)
        if lookup is None:
            return None
        credential = await self._rows.credential(lookup)
        if credential is None or not self._secrets.matches(secret, credential.hash):
            return None
        if credential.credential_kind not in kinds:
            return None
        if name not in (None, "", "<token>", credential.name):  # Docker's sign for an identity token is <token>
            return None
        return _by_credential(credential)

    async def _by_password(self, name: str, password: str, address: str) -> Actor:
        identity = await self._rows.identity(name)
        usable = identity is not None and not identity.disabled
        if identity is not None and usable and self._verified.known(identity.id, identity.changed_at, password):
            return _by_identity(identity)
        async with self._throttling.turn(address):
            return await self._prove(identity, usable, name, password, address)

    async def _prove(
        self, identity: StoredIdentity | None, usable: bool, name: str, password: str, address: str
    ) -> Actor:
        """By one hash, whether there is such an account or not."""
        if identity is not None and usable and self._verified.known(identity.id, identity.changed_at, password):
            return _by_identity(identity)  # proved by the one before, while this one waited for its turn
        account = None if identity is None else identity.account_id
        known = await self._throttling.known(account or 0, address)  # asked for nobody too: the same work
        await self._check(account, name, address, known=known)
        right = await self._verify(identity, name, password)
        if identity is None or not usable or not right:
            reason = "wrong password" if usable else "disabled" if identity is not None else "no such account"
            await self._refuse(account, name, address, known=known, reason=reason)
        self._verified.remember(identity.id, identity.changed_at, password)
        await self._throttling.succeeded(name, address)
        await self._throttling.remember(identity.account_id, address)
        self._notes.login(identity.account_id, name, address, "login", "password")
        return _by_identity(identity)

    async def _verify(self, identity: StoredIdentity | None, name: str, password: str) -> bool:
        stored = None if identity is None else identity.secret
        dummy = self._rows.dummy(name)
        if dummy is None:
            return await self._passwords.verify(password, stored)
        return await self._passwords.verify(password, stored, dummy=dummy)

    async def _check(self, account: int | None, name: str, address: str, *, known: bool) -> None:
        seconds = await self._throttling.check(name, address, known=known)
        if seconds is not None:
            self._notes.login(account, name, address, "login.throttled", "too many failures")
            raise Throttled("too many failed logins: wait, then try again with the right password", seconds)

    async def _refuse(self, account: int | None, name: str, address: str, *, known: bool, reason: str) -> NoReturn:
        self._notes.login(account, name, address, "login.failed", reason)
        await self._throttling.failed(name, address, known=known)
        raise LoginRefused(_WRONG)


def _by_identity(identity: StoredIdentity) -> Actor:
    return Actor(
        account_id=identity.account_id,
        name=identity.name,
        kind=identity.kind,
        administrator=identity.administrator,
        payer_id=identity.account_id,
        credential_kind="password",
        password_at=identity.changed_at,
    )


def _by_credential(credential: StoredCredential) -> Actor | None:
    """The actor of a credential that still holds."""
    now = time.time_ns() // 1000
    if credential.ended or (credential.expires_at is not None and credential.expires_at <= now):
        return None
    return Actor(
        account_id=credential.account_id,
        name=credential.name,
        kind=credential.kind,
        administrator=credential.administrator,
        payer_id=credential.owner_id or credential.account_id,
        credential_id=credential.id,
        credential_kind=credential.credential_kind,
        scopes=read_scopes(credential.scopes),
    )


def read_scopes(text: str) -> Scopes:
    """A credential's scopes as they are stored: JSON, ids."""
    stored = json.loads(text)
    repositories, namespaces = stored.get("repositories"), stored.get("namespaces")
    return Scopes(
        Role[stored["role"].upper()],
        None if repositories is None else frozenset(repositories),
        None if namespaces is None else frozenset(namespaces),
    )


def write_scopes(scopes: Scopes) -> str:
    """The same, as text to store."""
    stored: dict[str, object] = {"role": scopes.role.word}
    if scopes.repositories is not None:
        stored["repositories"] = sorted(scopes.repositories)
    if scopes.namespaces is not None:
        stored["namespaces"] = sorted(scopes.namespaces)
    return json.dumps(stored)
