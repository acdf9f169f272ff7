"""A real Redis for the test run.

ENTREPOT_TEST_REDIS=redis://HOST:PORT/NUMBER names one that runs already.
"""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from tests.support.services import free_ports, require_tools

_READY = b"Ready to accept connections"


class RedisServer:
    """`redis-server` on a loopback port of its own, which keeps nothing; it can be stopped and started again."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._port = free_ports(1)
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"redis://127.0.0.1:{self._port}/0"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self.stop()

    def start(self) -> None:
        """Start; returns when it takes connections."""
        command = ["redis-server", "--port", str(self._port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self._process = subprocess.Popen(
            [*command, "--dir", str(self._directory)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if _READY in line:
                return
        raise AssertionError("Redis did not start")

    def stop(self) -> None:
        """Stop; what it knew is gone."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._process = None


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a Redis server that this test process has for itself."""
    running = os.environ.get("ENTREPOT_TEST_REDIS")
    if running:
        yield running
        return
    require_tools("redis-server")
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server.url
