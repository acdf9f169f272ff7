"""Access tokens as values: what is written is what is read, and keys that come and go."""

import time

import pytest
from joserfc import jwt

from entrepot.access import tokens as module
from entrepot.access.actor import ANONYMOUS, Actor
from entrepot.access.errors import TokenInvalid
from entrepot.access.pulls import PullLimit
from entrepot.access.tokens import LIFETIME, Access, SigningKeys, Tokens

ROOT = b"a root secret of thirty-two bytes"
ACTOR = Actor(11, "org+ci", "robot", payer_id=7, credential_id=5, credential_kind="robot", password_at=99)
PULL, PUSH = frozenset({"pull"}), frozenset({"pull", "push"})


class Clock:
    """Stands in for the time."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def time(self) -> float:
        """Seconds since 1970."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time that tokens see."""
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def keys() -> SigningKeys:
    """Of one installation."""
    return SigningKeys(ROOT)


@pytest.fixture
def tokens(keys: SigningKeys) -> Tokens:
    """Of one worker."""
    return Tokens(keys, "entrepot")


def issue(tokens: Tokens, **more: object) -> bytes:
    """A token to pull and push one repository."""
    return tokens.issue(ACTOR, {"acme/app": Access(PUSH, 70, 3)}, **more)[0].encode()  # type: ignore[arg-type]


def test_what_is_written_is_what_another_worker_reads(tokens: Tokens) -> None:
    read = Tokens(SigningKeys(ROOT), "entrepot").verify(issue(tokens, limit=PullLimit(100, 21600), catalog=["*"]))
    assert (read.name, read.account_id, read.credential_id, read.payer_id, read.password_at) == ("org+ci", 11, 5, 7, 99)
    assert read.limit == PullLimit(100, 21600)
    assert read.catalog
    assert read.repositories == {"acme/app": Access(PUSH, 70, 3)}


def test_an_anonymous_token_has_no_account_and_no_catalog_unless_asked(tokens: Tokens) -> None:
    read = tokens.verify(tokens.issue(ANONYMOUS, {})[0].encode())
    assert (read.name, read.account_id, read.credential_id, read.payer_id, read.limit) == ("", None, None, None, None)
    assert not read.catalog


def test_a_grant_is_for_the_repository_that_was_meant_and_for_its_rights_as_they_were(tokens: Tokens) -> None:
    read = tokens.verify(issue(tokens))
    assert read.covers("acme/app", 70, 3)
    for name, repository, version in (("acme/app", 70, 4), ("acme/app", 71, 3), ("acme/other", 70, 3), ("", 70, 3)):
        assert not read.covers(name, repository, version)
    assert read.allows("acme/app", "push")
    assert not read.allows("acme/app", "delete")
    assert not read.names("acme/app")


def test_a_token_to_push_alone_pulls_nothing(tokens: Tokens) -> None:
    token, _ = tokens.issue(ACTOR, {"acme/app": Access(frozenset({"push"}), 70, 3)})
    assert not tokens.verify(token.encode()).covers("acme/app", 70, 3)


def test_only_a_token_from_when_nothing_was_there_may_be_told_that_nothing_is(tokens: Tokens) -> None:
    read = tokens.verify(tokens.issue(ACTOR, {"acme/new": Access(PULL, 0, 0)})[0].encode())
    assert read.names("acme/new")
    assert not read.names("acme/app")
    assert not read.covers("acme/new", 70, 1)


def test_a_token_holds_five_minutes_and_is_then_refused_though_it_was_remembered(tokens: Tokens, clock: Clock) -> None:
    token = issue(tokens)
    assert tokens.known(token) is None
    tokens.verify(token)
    assert tokens.known(token) is not None
    clock.now += LIFETIME - 1
    assert tokens.verify(token)
    clock.now += 1
    assert tokens.known(token) is None
    with pytest.raises(TokenInvalid):
        tokens.verify(token)


def test_a_node_whose_clock_is_a_little_late_takes_a_token_and_one_that_is_far_behind_does_not(
    tokens: Tokens, clock: Clock
) -> None:
    token = issue(tokens)
    clock.now -= 60
    assert tokens.verify(token)
    clock.now -= 1
    with pytest.raises(TokenInvalid):
        Tokens(SigningKeys(ROOT), "entrepot").verify(token)


def test_a_worker_remembers_a_bounded_number_of_tokens(
    tokens: Tokens, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_REMEMBERED", 3)
    issued = [issue(tokens) for _ in range(7)]
    for token in issued:
        tokens.verify(token)
        assert sum(tokens.known(each) is not None for each in issued) <= 3


def test_a_refused_token_is_not_remembered(tokens: Tokens) -> None:
    foreign = issue(Tokens(SigningKeys(ROOT[::-1]), "entrepot"))
    for _ in range(2):
        with pytest.raises(TokenInvalid):
            tokens.verify(foreign)
        assert tokens.known(foreign) is None


def test_a_new_key_is_accepted_and_published_before_it_signs(keys: SigningKeys, tokens: Tokens) -> None:
    ahead = SigningKeys(ROOT)
    ahead.use([1, 2], 2)
    with pytest.raises(TokenInvalid):
        tokens.verify(issue(Tokens(ahead, "entrepot")))
    assert keys.use([1, 2], 1)
    assert not keys.use([1, 2], 1)
    assert tokens.verify(issue(Tokens(ahead, "entrepot")))
    assert len(keys.published()["keys"]) == 2
    assert jwt.decode(issue(tokens).decode(), SigningKeys(ROOT).signing, algorithms=["ES256"])


def test_an_old_key_holds_while_the_next_one_signs_and_ends_with_the_one_after(
    keys: SigningKeys, tokens: Tokens
) -> None:
    old = issue(tokens)
    for versions, signing in (([1, 2], 1), ([1, 2], 2), ([1, 2, 3], 2)):
        keys.use(versions, signing)
        tokens.forget()
        assert tokens.verify(old), (versions, signing)
    keys.use([1, 2, 3], 3)
    tokens.forget()
    with pytest.raises(TokenInvalid):
        tokens.verify(old)


def test_published_keys_are_public_ones_only(keys: SigningKeys) -> None:
    (key,) = keys.published()["keys"]
    assert set(key) == {"kty", "crv", "x", "y", "kid", "use", "alg"}


def test_the_same_root_gives_the_same_keys_on_every_node_and_another_root_others() -> None:
    first, second, other = (SigningKeys(root).signing for root in (ROOT, ROOT, ROOT[::-1]))
    assert first.as_dict(private=True) == second.as_dict(private=True)
    assert first.kid != other.kid


def test_a_token_says_when_it_was_issued(tokens: Tokens) -> None:
    before = int(time.time())
    _, issued = tokens.issue(ACTOR, {})
    assert before <= issued <= int(time.time())
