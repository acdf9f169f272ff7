"""Where logins to upstreams come from: sealed in the configuration, in a file, or from a docker-credential helper."""

import os
import secrets
from pathlib import Path

import pytest

from entrepot.access.sealing import NotOurs, is_sealed, seal, unseal
from entrepot.client.errors import NoLogin
from entrepot.client.logins import Helper, InFile
from entrepot.client.tokens import Login

HELPER = """\
#!/bin/sh
read -r server
echo "$1 $server ${ENTREPOT_SECRET_KEY:-unset}" >> "$HELPER_LOG"
%s
"""
GIVES = """echo '{"ServerURL": "x", "Username": "AWS", "Secret": "for-twelve-hours"}'"""


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What helpers were asked; programs in `tmp_path` are found."""
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("HELPER_LOG", str(tmp_path / "log"))
    monkeypatch.setenv("ENTREPOT_SECRET_KEY", "nobody's business")
    return tmp_path / "log"


def install(log: Path, does: str) -> None:
    program = log.parent / "docker-credential-test"
    program.write_text(HELPER % does)
    program.chmod(0o755)


async def test_a_helper_is_asked_as_docker_asks_it_and_its_answer_is_kept_for_a_while(log: Path) -> None:
    install(log, GIVES)
    clock = Clock()
    helper = Helper("test", "123.dkr.ecr.eu-west-1.amazonaws.com", clock)
    for _ in range(3):
        assert await helper.get() == Login("AWS", "for-twelve-hours")
    assert log.read_text() == "get 123.dkr.ecr.eu-west-1.amazonaws.com unset\n"
    clock.now += 601
    await helper.get()
    assert len(log.read_text().splitlines()) == 2


async def test_a_helper_is_asked_again_when_its_login_is_refused_but_not_each_time(log: Path) -> None:
    install(log, GIVES)
    clock = Clock()
    helper = Helper("test", "ghcr.io", clock)
    for seconds in (0, 1, 5, 5):
        clock.now += seconds
        await helper.get()
        helper.refused()
    assert len(log.read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("does", "words"),
    [
        ("echo 'credentials not found in native keychain'; exit 1", "credentials not found in native keychain"),
        ("echo nonsense", "does not answer as a docker-credential helper does"),
        ("echo '[]'", "does not answer as a docker-credential helper does"),
        ("""echo '{"Username": "<token>", "Secret": 1}'""", "does not answer as a docker-credential helper does"),
    ],
)
async def test_a_helper_that_gives_nothing_says_why(log: Path, does: str, words: str) -> None:
    install(log, does)
    with pytest.raises(NoLogin, match=words):
        await Helper("test", "ghcr.io").get()


async def test_a_helper_that_is_not_there_is_named() -> None:
    with pytest.raises(NoLogin, match="docker-credential-absent cannot be run"):
        await Helper("absent", "ghcr.io").get()


@pytest.mark.parametrize("name", ["", "../sh", "a/b", "x; rm", "-x", "x\ny"])
def test_a_helpers_name_is_no_path_and_no_command(name: str) -> None:
    with pytest.raises(ValueError, match="what follows docker-credential-"):
        Helper(name, "ghcr.io")


async def test_a_password_in_a_file_is_read_anew_each_time(tmp_path: Path) -> None:
    file = tmp_path / "password"
    login = InFile("bot", file)
    with pytest.raises(NoLogin, match="cannot be read: No such file or directory"):
        await login.get()
    for password in ("first", "second"):
        file.write_text(f"{password}\n")
        assert await login.get() == Login("bot", password)


def test_what_is_sealed_is_read_by_the_same_root_secret_alone() -> None:
    root, other = secrets.token_bytes(32), secrets.token_bytes(32)
    sealed = seal(root, "pässword")
    assert is_sealed(sealed)
    assert "pässword" not in sealed
    assert sealed != seal(root, "pässword")
    assert unseal(root, sealed) == "pässword"
    for key, text in ((other, sealed), (root, sealed[:-6] + "AAAA=="), (root, "sealed:1:"), (root, "sealed:1:%%")):
        with pytest.raises(NotOurs):
            unseal(key, text)
