"""A server with accounts, and people, organizations, repositories and tokens to play with at its doors.

What stands behind the doors is made by the hub's use-cases over the server's own database, as the server's other
processes would do it, and by rows where no use-case is.
"""

import asyncio
import base64
import json
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode
from uuid import uuid4

from joserfc import jwt

from entrepot.access.actor import FULL, Actor, Scopes
from entrepot.access.credentials import Secrets
from entrepot.access.keys import derive
from entrepot.access.login import write_scopes
from entrepot.access.passwords import Passwords
from entrepot.access.tokens import SigningKeys
from entrepot.database.engine import Engine, Transaction
from entrepot.database.postgres import PostgresEngine
from entrepot.database.robots import DatabaseRobots
from entrepot.database.sqlite import SqliteEngine
from entrepot.hub.organizations import Settings
from entrepot.hub.robots import Robots
from entrepot.storage import layout
from tests.support.hub_rows import HERE, Hub, hub_over
from tests.support.serving import Registry, Server, serving
from tests.support.wire import Answer, Headers, pairs_of

T = TypeVar("T")
ADMIN_PASSWORD = "the first administrator's"
SECRET_KEY = "of all nodes on PostgreSQL, which have no file in common"
ALL = "pull,push,delete"
_IDENTITY = (
    "INSERT INTO identities (account_id, provider, subject, secret, changed_at)"
    " VALUES (:account, 'password', :name, :secret, now_us())"
)
_CREDENTIAL = (
    "INSERT INTO credentials (account_id, kind, lookup, hash, scopes, created_at, expires_at, created_by)"
    " VALUES (:account, 'personal', :lookup, :hash, :scopes, now_us(), CAST(:expires AS bigint), :account) RETURNING id"
)


@dataclass(frozen=True)
class Person:
    """Somebody who can log in: a name with a password, or with the token of a person or a robot."""

    actor: Actor
    secret: str

    @property
    def name(self) -> str:
        """As it stands before the colon."""
        return self.actor.name

    @property
    def basic(self) -> dict[str, str]:
        """The header of RFC 7617."""
        return basic(self.name, self.secret)


class Visitor(Registry):
    """A client that sends the same headers with everything."""

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        super().__init__(url)
        self.sent = dict(headers)

    def request(self, method: str, target: str, headers: Headers = (), body: bytes | None = None) -> Answer:
        """See Registry."""
        return super().request(method, target, [*self.sent.items(), *pairs_of(headers)], body)


