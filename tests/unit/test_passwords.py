"""Passwords: one hash for everybody, whatever is asked; and what may become a password."""

import asyncio
import threading
from collections.abc import Callable

import bcrypt
import pytest
from argon2 import PasswordHasher
from hypothesis import given
from hypothesis import strategies as st

from entrepot.access.passwords import (
    LONGEST,
    REMEMBERED_SECONDS,
    InvalidPassword,
    Passwords,
    VerifiedPasswords,
    check_new_password,
)

RIGHT = "correct horse battery staple"


def bcrypt_of(password: bytes, variant: str = "2y", cost: int = 4) -> str:
    """As a line of an htpasswd file has it."""
    return f"${variant}$" + bcrypt.hashpw(password, bcrypt.gensalt(cost)).decode()[4:]


class Work:
    """What was hashed: for each hash, the parameters that decide its cost."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.under_way = 0
        self.most = 0
        self._lock = threading.Lock()

    def begin(self, cost: str) -> None:
        """A hash begins."""
        with self._lock:
            self.done.append(cost)
            self.under_way += 1
            self.most = max(self.most, self.under_way)

    def end(self) -> None:
        """It has ended."""
        with self._lock:
            self.under_way -= 1


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    """Counts the hashes of both kinds, which are done none the less."""
    work = Work()
    argon2_verify, argon2_hash, bcrypt_check = PasswordHasher.verify, PasswordHasher.hash, bcrypt.checkpw

    def counted(cost: str, call: Callable[[], object]) -> object:
        work.begin(cost)
        try:
            return call()
        finally:
            work.end()

    def verify(self: PasswordHasher, stored: str, password: bytes) -> object:
        return counted(stored.rsplit("$", 2)[0], lambda: argon2_verify(self, stored, password))

    def make(self: PasswordHasher, password: bytes) -> object:
        return counted("new", lambda: argon2_hash(self, password))

    def check(password: bytes, stored: bytes) -> object:
        return counted(stored[4:6].decode(), lambda: bcrypt_check(password, stored))

    monkeypatch.setattr(PasswordHasher, "verify", verify)
    monkeypatch.setattr(PasswordHasher, "hash", make)
    monkeypatch.setattr(bcrypt, "checkpw", check)
    return work


async def test_a_password_is_proved_by_its_hash_alone() -> None:
    one = Passwords()
    stored = await one.hash(RIGHT)
    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert RIGHT not in stored
    assert await one.verify(RIGHT, stored)
    assert not await one.verify(RIGHT + "r", stored)
    assert not await one.verify("", stored)


async def test_a_password_may_be_of_any_letters() -> None:
    stored = await Passwords().hash("пароль密码🔑—ok")
    assert await Passwords().verify("пароль密码🔑—ok", stored)


async def test_a_wrong_password_and_an_unknown_name_cost_one_same_hash(work: Work) -> None:
    one = Passwords()
    stored = await one.hash(RIGHT)
    work.done.clear()
    assert not await one.verify("wrong password", stored)
    known = list(work.done)
    work.done.clear()
    assert not await one.verify("wrong password", None)
    assert known == work.done == ["$argon2id$v=19$m=19456,t=2,p=1"]


@pytest.mark.parametrize("cost", [4, 6])
async def test_with_an_htpasswd_file_an_unknown_name_costs_one_bcrypt_of_the_same_cost(work: Work, cost: int) -> None:
    dummy = f"$2b${cost:02}${'.' * 53}"
    assert not await Passwords().verify("wrong password", bcrypt_of(b"right", cost=cost), dummy=dummy)
    assert not await Passwords().verify("wrong password", None, dummy=dummy)
    assert work.done == [f"{cost:02}"] * 2


async def test_a_password_that_is_too_long_is_wrong_and_costs_one_hash(work: Work) -> None:
    one = Passwords()
    longest = "x" * LONGEST
    for stored in (await one.hash(longest), bcrypt_of(b"x" * 72), None):
        work.done.clear()
        assert not await one.verify(longest + "x", stored)
        assert len(work.done) == 1
        assert await one.verify(longest, stored) == (stored is not None)


@pytest.mark.parametrize("variant", ["2a", "2b", "2y"])
async def test_each_bcrypt_that_htpasswd_files_have_is_understood(variant: str) -> None:
    stored = bcrypt_of(b"secret", variant)
    assert await Passwords().verify("secret", stored)
    assert not await Passwords().verify("Secret", stored)


async def test_bcrypt_looks_at_72_bytes_as_apache_does() -> None:
    stored = bcrypt_of(b"x" * 72)
    assert await Passwords().verify("x" * 100, stored)
    assert not await Passwords().verify("x" * 71, stored)


async def test_bcrypt_does_not_stop_at_a_zero_byte() -> None:
    assert not await Passwords().verify("secret\0and more", bcrypt_of(b"secret"))


@pytest.mark.parametrize("stored", ["", "!", "$argon2id$broken", "plain"])
async def test_what_is_stored_but_no_hash_lets_nobody_in(stored: str) -> None:
    assert not await Passwords().verify(stored, stored)


async def test_half_a_letter_from_json_is_a_wrong_password_and_no_failure() -> None:
    assert not await Passwords().verify("\ud800secret", await Passwords().hash(RIGHT))
    assert not await Passwords().verify("\ud800secret", bcrypt_of(b"secret"))


async def test_parallel_logins_hash_two_at_a_time_even_when_their_clients_go_away(work: Work) -> None:
    one = Passwords()
    stored = await one.hash(RIGHT)
    asked = [asyncio.ensure_future(one.verify(RIGHT, stored)) for _ in range(12)]
    await asked[0]
    for each in asked[1:7]:
        each.cancel()
    assert await asyncio.gather(*asked[7:]) == [True] * 5
    assert work.most <= 2


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=8, max_size=256))
def test_eight_characters_of_any_kind_are_a_password(password: str) -> None:
    assert check_new_password(password) == password


@pytest.mark.parametrize(
    ("password", "sentence"),
    [
        ("", "at least 8 characters, this one has 0"),
        ("seven77", "at least 8 characters, this one has 7"),
        ("x" * (LONGEST + 1), "at most 1024 bytes, this one has 1025"),
        ("é" * 513, "at most 1024 bytes, this one has 1026"),
        ("with a\nline break", "control characters"),
        ("with a\0zero", "control characters"),
        ("with half a letter \ud800", "control characters"),
    ],
)
async def test_what_cannot_be_a_password_is_refused_with_a_sentence_and_no_hash(
    work: Work, password: str, sentence: str
) -> None:
    with pytest.raises(InvalidPassword, match=sentence) as refused:
        check_new_password(password)
    assert not password or password not in str(refused.value)
    assert work.done == []


class Clock:
    """Seconds, moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_right_password_is_remembered_for_five_minutes_and_no_longer() -> None:
    clock = Clock()
    verified = VerifiedPasswords(clock)
    assert not verified.known(1, 5, RIGHT)
    verified.remember(1, 5, RIGHT)
    clock.now += REMEMBERED_SECONDS - 1
    assert verified.known(1, 5, RIGHT)
    clock.now += 1
    assert not verified.known(1, 5, RIGHT)


def test_only_that_password_of_that_identity_since_that_change_is_remembered() -> None:
    verified = VerifiedPasswords(Clock())
    verified.remember(1, 5, RIGHT)
    assert not verified.known(1, 5, RIGHT + " ")
    assert not verified.known(2, 5, RIGHT)
    assert not verified.known(1, 6, RIGHT)


def test_of_too_many_passwords_the_one_remembered_longest_ago_is_forgotten() -> None:
    verified = VerifiedPasswords(Clock(), most=3)
    for identity in (1, 2, 3):
        verified.remember(identity, 5, RIGHT)
    verified.remember(1, 5, RIGHT)
    verified.remember(4, 5, RIGHT)
    assert [identity for identity in range(1, 5) if verified.known(identity, 5, RIGHT)] == [1, 3, 4]


def test_no_password_is_kept_and_no_other_process_could_recognise_what_is() -> None:
    one, other = VerifiedPasswords(Clock()), VerifiedPasswords(Clock())
    one.remember(1, 5, RIGHT)
    other.remember(1, 5, RIGHT)
    assert RIGHT not in str(vars(one))
    assert not set(vars(one)["_until"]) & set(vars(other)["_until"])
