"""The rows about a hub that has grown: a million accounts, 100,000 repositories, 50,000 teams."""

import asyncio
import base64
import random
import time
from collections.abc import Iterable, Sequence

import pysqlite3 as sqlite

from bench import processes, wire
from bench.hub import PASSWORD, EntrepotHub
from bench.rows import Load, Measurement, percentile
from bench.servers import Server
from entrepot.access.actor import Actor
from entrepot.access.decision import Action
from entrepot.access.rights import Rights
from entrepot.database.rights import DatabaseRights
from entrepot.database.search import DatabaseSearch
from entrepot.database.sqlite import SqliteEngine
from entrepot.storage import layout

_FIRST = 1000  # ids of what is grown begin here
_LOOKS, _REQUESTS = 2000, 300
_VISIBILITIES = ("public", "private", "private", "internal")
_WORDS = (
    "alpine", "api", "auth", "backend", "base", "build", "cache", "cloud", "data", "edge", "gateway", "image", "java",
    "node", "python", "queue", "redis", "web",
)  # fmt: skip

Rows = Iterable[Sequence[object]]


def permissions(server: Server, load: Load) -> Measurement:
    """One decision after another, each with its look-up: of people in teams, in organizations, and of strangers."""
    data = server.directory / "data"
    _grow(server, load.scale.accounts)
    source = random.Random(1)
    accounts, repositories = load.scale.accounts, load.scale.accounts // 10

    async def look() -> list[float]:
        engine = SqliteEngine(layout.database_file(data), layout.lock_file(data))
        rights = Rights(DatabaseRights(engine))
        times = []
        for _ in range(_LOOKS):
            actor = Actor(_FIRST + source.randrange(accounts), "somebody", "person")
            number = source.randrange(repositories)
            began = time.perf_counter()
            await rights.decide(actor, Action.PUSH, _name(number, accounts))
            times.append(time.perf_counter() - began)
        await engine.close()
        return times

    times = asyncio.run(look())
    return Measurement(len(times) / sum(times), percentile(times, 0.99))


def catalog_of_a_hub(server: Server, load: Load) -> Measurement:
    """Pages of 100 repositories that the caller may pull, from anywhere among them."""
    _grow(server, load.scale.accounts)
    targets = [f"/v2/_catalog?n=100&last={place}" for place in ("", "o1", "o2", "o35", "o5", "o7", "o8")]
    return _pages(server, targets, _token(server))


def search_of_a_hub(server: Server, load: Load) -> Measurement:
    """Pages of 25 matches: of a word, of its beginning, of several words that thousands have."""
    _grow(server, load.scale.accounts)
    terms = ("redis", "gate", "python+web", "alpine+api+auth", "o12", "nothing-of-the-kind")
    targets = [f"/v1/search?n=25&q={term}" for term in terms]
    return _pages(server, targets, "Basic " + base64.b64encode(f"admin:{PASSWORD}".encode()).decode())


def _token(server: Server) -> str:
    with wire.Connection(server.endpoint) as connection:
        who = base64.b64encode(f"admin:{PASSWORD}".encode()).decode()
        head = connection.head(b"GET", b"/token?scope=registry:catalog:*", f"Authorization: Basic {who}\r\n".encode())
        return f"Bearer {connection.body(head, 200)['token']}"


def _pages(server: Server, targets: Sequence[str], authorization: str) -> Measurement:
    times = []
    with wire.Connection(server.endpoint, authorization) as connection:
        requests = [connection.head(b"GET", target.encode()) for target in targets]
        for request in requests:
            connection.exchange(request, 200)
        cpu = processes.cpu_seconds(server.pids())
        for number in range(_REQUESTS):
            began = time.perf_counter()
            connection.exchange(requests[number % len(requests)], 200)
            times.append(time.perf_counter() - began)
        cpu = processes.cpu_seconds(server.pids()) - cpu
    pss = processes.pss_bytes(server.pids())
    return Measurement(len(times) / sum(times), percentile(times, 0.99), cpu / len(times), pss)


