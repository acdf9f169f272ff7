"""Purging at the API of a server with accounts, and what is left afterwards."""

import json
from typing import Any

from tests.support.hub_world import Person, World
from tests.support.serving import Server
from tests.support.wire import Answer


def ask(world: World, who: Person, method: str, path: str, body: object = None) -> Answer:
    """A request to the API."""
    headers = {**who.basic, **({} if body is None else {"Content-Type": "application/json"})}
    return world.server.request(method, f"/api/v1{path}", headers, None if body is None else json.dumps(body).encode())


def purge(world: World, who: Person, name: str, digest: str, *, confirm: bool = True, reason: str = "") -> Any:
    """Purge, or look what would go."""
    body = {"digest": digest, "confirm": confirm, "reason": reason}
    answer = ask(world, who, "POST", f"/repositories/{name}/-/purge", body)
    assert answer.status == 200, answer
    return answer.json()


def cut_by(server: Server, path: str, number: int, **headers: str) -> list[str]:
    """The targets that a purge has cut, so many; its answer has those of a second, its report at this path all."""
    while len(cut := server.get(f"/api/v1{path}", headers).json()["cut"]) < number:
        pass
    return [each["target"] for each in cut]


def layers_of(manifest: bytes) -> list[str]:
    """The digests of an image's layers."""
    return [each["digest"] for each in json.loads(manifest)["layers"]]


def keys_of(world: World, digest: str) -> list[str]:
    """Under which keys the store has a digest."""
    return [key for (key,) in world.execute("SELECT key FROM blobs WHERE digest = :digest", digest=digest)]
