"""`docker search` at its door, without sockets: the exact answers that Docker reads."""

import json
from collections.abc import Sequence
from urllib.parse import quote

import pytest

from entrepot.access.actor import Actor
from entrepot.access.errors import LoginRefused, Throttled, TokenInvalid
from entrepot.access.tokens import Verified
from entrepot.hub.search import Candidate
from entrepot.web.message import Answer, BadRequest, Request
from entrepot.web.v1 import SearchDoor

OLGA = Actor(7, "olga", "person", credential_kind="password")
HELLO = Candidate(1, "library/hello", "public", "says hello", 3)
MINE = Candidate(2, "olga/app", "private", "", 0)


class FakeSearch:
    """Finds what everybody, and what olga may see; remembers what was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int, int]] = []

    async def find(self, actor: Actor, query: str, start: int, limit: int) -> Sequence[Candidate]:
        self.asked.append((query, start, limit))
        return [HELLO] if actor.anonymous else [HELLO, MINE]


class FakeLogins:
    """Knows olga."""

    async def basic(self, user: str, secret: str, address: str, agent: str) -> Actor:
        if user == "throttled":
            raise Throttled("later", 30)
        if (user, secret) != ("olga", "pw"):
            raise LoginRefused("incorrect username or password")
        return OLGA

    async def again(self, account_id: int, credential_id: int | None, password_at: int) -> Actor | None:
        return OLGA if account_id == 7 else None


class FakeTokens:
    """Accepts the tokens olga, nobody and gone."""

    def verify(self, token: bytes) -> Verified:
        accounts = {b"olga": 7, b"nobody": None, b"gone": 8}
        if token not in accounts:
            raise TokenInvalid("no token of this registry")
        return verified(accounts[token])


def verified(account_id: int | None) -> Verified:
    """What a token of this account says."""
    token = object.__new__(Verified)
    for name, value in {"account_id": account_id, "credential_id": None, "password_at": 0}.items():
        object.__setattr__(token, name, value)
    return token


async def ask(target: str, authorization: str = "", method: str = "GET", search: FakeSearch | None = None) -> Answer:
    """The door's answer."""
    path, _, query = target.partition("?")
    headers = [(b"authorization", authorization.encode())] if authorization else []
    scope = {
        "method": method,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": headers,
        "scheme": "http",
    }

    async def receive() -> dict[str, object]:
        raise AssertionError("nobody reads a body")

    door = SearchDoor(search or FakeSearch(), FakeLogins(), FakeTokens())
    return await door.answer(Request(scope, receive, 1), "192.0.2.1")


async def test_the_ping_says_that_there_is_no_other_index() -> None:
    answer = await ask("/v1/_ping")
    assert (answer.status, answer.body) == (200, b"true")
    assert (b"x-docker-registry-standalone", b"true") in answer.headers


async def test_the_answer_is_what_docker_reads() -> None:
    search = FakeSearch()
    answer = await ask("/v1/search?q=hel%20lo&n=7", search=search)
    assert answer.status == 200
    assert json.loads(answer.body) == {
        "query": "hel lo",
        "num_results": 1,
        "results": [
            {
                "name": "library/hello",
                "description": "says hello",
                "star_count": 3,
                "is_official": True,
                "is_automated": False,
                "is_trusted": False,
            }
        ],
    }
    assert search.asked == [("hel lo", 0, 7)]


@pytest.mark.parametrize(("n", "limit"), [("", 25), ("&n=", 25), ("&n=1", 1), ("&n=100", 100)])
async def test_a_page_has_25_results_unless_it_is_asked_for_another_number(n: str, limit: int) -> None:
    search = FakeSearch()
    assert (await ask(f"/v1/search?q=x{n}", search=search)).status == 200
    assert search.asked == [("x", 0, limit)]


@pytest.mark.parametrize("n", ["0", "101", "-1", "x", "١", "99999"])
async def test_a_number_that_is_none_is_refused(n: str) -> None:
    with pytest.raises(BadRequest, match="from 1 to 100"):
        await ask(f"/v1/search?q=x&n={quote(n)}")


@pytest.mark.parametrize(
    ("authorization", "names"),
    [
        ("", ["library/hello"]),
        ("Basic Og==", ["library/hello"]),  # nobody's name and no secret, as some clients send
        ("Basic b2xnYTpwdw==", ["library/hello", "olga/app"]),
        ("Bearer olga", ["library/hello", "olga/app"]),
        ("bearer nobody", ["library/hello"]),
    ],
)
async def test_who_asks_finds_what_they_may_read(authorization: str, names: list[str]) -> None:
    answer = await ask("/v1/search?q=x", authorization)
    assert [each["name"] for each in json.loads(answer.body)["results"]] == names


@pytest.mark.parametrize(
    ("authorization", "status"),
    [("Basic b2xnYTp4", 401), ("Basic dGhyb3R0bGVkOng=", 429), ("Bearer x", 401), ("Bearer gone", 401)],
)
async def test_a_wrong_credential_is_refused_and_never_taken_for_nobody(authorization: str, status: int) -> None:
    answer = await ask("/v1/search?q=x", authorization)
    assert answer.status == status
    assert dict(answer.headers).get(b"retry-after") == (b"30" if status == 429 else None)


async def test_search_is_only_read() -> None:
    answer = await ask("/v1/search?q=x", method="POST")
    assert answer.status == 405
    assert (b"allow", b"GET, HEAD") in answer.headers
