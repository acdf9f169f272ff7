"""The way from any version of the database to this program's, over SQLite and PostgreSQL.

Each version that was ever released has its own file here, `test_from_NNNN.py`: a database of that version with
something in every table walks up to now, and what was in it is read back through the ports.
"""

import asyncio
import re
import shutil
import subprocess
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from entrepot.database import migrate
from entrepot.database.version import newest
from entrepot.registry.errors import StorageError
from tests.support.old_database import OldDatabase, OldPostgres, OldSqlite
from tests.support.tools import CHECKOUT

SCRIPTS = CHECKOUT / "src" / "entrepot" / "database" / "migrations"
FILES = sorted((SCRIPTS / "versions").glob("[0-9]*.py"))
START = """
import sys
from pathlib import Path
from entrepot.database.migrate import migrate_postgres, migrate_sqlite
kind, place = sys.argv[1:]
migrate_sqlite(Path(place)) if kind == "sqlite" else migrate_postgres(place)
"""
FAILS = """
from alembic import op
revision, down_revision, branch_labels, depends_on = "9999", "{before}", None, None
def upgrade() -> None:
    op.execute("CREATE TABLE half (done integer)")
    op.execute("INSERT INTO no_such_table VALUES (1)")
"""


def test_the_migrations_names_are_in_the_order_of_their_revisions() -> None:
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    script = ScriptDirectory.from_config(config)
    upward = [revision.revision for revision in script.walk_revisions()][::-1]
    assert len(script.get_heads()) == 1
    assert [path.name.partition("_")[0] for path in FILES] == upward
    assert all(re.fullmatch(r"[0-9]{4}_[a-z0-9_]+\.py", path.name) for path in FILES)
    assert newest() == upward[-1]


def test_every_version_has_its_walk_up() -> None:
    versions = {path.name.partition("_")[0] for path in FILES}
    assert {path.stem.removeprefix("test_from_") for path in Path(__file__).parent.glob("test_from_*.py")} == versions


@pytest.mark.parametrize("version", [path.name.partition("_")[0] for path in FILES])
async def test_an_empty_database_of_any_version_walks_up(old_database: OldDatabase, version: str) -> None:
    await old_database.migrate(version)
    assert await old_database.is_current() == (version == newest())
    await old_database.migrate("head")
    assert await old_database.is_current()
    before = await old_database.tables()
    await old_database.migrate("head")
    assert await old_database.tables() == before


async def test_a_database_that_was_never_migrated_is_not_current(old_database: OldDatabase) -> None:
    assert not await old_database.is_current()


async def test_a_database_of_a_newer_program_is_refused_with_a_sentence(old_database: OldDatabase) -> None:
    await old_database.migrate("head")
    await old_database.say_version("9999")
    with pytest.raises(StorageError) as refusal:
        await old_database.is_current()
    assert refusal.value.message == (
        f"the database has version 9999, this program knows {newest()}: use the newer program that made it"
    )


async def test_the_server_does_not_start_on_a_newer_database_and_says_why(tmp_path: Path) -> None:
    database = OldSqlite(tmp_path / "entrepot.db")
    await database.migrate("head")
    await database.say_version("9999")
    program = str(Path(sys.executable).with_name("entrepot"))
    command = [program, "serve", "--open", "--listen", "127.0.0.1:0", "--data-dir", str(tmp_path)]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert "the database has version 9999" in ended.stderr.splitlines()[0]
    assert "Traceback" not in ended.stderr


async def test_a_migration_that_is_cut_off_leaves_nothing(
    old_database: OldDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither of a first start, nor of a step from an older version; the next start tries again."""
    scripts = tmp_path / "migrations"
    shutil.copytree(SCRIPTS, scripts)
    (scripts / "versions" / "9999_fails.py").write_text(FAILS.format(before=newest()))
    with monkeypatch.context() as patched:
        patched.setattr(migrate, "_SCRIPTS", scripts)
        with pytest.raises(Exception, match="no_such_table"):
            await old_database.migrate("head")
    assert await old_database.tables() == set()
    await old_database.migrate(newest())
    complete = await old_database.tables()
    with monkeypatch.context() as patched:
        patched.setattr(migrate, "_SCRIPTS", scripts)
        with pytest.raises(Exception, match="no_such_table"):
            await old_database.migrate("head")
    assert await old_database.tables() == complete
    assert await old_database.is_current()


async def test_servers_that_start_together_take_turns(old_database: OldDatabase) -> None:
    starts = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", START, *old_database.started_as(), stderr=PIPE)
        for _ in range(3)
    ]
    for start in starts:
        _, errors = await start.communicate()
        assert start.returncode == 0, errors.decode()
    assert await old_database.is_current()


@pytest.mark.parametrize("change", [{"query": "sslmode=prefer"}, {"scheme": "postgres"}], ids=["options", "scheme"])
def test_a_postgresql_url_is_read_alike_by_migrations_and_server(postgres_url: str, change: dict[str, str]) -> None:
    database = OldPostgres(urlsplit(postgres_url)._replace(**change).geturl())
    database.migrate_now("head")
    assert database.is_current_now()
