"""Two minutes of pushes, pulls, deletes and collection at full speed, with kills: no image that lives misses a byte,
and the bytes of those that were deleted go."""

import contextlib
import http.client
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.client import Client, Image, an_image, sha256
from tests.support.node import Node, shared_settings
from tests.support.s3 import Bucket

_SEED = int(os.environ.get("ENTREPOT_CRASH_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
_PHASES = {
    "ENTREPOT_LIFECYCLE__UNDO": "1",
    "ENTREPOT_LIFECYCLE__GRACE": "2",
    "ENTREPOT_LIFECYCLE__QUARANTINE": "1",
    "ENTREPOT_UPLOADS__LIFETIME": "15",  # while one is open, and a kill leaves some, blobs beside it do not age
}
_PATIENCE = 120.0  # seconds that the bytes of deleted images have to go in, on a slow machine
_SHARED = [bytes([number]) * 5000 for number in range(6)]
_WORKERS = 6


@dataclass(eq=False)
class _Client:
    """Pushes to, pulls from and deletes in a repository of its own; knows what lives there."""

    number: int
    seconds: float
    address: list[str]
    up: threading.Event
    live: dict[str, Image] = field(default_factory=dict)
    deleted: list[Image] = field(default_factory=list)  # and that was answered
    counts: dict[str, int] = field(default_factory=lambda: {"pushed": 0, "pulled": 0, "deleted": 0, "again": 0})
    failure: BaseException | None = None

    def __post_init__(self) -> None:
        self.thread = threading.Thread(target=self._run, daemon=True)
        self._random = random.Random(f"{_SEED} {self.number}")
        self._repository = f"stress/client{self.number}"

    def _run(self) -> None:
        """Until the time is over; a server that was killed is waited for."""
        ends = time.monotonic() + self.seconds
        try:
            while time.monotonic() < ends:
                assert self.up.wait(60), "no server comes back"
                client = Client(self.address[0])
                try:
                    while time.monotonic() < ends:
                        self._one(client)
                except (OSError, http.client.HTTPException):
                    continue
                finally:
                    client.close()
        except BaseException as failure:
            self.failure = failure

    def _one(self, client: Client) -> None:
        choice = self._random.random()
        if choice < 0.45 or not self.live:
            self._push(client)
        elif choice < 0.75:
            self.check(client, self._random.choice(list(self.live)))
            self.counts["pulled"] += 1
        else:
            self._delete(client, self._random.choice(list(self.live)))

    def _push(self, client: Client) -> None:
        """Layers that others push and lose all the time, and one of its own; again when a part was collected."""
        layers = [*self._random.sample(_SHARED, 2), self._random.randbytes(3000)]
        image = an_image(*layers, note=f"{self._repository} {self._random.random()}")
        for _ in range(20):
            for blob in image.blobs:
                client.push_blob(self._repository, blob)
            reply = client.put_manifest(self._repository, "latest", image.manifest)
            if reply.status == 201:
                self.live[image.digest] = image
                self.counts["pushed"] += 1
                return
            assert reply.error == "MANIFEST_BLOB_UNKNOWN", reply
            self.counts["again"] += 1
        raise AssertionError("a push never comes to its end")

    def _delete(self, client: Client, digest: str) -> None:
        """What is not answered may have been done: from the request on it lives no more."""
        image = self.live.pop(digest)
        reply = client.request("DELETE", f"/v2/{self._repository}/manifests/{digest}")
        assert reply.status == 202, reply
        self.counts["deleted"] += 1
        self.deleted.append(image)

    def check(self, client: Client, digest: str) -> None:
        """Pull an image that lives, whole."""
        image = self.live[digest]
        reply = client.manifest(self._repository, digest)
        assert (reply.status, reply.body) == (200, image.manifest), digest
        client_blobs = [client.blob(self._repository, sha256(blob)) for blob in image.blobs]
        assert [(each.status, each.body) for each in client_blobs] == [(200, blob) for blob in image.blobs]


def _stress(node: Node, settings: dict[str, str], stored: Callable[[], set[str]], seconds: float, kills: int) -> None:
    """`stored`: the digests of all bytes that are in the store."""
    print(f"ENTREPOT_CRASH_SEED={_SEED} repeats the choices of this run")
    moments, up = random.Random(_SEED), threading.Event()
    address = [node.address]
    up.set()
    clients = [_Client(number, seconds, address, up) for number in range(_WORKERS)]
    for client in clients:
        client.thread.start()
    for _ in range(kills):
        time.sleep(moments.uniform(0.5, 1.5) * seconds / (kills + 1) / 1.1)  # a moment that nobody chose
        up.clear()
        node.kill()
        node.start()
        address[0] = node.address
        up.set()
    for client in clients:
        client.thread.join()
    for failure in (client.failure for client in clients):
        if failure is not None:
            print(node.log_tail())
            raise failure
    print([client.counts for client in clients])
    assert all(client.counts["deleted"] for client in clients)
    assert all(client.live for client in clients)
    with Client(node.address) as last:
        for client in clients:
            for digest in client.live:
                client.check(last, digest)
    live = _blobs_of(image for client in clients for image in client.live.values())
    dead = _blobs_of(image for client in clients for image in client.deleted) - live
    assert len(dead) >= sum(client.counts["deleted"] for client in clients), "each has at least a layer of its own"
    _all_go(node, settings, dead, stored)
    assert live <= stored()
    _run(node, settings, "verify", "--rehash")


def _blobs_of(images: Iterable[Image]) -> set[str]:
    return {sha256(blob) for image in images for blob in image.blobs}


def _all_go(node: Node, settings: dict[str, str], dead: set[str], stored: Callable[[], set[str]]) -> None:
    """When their phases are over, not a byte of these is left in the store."""
    ends = time.monotonic() + _PATIENCE
    while left := dead & stored():
        assert time.monotonic() < ends, f"{len(left)} of {len(dead)} blobs of deleted images stay"
        _run(node, settings, "gc")
        time.sleep(1)  # the phases are counted in seconds
    print(f"{len(dead)} blobs of deleted images went")


def _run(node: Node, settings: dict[str, str], *words: str) -> None:
    where = {"ENTREPOT_DATA_DIR": str(node.data_directory), "ENTREPOT_OPEN": "true", "PATH": os.environ["PATH"]}
    command = [sys.executable, "-m", "entrepot", *words]
    ended = subprocess.run(command, env=where | settings, check=False, capture_output=True, text=True)
    assert ended.returncode == 0, (words, ended.stdout, ended.stderr)


def test_two_minutes_of_everything_at_once_with_kills(tmp_path: Path) -> None:
    with Node(tmp_path / "data", settings=_PHASES) as node:
        _stress(node, _PHASES, lambda: _in_files(tmp_path / "data"), seconds=120, kills=12)


def test_the_same_on_postgresql_and_s3(tmp_path: Path, postgres_url: str, bucket: Bucket) -> None:
    settings = {**shared_settings(postgres_url, bucket), **_PHASES}
    with Node(tmp_path / "data", settings=settings) as node:
        _stress(node, settings, lambda: _in_objects(bucket), seconds=120, kills=12)


def _in_files(data: Path) -> set[str]:
    found = set()
    for path in (data / "blobs").rglob("*"):
        with contextlib.suppress(FileNotFoundError, IsADirectoryError):
            found.add(sha256(path.read_bytes()))
    return found


def _in_objects(bucket: Bucket) -> set[str]:
    """Content by content; what goes between the list and the look is not there."""
    found = set()
    for key in bucket.objects():
        try:
            found.add(sha256(bucket.content(key)))
        except AssertionError as error:
            if ": 404 " not in str(error):
                raise
    return found
