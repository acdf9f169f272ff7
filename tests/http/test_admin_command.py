"""`entrepot admin`, typed beside a running server and on the same database."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from uuid import uuid4

import pytest

from tests.http.conftest import large
from tests.support.hub_world import ADMIN_PASSWORD, SECRET_KEY, World, basic, claims_of, serving_world


class Shell:
    """A shell on the server's machine, with its configuration."""

    def __init__(self, world: World, settings: Mapping[str, str]) -> None:
        self.world = world
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("ENTREPOT_", "REGISTRY_"))}
        here = {"data_dir": str(world.server.data), **settings}
        self.environment = kept | {f"ENTREPOT_{key.upper()}": value for key, value in here.items()}

    def __call__(self, *arguments: str, stdin: str = "", status: int = 0) -> str:
        """What `entrepot admin …` prints."""
        command = [sys.executable, "-m", "entrepot", "admin", *arguments]
        done = subprocess.run(
            command, env=self.environment, input=stdin, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == status, (arguments, done)
        return done.stdout if status == 0 else done.stderr


@pytest.fixture(params=["sqlite", pytest.param("large", marks=pytest.mark.xdist_group("large"))])
def typed(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shell]:
    """Beside a server of each kind."""
    if request.param == "sqlite":
        with serving_world(tmp_path) as world:
            yield Shell(world, {})
        return
    servers = request.getfixturevalue("postgres_server"), request.getfixturevalue("s3_server")
    with large(*servers) as where, serving_world(tmp_path, **where) as world:
        yield Shell(world, {**where, "secret_key": SECRET_KEY})


def test_the_administrators_work_is_done_offline(typed: Shell) -> None:
    world = typed.world

    def opens(name: str, secret: str, target: str = "/v2/") -> int:
        world.secrets.add(secret)
        return world.server.get(target, basic(name, secret)).status

    first, second = f"password {uuid4().hex}", f"password {uuid4().hex}"
    assert "alice can log in now" in typed("create-user", "alice", "--password-stdin", stdin=f"{first}\n")
    assert opens("alice", first) == 200
    made = typed("create-user", "bob", "--email", "bob@example.com")
    assert opens("bob", made.partition("with the password ")[2].partition(" ")[0]) == 200
    assert "lower case" in typed("create-user", "Carol", status=2)
    assert "is taken" in typed("create-user", "alice", status=2)

    token = typed("token", "alice", "--role", "repo:read", "--expires", "30d").strip()
    assert opens("alice", token) == 200
    scope = "repository:alice/app:pull,push"
    read = claims_of(world.server.get(f"/token?scope={scope}", basic("alice", token)).json()["token"])
    assert read["access"] == []  # which does not create
    assert "no account" in typed("token", "nobody", status=2)

    assert opens("alice", first, "/api/v1/admin/accounts") == 403
    assert "is an administrator" in typed("make-admin", "alice")
    assert opens("alice", first, "/api/v1/admin/accounts") == 200

    listed = [line.split("\t") for line in typed("list").splitlines()]
    assert listed == [
        ["admin", "admin", "unlimited", ""],
        ["alice", "admin", "unlimited", ""],
        ["bob", "user", "unlimited", "bob@example.com"],
    ]

    typed("reset-password", "alice", "--password-stdin", stdin=f"{second}\n")
    assert [opens("alice", secret) for secret in (first, token, second)] == [401, 401, 200]
    assert "signs access tokens in ten minutes" in typed("rotate-keys")
    audit = world.server.get("/api/v1/audit?kind=account", basic("admin", ADMIN_PASSWORD)).json()["items"]
    found = [(each["kind"], each["subject"], each["address"]) for each in audit]
    for kind in ("account.create", "account.administrator", "account.reset"):
        assert (kind, "alice", "console") in found


def test_before_the_first_start_it_says_what_to_do(tmp_path: Path) -> None:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("ENTREPOT_", "REGISTRY_"))}
    done = subprocess.run(
        [sys.executable, "-m", "entrepot", "admin", "list"],
        env=kept | {"ENTREPOT_DATA_DIR": str(tmp_path / "nothing")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "start `entrepot serve` once" in done.stderr
