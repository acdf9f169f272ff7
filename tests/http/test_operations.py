"""For whoever runs the server: probes, metrics, logs, request ids."""

import os
import re
from collections import Counter
from pathlib import Path

from tests.support.serving import Server, fresh_name, serving
from tests.support.wire import head

_SAMPLE = re.compile(r"(?P<name>\w+)(?:\{(?P<labels>[^}]*)\})? (?P<value>\S+)")
_NONSENSE = 'method="other",route="other",status="400"'


def samples(server: Server) -> dict[tuple[str, str], float]:
    """(name, labels as they are written) → value."""
    answer = server.get("/metrics")
    assert answer["content-type"].startswith("text/plain; version=0.0.4")
    found = {}
    for line in answer.body.decode().splitlines():
        if not line.startswith("#"):
            match = _SAMPLE.fullmatch(line)
            assert match
            found[match["name"], match["labels"] or ""] = float(match["value"])
    return found


def test_probes_answer(server: Server) -> None:
    assert server.get("/livez").body == b"ok\n"
    ready = server.get("/readyz")
    assert (ready.status, ready.body) == (200, b"database: ok\nblobs: ok\n")


def test_metrics_are_the_sum_over_the_workers(tmp_path: Path) -> None:
    """Each request goes by a connection of its own, so both workers have their share."""
    name = fresh_name()
    with serving(tmp_path) as server:
        content = os.urandom(1000)
        manifest = server.push_image(name, "v1")
        blob = server.push_blob(name, content)
        workers = set()
        for _ in range(40):
            pulled = server.get(f"/v2/{name}/manifests/v1")
            workers.add(pulled["x-request-id"].partition("-")[0])
            assert pulled.body == manifest
            assert server.get(f"/v2/{name}/manifests/v1", {"X-Ordinary": "1"}).body == manifest
            assert server.head(f"/v2/{name}/blobs/{blob}").status == 200
            assert server.get(f"/v2/{name}/blobs/{blob}").body == content
            assert server.get(f"/v2/{name}/manifests/v2").status == 404
        with server.connect() as connection:
            assert connection.ask(b"nonsense\r\n\r\n").status == 400
        found = samples(server)
        while ("entrepot_http_requests_total", _NONSENSE) not in found:  # counted some moments after the answer
            found = samples(server)
        assert len(workers) == 2, "both workers have answered"
    counted = {labels: value for (metric, labels), value in found.items() if metric == "entrepot_http_requests_total"}
    assert counted == {
        'method="GET",route="manifests",status="200"': 80,
        'method="GET",route="manifests",status="404"': 40,
        'method="PUT",route="manifests",status="201"': 1,
        'method="HEAD",route="blobs",status="200"': 40,
        'method="GET",route="blobs",status="200"': 40,
        'method="POST",route="uploads",status="202"': 3,
        'method="PUT",route="upload",status="201"': 3,
        _NONSENSE: 1,
    }
    assert found["entrepot_http_sent_bytes_total", 'route="blobs"'] == 40 * len(content)
    assert found["entrepot_http_received_bytes_total", 'route="manifests"'] == len(manifest)
    assert found["entrepot_http_request_duration_seconds_count", 'route="blobs"'] == 80
    assert found["entrepot_http_request_duration_seconds_bucket", 'le="+Inf",route="blobs"'] == 80


def test_every_answer_has_an_id_of_its_own_that_the_log_has_too(server: Server, name: str) -> None:
    manifest = server.push_image(name, "v1")
    asked = []
    for headers in ({"User-Agent": 'a "client"\\'}, {"User-Agent": "b", "X-Ordinary": "1"}):
        answer = server.get(f"/v2/{name}/manifests/v1", headers)
        asked.append((answer["x-request-id"], headers["User-Agent"], 200, f"/v2/{name}/manifests/v1", len(manifest)))
    missing = server.get(f"/v2/{name}/manifests/v2?x=%22")
    asked.append((missing["x-request-id"], "", 404, f"/v2/{name}/manifests/v2?x=%22", len(missing.body)))
    for identity, agent, status, target, sent in asked:
        line = server.logged(identity)
        assert (line["agent"], line["status"], line["target"], line["sent"]) == (agent, status, target, sent)
        assert (line["method"], line["from"], line["event"]) == ("GET", "127.0.0.1", "request")
        assert line["ms"] >= 0
    assert max(Counter(line["id"] for line in server.log() if line.get("event") == "request").values()) == 1


def test_requests_that_are_no_http_are_logged_with_their_id(server: Server) -> None:
    with server.connect() as connection:
        answer = connection.ask(f"GET /{'x' * 70_000} HTTP/1.1\r\n\r\n".encode())
    assert answer.status == 431
    assert server.logged(answer["x-request-id"])["status"] == 431


def test_nothing_that_a_client_sends_breaks_a_line_of_the_log(server: Server, name: str) -> None:
    for agent in ('"', "\\", "\x80\xff", '","id":"forged', "a\tb", "{}"):
        identity = server.get(f"/v2/{name}/tags/list?x={'%0a%22'}", {"User-Agent": agent})["x-request-id"]
        assert server.logged(identity)["agent"] == agent


def test_a_log_as_text_has_one_line_a_request(tmp_path: Path) -> None:
    with serving(tmp_path, log__format="text") as server:
        answer = server.get("/v2/nowhere/tags/list?a=%22")
        assert server.stop() == 0
        lines = server.log_file.read_text().splitlines()
        (line,) = [line for line in lines if answer["x-request-id"] in line]
        assert " 127.0.0.1 GET /v2/nowhere/tags/list?a=%22 404 " in line


def test_without_an_access_log_requests_are_not_written(tmp_path: Path) -> None:
    with serving(tmp_path, log__access="false") as server:
        for _ in range(5):
            server.get("/v2/nowhere/tags/list")
        assert server.stop() == 0
        assert "nowhere" not in server.log_file.read_text()


def test_readiness_is_503_while_the_directory_of_blobs_is_gone(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        os.rename(server.data, tmp_path / "moved")
        with server.connect() as connection:
            answer = connection.ask(head("GET", "/readyz"))
        assert answer.status == 503
        assert "blobs: " in answer.body.decode()
        assert server.get("/livez").status == 200
        os.rename(tmp_path / "moved", server.data)
        assert server.get("/readyz").status == 200
