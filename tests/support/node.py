"""A server process with its workers that a test starts, kills and starts again on the same data."""

import os
import re
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.s3 import REGION, SECRET_ACCESS_KEY, Bucket
from tests.support.tools import CHECKOUT

_READY = re.compile(rb"entrepot: ready on http://(\S+)")
_STOP_SECONDS = 60


class Node:
    """`entrepot serve --open` on a loopback port of its own, in a process group of its own."""

    def __init__(
        self,
        data_directory: Path,
        *,
        workers: int = 2,
        settings: Mapping[str, str] | None = None,
        wrapper: Sequence[str] = (),
    ) -> None:
        """Nothing runs yet. `settings` are environment variables; `wrapper` stands before the command (strace …)."""
        self.data_directory = data_directory
        self.log = data_directory.with_name(f"{data_directory.name}.log")
        self.address = ""
        program = str(CHECKOUT / ".venv" / "bin" / "entrepot")
        self._command = [*wrapper, program, "serve", "--open", "--listen", "127.0.0.1:0"]
        self._command += ["--data-dir", str(data_directory), "--workers", str(workers)]
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "HOME") if name in os.environ}
        self._environment = {**kept, "ENTREPOT_LOG__ACCESS": "false", **(settings or {})}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self.kill()

    def start(self) -> None:
        """Start, and return when the server has said that it is ready; `address` is then HOST:PORT."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        assert self._process.stdout is not None
        said = self._process.stdout.readline()
        ready = _READY.match(said)
        if ready is None:
            self.kill()
            raise AssertionError(f"not ready: {said!r}\n{self.log_tail()}")
        self.address = ready[1].decode()

    def kill(self) -> None:
        """SIGKILL to parent and workers at once; returns when none of them lives."""
        assert self._process is not None
        self._end(signal.SIGKILL)

    def kill_worker(self, number: int) -> None:
        """SIGKILL to one worker, if that many live at the moment: the server replaces it."""
        assert self._process is not None
        parent = self._process.pid
        workers = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        if number < len(workers):
            os.kill(int(workers[number]), signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM to the parent; returns its exit status when nothing of the server lives."""
        assert self._process is not None
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"did not stop within {_STOP_SECONDS} s\n{self.log_tail()}") from None
        return self._end(0)

    def processes(self) -> list[int]:
        """The ids of the server's processes, the parent first."""
        assert self._process is not None
        parent = self._process.pid
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        return [parent, *map(int, children)]

    def log_tail(self) -> str:
        """The end of what the server wrote to standard error."""
        return self.log.read_text(errors="replace")[-4000:]

    def _end(self, number: int) -> int:
        process, self._process = self._process, None
        assert process is not None
        assert process.stdout is not None
        if number:
            os.killpg(process.pid, number)
        process.stdout.read()  # ends when the last process that inherited it has died
        process.stdout.close()
        return process.wait()


def shared_settings(database: str, bucket: Bucket, endpoint: str = "") -> dict[str, str]:
    """The settings of a server on this database and this bucket; `endpoint` is another way to the bucket's server."""
    return {
        "ENTREPOT_DATABASE__URL": database,
        "ENTREPOT_STORAGE__BACKEND": "s3",
        "ENTREPOT_STORAGE__S3__BUCKET": bucket.name,
        "ENTREPOT_STORAGE__S3__REGION": REGION,
        "ENTREPOT_STORAGE__S3__ENDPOINT": endpoint or bucket.endpoint,
        "ENTREPOT_STORAGE__S3__ACCESS_KEY_ID": bucket.access_key_id,
        "ENTREPOT_STORAGE__S3__SECRET_ACCESS_KEY": SECRET_ACCESS_KEY,
    }
