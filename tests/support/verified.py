"""A server of a test's own, the commands on its data, and a hand in its bytes."""

import subprocess
import sys
import time
from collections.abc import Callable, Mapping

from tests.support.s3 import Bucket
from tests.support.serving import Server


class Verified:
    """A server, the command on its data, and a hand in its bytes."""

    def __init__(self, server: Server, settings: Mapping[str, str]) -> None:
        self.server = server
        self.settings = settings
        name = settings.get("storage__s3__bucket")
        self.bucket = Bucket(settings["storage__s3__endpoint"], name) if name else None

    def run(self, *words: str) -> tuple[int, str]:
        """The status of a command, and what it printed, but for its progress."""
        environment = {f"ENTREPOT_{key.upper()}": value for key, value in self.settings.items()}
        environment |= {"ENTREPOT_DATA_DIR": str(self.server.data), "ENTREPOT_OPEN": "true", "PATH": "/usr/bin:/bin"}
        command = [sys.executable, "-m", "entrepot", *words]
        ended = subprocess.run(command, env=environment, check=False, capture_output=True, text=True, timeout=60)
        return ended.returncode, ended.stdout or ended.stderr

    def verify(self, *words: str) -> tuple[int, str]:
        """What `entrepot verify` says."""
        return self.run("verify", *words)

    def stored(self) -> set[str]:
        """The keys of everything that is stored."""
        if self.bucket is not None:
            return {name.removeprefix("blobs/") for name in self.bucket.objects() if name.startswith("blobs/")}
        return {path.name for path in self.server.blob_files()}

    def pushed(self, name: str, content: bytes) -> tuple[str, str]:
        """Push a blob; its digest and its key."""
        before = self.stored()
        digest = self.server.push_blob(name, content)
        (key,) = self.stored() - before
        return digest, key

    def put(self, key: str, content: bytes) -> None:
        """Write bytes under a key, behind the server's back."""
        if self.bucket is not None:
            self.bucket.put(f"blobs/{key}", content)
            return
        path = self.server.data / "blobs" / key[:6] / key
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)

    def remove(self, key: str) -> None:
        """Remove bytes, behind the server's back."""
        if self.bucket is not None:
            self.bucket.delete(f"blobs/{key}")
        else:
            (self.server.data / "blobs" / key[:6] / key).unlink()

    def damage(self, key: str, content: bytes) -> None:
        """Have other bytes under a key, behind the server's back."""
        self.remove(key)
        self.put(key, content)


def until(condition: Callable[[], bool]) -> None:
    """What is waited for is done in the background, or by a command that is run again."""
    ends = time.monotonic() + 300  # mending is tried again after 10, 20, 40 … seconds
    while not condition():
        assert time.monotonic() < ends, "it does not come"
        time.sleep(0.05)
