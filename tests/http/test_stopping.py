"""What time does to uploads and servers: silence, expiry, a graceful stop, a restart, a dead worker."""

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.serving import Server, check_promises, digest_of, serving
from tests.support.wire import chunked, head, whole

A, B = b"first half, ", b"second half"
DIGEST = digest_of(A + B)


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that waits a second for a silent body."""
    with serving(tmp_path_factory.mktemp("impatient"), uploads__idle_timeout="1s") as running:
        yield running


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_a_body_that_falls_silent_is_408_and_can_be_resumed(
    impatient: Server, name: str, method: str, framing: str
) -> None:
    location = impatient.open_upload(name)
    target = f"{location}?digest={DIGEST}" if method == "PUT" else location
    with impatient.connect() as connection:
        headers = {"Content-Length": "1000"} if framing == "length" else {"Transfer-Encoding": "chunked"}
        body = A if framing == "length" else chunked(A).removesuffix(b"0\r\n\r\n")
        answer = connection.ask(head(method, target, headers) + body, method)
    check_promises(answer, method, target)
    assert (answer.status, answer.code) == (408, "BLOB_UPLOAD_INVALID")
    assert (answer["location"], answer["range"]) == (location, f"0-{len(A) - 1}")
    assert (
        impatient.request(
            "PUT", f"{location}?digest={DIGEST}", {"Content-Range": f"{len(A)}-{len(A + B) - 1}"}, B
        ).status
        == 201
    )
    assert impatient.get(f"/v2/{name}/blobs/{DIGEST}").body == A + B


@pytest.mark.parametrize("target", ["/v2/{}/blobs/uploads/?digest=" + DIGEST, "/v2/{}/manifests/v1"])
def test_a_silent_body_that_cannot_be_resumed_is_refused_and_leaves_nothing(
    impatient: Server, name: str, target: str
) -> None:
    method = "POST" if "uploads" in target else "PUT"
    with impatient.connect() as connection:
        answer = connection.ask(head(method, target.format(name), {"Content-Length": "1000"}) + A, method)
    assert answer.status == 408
    assert answer.header("location") is None
    assert "go on from there" not in answer.message
    assert impatient.get(f"/v2/{name}/manifests/v1").status == 404
    assert impatient.get(f"/v2/{name}/blobs/{DIGEST}").status == 404


def test_an_upload_in_flight_at_sigterm_finishes(tmp_path: Path, name: str) -> None:
    with serving(tmp_path) as server:
        location = server.open_upload(name)
        with server.connect() as connection:
            target = f"{location}?digest={DIGEST}"
            headers = {"Content-Length": str(len(A + B)), "Expect": "100-continue"}
            assert connection.ask(head("PUT", target, headers), "PUT").status == 100
            connection.send(A)
            server.process.send_signal(signal.SIGTERM)
            refuses_connections(server)
            answer = connection.ask(B, "PUT")
            assert answer.status == 201
            assert connection.ended()
        assert server.process.wait(60) == 0
    with serving(tmp_path) as server:
        assert server.get(f"/v2/{name}/blobs/{DIGEST}").body == A + B


def refuses_connections(server: Server) -> None:
    """Wait until every worker has stopped to listen."""
    while True:
        try:
            socket.create_connection(server.address, timeout=5).close()
        except (ConnectionRefusedError, ConnectionResetError):
            return


def test_an_upload_goes_on_after_a_restart(tmp_path: Path, name: str) -> None:
    with serving(tmp_path) as server:
        location = server.open_upload(name)
        assert server.request("PATCH", location, body=A).status == 202
        assert server.stop() == 0
    with serving(tmp_path) as server:
        assert server.get(location)["range"] == f"0-{len(A) - 1}"
        assert server.request("PATCH", location, body=B).status == 202
        assert server.request("PUT", f"{location}?digest={DIGEST}", body=b"").status == 201
        assert server.get(f"/v2/{name}/blobs/{DIGEST}").body == A + B


def test_an_upload_past_its_time_is_gone(tmp_path: Path, name: str) -> None:
    with serving(tmp_path, uploads__lifetime="1s") as server:
        location = server.open_upload(name)
        while server.get(location).status == 204:
            pass
        for method, query in (("GET", ""), ("PATCH", ""), ("PUT", f"?digest={DIGEST}")):
            answer = server.request(method, location + query, body=A if method != "GET" else None)
            assert (answer.status, answer.code) == (404, "BLOB_UPLOAD_UNKNOWN")


def test_a_worker_that_dies_is_replaced(tmp_path: Path, name: str) -> None:
    with serving(tmp_path) as server:
        manifest = server.push_image(name, "v1")
        before = server.workers()
        os.kill(before[0], signal.SIGKILL)
        while len(set(server.workers()) - set(before)) < 1:
            pass
        with server.connect() as connection:
            assert connection.ask(whole("GET", f"/v2/{name}/manifests/v1")).body == manifest
        assert server.stop() == 0
