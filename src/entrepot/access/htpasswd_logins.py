"""Logging in where an htpasswd file is the only source of accounts, as with registry:2.

The file has names and hashes; an account's row is made when its name first proves itself or is first looked at, so that
grants, tokens and the audit have an id to refer to.
"""

from collections.abc import Callable
from hashlib import sha256
from typing import Protocol

from entrepot.access.htpasswd import Htpasswd
from entrepot.access.login_rows import LoginRows, StoredCredential, StoredIdentity


class FileAccounts(Protocol):
    """The rows of accounts whose passwords are elsewhere."""

    async def account_of(self, name: str) -> tuple[int, bool, bool] | None:
        """Id, whether it administers, and whether it is disabled; the account is made when there is none.

        None when an organization has this name.
        """
        ...

    async def name_of(self, account_id: int) -> str | None:
        """The name of an account that is not deleted."""
        ...


class HtpasswdLogins:
    """The port LoginRows, over a file and the credentials of the database."""

    def __init__(
        self, file: Htpasswd, accounts: FileAccounts, credentials: LoginRows, warn: Callable[[str], None]
    ) -> None:
        """`warn` is told when the file can no longer be used."""
        self._warn = warn
        self._file = file
        self._accounts = accounts
        self._credentials = credentials
        self._told = ""
        self._said: set[str] = set()

    async def identity(self, name: str) -> StoredIdentity | None:
        """See the port. A negative number that changes with the hash stands for the time of the change."""
        stored = self._file.find(name)
        self._tell()
        if stored is None:
            return None
        found = await self._accounts.account_of(name)
        if found is None:
            self._tell_once(f"{name!r} of the htpasswd file cannot log in: an organization has this name")
            return None
        account, administrator, disabled = found
        changed = -1 - int.from_bytes(sha256(stored.encode()).digest()[:7])
        return StoredIdentity(account, account, name, "person", administrator, disabled, stored, changed)

    async def identity_by_account(self, account_id: int) -> StoredIdentity | None:
        """See the port."""
        name = await self._accounts.name_of(account_id)
        return None if name is None else await self.identity(name)

    async def credential(self, lookup: str) -> StoredCredential | None:
        """See the port: tokens of somebody whom the file does not have any more have ended."""
        return self._of_the_file(await self._credentials.credential(lookup))

    async def credential_by_id(self, credential_id: int) -> StoredCredential | None:
        """See the port."""
        return self._of_the_file(await self._credentials.credential_by_id(credential_id))

    def dummy(self, name: str) -> str | None:
        """See the port."""
        return self._file.dummy(name)

    def _of_the_file(self, found: StoredCredential | None) -> StoredCredential | None:
        if found is None or (found.kind == "person" and self._file.find(found.name) is None):
            return None
        return found

    def _tell(self) -> None:
        error = "" if self._file.error is None else str(self._file.error)
        if error and error != self._told:
            self._warn(f"the htpasswd file cannot be used, what it was before stands: {error}")
        self._told = error

    def _tell_once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self._warn(text)
