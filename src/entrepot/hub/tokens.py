"""Personal access tokens, and the sessions and refresh tokens of a person: made, listed, ended."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from entrepot.access.actor import Actor, Role, Scopes
from entrepot.access.caller import Caller, caller_of
from entrepot.access.credentials import NewSecret, Secrets
from entrepot.access.decision import Action
from entrepot.access.login import Login, write_scopes
from entrepot.access.rights import Rights
from entrepot.hub.errors import Forbidden, Invalid, NotThere
from entrepot.hub.owners import no_repository
from entrepot.hub.words import one_of, text_within
from entrepot.oci.reference import InvalidName, check_name

ROLES = {"repo:read": Role.READ, "repo:write": Role.WRITE, "repo:admin": Role.ADMIN}
"""The scopes of personal access tokens, as Docker Hub calls them."""

SESSION_SECONDS = 12 * 3600
"""How long a session lasts."""

PERSONAL = ("personal",)
SESSIONS = ("session", "refresh")
_LABEL_MAX = 100  # characters
_LONGEST = 10 * 365 * 86400  # seconds
_MOST_BOUND = 100  # repositories and namespaces that a token is bound to
_SECOND = 1_000_000  # microseconds
_BY_PASSWORD = "log in with a password: tokens and robots cannot touch credentials"  # noqa: S105


@dataclass(frozen=True, slots=True)
class Credential:
    """A credential without its secret. Times are in microseconds since 1970; `address` is where it was last used.

    `repositories` and `namespaces` are the names, as they are now, that it is bound to; None when it is for everything.
    """

    id: int
    kind: str
    label: str
    role: str
    repositories: Sequence[str] | None
    namespaces: Sequence[str] | None
    created_at: int
    expires_at: int | None
    revoked_at: int | None
    used_at: int | None
    address: str | None


@dataclass(frozen=True, slots=True)
class Made:
    """A credential with its secret, which is shown this once."""

    credential: Credential
    secret: str


class CredentialRows(Protocol):
    """The credentials of people."""

    async def credentials(self, account_id: int, kinds: Sequence[str], after: int, limit: int) -> Sequence[Credential]:
        """Those of these kinds with an id over `after`, by id; revoked ones too."""
        ...

    async def add_credential(
        self,
        account_id: int,
        kind: str,
        label: str,
        secret: NewSecret,
        scopes: str,
        lifetime: int | None,
        caller: Caller,
    ) -> Credential:
        """A new one that lives `lifetime` microseconds, or until it is revoked.

        LoginRefused when what its owner came with has ended meanwhile.
        """
        ...

    async def revoke(self, account_id: int, kinds: Sequence[str], credential_id: int, caller: Caller) -> bool:
        """End one of these kinds with all that it has obtained; False when there is none."""
        ...


class Tokens:
    """What people do with their own credentials; only a person who logged in with a password may."""

    def __init__(self, rows: CredentialRows, rights: Rights, secrets: Secrets, login: Login) -> None:
        self._rows = rows
        self._rights = rights
        self._secrets = secrets
        self._login = login

    async def create(
        self,
        actor: Actor,
        label: str,
        role: str,
        repositories: Sequence[str] | None,
        namespaces: Sequence[str] | None,
        seconds: int | None,
        address: str,
    ) -> Made:
        """A personal access token. Bound ones are bound by id: what is created later under a name is another thing."""
        account = _person(actor)
        bound = len(repositories or ()) + len(namespaces or ())
        if bound > _MOST_BOUND:
            raise Invalid(f"a token is bound to at most {_MOST_BOUND} repositories and namespaces", "repositories")
        scopes = Scopes(
            _role(role),
            None if repositories is None else frozenset([await self._repository(actor, name) for name in repositories]),
            None if namespaces is None else frozenset([await self._namespace(actor, name) for name in namespaces]),
        )
        return await self._add(account, label, scopes, seconds, caller_of(actor, address))

    async def create_for(
        self, operator: Actor, account_id: int, label: str, role: str, seconds: int | None, address: str
    ) -> Made:
        """A personal access token for somebody else, by whoever runs the server."""
        return await self._add(account_id, label, Scopes(_role(role)), seconds, caller_of(operator, address))

    async def begin_session(self, name: str, password: str, address: str, agent: str) -> Made:
        """Log in to the API; the session is as strong as the password. A token cannot begin one."""
        actor = await self._login.basic(name, password, address, agent)
        if actor.credential_kind != "password":
            raise Forbidden("a session begins with a password; a token is used as it is")
        assert actor.account_id is not None
        secret = self._secrets.make("session")
        made = await self._rows.add_credential(
            actor.account_id,
            "session",
            agent[:_LABEL_MAX],
            secret,
            write_scopes(Scopes()),
            SESSION_SECONDS * _SECOND,
            caller_of(actor, address),
        )
        return Made(made, secret.text)

    async def list(self, actor: Actor, kinds: Sequence[str], after: int, limit: int) -> Sequence[Credential]:
        """One's own credentials of these kinds."""
        return await self._rows.credentials(_person(actor), kinds, after, limit)

    async def revoke(self, actor: Actor, kinds: Sequence[str], credential_id: int, address: str) -> None:
        """End one of one's own; one that has ended already stays so."""
        if not await self._rows.revoke(_person(actor), kinds, credential_id, caller_of(actor, address)):
            raise NotThere("there is no such credential")

    async def _add(self, account_id: int, label: str, scopes: Scopes, seconds: int | None, caller: Caller) -> Made:
        text_within(label, _LABEL_MAX, "label")
        if seconds is not None and not 1 <= seconds <= _LONGEST:
            raise Invalid(f"a token lives for 1 to {_LONGEST} seconds, or until it is revoked", "expires_in")
        secret = self._secrets.make("personal")
        lifetime = None if seconds is None else seconds * _SECOND
        made = await self._rows.add_credential(
            account_id, "personal", label, secret, write_scopes(scopes), lifetime, caller
        )
        return Made(made, secret.text)

    async def _repository(self, actor: Actor, name: str) -> int:
        try:
            facts = await self._rights.facts(actor, check_name(name))
        except InvalidName as error:
            raise Invalid(str(error), "repositories") from None
        decision = await self._rights.decide(actor, Action.PULL, name)
        if facts.repository_id is None or not decision.allowed:
            raise no_repository(name)
        return facts.repository_id

    async def _namespace(self, actor: Actor, name: str) -> int:
        text_within(name, _LABEL_MAX, "namespaces")
        _, facts = await self._rights.namespace(actor, name)
        if facts.namespace_id is None:
            raise NotThere(f"there is no account or organization {name!r}")
        return facts.namespace_id


def _person(actor: Actor) -> int:
    if actor.anonymous:
        raise Forbidden("nobody is logged in")
    if not actor.by_password:
        raise Forbidden(_BY_PASSWORD)
    assert actor.account_id is not None
    return actor.account_id


def _role(word: str) -> Role:
    one_of(word, list(ROLES), "role")
    return ROLES[word]
