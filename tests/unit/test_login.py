"""Logging in by a password: a refusal never tells, by its words or by the work done, whether the account exists."""

import asyncio
from dataclasses import replace

import pytest

from entrepot.access.credentials import Secrets
from entrepot.access.errors import LoginRefused, Throttled
from entrepot.access.login import Login
from entrepot.access.login_rows import StoredCredential, StoredIdentity
from entrepot.access.passwords import Passwords
from entrepot.access.throttling import ADDRESS_LIMIT, PAIR_LIMIT, Throttling
from tests.support.throttles import MemoryThrottles

HOME, AGENT, RIGHT, KEY = "192.0.2.1", "docker/29", "correct horse", b"k" * 32


class CountedPasswords(Passwords):
    """The real ones; how often they were asked is known. Each time is one hash (test_passwords.py)."""

    verified = 0

    async def verify(self, password: str, stored: str | None, **more: str) -> bool:
        """See Passwords."""
        self.verified += 1
        return await super().verify(password, stored, **more)


class People:
    """Accounts and their passwords; nobody has a token."""

    def __init__(self, *identities: StoredIdentity) -> None:
        self.identities = {each.name: each for each in identities}

    async def identity(self, name: str) -> StoredIdentity | None:
        """See LoginRows."""
        return self.identities.get(name)

    async def identity_by_account(self, account_id: int) -> StoredIdentity | None:
        """See LoginRows."""
        return next((each for each in self.identities.values() if each.account_id == account_id), None)

    async def credential(self, lookup: str) -> StoredCredential | None:
        """See LoginRows."""
        return None

    async def credential_by_id(self, credential_id: int) -> StoredCredential | None:
        """See LoginRows."""
        return None

    def dummy(self, name: str) -> str | None:
        """See LoginRows."""
        return None


class NoNotes:
    """Nothing is written down."""

    def used(self, credential_id: int, address: str, agent: str) -> None:
        """See LoginNotes."""

    def login(self, account_id: int | None, name: str, address: str, outcome: str, reason: str) -> None:
        """See LoginNotes."""


class Door:
    """A login over alice, who may log in, and bob, who is disabled; both with the same password."""

    def __init__(self, stored: str, passwords: CountedPasswords) -> None:
        alice = StoredIdentity(1, 11, "alice", "person", False, False, stored, 5)
        self.people = People(alice, replace(alice, id=2, account_id=12, name="bob", disabled=True))
        self.passwords = passwords
        self.throttles = MemoryThrottles()
        throttling = Throttling(self.throttles, KEY)
        self.login = Login(self.people, Secrets(KEY), passwords, throttling, NoNotes())

    async def refused(self, name: str, secret: str, address: str = HOME) -> LoginRefused:
        """How a login is refused."""
        with pytest.raises(LoginRefused) as refusal:
            await self.login.basic(name, secret, address, AGENT)
        return refusal.value


@pytest.fixture
async def door() -> Door:
    """A login that nobody has tried yet."""
    passwords = CountedPasswords()
    return Door(await passwords.hash(RIGHT), passwords)


async def test_a_wrong_password_an_unknown_name_and_a_disabled_account_are_refused_alike_after_one_hash(
    door: Door,
) -> None:
    seen = set()
    for name, password in (("alice", "wrong horse"), ("nobody", RIGHT), ("bob", RIGHT), ("bob", "wrong horse")):
        before, writes = door.passwords.verified, door.throttles.writes
        refusal = await door.refused(name, password)
        seen.add((type(refusal), refusal.message, door.passwords.verified - before, door.throttles.writes - writes))
    assert seen == {(LoginRefused, "incorrect username or password", 1, 1)}


async def test_what_is_throttled_is_neither_hashed_nor_written_whether_the_account_exists_or_not(door: Door) -> None:
    for name in ("alice", "nobody"):
        for _ in range(PAIR_LIMIT):
            assert not isinstance(await door.refused(name, "wrong horse"), Throttled)
        before = door.passwords.verified, door.throttles.writes
        throttled = await door.refused(name, RIGHT)
        assert isinstance(throttled, Throttled)
        assert throttled.seconds == 300
        assert (door.passwords.verified, door.throttles.writes) == before


async def test_tokens_that_are_none_are_throttled_too_and_then_written_no_more(door: Door) -> None:
    tokens = [Secrets(KEY).make("personal").text for _ in range(PAIR_LIMIT + 1)]
    refusals = [await door.refused("alice", token) for token in tokens]
    assert [isinstance(each, Throttled) for each in refusals] == [False] * PAIR_LIMIT + [True]
    assert door.throttles.writes == PAIR_LIMIT
    assert door.passwords.verified == 0


async def test_guesses_sent_at_once_are_hashed_no_more_often_than_those_sent_one_by_one(door: Door) -> None:
    await asyncio.gather(*[door.refused(f"name{number}", RIGHT) for number in range(ADDRESS_LIMIT + 20)])
    assert door.passwords.verified == ADDRESS_LIMIT


async def test_logins_sent_at_once_with_one_right_password_cost_one_hash(door: Door) -> None:
    actors = await asyncio.gather(*[door.login.basic("Alice", RIGHT, HOME, AGENT) for _ in range(20)])
    assert {actor.account_id for actor in actors} == {11}
    assert door.passwords.verified == 1


async def test_a_remembered_password_costs_nothing_until_it_is_changed_or_the_account_disabled(door: Door) -> None:
    for _ in range(2):
        await door.login.basic("alice", RIGHT, HOME, AGENT)
    assert door.passwords.verified == 1
    alice = door.people.identities["alice"]
    door.people.identities["alice"] = replace(alice, disabled=True)
    await door.refused("alice", RIGHT)
    door.people.identities["alice"] = replace(alice, secret=await door.passwords.hash("another horse"), changed_at=6)
    await door.refused("alice", RIGHT)
    assert (await door.login.basic("alice", "another horse", HOME, AGENT)).password_at == 6


async def test_nobody_can_lock_an_account_out_of_where_it_has_been(door: Door) -> None:
    await door.login.basic("alice", RIGHT, HOME, AGENT)
    door.people.identities["alice"] = replace(door.people.identities["alice"], changed_at=6)  # nothing is remembered
    key = Throttling(door.throttles, KEY)
    for number in range(100):
        await key.failed("alice", f"203.0.113.{number}", known=False)
    assert isinstance(await door.refused("alice", RIGHT, "198.51.100.7"), Throttled)
    assert (await door.login.basic("alice", RIGHT, HOME, AGENT)).account_id == 11
