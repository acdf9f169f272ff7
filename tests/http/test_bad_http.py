"""Requests that are no good HTTP: each gets a clear 4xx in the specification's form, and nothing is smuggled."""

import os
from contextlib import ExitStack

import pytest

from tests.support.serving import OCI_INDEX, Server, a_manifest, check_promises, digest_of
from tests.support.wire import Connection, chunked, head, whole

HOST = "Host: localhost\r\n"
POST = f"POST /v2/smuggled/blobs/uploads/ HTTP/1.1\r\n{HOST}"
PUT = f"PUT /v2/smuggled/manifests/v1 HTTP/1.1\r\n{HOST}Content-Type: {OCI_INDEX}\r\n"
GET = f"GET /v2/ HTTP/1.1\r\n{HOST}"
CHUNKED = "Transfer-Encoding: chunked\r\n"
NEXT = f"GET /v2/smuggled HTTP/1.1\r\n{HOST}\r\n"
TLS_HELLO = bytes.fromhex("1603010200010001fc0303") + bytes(32)

BAD_FRAMING = {
    "both lengths": f"{POST}Content-Length: 5\r\n{CHUNKED}\r\n0\r\n\r\n{NEXT}",
    "both lengths, the other way round": f"{POST}{CHUNKED}Content-Length: 5\r\n\r\n0\r\n\r\n{NEXT}",
    "two lengths": f"{POST}Content-Length: 0\r\nContent-Length: 9\r\n\r\n{NEXT}",
    "two equal lengths": f"{POST}Content-Length: 0\r\nContent-Length: 0\r\n\r\n",
    "a list of lengths": f"{POST}Content-Length: 0, 0\r\n\r\n",
    "a length with a plus": f"{POST}Content-Length: +0\r\n\r\n",
    "a negative length": f"{POST}Content-Length: -1\r\n\r\n",
    "a length with a space": f"{POST}Content-Length: 1 0\r\n\r\n",
    "a hexadecimal length": f"{POST}Content-Length: 0x1\r\n\r\n",
    "an empty length": f"{POST}Content-Length: \r\n\r\n",
    "a length of 20 digits": f"{POST}Content-Length: 99999999999999999999\r\n\r\n",
    "a space before the colon": f"{POST}Content-Length : 0\r\n\r\n",
    "xchunked": f"{POST}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked, then something": f"{POST}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "something, then chunked": f"{POST}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked twice": f"{POST}{CHUNKED}{CHUNKED}\r\n0\r\n\r\n",
    "chunked in quotes": f'{POST}Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n',
    "chunked in HTTP/1.0": f"{POST.replace('1.1', '1.0')}{CHUNKED}\r\n0\r\n\r\n",
    "a chunk size of letters": f"{PUT}{CHUNKED}\r\nzz\r\nab\r\n0\r\n\r\n",
    "a negative chunk size": f"{PUT}{CHUNKED}\r\n-2\r\nab\r\n0\r\n\r\n",
    "a chunk size with 0x": f"{PUT}{CHUNKED}\r\n0x2\r\nab\r\n0\r\n\r\n",
    "a chunk size over 64 bits": f"{PUT}{CHUNKED}\r\nfffffffffffffffff\r\nab\r\n0\r\n\r\n",
    "a chunk longer than its size": f"{PUT}{CHUNKED}\r\n2\r\nabc\r\n0\r\n\r\n",
    "chunks ended by bare LF": f"{PUT}{CHUNKED}\r\n2\nab\n0\n\n",
    "a folded header": f"{GET}X-A: a\r\n b\r\n\r\n",
    "lines ended by bare LF": "GET /v2/ HTTP/1.1\nHost: localhost\n\n",
    "a bare CR": f"{GET}X-A: a\rb\r\n\r\n",
    "NUL in a header": f"{GET}X-A: a\0b\r\n\r\n",
    "DEL in a header": f"{GET}X-A: a\x7fb\r\n\r\n",
    "a header without a colon": f"{GET}hello\r\n\r\n",
    "a header name with a space": f"{GET}a b: c\r\n\r\n",
    "an empty header name": f"{GET}: c\r\n\r\n",
    "no Host": "GET /v2/ HTTP/1.1\r\n\r\n",
    "two Hosts": f"{GET}{HOST}\r\n",
    "words": "hello\r\n\r\n",
    "a lower-case method": f"get /v2/ HTTP/1.1\r\n{HOST}\r\n",
    "an unknown method": f"BREW /v2/ HTTP/1.1\r\n{HOST}\r\n",
    "HTTP/3.7": f"GET /v2/ HTTP/3.7\r\n{HOST}\r\n",
    "HTTP/2 without asking": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a space in the target": f"GET /v2/ x HTTP/1.1\r\n{HOST}\r\n",
    "UTF-8 in the target": f"GET /v2/\xc3\xa9/tags/list HTTP/1.1\r\n{HOST}\r\n",
    "CONNECT": f"CONNECT localhost:80 HTTP/1.1\r\n{HOST}\r\n",
    "no path": f"GET http://localhost HTTP/1.1\r\n{HOST}\r\n",
}


