"""The first start with accounts: the administrator, `library`, and a namespace for everything that is there."""

import asyncio
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from entrepot.access.actor import ANONYMOUS
from entrepot.database.adoption import CannotAdopt, adopt
from entrepot.database.first_start import has_administrator, make_administrator, make_library
from entrepot.storage import layout
from tests.support.hub_rows import Hub, hub_over
from tests.support.hub_world import ADMIN_PASSWORD, SECRET_KEY, basic, bearer, serving_world
from tests.support.rows import SOMEBODY, Database
from tests.support.serving import serving

PROOF = "a hash"


async def filled(database: Database, *names: str) -> Hub:
    """The hub over a database in which an open registry has made repositories."""
    rows = database.connect()
    for number, name in enumerate(names):
        await rows.uploads.open_upload(name, f"upload {number}", "filesystem", None, 60, SOMEBODY)
    return hub_over(rows.engine)


async def test_of_nodes_that_start_together_one_makes_the_administrator(database: Database) -> None:
    engines = [database.engine() for _ in range(5)]
    made = await asyncio.gather(*[make_administrator(engine, f"{PROOF} {n}") for n, engine in enumerate(engines)])
    assert sorted(made) == [False] * 4 + [True]
    rows = await engines[0].read("SELECT a.name, a.administrator, i.secret FROM accounts a JOIN identities i"
                                 " ON i.account_id = a.id")  # fmt: skip
    assert rows == [("admin", 1, f"{PROOF} {made.index(True)}")]


async def test_an_administrator_is_made_only_while_there_is_none(database: Database) -> None:
    engine = database.engine()
    assert not await has_administrator(engine)
    await hub_over(engine).person("root", administrator=True)
    assert await has_administrator(engine)
    assert not await make_administrator(engine, PROOF)
    assert await engine.read("SELECT name FROM accounts") == [("root",)]


async def test_library_is_made_once_whoever_starts(database: Database) -> None:
    engines = [database.engine() for _ in range(5)]
    await asyncio.gather(*[make_library(engine) for engine in engines])
    await make_library(engines[0])
    rows = await engines[0].read("SELECT name, kind, default_visibility FROM accounts")
    assert rows == [("library", "organization", "public")]


async def test_names_of_one_component_are_librarys_and_others_of_public_organizations_of_admin(
    database: Database,
) -> None:
    names = ("hello", "library/hello", "library2/x", "crew/app", "crew/deep/er", "crew-b/app", "crews/app", "zeta")
    hub = await filled(database, *names)
    await make_library(hub.engine)
    await make_administrator(hub.engine, PROOF)
    assert await adopt(hub.engine) == len(names)
    rows = await hub.engine.read(
        "SELECT r.name, n.name, n.kind FROM repositories r JOIN accounts n ON n.id = r.namespace_id ORDER BY r.name"
    )
    expected = {"hello": "library", "zeta": "library"}
    assert rows == [(name, expected.get(name, name.partition("/")[0]), "organization") for name in sorted(names)]
    owners = await hub.engine.read("SELECT n.name, a.name, m.role FROM members m JOIN accounts n"
                                   " ON n.id = m.organization_id JOIN accounts a ON a.id = m.account_id"
                                   " ORDER BY n.name")  # fmt: skip
    assert owners == [(name, "admin", "owner") for name in ("crew", "crew-b", "crews", "library2")]
    assert await hub.rights.visible(ANONYMOUS, "", 100) == sorted(names)
    assert await adopt(hub.engine) == 0


async def test_what_belongs_to_somebody_is_left_alone_and_an_account_takes_what_bears_its_name(
    database: Database,
) -> None:
    hub = await filled(database, "olga/app")
    olga = await hub.person("olga")
    await hub.repository(olga, "olga/private", "private")
    assert await adopt(hub.engine) == 1
    rows = await hub.engine.read("SELECT name, namespace_id, visibility FROM repositories ORDER BY name")
    assert rows == [("olga/app", olga.account_id, "public"), ("olga/private", olga.account_id, "private")]


