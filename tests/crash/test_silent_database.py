"""A database that takes connections and says nothing."""

import asyncio
import socket

import pytest

from entrepot.database import postgres
from entrepot.registry.errors import StorageError


async def test_requests_that_wait_for_the_first_connection_fail_together_not_one_after_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(postgres, "_CONNECT_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        engine = postgres.PostgresEngine(f"postgresql://nobody@127.0.0.1:{silent.getsockname()[1]}/none")
        async with asyncio.timeout(15):  # one after another they would need 30 seconds
            outcomes = await asyncio.gather(*(engine.read("SELECT 1") for _ in range(100)), return_exceptions=True)
        await engine.close()
    assert {type(outcome) for outcome in outcomes} == {StorageError}
