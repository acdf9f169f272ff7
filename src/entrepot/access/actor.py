"""Who asks: an account by one of its credentials, or nobody in particular."""

from dataclasses import dataclass, field
from enum import IntEnum


class Role(IntEnum):
    """What somebody is to a repository or a namespace; each includes those before it."""

    NONE = 0
    READ = 1
    WRITE = 2
    ADMIN = 3
    OWNER = 4

    @property
    def word(self) -> str:
        """As the API and the database write it."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Scopes:
    """The upper bound that a credential sets on its account's rights.

    `repositories` and `namespaces` are ids: the credential is for these only; None for both is for everything. By id,
    as what is created later under the same name is another thing.
    """

    role: Role = Role.OWNER
    repositories: frozenset[int] | None = None
    namespaces: frozenset[int] | None = None

    @property
    def everywhere(self) -> bool:
        """Whether it is bound to no repository or namespace."""
        return self.repositories is None and self.namespaces is None

    def covers(self, repository: int | None, namespace: int | None) -> bool:
        """Whether the credential is for this repository, by its own id or its namespace's."""
        if self.everywhere:
            return True
        return repository in (self.repositories or ()) or namespace in (self.namespaces or ())


FULL = Scopes()


@dataclass(frozen=True, slots=True)
class Actor:
    """An account and the credential it came with. The default is anonymous: no account at all.

    `credential_id` is None for a password; `password_at` is then when it was last changed, in microseconds, so that
    what was obtained by an older one can be told apart. `payer_id` is whom pulls are charged to: of a robot, its
    organization.
    """

    account_id: int | None = None
    name: str = ""
    kind: str = "anonymous"
    administrator: bool = False
    payer_id: int | None = None
    credential_id: int | None = None
    credential_kind: str = "none"
    password_at: int = 0
    scopes: Scopes = field(default=FULL)
    everybody: bool = False
    """Without accounts: whoever asks may do everything."""

    @property
    def anonymous(self) -> bool:
        """Whether nobody has logged in."""
        return self.account_id is None

    @property
    def by_password(self) -> bool:
        """Whether a person is here, by password or by a session that a password began: only they touch credentials."""
        return self.credential_kind in ("password", "session")

    @property
    def administers(self) -> bool:
        """Whether this is an administrator of the installation, by a credential that does not bound it."""
        return self.administrator and self.scopes.role >= Role.OWNER


ANONYMOUS = Actor()
EVERYBODY = Actor(kind="everybody", administrator=True, everybody=True)
"""Who asks where there are no accounts."""


@dataclass(frozen=True, slots=True)
class Basis:
    """What a decision rested on, so that the transaction that acts on it can see that it is still so.

    `repository_id` is None for a repository that is to be created, in `namespace_id`, with `visibility`. What is read
    through has no namespace.
    """

    namespace_id: int | None
    repository_id: int | None
    rights_version: int
    visibility: str