@pytest.mark.parametrize("name", ["api/app", "registry.example/app", "a/app", f"{'x' * 41}/app", "a__b/app"])
async def test_a_name_that_cannot_belong_to_anybody_is_named_and_nothing_is_given(
    database: Database, name: str
) -> None:
    hub = await filled(database, "crew/app", name)
    await make_library(hub.engine)
    with pytest.raises(CannotAdopt, match=name):
        await adopt(hub.engine)
    assert await hub.engine.read("SELECT name FROM repositories WHERE namespace_id IS NOT NULL") == []


async def test_nodes_that_start_together_adopt_everything_once(database: Database) -> None:
    hub = await filled(database, "hello", "crew/app")
    await make_library(hub.engine)
    await make_administrator(hub.engine, PROOF)
    adopted = await asyncio.gather(*[adopt(database.engine()) for _ in range(4)])
    assert sum(adopted) == 2
    assert len(await hub.engine.read("SELECT 1 FROM members")) == 1


def test_open_data_is_served_with_accounts_after_the_next_start(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        images = {name: server.push_image(name, "v1") for name in ("hello", "crew/app")}
    with serving_world(tmp_path) as world:
        for name, image in images.items():
            target = f"/v2/{name}/manifests/v1"
            assert world.server.get(target).status == 401
            assert world.by_token(None, name).get(target).body == image
            assert world.by_token(None, name).request("POST", f"/v2/{name}/blobs/uploads/", body=b"").status == 401
            assert world.by_basic(world.administrator).push_image(name, "v2")


def test_a_name_that_cannot_belong_to_anybody_stops_the_start_by_name(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        server.push_image("registry.example/app", "v1")
    done = start(tmp_path)
    assert done.returncode == 1
    assert "registry.example/app" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_password_in_the_environment_acts_only_while_there_is_no_administrator(tmp_path: Path) -> None:
    with serving_world(tmp_path) as world:
        assert world.ask_token(world.administrator).status == 200
    with serving_world(tmp_path, admin_password="another password") as world:
        assert world.server.get("/token", basic("admin", "another password")).status == 401
        assert world.server.get("/token", basic("admin", ADMIN_PASSWORD)).status == 200


def test_without_a_password_in_the_environment_one_is_made_and_shown_once(tmp_path: Path) -> None:
    shown = []
    for _ in range(2):
        with serving(tmp_path, accounts=True, log__format="json") as server:
            lines = [line for line in server.log_file.read_text().splitlines() if "the administrator is admin" in line]
            shown.append(lines)
            password = shown[0][0].partition("the password ")[2].partition(" ")[0]
            assert len(password) >= 20
            token = server.get("/token", basic("admin", password)).json()["token"]
            assert server.get("/v2/", bearer(token)).status == 200
    assert [len(lines) for lines in shown] == [1, 0]
    assert password not in layout.database_file(tmp_path / "data").read_bytes().decode("latin-1")


def test_two_servers_that_start_together_on_one_database_make_one_administrator(
    tmp_path: Path, postgres_url: str
) -> None:
    """Each with a password of its own: exactly one of them is right, at both."""
    passwords = ["the password of the first", "the password of the second"]
    more = {"database__url": postgres_url, "secret_key": SECRET_KEY}

    def ask_both(number: int) -> list[int]:
        with serving(tmp_path / str(number), accounts=True, admin_password=passwords[number], **more) as server:
            together.wait()
            statuses = [server.get("/token", basic("admin", each)).status for each in passwords]
            together.wait()
            return statuses

    together = Barrier(2, timeout=60)
    with ThreadPoolExecutor(2) as threads:
        answers = list(threads.map(ask_both, range(2)))
    assert answers[0] == answers[1]
    assert sorted(answers[0]) == [200, 401]


def start(directory: Path) -> subprocess.CompletedProcess[str]:
    """A server with accounts that is expected not to start."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ENTREPOT_")}
    command = [sys.executable, "-m", "entrepot", "serve", "--listen", "127.0.0.1:0", "--data-dir",
               str(directory / "data")]  # fmt: skip
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