@pytest.mark.parametrize("case", BAD_FRAMING)
def test_bad_framing_is_400_and_the_connection_ends(server: Server, case: str) -> None:
    with server.connect() as connection:
        answer = connection.ask(BAD_FRAMING[case].encode("latin-1"))
        check_promises(answer, "GET", "/v2/")
        assert (answer.status, answer.code, answer["connection"]) == (400, "UNSUPPORTED", "close")
        assert connection.ended(), "what stands behind a bad frame is not answered"


@pytest.mark.parametrize("hello", [TLS_HELLO, b"\x80\x2e\x01\x03\x01" + bytes(40)])
def test_a_tls_hello_on_the_plain_port_is_answered_with_a_sentence(server: Server, hello: bytes) -> None:
    with server.connect() as connection:
        answer = connection.ask(hello)
        assert answer.status == 400
        assert "HTTPS request to an HTTP server" in answer.message
        assert connection.ended()


@pytest.mark.parametrize("size", [66_000, 200_000, 700_000])
def test_a_head_over_64_kib_is_431(server: Server, size: int) -> None:
    with server.connect() as connection:
        answer = connection.ask(f"{GET}X-A: {'a' * size}\r\n\r\n".encode())
        check_promises(answer, "GET", "/v2/")
        assert answer.status == 431
        assert connection.ended()


def test_a_head_of_60_kib_and_a_large_body_behind_it_are_no_large_head(server: Server, name: str) -> None:
    content = os.urandom(600_000)
    digest = digest_of(content)
    request = whole("POST", f"/v2/{name}/blobs/uploads/?digest={digest}", {"X-A": "a" * 60_000}, content)
    with server.connect() as connection:
        assert connection.ask(request, "POST").status == 201


def test_trailers_are_no_headers_and_have_an_end(server: Server, name: str) -> None:
    manifest = a_manifest({"manifests": []}, OCI_INDEX)
    begin = head("PUT", f"/v2/{name}/manifests/v1", {"Transfer-Encoding": "chunked"})
    body = chunked(manifest).removesuffix(b"\r\n")
    with server.connect() as connection:
        trailer = b"Content-Type: application/x-other\r\nHost: evil.example\r\n\r\n"
        assert connection.ask(begin + body + trailer, "PUT").status == 201
        assert connection.ask(head("HEAD", f"/v2/{name}/manifests/v1"), "HEAD")["content-type"] == OCI_INDEX
    with server.connect() as connection:
        assert connection.ask(begin + body + b"X-A: aaaaaaa\r\n" * 10_000, "PUT").status == 431
        assert connection.ended()


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_connection_that_the_client_ends_is_closed_after_the_answer(server: Server, version: str) -> None:
    request = f"GET /v2/ HTTP/{version}\r\n{HOST}{'Connection: close' if version == '1.1' else 'X-A: b'}\r\n\r\n"
    with server.connect() as connection:
        answer = connection.ask(request.encode())
        assert (answer.status, answer["connection"], answer.body) == (200, "close", b"{}")
        assert connection.ended()


@pytest.mark.parametrize("target", ["http://localhost/v2/", "HTTP://LOCALHOST:5000/v2/?n=1", "/v2/?"])
def test_a_target_in_absolute_form_is_that_path(server: Server, target: str) -> None:
    with server.connect() as connection:
        assert connection.ask(head("GET", target)).body == b"{}"


@pytest.mark.parametrize("protocol", ["h2c", "websocket", "TLS/1.0"])
def test_an_upgrade_is_not_taken_up_and_the_request_is_answered(server: Server, protocol: str) -> None:
    with server.connect() as connection:
        answer = connection.ask(head("GET", "/v2/", {"Connection": "Upgrade", "Upgrade": protocol}))
        assert (answer.status, answer.body) == (200, b"{}")


