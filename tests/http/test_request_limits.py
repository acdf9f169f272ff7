"""Limits on requests of any kind: of an address, of an account, with plain headers, and off unless asked for."""

import pytest

from tests.support.hub_world import World, serving_world
from tests.support.wire import Answer

LIMIT = 20


def until_refused(ask: object) -> Answer:
    """The first refusal; each of the two workers counts for itself, and a minute may end meanwhile."""
    assert callable(ask)
    for _ in range(LIMIT * 8):
        answer: Answer = ask()
        if answer.status == 429:
            return answer
    raise AssertionError("never refused")


def check(answer: Answer) -> None:
    assert answer["x-ratelimit-limit"] == str(LIMIT)
    assert answer["x-ratelimit-remaining"] == "0"
    assert 0 < int(answer["retry-after"]) <= 60
    assert answer["x-ratelimit-reset"] == answer["retry-after"]
    assert answer.header("ratelimit-limit") is None


def test_an_address_has_its_share_of_every_door(tmp_path_factory: pytest.TempPathFactory) -> None:
    settings = {"limits__requests__address": str(LIMIT)}
    with serving_world(tmp_path_factory.mktemp("address"), **settings) as world:
        for number, target in enumerate(("/v2/", "/token", "/api/v1/plans")):
            headers = {"X-Forwarded-For": f"198.51.100.{number}"}
            check(until_refused(lambda target=target, headers=headers: world.server.get(target, headers)))
        assert world.server.get("/token", {"X-Forwarded-For": "198.51.100.99"}).status == 200


def test_an_account_has_its_share_wherever_it_comes_from(tmp_path_factory: pytest.TempPathFactory) -> None:
    settings = {"limits__requests__account": str(LIMIT)}
    with serving_world(tmp_path_factory.mktemp("account"), **settings) as world:
        alice, bob = world.person("alice"), world.person("bob")
        addresses = iter(range(10_000))

        def ask(target: str) -> Answer:
            number = next(addresses)
            headers = {**alice.basic, "X-Forwarded-For": f"198.51.{number // 250}.{number % 250}"}
            return world.server.get(target, headers)

        check(until_refused(lambda: ask("/v2/")))
        check(until_refused(lambda: ask("/api/v1/account")))
        assert world.server.get("/api/v1/account", bob.basic).status == 200


def test_nobody_is_limited_unless_it_is_asked_for(world: World) -> None:
    for _ in range(LIMIT * 4):
        assert world.server.get("/token").status == 200