class World:
    """One server with accounts. Secrets that were used here are in `secrets`, Authorization headers in `headers`."""

    def __init__(self, server: Server, make_engine: Callable[[], Engine], root: bytes) -> None:
        """`root`: the secret that the server derives its keys from."""
        self.server = server
        self.root = root
        self.secrets: set[str] = {ADMIN_PASSWORD, root.decode()}
        self.headers: set[str] = set()
        self._make_engine = make_engine
        self._made = Secrets(derive(self.root, "credentials"))
        self.administrator = Person(self._actor("admin"), ADMIN_PASSWORD)

    def do(self, work: Callable[[Hub], Awaitable[T]]) -> T:
        """Work with the hub's use-cases, as another process of this installation."""

        async def run() -> T:
            engine = self._make_engine()
            try:
                hub = hub_over(engine)
                return await work(replace(hub, robots=Robots(DatabaseRobots(engine), hub.rights, self._made)))
            finally:
                await engine.close()

        with ThreadPoolExecutor(1) as thread:  # the test's own thread may have an event loop
            return thread.submit(lambda: asyncio.run(run())).result()

    def execute(self, statement: str, **values: object) -> list[tuple[Any, ...]]:
        """One statement, for what no use-case does yet; what it returns."""

        async def run(hub: Hub) -> list[tuple[Any, ...]]:
            async def transact(transaction: Transaction) -> list[tuple[Any, ...]]:
                if "RETURNING" in statement or statement.startswith("SELECT"):
                    return [tuple(row) for row in await transaction.all(statement, **values)]
                await transaction.run(statement, **values)
                return []

            return await hub.engine.write(transact, durable=False)

        return self.do(run)

    def person(self, role: str = "person", name: str = "") -> Person:
        """Somebody new, with a password; `role` is part of the name, unless it is given."""
        name, password = name or f"{role}-{uuid4().hex[:12]}", f"password {uuid4().hex}"
        self.secrets.add(password)

        async def make(hub: Hub) -> Actor:
            return await hub.person(name)

        actor = self.do(make)
        stored = self.hash(password)
        self.execute(_IDENTITY, account=actor.account_id, name=name, secret=stored)
        return Person(actor, password)

    def change_password(self, of: Person) -> Person:
        """The same person with another password."""
        password = f"another {uuid4().hex}"
        self.secrets.add(password)
        self.execute(
            "UPDATE identities SET secret = :secret, changed_at = now_us() WHERE account_id = :account",
            secret=self.hash(password),
            account=of.actor.account_id,
        )
        return Person(of.actor, password)

    def hash(self, password: str) -> str:
        """What is stored of a password."""

        async def work(_: Hub) -> str:
            return await Passwords().hash(password)

        return self.do(work)

    def personal_token(self, of: Person, scopes: Scopes = FULL, *, expires_at: int | None = None) -> Person:
        """The same person by a personal access token; `expires_at` in microseconds."""
        made = self._made.make("personal")
        self.secrets.add(made.text)
        rows = self.execute(
            _CREDENTIAL,
            account=of.actor.account_id,
            lookup=made.lookup,
            hash=made.hash,
            scopes=write_scopes(scopes),
            expires=expires_at,
        )
        actor = replace(of.actor, credential_id=rows[0][0], credential_kind="personal", scopes=scopes)
        return Person(actor, made.text)

    def organization(self, owner: Person, name: str = "") -> str:
        """A new organization whose members may read nothing by themselves; its name."""
        name = name or f"org-{uuid4().hex[:12]}"

        async def make(hub: Hub) -> None:
            await hub.organizations.create(owner.actor, name, "", HERE)
            await hub.organizations.change(owner.actor, name, Settings(member_role="none"), HERE)

        self.do(make)
        return name

    def robot(self, owner: Person, organization: str) -> Person:
        """A robot with its token."""

        async def make(hub: Hub) -> tuple[int, str, str]:
            made, secret = await hub.robots.create(owner.actor, organization, f"ci-{uuid4().hex[:8]}", "", None, HERE)
            return made.id, made.name, secret

        identity, name, secret = self.do(make)
        self.secrets.add(secret)
        return Person(Actor(identity, name, "robot", credential_kind="robot"), secret)

    def grant(self, owner: Person, repository: str, to: str, role: str, kind: str = "person") -> None:
        """Give somebody a role in a repository."""

        async def give(hub: Hub) -> None:
            await hub.grants.set_on_repository(owner.actor, repository, kind, to, role, HERE)

        self.do(give)

    def ungrant(self, owner: Person, repository: str, of: str) -> None:
        """Take a person's role away."""

        async def take(hub: Hub) -> None:
            await hub.grants.remove_from_repository(owner.actor, repository, "person", of, HERE)

        self.do(take)

    def repository(self, owner: Person, name: str, visibility: str = "public") -> str:
        """An empty repository; its name."""

        async def make(hub: Hub) -> None:
            await hub.repository(owner.actor, name, visibility)

        self.do(make)
        return name

    def member(self, owner: Person, organization: str, who: Person, role: str = "member") -> None:
        """Take somebody into an organization."""

        async def add(hub: Hub) -> None:
            await hub.organizations.set_member(owner.actor, organization, who.name, role, HERE)

        self.do(add)

    def team(self, owner: Person, organization: str, name: str, *members: Person) -> None:
        """A team of members."""

        async def make(hub: Hub) -> None:
            await hub.teams.create(owner.actor, organization, name, "", HERE)
            for member in members:
                await hub.teams.add_member(owner.actor, organization, name, member.name, HERE)

        self.do(make)

    def archive(self, owner: Person, name: str) -> None:
        """Make a repository read-only."""

        async def change(hub: Hub) -> None:
            await hub.repositories.set_archived(owner.actor, name, True, HERE)

        self.do(change)

    def show(self, owner: Person, name: str, visibility: str) -> None:
        """Change who sees a repository."""

        async def change(hub: Hub) -> None:
            await hub.repositories.set_visibility(owner.actor, name, visibility, HERE)

        self.do(change)

    def rename(self, owner: Person, name: str, new: str) -> None:
        """Give a repository another name in its namespace."""

        async def change(hub: Hub) -> None:
            await hub.repositories.rename(owner.actor, name, new, HERE)

        self.do(change)

    def delete(self, owner: Person, name: str) -> None:
        """End a repository."""

        async def end(hub: Hub) -> None:
            await hub.repositories.delete(owner.actor, name, HERE)

        self.do(end)

    def disable(self, person: Person) -> None:
        """As an administrator does."""
        self.execute("UPDATE accounts SET disabled_at = now_us() WHERE id = :id", id=person.actor.account_id)

    def revoke(self, token: Person) -> None:
        """End a personal token."""
        self.execute("UPDATE credentials SET revoked_at = now_us() WHERE id = :id", id=token.actor.credential_id)

    def ask_token(self, who: Person | None, *scopes: str, **more: str) -> Answer:
        """GET /token, as Docker does it."""
        query = urlencode([("service", "here"), *(("scope", scope) for scope in scopes), *more.items()])
        answer = self.server.get(f"/token?{query}", {} if who is None else who.basic)
        if answer.status == 200:
            self.secrets |= {answer.json()["token"], answer.json().get("refresh_token", answer.json()["token"])}
        return answer

    def token(self, who: Person | None, *scopes: str) -> str:
        """An access token for these scopes."""
        answer = self.ask_token(who, *scopes)
        assert answer.status == 200, answer
        return str(answer.json()["token"])

    def token_for(self, who: Person | None, *repositories: str, actions: str = ALL) -> str:
        """An access token for repositories."""
        return self.token(who, *(f"repository:{name}:{actions}" for name in repositories))

    def signed(self, claims: Mapping[str, Any]) -> str:
        """A token as this registry would sign it."""
        key = SigningKeys(self.root).signing
        return jwt.encode({"alg": "ES256", "kid": str(key.kid)}, dict(claims), key)

    def expired(self, token: str) -> str:
        """The same token, issued six minutes earlier."""
        claims = claims_of(token)
        return self.signed(claims | {each: claims[each] - 360 for each in ("exp", "nbf", "iat")})

    def logged_secrets(self) -> list[str]:
        """Which of the secrets that were used here stand in the server's log, as they are or as Basic has them."""
        log = self.server.log_file.read_text()
        basic = {header.partition(" ")[2] for header in self.headers}
        return [secret for secret in self.secrets | basic if secret in log]

    def visitor(self, headers: Mapping[str, str]) -> Visitor:
        """A client that sends these headers."""
        self.headers |= {value for name, value in headers.items() if name == "Authorization" and len(value) > 20}
        visitor = Visitor(self.server.url, headers)
        visitor.asks_from = self.server.asks_from
        return visitor

    def by_token(self, who: Person | None, *repositories: str, actions: str = ALL) -> Visitor:
        """A client with a token for these repositories."""
        return self.visitor(bearer(self.token_for(who, *repositories, actions=actions)))

    def by_basic(self, who: Person) -> Visitor:
        """A client that sends name and secret with everything."""
        return self.visitor(who.basic)

    def _actor(self, name: str) -> Actor:
        rows = self.execute("SELECT id, administrator FROM accounts WHERE name = :name", name=name)
        return Actor(rows[0][0], name, "person", bool(rows[0][1]), rows[0][0], credential_kind="password")


