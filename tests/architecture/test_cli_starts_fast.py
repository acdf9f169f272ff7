"""What does not serve starts fast: it loads neither the server nor a database, a framework or an object store."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {
    "entrepot.database",
    "entrepot.server",
    "entrepot.storage",
    "entrepot.web",
    "alembic",
    "asyncpg",
    "httptools",
    "obstore",
    "prometheus_client",
    "pysqlite3",
    "sqlalchemy",
    "sqlite3",
    "starlette",
    "uvicorn",
}

PROGRAM = """
import json, sys
from entrepot.__main__ import main
try:
    main()
except SystemExit as end:
    assert end.code == 0, end.code
print()
print(json.dumps(sorted(sys.modules)))
"""


def modules_loaded_by(arguments: list[str], directory: Path) -> set[str]:
    """The modules that are loaded when `entrepot` with these arguments has ended well, in this directory."""
    command = [sys.executable, "-c", PROGRAM, *arguments]
    ended = subprocess.run(command, cwd=directory, env={}, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 0, ended.stderr
    return set(json.loads(ended.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], ["serve", "--help"], ["config", "check"], ["config", "show"]],
    ids=" ".join,
)
def test_what_does_not_serve_loads_neither_server_nor_database(arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "entrepot.yaml").write_text("workers: 2\n")
    loaded = modules_loaded_by(arguments, tmp_path)
    assert "entrepot.cli.main" in loaded
    assert loaded & HEAVY == set()


def test_help_does_not_even_read_the_settings(tmp_path: Path) -> None:
    assert modules_loaded_by(["--help"], tmp_path).isdisjoint({"entrepot.config", "yaml"})
