"""`/livez`, `/readyz`, `/metrics`, and a word at `/`."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence

from entrepot.registry.errors import RegistryError
from entrepot.web.message import Answer, Request
from entrepot.web.observer import Observer

_TEXT = (b"content-type", b"text/plain; charset=utf-8")
_WELCOME = b"Entrepot, a container registry. The registry API is under /v2/.\n"

_SECONDS = 2.0  # that a probe may be silent: less than whoever asks for readiness is patient

Check = Callable[[], Coroutine[None, None, None]]


class Operations:
    """For whoever runs the server."""

    paths = frozenset({"/", "/livez", "/readyz", "/metrics"})

    def __init__(self, observer: Observer, checks: Sequence[tuple[str, Check]]) -> None:
        """`checks`: names and probes of what the server depends on; a probe raises RegistryError when it fails."""
        self._observer = observer
        self._checks = checks
        self._running: dict[str, asyncio.Task[None]] = {}

    async def answer(self, request: Request) -> Answer:
        """One of the paths."""
        if request.method not in ("GET", "HEAD"):
            return Answer(405, [_TEXT, (b"allow", b"GET, HEAD")], b"only GET and HEAD\n")
        match request.path:
            case "/livez":
                return Answer(200, [_TEXT], b"ok\n")
            case "/readyz":
                return await self._ready()
            case "/metrics":
                kind = (b"content-type", b"text/plain; version=0.0.4; charset=utf-8")
                return Answer(200, [kind], self._observer.exposition())
            case _:
                return Answer(200, [_TEXT], _WELCOME)

    async def _ready(self) -> Answer:
        for name, check in self._checks:
            if name not in self._running:  # one that is still silent is waited for, never joined by another
                self._running[name] = asyncio.create_task(check())
        await asyncio.wait(self._running.values(), timeout=_SECONDS)
        lines = [f"{name}: {self._found(name) or 'ok'}\n" for name, _ in self._checks]
        status = 200 if all(line.endswith(": ok\n") for line in lines) else 503
        return Answer(status, [_TEXT], "".join(lines).encode())

    def _found(self, name: str) -> str | None:
        """What is wrong by this probe, None when nothing is."""
        if name not in self._running or not self._running[name].done():
            return f"no answer within {_SECONDS:.0f} seconds"
        try:
            self._running.pop(name).result()
        except RegistryError as error:
            return error.message
        return None
