"""A server with accounts inside a machine, and people, organizations and tokens for clients to log in with."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TypeVar
from uuid import uuid4

from entrepot.access.actor import Actor, Role, Scopes
from entrepot.access.credentials import Secrets
from entrepot.access.keys import derive
from entrepot.access.login import write_scopes
from entrepot.access.passwords import Passwords
from entrepot.database.engine import Engine, Transaction
from entrepot.database.postgres import PostgresEngine
from entrepot.database.robots import DatabaseRobots
from entrepot.database.sqlite import SqliteEngine
from entrepot.hub.robots import Robots
from entrepot.storage import layout
from tests.support.certificates import Certificate
from tests.support.hub_rows import HERE, hub_over
from tests.support.hub_rows import Hub as UseCases
from tests.support.machine import Machine
from tests.support.server import Registry, start_registry

T = TypeVar("T")

SECRET_KEY = "of all nodes on PostgreSQL, which have no file in common"
ADMIN_PASSWORD = "the first administrator's"
_PROVE = (
    "INSERT INTO identities (account_id, provider, subject, secret, changed_at)"
    " VALUES (:account, 'password', :name, :secret, now_us())"
)
_CHANGE = "UPDATE identities SET secret = :secret, changed_at = now_us() WHERE account_id = :account"
_END_OF_PASSWORD = (
    "UPDATE credentials SET revoked_at = now_us() WHERE account_id = :account AND kind = 'refresh'"
    " AND parent_id IS NULL AND revoked_at IS NULL"
)
_TOKEN = (
    "INSERT INTO credentials (account_id, kind, lookup, hash, scopes, created_at, created_by)"
    " VALUES (:account, 'personal', :lookup, :hash, :scopes, now_us(), :account)"
)
_REVOKE = "UPDATE credentials SET revoked_at = now_us() WHERE lookup = :lookup"
_ACCOUNT = "SELECT id, kind, administrator FROM accounts WHERE name = :name"


@dataclass(frozen=True)
class Login:
    """A name and what is typed as its password."""

    name: str
    secret: str

    @property
    def pair(self) -> str:
        """As curl, skopeo and ctr take it: NAME:SECRET."""
        return f"{self.name}:{self.secret}"


class Hub:
    """One server with accounts. What stands behind its doors is made as another process of it would make it."""

    def __init__(self, registry: Registry, make_engine: Callable[[], Engine], root: bytes) -> None:
        """`root`: the secret that the server derives its keys from."""
        self.registry = registry
        self.address = registry.address
        self.administrator = Login("admin", ADMIN_PASSWORD)
        self._make_engine = make_engine
        self._secrets = Secrets(derive(root, "credentials"))

    def person(self, name: str = "") -> Login:
        """A new account; without a name, somebody whom no other test knows."""
        made = Login(name or f"person-{uuid4().hex[:12]}", f"password {uuid4().hex}")

        async def make(hub: UseCases) -> None:
            actor = await hub.person(made.name)
            stored = await Passwords().hash(made.secret)
            await _run(hub, _PROVE, account=actor.account_id, name=made.name, secret=stored)

        self._do(make)
        return made

    def change_password(self, of: Login) -> Login:
        """The same person with another password; what the old one has obtained ends."""
        changed = replace(of, secret=f"password {uuid4().hex}")

        async def change(hub: UseCases) -> None:
            actor = await _actor(hub, of)
            stored = await Passwords().hash(changed.secret)
            await _run(hub, _CHANGE, account=actor.account_id, secret=stored)
            await _run(hub, _END_OF_PASSWORD, account=actor.account_id)

        self._do(change)
        return changed

    def personal_token(self, of: Login, role: Role = Role.ADMIN) -> Login:
        """The same person with a personal access token of that much scope."""
        made = self._secrets.make("personal")

        async def make(hub: UseCases) -> None:
            actor = await _actor(hub, of)
            scopes = write_scopes(Scopes(role))
            await _run(hub, _TOKEN, account=actor.account_id, lookup=made.lookup, hash=made.hash, scopes=scopes)

        self._do(make)
        return replace(of, secret=made.text)

    def revoke(self, token: Login) -> None:
        """End a token."""
        lookup = token.secret[: len(self._secrets.make("personal").lookup)]
        self._do(lambda hub: _run(hub, _REVOKE, lookup=lookup))

    def organization(self, owner: Login, name: str = "") -> str:
        """A new organization; its name."""
        chosen = name or f"org-{uuid4().hex[:12]}"

        async def make(hub: UseCases) -> None:
            await hub.organizations.create(await _actor(hub, owner), chosen, "", HERE)

        self._do(make)
        return chosen

    def robot(self, owner: Login, organization: str, role: Role = Role.WRITE) -> Login:
        """A robot of an organization, which has this role in its whole namespace."""

        async def make(hub: UseCases) -> Login:
            actor = await _actor(hub, owner)
            robots = Robots(DatabaseRobots(hub.engine), hub.rights, self._secrets)
            made, secret = await robots.create(actor, organization, f"ci-{uuid4().hex[:8]}", "", None, HERE)
            await hub.grants.set_on_namespace(actor, organization, "robot", made.name, role.word, HERE)
            return Login(made.name, secret)

        return self._do(make)

    def show(self, owner: Login, repository: str, visibility: str) -> None:
        """Make a repository public, internal or private."""

        async def show(hub: UseCases) -> None:
            await hub.repositories.set_visibility(await _actor(hub, owner), repository, visibility, HERE)

        self._do(show)

    def repository(self, owner: Login, name: str, visibility: str) -> None:
        """An empty repository."""

        async def make(hub: UseCases) -> None:
            await hub.repository(await _actor(hub, owner), name, visibility)

        self._do(make)

    def _do(self, work: Callable[[UseCases], Awaitable[T]]) -> T:
        async def run() -> T:
            engine = self._make_engine()
            try:
                return await work(hub_over(engine))
            finally:
                await engine.close()

        with ThreadPoolExecutor(1) as thread:  # the test's own thread may have an event loop
            return thread.submit(lambda: asyncio.run(run())).result()


def start_hub(
    machine: Machine,
    name: str,
    *,
    listen: str = "127.0.0.1:0",
    host: str = "",
    certificate: Certificate | None = None,
    settings: Mapping[str, str] | None = None,
) -> Hub:
    """Start `entrepot serve` with accounts in `machine`; see `start_registry`."""
    url = (settings or {}).get("ENTREPOT_DATABASE__URL", "")
    fixed = {"ENTREPOT_ADMIN_PASSWORD": ADMIN_PASSWORD} | ({"ENTREPOT_SECRET_KEY": SECRET_KEY} if url else {})
    registry = start_registry(
        machine,
        name,
        listen=listen,
        host=host,
        certificate=certificate,
        settings={**fixed, **(settings or {})},
        accounts=True,
    )
    data = registry.data_directory

    def engine() -> Engine:
        if url:
            return PostgresEngine(url, connections=1)
        return SqliteEngine(layout.database_file(data), layout.lock_file(data))

    return Hub(registry, engine, SECRET_KEY.encode() if url else layout.secret_file(data).read_bytes())


async def _actor(hub: UseCases, of: Login) -> Actor:
    """The person as one who has logged in by password."""
    ((account, kind, administrator),) = await hub.engine.read(_ACCOUNT, name=of.name)
    return Actor(account, of.name, kind, bool(administrator), account, credential_kind="password")


async def _run(hub: UseCases, statement: str, **values: object) -> None:
    """One statement, for what no use-case does yet."""

    async def run(transaction: Transaction) -> None:
        await transaction.run(statement, **values)

    await hub.engine.write(run, durable=False)
