"""Exactly one SQLite library is loaded in a process: a second copy that closes the database drops the first one's
locks (POSIX drops all of a process's locks on a file with any of its descriptors)."""

import ast
import subprocess
import sys
from pathlib import Path

from tests.support.node import Node
from tests.support.tools import CHECKOUT

WORK = """
import asyncio, sys
from pathlib import Path
import entrepot.server
from entrepot.database.engine import Transaction
from entrepot.database.migrate import migrate_sqlite
from entrepot.database.sqlite import SqliteEngine
from entrepot.database.version import sqlite_is_current

directory = Path(sys.argv[1])
migrate_sqlite(directory / "entrepot.db")
assert sqlite_is_current(directory / "entrepot.db")

async def use() -> None:
    engine = SqliteEngine(directory / "entrepot.db", directory / "entrepot.lock")
    async def work(transaction: Transaction) -> None:
        await transaction.run("INSERT INTO repositories (name, created_at) VALUES ('a', now_us())")
    await engine.write(work, durable=True)
    assert await engine.read("SELECT name FROM repositories") == [("a",)]
    await engine.close()

asyncio.run(use())
print(*(name for name in sys.modules if "sqlite3" in name))
"""


def test_no_module_imports_the_standard_librarys_sqlite() -> None:
    """Not in tests and tools either: they open the same files."""
    for room in ("src", "tests", "bench", "deploy"):
        for path in (CHECKOUT / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                assert not {name.partition(".")[0] for name in names} & {"sqlite3", "_sqlite3"}, path


def test_migrating_reading_and_writing_load_one_sqlite(tmp_path: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", WORK, tmp_path], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    loaded = ended.stdout.split()
    assert "pysqlite3" in loaded
    assert [name for name in loaded if name.partition(".")[0] in ("sqlite3", "_sqlite3")] == []


def test_every_process_of_a_started_server_maps_one_sqlite(tmp_path: Path) -> None:
    with Node(tmp_path / "data", workers=2) as node:
        mapped = [libraries(pid) for pid in node.processes()]
    workers = [found for found in mapped if found]
    assert len(mapped) == 3
    assert len(workers) >= 2
    for found in workers:
        assert [Path(path).parent.name for path in found] == ["pysqlite3"]


def libraries(pid: int) -> set[str]:
    """The files with an SQLite in them that a process has mapped."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    paths = {line.split(maxsplit=5)[5] for line in lines if line.count("/")}
    return {path for path in paths if "sqlite3" in Path(path).name and ".so" in path}
