"""Making files durable, many at a time.

Requests that wait at the same moment share the syncs: each file once, then each directory once (a new file is durable
only with its directory's entry: fsync(2)).
"""

import asyncio
import os
import queue
import threading
from concurrent.futures import ThreadPoolExecutor

from entrepot.storage.directories import sync_directory

_LARGE = 4 * 1024 * 1024  # bytes: what takes long is synced on its own thread, so that small files do not wait for it
_MOST = 256  # files a group

Waiting = tuple[str, asyncio.AbstractEventLoop, "asyncio.Future[None]"]


class GroupSync:
    """One thread that syncs groups of small files, and a few that sync large ones."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Waiting | None] = queue.SimpleQueue()
        self._large = ThreadPoolExecutor(2, "sync-large")
        self._thread: threading.Thread | None = None

    async def sync(self, path: str) -> None:
        """Return when the file and its directory entry are durable; OSError when they are not."""
        loop = asyncio.get_running_loop()
        if os.stat(path).st_size > _LARGE:
            await loop.run_in_executor(self._large, _sync_file, path)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="sync", daemon=True)
            self._thread.start()
        done: asyncio.Future[None] = loop.create_future()
        self._queue.put((path, loop, done))
        await done

    def close(self) -> None:
        """End the threads after what is waiting."""
        self._queue.put(None)
        if self._thread is not None:
            self._thread.join()
        self._large.shutdown()

    def _run(self) -> None:
        while (first := self._queue.get()) is not None:
            group = [first]
            last = False
            while len(group) < _MOST:
                try:
                    waiting = self._queue.get_nowait()
                except queue.Empty:
                    break
                if waiting is None:
                    last = True
                    break
                group.append(waiting)
            self._sync_group(group)
            if last:
                return

    @staticmethod
    def _sync_group(group: list[Waiting]) -> None:
        failed: dict[str, OSError] = {}
        for path in {path for path, _, _ in group}:
            try:
                _sync_file(path)
            except OSError as error:
                failed[path] = error
        for directory in {os.path.dirname(path) for path, _, _ in group}:
            try:
                sync_directory(directory)
            except OSError as error:
                failed.update({path: error for path, _, _ in group if os.path.dirname(path) == directory})
        for loop in {loop for _, loop, _ in group}:
            outcomes = [(done, failed.get(path)) for path, its_loop, done in group if its_loop is loop]
            loop.call_soon_threadsafe(_resolve, outcomes)


def _resolve(outcomes: list[tuple["asyncio.Future[None]", OSError | None]]) -> None:
    for done, error in outcomes:
        if done.done():
            continue
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)


def _sync_file(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)