def _name(number: int, accounts: int) -> str:
    organizations = accounts // 100
    return f"o{number % organizations}/{_WORDS[number % len(_WORDS)]}-{number}"


def _grow(server: Server, accounts: int) -> None:
    """Fill the server's database behind its back, in one transaction; then index what the search looks at."""
    assert isinstance(server, EntrepotHub)
    file = layout.database_file(server.directory / "data")
    database = sqlite.connect(str(file), isolation_level=None)
    database.execute("BEGIN IMMEDIATE")
    for statement, rows in _rows(accounts, time.time_ns() // 1000):
        database.executemany(statement, rows)
    database.execute("COMMIT")
    database.close()

    async def index() -> None:
        engine = SqliteEngine(file, layout.lock_file(server.directory / "data"))
        await DatabaseSearch(engine).index_missing()
        await engine.close()

    asyncio.run(index())


def _rows(accounts: int, now: int) -> Iterable[tuple[str, Rows]]:
    """For each account an owner of nothing; an organization for each hundred, with five teams and ten repositories."""
    yield from _people(accounts, now)
    yield from _teams(accounts, now)
    yield from _repositories(accounts, now)


def _people(accounts: int, now: int) -> Iterable[tuple[str, Rows]]:
    organizations, first = accounts // 100, _FIRST + accounts
    yield (
        "INSERT INTO accounts (id, kind, name, created_at) VALUES (?, 'person', ?, ?)",
        ((_FIRST + number, f"p{number}", now) for number in range(accounts)),
    )
    yield (
        "INSERT INTO accounts (id, kind, name, created_at) VALUES (?, 'organization', ?, ?)",
        ((first + number, f"o{number}", now) for number in range(organizations)),
    )
    yield (
        "INSERT INTO members (organization_id, account_id, role, created_at) VALUES (?, ?, ?, ?)",
        (
            (first + number, _FIRST + number * 100 + person, "owner" if person == 0 else "member", now)
            for number in range(organizations)
            for person in range(20)
        ),
    )


def _teams(accounts: int, now: int) -> Iterable[tuple[str, Rows]]:
    organizations, first = accounts // 100, _FIRST + accounts
    teams = organizations * 5
    yield (
        "INSERT INTO teams (id, organization_id, name, created_at) VALUES (?, ?, ?, ?)",
        ((_FIRST + number, first + number // 5, f"t{number % 5}", now) for number in range(teams)),
    )
    yield (
        "INSERT INTO team_members (team_id, account_id) VALUES (?, ?)",
        (
            (_FIRST + number, _FIRST + (number // 5) * 100 + person)
            for number in range(teams)
            for person in range(number % 5, 20, 5)
        ),
    )


def _repositories(accounts: int, now: int) -> Iterable[tuple[str, Rows]]:
    organizations, first = accounts // 100, _FIRST + accounts
    repositories = organizations * 10
    yield (
        "INSERT INTO repositories (id, name, created_at, namespace_id, visibility, description)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (
            (
                _FIRST + number,
                _name(number, accounts),
                now,
                first + number % organizations,
                _VISIBILITIES[number % 4],
                f"{_WORDS[number % 7]} {_WORDS[number % 17]} number {number}",
            )
            for number in range(repositories)
        ),
    )
    yield (
        "INSERT INTO grants (team_id, repository_id, role, created_at) VALUES (?, ?, 'write', ?)",
        ((_FIRST + number % organizations * 5 + number % 5, _FIRST + number, now) for number in range(repositories)),
    )
    yield (
        "INSERT INTO manifests (repository_id, digest, media_type, size, pushed_at, content) VALUES (?, ?, ?, 2, ?, ?)",
        (
            (_FIRST + number, f"sha256:{number:064x}", "application/vnd.oci.image.index.v1+json", now, b"{}")
            for number in range(repositories)
        ),
    )