def test_requests_in_a_row_are_answered_in_their_order(server: Server, name: str) -> None:
    manifest = server.push_image(name, "v1")
    blob = server.push_blob(name, os.urandom(300_000))
    pulls = [("GET", "/v2/"), ("GET", f"/v2/{name}/blobs/{blob}"), ("HEAD", f"/v2/{name}/blobs/{blob}")]
    pulls += [("GET", f"/v2/{name}/manifests/v1"), ("HEAD", f"/v2/{name}/manifests/v1"), ("GET", f"/v2/{name}/x/y")]
    pulls *= 4
    with server.connect() as connection:
        connection.send(b"".join(head(method, target) for method, target in pulls))
        for method, target in pulls:
            answer = connection.answer(method)
            assert answer.status == (404 if target.endswith("/y") else 200)
            if method == "GET" and "blobs" in target:
                assert digest_of(answer.body) == blob
            if method == "GET" and "manifests" in target:
                assert answer.body == manifest


def test_garbage_behind_a_request_does_not_spoil_its_answer(server: Server, name: str) -> None:
    content = os.urandom(3_000_000)
    blob = server.push_blob(name, content)
    for headers in ({}, {"X-Ordinary": "1"}, {"Range": "bytes=0-"}):
        with server.connect() as connection:
            answer = connection.ask(head("GET", f"/v2/{name}/blobs/{blob}", headers) + b"garbage\r\n\r\n")
            assert answer.body == content
            assert connection.rest()[:12] in (b"", b"HTTP/1.1 400")


def test_the_body_of_a_get_is_not_the_next_request(server: Server) -> None:
    hidden = head("DELETE", "/v2/x/manifests/y")
    with server.connect() as connection:
        connection.send(whole("GET", "/v2/", body=hidden) + head("GET", "/livez"))
        assert connection.answer().body == b"{}"
        assert connection.answer().body == b"ok\n"


def test_an_early_refusal_leaves_the_connection_good_for_the_next_request(server: Server, name: str) -> None:
    with server.connect() as connection:
        for size in (10, 100_000, 5_000_000):
            connection.send(whole("PUT", f"/v2/{name.upper()}/manifests/v1", body=b"x" * size))
            assert connection.answer("PUT").code == "NAME_INVALID"
        assert connection.ask(head("GET", "/v2/")).status == 200


@pytest.mark.parametrize("good", [True, False])
def test_a_client_that_waits_for_100_sends_its_body_only_when_it_is_wanted(
    server: Server, name: str, good: bool
) -> None:
    content = a_manifest({"manifests": []}, OCI_INDEX)
    headers = {"Expect": "100-continue", "Content-Length": str(len(content)), "Content-Type": OCI_INDEX}
    with server.connect() as connection:
        reference = "v1" if good else "-bad-"
        answer = connection.ask(head("PUT", f"/v2/{name}/manifests/{reference}", headers), "PUT")
        if good:
            assert answer.status == 100
            assert connection.ask(content, "PUT").status == 201
        else:
            assert (answer.status, answer["connection"]) == (400, "close")
            assert connection.ended()


def test_answers_to_head_have_no_body_whatever_they_say(server: Server, name: str) -> None:
    with server.connect() as connection:
        for target in ("/v2/", "/livez", "/metrics", "/nowhere", f"/v2/{name}/manifests/v1", "/v2/X/manifests/y"):
            assert int(connection.ask(head("HEAD", target), "HEAD")["content-length"]) > 0


def test_bad_requests_leave_no_descriptor_and_no_file_behind(server: Server, name: str) -> None:
    """Counted on both workers before and after the worst of this module, done again and again."""
    blob = server.push_blob(name, os.urandom(300_000))

    def worst(connection: Connection, request: bytes) -> None:
        connection.send(request)
        connection.finish_sending()
        connection.rest()

    def storm() -> None:
        for case in BAD_FRAMING.values():
            with server.connect() as connection:
                worst(connection, case.encode("latin-1"))
        for target in (f"/v2/{name}/blobs/{blob}", f"/v2/{name}/blobs/{blob}?x"):
            with ExitStack() as stack:
                for _ in range(10):  # clients that ask and never read
                    stack.enter_context(server.connect()).send(head("GET", target))

    storm()
    files, descriptors = len(server.blob_files()), settled_descriptors(server)
    for _ in range(3):
        storm()
    assert len(server.blob_files()) == files
    assert settled_descriptors(server) <= descriptors + 2


def settled_descriptors(server: Server) -> int:
    """The fewest descriptors seen while the workers find out which connections have ended."""
    counts = []
    for _ in range(200):
        assert server.get("/livez").status == 200
        counts.append(server.descriptors())
    return min(counts)
