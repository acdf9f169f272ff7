"""A real PostgreSQL for the test run, and a database of its own for each test.

ENTREPOT_TEST_POSTGRES=postgresql://USER:PASSWORD@HOST:PORT/DATABASE names one that runs already; the user must be
allowed to make databases.
"""

import asyncio
import os
import pwd
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from tests.support.services import free_ports, one_for_all, require_tools, run_directory

_USER = "postgres"  # Debian's package makes it; PostgreSQL refuses to run as root


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a database whose user may make others. fsync is on; text sorts by a language unless told otherwise."""
    running = os.environ.get("ENTREPOT_TEST_POSTGRES")
    if running:
        yield running
        return
    require_tools("postgres")
    state = run_directory(tmp_path_factory) / "postgres"
    data = state.with_suffix(".data")  # holds the directory's name: pytest's own directories are closed to _USER
    with one_for_all(state, lambda: _start(data), lambda: _stop(data)) as url:
        yield url


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """The URL of an empty database that is dropped after the test."""
    with new_database(postgres_server) as url:
        yield url


@contextmanager
def new_database(server: str) -> Iterator[str]:
    """The URL of an empty database at this server, dropped at the end."""
    name = f"test_{uuid.uuid4().hex}"
    _execute(server, f"CREATE DATABASE {name}")
    try:
        yield urlsplit(server)._replace(path=f"/{name}").geturl()
    finally:
        _execute(server, f"DROP DATABASE {name} WITH (FORCE)")


def _start(data: Path) -> str:
    directory = Path(tempfile.mkdtemp(prefix="entrepot-postgres-"))
    data.write_text(str(directory))
    if os.geteuid() == 0:
        user = pwd.getpwnam(_USER)
        os.chown(directory, user.pw_uid, user.pw_gid)
    port = free_ports(1)
    # A cluster whose default order is not byte order shows where a query forgot to ask for byte order.
    _run("initdb", "--pgdata", directory / "data", "--username=entrepot", "--auth=trust", "--encoding=UTF8",
         "--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en")  # fmt: skip
    options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories= -c max_connections=200"
    _run("pg_ctl", "--pgdata", directory / "data", "--log", directory / "log", "--wait", "--options", options, "start")
    return f"postgresql://entrepot@127.0.0.1:{port}/postgres"


def _stop(data: Path) -> None:
    directory = Path(data.read_text())
    _run("pg_ctl", "--pgdata", directory / "data", "--mode=immediate", "--wait", "stop")
    shutil.rmtree(directory)


def _run(program: str, *arguments: str | Path) -> None:
    command = [_newest(program), *map(str, arguments)]
    if os.geteuid() == 0:
        command = ["setpriv", f"--reuid={_USER}", f"--regid={_USER}", "--init-groups", "--", *command]
    # Output goes to a file: a server started by pg_ctl keeps a pipe open, and whoever reads it waits for ever.
    with tempfile.TemporaryFile("w+") as output:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd="/", check=False)
        output.seek(0)
        assert done.returncode == 0, f"{' '.join(command)}\n{output.read()}"


def _newest(program: str) -> str:
    return str(max(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"), key=lambda path: int(path.parts[-3])))


def _execute(url: str, statement: str) -> None:
    async def execute() -> None:
        connection = await asyncpg.connect(url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    # Its own thread, as the test's thread may have an event loop running or set.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, execute()).result()
