"""Every answer of the fast door equals the ordinary door's.

The same requests are made twice: as they are, and with a header that the fast door does not know.
"""

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.serving import Server, digest_of, fresh_name
from tests.support.wire import Answer, Connection, Headers, head

ABSENT = digest_of(b"never pushed")
ORDINARY = ("X-Ordinary", "1")
VARYING = {"date", "x-request-id"}


@pytest.fixture(scope="module")
def targets(server: Server) -> list[str]:
    """Paths that lead to something: manifests by tag and digest, blobs of every size that is sent in its own way."""
    name = fresh_name()
    manifest = server.push_image(name, "v1")
    artifact = server.push_artifact(name, annotations={"x": "y" * 300_000})
    blobs = [server.push_blob(name, os.urandom(size)) for size in (0, 1, 131_072, 131_073, 1_500_000)]
    sha512 = server.push_blob(name, b"by another algorithm", "sha512")
    found = [f"/v2/{name}/manifests/{reference}" for reference in ("v1", digest_of(manifest), artifact["digest"])]
    found += [f"/v2/{name}/blobs/{digest}" for digest in (*blobs, sha512)]
    return [*found, f"/v2/{name}/manifests/v2", f"/v2/{name}/blobs/{ABSENT}", "/v2/nowhere/manifests/v1"]


@pytest.fixture(scope="module")
def doors(server: Server) -> Iterator[tuple[Connection, Connection]]:
    """A connection for each door; both stay open, as clients keep theirs."""
    with server.connect() as fast, server.connect() as ordinary:
        yield fast, ordinary


KNOWN = st.lists(
    st.sampled_from(
        [
            ("Accept", "*/*"), ("Accept", "text/html"), ("Accept-Encoding", "gzip"), ("User-Agent", "a"),
            ("User-Agent", ""), ("Accept-Language", "de"), ("Connection", "keep-alive"), ("accept", ""),
            ("ACCEPT", "a" * 4000),
        ]
    ),
    max_size=5,
)  # fmt: skip
CONDITIONS = st.lists(
    st.one_of(
        st.tuples(
            st.just("Range"),
            st.sampled_from(["bytes=0-0", "bytes=5-", "bytes=-9", "bytes=9999999-", "x", "bytes=0-1,3-4"]),
        ),
        st.tuples(st.just("If-None-Match"), st.sampled_from(["*", '"x"', f'"{ABSENT}"'])),
        st.tuples(st.just("Host"), st.sampled_from(["localhost", "127.0.0.1:1", "evil.example", ""])),
        st.tuples(st.just("Origin"), st.sampled_from(["http://localhost", "null"])),
    ),
    max_size=2,
)  # fmt: skip
METHODS = st.sampled_from(["GET", "GET", "HEAD", "OPTIONS", "PATCH"])
EDITS = st.sampled_from(["", "", "", "", "?", "?x=1", "/", "#x", "%20", "x", ":", "//"])


@settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data(), method=METHODS, edit=EDITS, known=KNOWN, conditions=CONDITIONS)
def test_both_doors_answer_alike(
    server: Server,
    targets: list[str],
    data: st.DataObject,
    method: str,
    edit: str,
    known: list[tuple[str, str]],
    conditions: list[tuple[str, str]],
) -> None:
    target = data.draw(st.sampled_from(targets)) + edit
    headers = [*known, *conditions]
    fast, ordinary = (ask(server, method, target, fields) for fields in (headers, [*headers, ORDINARY]))
    assert comparable(fast) == comparable(ordinary)


def test_many_answers_on_one_connection_are_alike(doors: tuple[Connection, Connection], targets: list[str]) -> None:
    fast, ordinary = doors
    for _ in range(3):
        for target in targets:
            for method in ("GET", "HEAD", "GET"):
                answers = (
                    fast.ask(head(method, target), method),
                    ordinary.ask(head(method, target, [ORDINARY]), method),
                )
                assert comparable(answers[0]) == comparable(answers[1])


def test_a_change_shows_at_once_at_both_doors_of_every_worker(server: Server) -> None:
    name = fresh_name()
    for number in range(10):
        manifest = server.push_image(name, "v1", annotations={"n": str(number)})
        for fields in ((), [ORDINARY]) * 6:
            assert server.get(f"/v2/{name}/manifests/v1", fields).body == manifest
        blob = server.push_blob(name, b"%d" % number)
        for _ in range(6):
            assert server.get(f"/v2/{name}/blobs/{blob}").status == 200
        assert server.delete(f"/v2/{name}/blobs/{blob}").status == 202
        for _ in range(6):
            assert server.get(f"/v2/{name}/blobs/{blob}").status == 404


def ask(server: Server, method: str, target: str, headers: Headers) -> Answer:
    """One request by a new connection."""
    with server.connect() as connection:
        return connection.ask(head(method, target, headers), method)


def comparable(answer: Answer) -> tuple[int, list[tuple[str, str]], bytes]:
    """All of an answer that may not differ; a boundary is a random word."""
    boundary = next((value.partition("boundary=")[2] for name, value in answer.headers if "boundary=" in value), "-")
    headers = sorted((name, value.replace(boundary, "-")) for name, value in answer.headers if name not in VARYING)
    return answer.status, headers, answer.body.replace(boundary.encode(), b"-")