@contextmanager
def serving_world(directory: Path, **settings: str) -> Iterator[World]:
    """A new server with accounts, whose proxies at 127.0.0.1 may say who asks.

    Each test asks from an address of its own, so that its failed logins are not counted with those of the others.
    """
    fixed = {
        "admin_password": ADMIN_PASSWORD,
        "http__trusted_proxies": '["127.0.0.1"]',
        "log__format": "json",
        "auth__services": '["relying.example"]',
    }
    url = settings.get("database__url")
    if url:
        fixed["secret_key"] = SECRET_KEY
    with serving(directory, accounts=True, **(fixed | settings)) as server:
        server.asks_from = _address_of_this_test
        root = SECRET_KEY.encode() if url else layout.secret_file(server.data).read_bytes()

        def engine() -> Engine:
            if url:
                return PostgresEngine(url, connections=1)
            return SqliteEngine(layout.database_file(server.data), layout.lock_file(server.data))

        world = World(server, engine, root)
        yield world
    assert not world.logged_secrets()


def _address_of_this_test() -> str:
    test = os.environ["PYTEST_CURRENT_TEST"].rpartition(" ")[0]  # behind it stands the phase
    return ".".join(map(str, (10, *sha256(test.encode()).digest()[:3])))


def basic(user: str, secret: str) -> dict[str, str]:
    """Name and secret as RFC 7617 writes them."""
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{secret}".encode()).decode()}


def bearer(token: str) -> dict[str, str]:
    """A token as RFC 6750 writes it."""
    return {"Authorization": f"Bearer {token}"}


def claims_of(token: str) -> dict[str, Any]:
    """What a token says, unverified."""
    part = token.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return claims
