"""A way to a real S3 server that can be slow, break, and count; every request that passes is passed as it is."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

_CHUNK = 64 * 1024


@dataclass
class S3Proxy:
    """What happens on the way. A request is named by method and target, as in `PUT /bucket/key?partNumber=1`."""

    endpoint: str = ""
    seen: list[str] = field(default_factory=list)
    """The requests, in the order in which they came."""
    acknowledged: int = 0
    """Bytes of request bodies for which the answer was passed back: nobody needs to keep them any more."""
    before_answer: Callable[[str], Awaitable[None]] | None = None
    """Awaited between a request and its answer."""
    refuse: Callable[[str], bool] = lambda request: False
    """Whether a request gets 503 instead of being passed on."""
    cut: Callable[[str], int | None] = lambda request: None
    """After how many bytes of the answer the connection breaks; None: it does not."""


@asynccontextmanager
async def s3_proxy(server: str) -> AsyncIterator[S3Proxy]:
    """A proxy before the S3 server at this URL, on a loopback port of its own."""
    proxy = S3Proxy()
    target = urlsplit(server)

    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await _pass(proxy, reader, writer, str(target.hostname), target.port or 80)
        finally:
            await _close(writer)
            serving.discard(task)

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    proxy.endpoint = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    async with listening:
        yield proxy
    for task in serving:  # of connections that a client has left open
        task.cancel()
    await asyncio.gather(*serving, return_exceptions=True)


async def _pass(
    proxy: S3Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, port: int
) -> None:
    """One request and its answer; then both connections end."""
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    request = lines[0].removesuffix(" HTTP/1.1")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    length = int(headers.get("content-length", 0))
    proxy.seen.append(request)
    if proxy.refuse(request):
        await reader.readexactly(length)
        writer.write(b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        return
    server_reader, server_writer = await asyncio.open_connection(host, port)
    try:
        server_writer.write(head.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
        left = length
        while left:
            chunk = await reader.readexactly(min(left, _CHUNK))
            left -= len(chunk)
            server_writer.write(chunk)
            await server_writer.drain()
        if proxy.before_answer is not None:
            await proxy.before_answer(request)
        await _answer(server_reader, writer, proxy.cut(request))
        proxy.acknowledged += length
    finally:
        await _close(server_writer)


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, cut: int | None) -> None:
    while chunk := await reader.read(_CHUNK if cut is None else min(_CHUNK, cut)):
        writer.write(chunk)
        await writer.drain()
        if cut is not None:
            cut -= len(chunk)
            if cut == 0:
                return
