"""Accounts of an htpasswd file: read whole or not at all, and again when it has changed."""

import os
from collections import Counter
from pathlib import Path

import bcrypt
import pytest

from entrepot.access.htpasswd import Htpasswd, HtpasswdError
from entrepot.access.passwords import Passwords

# Of the right form; nobody knows their passwords.
TAIL = "f6Gx7N0kQ1dWv8E3sJY4euWcRk2bLh5mTz9pXoAqVnUiDyFgBjCKa"
ALICE, BOB = f"$2y$04${TAIL}", f"$2y$05${TAIL}"


class Clock:
    """Seconds, moved by hand."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """The time at which the file is looked at."""
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A good file."""
    path = tmp_path / "htpasswd"
    path.write_text(f"alice:{ALICE}\n")
    return path


def replace(path: Path, text: str) -> None:
    """Another file in its place, at once, as careful editors do."""
    path.with_suffix(".new").write_text(text)
    path.with_suffix(".new").rename(path)


def test_a_name_has_the_hash_of_its_line(path: Path) -> None:
    path.write_text(f"# people\n\nalice:{ALICE}\r\n  \nbob-2:{BOB}")
    file = Htpasswd(path)
    assert (file.find("alice"), file.find("bob-2"), file.find("carol"), file.find("# people")) == (
        ALICE,
        BOB,
        None,
        None,
    )
    assert file.error is None


async def test_the_right_password_of_a_line_is_accepted(path: Path) -> None:
    path.write_bytes(b"\xef\xbb\xbfalice:" + bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).replace(b"$2b$", b"$2y$"))
    file = Htpasswd(path)
    assert await Passwords().verify("secret", file.find("alice"), dummy=file.dummy("alice"))
    assert not await Passwords().verify("Secret", file.find("alice"), dummy=file.dummy("alice"))
    assert not await Passwords().verify("secret", file.find("bob"), dummy=file.dummy("bob"))


@pytest.mark.parametrize("name", ["admin", "settings", "registry", "v2"])
def test_reserved_names_may_stand_in_the_file(path: Path, name: str) -> None:
    path.write_text(f"{name}:{ALICE}\n")
    assert Htpasswd(path).find(name) == ALICE


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("hunter2", "not of the form name:hash"),
        ("bob:hunter2", "not a bcrypt one: make it by `htpasswd -B`"),
        ("bob:", "not a bcrypt one"),
        ("bob:$apr1$HUNTER2x$bSgcV3yEbQqCVmxLmoSa9.", "not a bcrypt one"),
        ("bob:{SHA}HUNTER2cDLz0cl0PpBmUNXWm2sE=", "not a bcrypt one"),
        (f"bob:{ALICE[:-1]}", "not a bcrypt one"),
        (f"bob:{ALICE}:HUNTER2", "not a bcrypt one"),
        (f"bob:$2y$31${TAIL}", "cost of the hash is 31: it has to be 4 to 17"),
        (f"Bob:{ALICE}", "lower case, as it becomes part of image names: use 'bob'"),
        (f"b.ob:{ALICE}", "lower-case letters and digits"),
        (f":{ALICE}", "2 to 40 characters, this one has 0"),
        (f"library:{ALICE}", "'library' is reserved"),
        (f"ratelimitpreview:{ALICE}", "'ratelimitpreview' is reserved"),
        (f"alice:{BOB}", "'alice' stands in the file twice"),
        ("b\udcffb:x", "not UTF-8"),
    ],
)
def test_a_line_that_cannot_be_used_is_named_by_its_number_and_never_shown(
    path: Path, line: str, sentence: str
) -> None:
    path.write_text(f"alice:{ALICE}\n\n{line}\n", errors="surrogateescape")
    with pytest.raises(HtpasswdError, match=sentence) as refused:
        Htpasswd(path)
    assert str(refused.value).startswith(f"{path}, line 3: ")
    assert "hunter2" not in str(refused.value).lower()
    assert TAIL[:8] not in str(refused.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(HtpasswdError, match="none cannot be read: No such file"):
        Htpasswd(tmp_path / "none")


def test_a_changed_file_is_read_again_after_a_second(path: Path, clock: Clock) -> None:
    file = Htpasswd(path, clock)
    replace(path, f"bob:{BOB}\n")
    clock.now += 0.9
    assert file.find("bob") is None
    clock.now += 0.1
    assert (file.find("alice"), file.find("bob")) == (None, BOB)


def test_a_file_that_is_edited_in_place_is_read_again(path: Path, clock: Clock) -> None:
    file = Htpasswd(path, clock)
    with path.open("a") as opened:
        opened.write(f"bob:{BOB}\n")
    clock.now += 1
    assert (file.find("alice"), file.find("bob")) == (ALICE, BOB)


def test_another_file_of_the_same_size_and_time_is_read_too(path: Path, clock: Clock) -> None:
    file = Htpasswd(path, clock)
    found = path.stat()
    replace(path, f"carol:{BOB}\n")
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    clock.now += 1
    assert file.find("carol") == BOB


def test_a_file_that_has_become_bad_changes_nothing_until_it_is_good_again(path: Path, clock: Clock) -> None:
    file = Htpasswd(path, clock)
    for bad in (f"bob:{BOB}\nbroken\n", None):
        path.unlink() if bad is None else replace(path, bad)
        clock.now += 1
        assert (file.find("alice"), file.find("bob")) == (ALICE, None)
        assert str(path) in str(file.error)
    replace(path, f"bob:{BOB}\n")
    clock.now += 1
    assert (file.find("alice"), file.find("bob")) == (None, BOB)
    assert file.error is None


def test_the_same_file_that_comes_back_is_good_again(path: Path, clock: Clock) -> None:
    file = Htpasswd(path, clock)
    path.rename(path.with_suffix(".away"))
    clock.now += 1
    file.find("alice")
    assert file.error is not None
    path.with_suffix(".away").rename(path)
    clock.now += 1
    assert file.find("alice") == ALICE
    assert file.error is None


def test_what_unknown_names_cost_is_shared_out_as_what_known_ones_cost(path: Path) -> None:
    path.write_text("".join(f"name{number}:{BOB if number % 4 else ALICE}\n" for number in range(40)))
    file = Htpasswd(path)
    unknown = [f"stranger{number}" for number in range(2000)]
    costs = Counter(file.dummy(name)[:7] for name in unknown)
    assert set(costs) == {"$2b$04$", "$2b$05$"}
    assert 400 < costs["$2b$04$"] < 600  # a quarter; the draw depends on nothing but this file
    another_worker = Htpasswd(path)
    assert [file.dummy(name) for name in unknown] == [another_worker.dummy(name) for name in unknown]


async def test_a_dummy_is_a_hash_that_costs_work_and_lets_nobody_in(path: Path) -> None:
    path.write_text("")
    dummy = Htpasswd(path).dummy("anybody")
    assert dummy.startswith("$2b$05$")
    assert not await Passwords().verify("", dummy)
