"""`/livez`, `/readyz`, `/metrics`, and a word at `/`."""

from collections.abc import Awaitable, Callable, Sequence

from entrepot.registry.errors import RegistryError
from entrepot.web.message import Answer, Request
from entrepot.web.observer import Observer

_TEXT = (b"content-type", b"text/plain; charset=utf-8")
_WELCOME = b"Entrepot, a container registry. The registry API is under /v2/.\n"

Check = Callable[[], Awaitable[None]]


class Operations:
    """For whoever runs the server."""

    paths = frozenset({"/", "/livez", "/readyz", "/metrics"})

    def __init__(self, observer: Observer, checks: Sequence[tuple[str, Check]]) -> None:
        """`checks`: names and probes of what the server depends on; a probe raises RegistryError when it fails."""
        self._observer = observer
        self._checks = checks

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
        lines: list[str] = []
        status = 200
        for name, check in self._checks:
            try:
                await check()
            except RegistryError as error:
                status = 503
                lines.append(f"{name}: {error.message}\n")
            else:
                lines.append(f"{name}: ok\n")
        return Answer(status, [_TEXT], "".join(lines).encode())
