"""The composition root: the only place that knows everything. `serve` is what `entrepot serve` calls."""

import asyncio
import gc
import signal
import socket
import sys
from contextlib import AsyncExitStack, suppress

from entrepot.assembly import Entrance, assemble
from entrepot.config import Settings
from entrepot.data_plane import DataPlane, make_data_plane
from entrepot.database.engine import Engine
from entrepot.database.purge_rows import DatabasePurges
from entrepot.hub.purging import CUT_SECONDS
from entrepot.jobs.runner import Job, repeat
from entrepot.logs import configure_logs
from entrepot.open_api import without_accounts
from entrepot.preparation import NotReady, is_loopback, prepare
from entrepot.proxy.ledger import Ledger
from entrepot.proxying import Cache, ledger_of, make_cache
from entrepot.registry.errors import StorageError
from entrepot.registry.purging import Cutting
from entrepot.scrubbing import scrubbing
from entrepot.stores import byte_store, database
from entrepot.supervisor import Lifeline, Listeners, supervise
from entrepot.web.access_log import AccessLog
from entrepot.web.guard import Guard
from entrepot.web.listener import listen
from entrepot.web.metrics import Metrics
from entrepot.web.observer import Observer


def serve(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit status."""
    # As the first process of a container nothing stops us before a handler is there; the supervisor brings its own.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    configure_logs(settings.log.level, as_json=settings.log.format == "json")
    try:
        listeners = prepare(settings)
    except NotReady as error:
        print(f"entrepot: {error}", file=sys.stderr)  # noqa: T201 - the one line for whoever typed the command
        return 1
    ledger = ledger_of(settings)
    metrics = Metrics(settings.workers, ledger)

    def work(worker: int, listeners: Listeners, lifeline: Lifeline) -> None:
        metrics.use(worker)
        ledger.use(worker)
        asyncio.run(_work(settings, metrics, ledger, listeners, lifeline))

    first = listeners[0]
    address = _address(settings, first[0])
    if len(first) > 1:
        address += f" and, as a mirror of {settings.mirror.upstream}, on {_address(settings, first[1])}"
    return supervise(listeners, work, address)


def _address(settings: Settings, listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    scheme = "https" if settings.http.tls.certificate else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


async def _work(settings: Settings, metrics: Metrics, ledger: Ledger, listeners: Listeners, lifeline: Lifeline) -> None:
    """One worker, from its first connection to the database to its last answer."""
    async with AsyncExitStack() as stack:
        engine = database(settings)
        stack.push_async_callback(engine.close)
        store = await byte_store(settings)
        stack.push_async_callback(store.close)
        log = AccessLog(sys.stderr.fileno(), as_json=settings.log.format == "json") if settings.log.access else None
        if log is not None:
            stack.callback(log.close)
        observer = Observer(metrics, log)
        guard = Guard(
            loopback=is_loopback(settings.http.listen.host),
            hosts=settings.http.hosts,
            public_url=settings.http.public_url or None,
            trusted_proxies=[str(proxy) for proxy in settings.http.trusted_proxies],
            forwarded_header=settings.http.forwarded_header,
        )
        plane = make_data_plane(settings, engine, store)
        mirror_port = listeners[1].getsockname()[1] if len(listeners) > 1 else None
        caching = make_cache(settings, engine, plane, store, ledger, mirror_port, stack)
        entrance, jobs = await _entrance(settings, engine, guard, metrics, plane, caching, stack)
        parts = assemble(settings, engine, store, entrance, guard, observer, plane, caching)
        scrub = scrubbing(settings, engine, store, plane, caching, metrics)
        cutting = Cutting(DatabasePurges(engine), plane.downloads, caching.flights)
        await cutting.begin()
        cut = Job("cut what was purged", CUT_SECONDS, cutting.run)
        with suppress(StorageError):  # a store that is away is looked at later, before anything is removed
            await plane.cleaning.all_agree()  # while it is empty, if it is new
        gc.collect()
        gc.freeze()  # what a worker is made of stays: no collection looks at it again
        repeating = asyncio.create_task(repeat([*parts.jobs, *jobs, scrub, cut]))
        tls = settings.http.tls
        certificate = (str(tls.certificate), str(tls.key)) if tls.certificate else None
        may_be_direct = isinstance(engine.changed(), bool) and certificate is None and not entrance.requests.any
        direct = parts.fast_door if may_be_direct else None
        await listen(parts.app, direct, observer, listeners, certificate, lifeline)
        repeating.cancel()
        await asyncio.gather(repeating, return_exceptions=True)


async def _entrance(
    settings: Settings,
    engine: Engine,
    guard: Guard,
    metrics: Metrics,
    plane: DataPlane,
    caching: Cache,
    stack: AsyncExitStack,
) -> tuple[Entrance, list[Job]]:
    """Open to everybody, or with accounts; what only accounts need is loaded only for them."""
    if settings.open:
        return without_accounts(settings, engine, plane)
    from entrepot.accounts import with_accounts

    return await with_accounts(settings, engine, guard, metrics, plane, caching, stack)
