"""The access log: one line a request, written by a thread so that no request waits for a terminal or a pipe."""

import json
import os
import threading
import time
from datetime import UTC, datetime

_MOST = 8 * 1024 * 1024  # bytes that wait for a reader that does not read; then lines are dropped and counted
_PAUSE = 0.2  # seconds between writes


class AccessLog:
    """Lines to a file descriptor, in JSON or as text."""

    def __init__(self, descriptor: int, *, as_json: bool) -> None:
        self._descriptor = descriptor
        self._as_json = as_json
        self._lines: list[str] = []
        self._held = 0
        self._dropped = 0
        self._second = 0
        self._stamp = ""
        self._wake = threading.Event()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="access-log", daemon=True)
        self._thread.start()

    def line(
        self, request: str, address: str, method: str, target: str, status: int, sent: int, seconds: float, agent: str
    ) -> None:
        """One request; `sent` in bytes, `target` as it stood in the request line."""
        now = int(time.time())
        if now != self._second:
            self._second = now
            self._stamp = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        if self._as_json:
            text = (
                f'{{"time":"{self._stamp}","event":"request","id":"{request}","from":"{address}","method":"{method}",'
                f'"target":{_quoted(target)},"status":{status},"sent":{sent},"ms":{seconds * 1000:.2f},'
                f'"agent":{_quoted(agent)}}}\n'
            )
        else:
            text = (
                f"{self._stamp} {address} {method} {_printable(target)} {status} {sent} B {seconds * 1000:.2f} ms"
                f" id={request}\n"
            )
        if self._held > _MOST:
            self._dropped += 1
            return
        self._lines.append(text)
        self._held += len(text)

    def close(self) -> None:
        """Write what is left."""
        self._ended = True
        self._wake.set()
        self._thread.join(timeout=2)

    def _run(self) -> None:
        while not self._ended:
            self._wake.wait(_PAUSE)
            self._write()
        self._write()

    def _write(self) -> None:
        lines, self._lines, self._held = self._lines, [], 0
        if self._dropped:
            lines.append(json.dumps({"event": "access_log_lines_dropped", "lines": self._dropped}) + "\n")
            self._dropped = 0
        data = memoryview("".join(lines).encode("utf-8", "replace"))
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError:
            return  # nobody reads the log any more; serving goes on


def _quoted(text: str) -> str:
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    return json.dumps(text)


def _printable(text: str) -> str:
    return text if text.isprintable() else json.dumps(text)
