"""A cache before a scripted upstream that has many aliases, so that each test has one of which nothing is known."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, IncompleteRead
from itertools import count
from pathlib import Path
from typing import NamedTuple

from tests.support.scripted_upstream import PASSWORD, USER, Script, scripted_upstream
from tests.support.serving import Server, serving
from tests.support.wire import Answer, whole

_NUMBERS = count()


class Scene(NamedTuple):
    """A cache and the script of its upstream. The test's alone are the repository `name` and the alias of the upstream:
    what the cache has learned about an upstream in one test says nothing in another."""

    cache: Server
    script: Script
    name: str
    alias: str

    def get(self, path: str, method: str = "GET") -> Answer:
        """A request that may be answered by a 5xx."""
        with self.cache.connect() as connection:
            return connection.ask(whole(method, f"/v2/{self.alias}/{self.name}/{path}", (), None), method)

    def metrics(self) -> str:
        """What Prometheus would read."""
        return self.cache.get("/metrics").body.decode()

    def get_what_comes(self, path: str) -> tuple[int, bytes]:
        """A status, and of the body what came before the connection ended."""
        connection = HTTPConnection(*self.cache.address)
        connection.request("GET", f"/v2/{self.alias}/{self.name}/{path}")
        response = connection.getresponse()
        try:
            return response.status, response.read()
        except IncompleteRead as error:
            return response.status, error.partial
        finally:
            connection.close()

    def another(self, name: str) -> "Scene":
        """The same, of a repository of another alias."""
        return self._replace(name=name, alias=_unused_alias())


@contextmanager
def faulty_cache(directory: Path) -> Iterator[tuple[Server, Script]]:
    """The cache, and the script of its upstream."""
    with scripted_upstream() as upstream:
        at = {"url": upstream.url}
        configured = {
            **{
                f"up{number}.example": {**at, "username": USER, "password": PASSWORD, "read": "everyone"}
                for number in range(250)
            },
            "strict.example": {"url": upstream.url, "stale_if_denied": "0"},
            "late.example": {"url": upstream.url, "delay": "3d"},
        }
        with serving(directory, accounts=False, upstreams=json.dumps(configured), workers="1") as cache:
            yield cache, upstream.script


@contextmanager
def a_scene(cache: Server, script: Script, name: str) -> Iterator[Scene]:
    """The upstream is as at first; in the end it goes on with what it holds back."""
    script.reset()
    yield Scene(cache, script, name, _unused_alias())
    script.resume.set()


def _unused_alias() -> str:
    return f"up{next(_NUMBERS)}.example"
