"""Long bodies go past the parser: what stands before and behind them is still HTTP, byte for byte."""

import os
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.serving import Registry, digest_of
from tests.support.wire import Connection, chunked, head, whole

KIB = 1024
BLOB = os.urandom(1024 * KIB + 4097)
DIGEST = digest_of(BLOB)


def pushed_and_asked(name: str) -> bytes:
    """A whole push, and behind it in the same bytes two more requests."""
    push = whole("POST", f"/v2/{name}/blobs/uploads/?digest={DIGEST}", {}, BLOB)
    return push + head("HEAD", f"/v2/{name}/blobs/{DIGEST}") + head("GET", "/v2/")


def answers_of_all_three(connection: Connection) -> None:
    assert connection.answer("POST").status == 201
    assert connection.answer("HEAD")["content-length"] == str(len(BLOB))
    assert connection.answer().status == 200


def test_requests_follow_a_long_body_in_the_same_bytes(registry: Registry, name: str) -> None:
    with registry.connect() as connection:
        for _ in range(3):
            connection.send(pushed_and_asked(name))
            answers_of_all_three(connection)
    assert registry.get(f"/v2/{name}/blobs/{DIGEST}").body == BLOB


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(1, len(BLOB) + 300), max_size=6))
def test_it_does_not_matter_where_the_bytes_are_cut(registry: Registry, name: str, cuts: list[int]) -> None:
    data = pushed_and_asked(name)
    places = sorted({0, *(cut for cut in cuts if cut < len(data)), len(data)})
    with registry.connect() as connection:
        for start, end in pairwise(places):
            connection.send(data[start:end])
        answers_of_all_three(connection)


def test_a_body_that_nobody_reads_is_thrown_away_and_the_next_request_heard(registry: Registry, name: str) -> None:
    with registry.connect() as connection:
        answer = connection.ask(whole("PATCH", f"/v2/{name}/blobs/uploads/none", {}, BLOB), "PATCH")
        assert answer.code == "BLOB_UPLOAD_UNKNOWN"
        assert connection.ask(head("GET", "/v2/")).status == 200


@pytest.mark.parametrize("sent", [64 * KIB, 700 * KIB])
def test_what_came_before_the_client_left_is_kept(registry: Registry, name: str, sent: int) -> None:
    location = registry.open_upload(name)
    with registry.connect() as connection:
        connection.send(head("PATCH", location, {"Content-Length": str(len(BLOB))}) + BLOB[:sent])
        connection.finish_sending()
        connection.rest()
    with registry.connect() as connection:
        while (found := connection.ask(head("GET", location))["range"]) == "0-0":
            pass  # the server learns of the end, and then keeps what came
        assert found == f"0-{sent - 1}"
        rest = whole("PUT", f"{location}?digest={DIGEST}", {}, BLOB[sent:])
        assert connection.ask(rest, "PUT").status == 201


UPGRADE = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAMAAABkAAQCAAAAAAIAAAAA"}


@pytest.mark.parametrize("body", [b"", b"short", BLOB])
def test_a_body_with_an_upgrade_stays_a_body(registry: Registry, name: str, body: bytes) -> None:
    """As Java's HttpClient sends it."""
    with registry.connect() as connection:
        for _ in range(2):
            push = whole("POST", f"/v2/{name}/blobs/uploads/?digest={digest_of(body)}", UPGRADE, body)
            assert connection.ask(push, "POST").status == 201
        assert connection.ask(head("GET", "/v2/", UPGRADE)).status == 200
        assert connection.ask(head("GET", "/v2/")).status == 200


def test_a_chunked_body_with_an_upgrade_is_refused(registry: Registry, name: str) -> None:
    push = head("POST", f"/v2/{name}/blobs/uploads/", {**UPGRADE, "Transfer-Encoding": "chunked"})
    with registry.connect() as connection:
        assert connection.ask(push + chunked(b"GET /v2/ HTTP/1.1"), "POST").status == 400
        assert connection.ended()
