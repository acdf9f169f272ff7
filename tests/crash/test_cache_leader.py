"""The worker that fetches a blob from an upstream is killed in the middle of it, while clients of all workers read."""

import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.support.cache_nodes import Reader, leader_of
from tests.support.scripted_upstream import scripted_upstream
from tests.support.serving import digest_of, serving

CLIENTS = 24
SENT = 600_000  # bytes that the upstream sends before it waits


def test_when_the_leader_is_killed_another_worker_goes_on_where_it_was(tmp_path: Path) -> None:
    layer = os.urandom(2_000_000)
    digest, target = digest_of(layer), f"/v2/up.example/library/app/blobs/{digest_of(layer)}"
    with scripted_upstream() as upstream:
        configured = json.dumps({"up.example": {"url": upstream.url}})
        upstream.script.push("v1", layer)
        upstream.script.held = SENT
        with serving(tmp_path, accounts=False, upstreams=configured) as server, ThreadPoolExecutor(CLIENTS) as clients:
            assert server.get("/v2/up.example/library/app/manifests/v1").status == 200
            readers = list(clients.map(lambda _: Reader(server, target, SENT // 2), range(CLIENTS)))
            assert all(layer.startswith(reader.got) and reader.got for reader in readers)
            leader = leader_of(server, digest)
            os.kill(leader, signal.SIGKILL)
            upstream.script.held = None
            upstream.script.resume.set()
            bodies = list(clients.map(Reader.rest, readers))
            assert all(layer.startswith(body) for body in bodies), "no client has got a wrong byte"
            assert layer in bodies, "who reads from another worker has got it whole"
            assert any(len(body) < len(layer) for body in bodies), "who read from the killed one was cut off"
            again = Reader(server, target, SENT // 2)
            assert again.rest() == layer
        assert upstream.script.asked["GET", f"/v2/library/app/blobs/{digest}"] == 2
        (missing,) = upstream.script.ranges_asked
        assert int(missing.removeprefix("bytes=").rstrip("-")) >= SENT // 2, "the second fetch is of what was missing"
