"""SIGKILL at random moments under load: nothing that was acknowledged is lost, and rows and bytes agree."""

import os
import random
import time
from pathlib import Path

from tests.crash.pushers import SHARED, Ledger, Pusher, Stage
from tests.support.client import Client, sha256
from tests.support.node import Node, shared_settings
from tests.support.s3 import Bucket
from tests.support.stored import Stored, StoredFiles, StoredObjects, disagreements, not_blobs, unnamed

_PUSHERS = 8
_SEED = int(os.environ.get("ENTREPOT_CRASH_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)


class _Checks:
    """Looks after each crash at what came since the last one, and in the end at everything."""

    def __init__(self, stored: Stored, ledger: Ledger) -> None:
        self._stored = stored
        self._ledger = ledger
        self._blobs = self._manifests = self._last_row = 0

    def run(self, address: str) -> None:
        """Pull from the restarted server; compare rows and bytes."""
        with Client(address) as client:
            for repository, content in self._ledger.blobs[self._blobs :]:
                reply = client.blob(repository, sha256(content))
                assert (reply.status, reply.body == content) == (200, True), (repository, sha256(content), reply.status)
            for repository, content in self._ledger.manifests[self._manifests :]:
                reply = client.manifest(repository, sha256(content))
                assert (reply.status, reply.body) == (200, content)
            for (repository, name), tag in self._ledger.tags.items():
                digest = client.request("HEAD", f"/v2/{repository}/manifests/{name}").headers["Docker-Content-Digest"]
                assert digest in (tag.acknowledged or None, tag.sent), f"{repository}:{name}"
        assert list(disagreements(self._stored, self._last_row)) == []
        assert unnamed(self._stored) == set()
        self._blobs, self._manifests = len(self._ledger.blobs), len(self._ledger.manifests)
        self._last_row = self._stored.rows("SELECT COALESCE(MAX(id), 0) FROM blobs")[0][0]

    def start_over(self) -> None:
        """Let the next run look at everything."""
        self._blobs = self._manifests = self._last_row = 0


def _kill_again_and_again(node: Node, stored: Stored, kills: int, longest: float) -> None:
    """`longest`: seconds that a server lives at most."""
    print(f"ENTREPOT_CRASH_SEED={_SEED} repeats the choices of this run")
    moments = random.Random(_SEED)
    stage, ledger = Stage(_PUSHERS), Ledger()
    checks = _Checks(stored, ledger)
    pushers = [Pusher(number, _SEED, stage, ledger) for number in range(_PUSHERS)]
    for pusher in pushers:
        pusher.start()
    try:
        for kill in range(kills):
            ledger.image_pushed.clear()
            stage.open(node.address)
            if kill % 2:  # every other server lives to see an image, however slow the machine is
                assert ledger.image_pushed.wait(60)
            time.sleep(moments.uniform(0, longest))  # the one wait that is the point: a moment that nobody chose
            node.kill()
            stage.wait_until_all_rest()
            node.start()
            checks.run(node.address)
        checks.start_over()
        checks.run(node.address)
        assert node.stop() == 0
    except BaseException:
        print(node.log_tail())
        raise
    finally:
        stage.end()
    for pusher in pushers:
        pusher.join()
    print(
        f"acknowledged: {len(ledger.blobs)} blobs, {len(ledger.manifests)} manifests; resumed: {ledger.resumed} uploads"
    )
    assert ledger.manifests
    assert ledger.resumed
    stored.remove_unfinished()
    assert not_blobs(stored) == set()
    assert stored.rows("SELECT (SELECT COUNT(*) FROM trash) + (SELECT COUNT(*) FROM upload_bodies)") == [(0,)]
    shared = ",".join(f"'{sha256(content)}'" for content in SHARED)
    assert stored.rows(f"SELECT COUNT(*) FROM blobs WHERE digest IN ({shared})") == [(len(SHARED),)]


def test_nothing_acknowledged_is_lost_when_the_server_is_killed_fifty_times(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with Node(data) as node:
        _kill_again_and_again(node, StoredFiles(data), kills=50, longest=0.6)


def test_nothing_acknowledged_is_lost_on_postgresql_and_s3_either(
    tmp_path: Path, postgres_url: str, bucket: Bucket
) -> None:
    with Node(tmp_path / "data", settings=shared_settings(postgres_url, bucket)) as node:
        _kill_again_and_again(node, StoredObjects(postgres_url, bucket), kills=10, longest=1.0)


def test_a_killed_worker_is_replaced_while_the_others_go_on_and_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    moments = random.Random(_SEED)
    stage, ledger = Stage(_PUSHERS), Ledger()
    checks = _Checks(StoredFiles(tmp_path / "data"), ledger)
    with Node(tmp_path / "data") as node:
        for number in range(_PUSHERS):
            Pusher(number, _SEED, stage, ledger).start()
        for _ in range(8):
            stage.open(node.address)  # those whose connection broke come back
            time.sleep(moments.uniform(0, 1.5))
            node.kill_worker(moments.randrange(2))
        node.kill()
        stage.wait_until_all_rest()
        node.start()
        checks.run(node.address)
        stage.end()
    assert ledger.manifests
