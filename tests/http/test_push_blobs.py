"""Pushing blobs in every form: e4, e5, e6, e11, e13, e14 (distribution-spec, "Pushing blobs")."""

import re
from uuid import UUID

import pytest

from tests.support.serving import Registry, Server, check_promises, digest_of
from tests.support.wire import Answer, chunked, head, whole

A, B, C = b"first chunk, ", b"second chunk, ", b"third"
WHOLE = A + B + C


def created(registry: Registry, answer: Answer, name: str, content: bytes, digest: str) -> None:
    """The answer says that this blob is there, and it is."""
    assert answer.status == 201, answer
    assert answer["location"] == f"/v2/{name}/blobs/{digest}"
    assert answer["docker-content-digest"] == digest
    assert answer["content-length"] == "0"
    assert registry.get(answer["location"]).body == content


def at(answer: Answer, name: str, status: int, offset: int) -> str:
    """The answer tells where the session is; returns its Location."""
    assert answer.status == status, answer
    location = answer["location"]
    match = re.fullmatch(rf"/v2/{name}/blobs/uploads/([0-9a-f-]+)", location)
    assert match
    assert str(UUID(match[1])) == answer["docker-upload-uuid"] == match[1]
    assert answer["range"] == f"0-{max(offset - 1, 0)}"
    return location


@pytest.mark.parametrize("slash", ["", "/"])
def test_post_opens_a_session_that_is_a_uuid(registry: Registry, name: str, slash: str) -> None:
    answer = registry.request("POST", f"/v2/{name}/blobs/uploads{slash}")
    location = at(answer, name, 202, 0)
    at(registry.get(location), name, 204, 0)


def test_the_whole_blob_in_one_put(registry: Registry, name: str) -> None:
    digest = digest_of(WHOLE)
    location = registry.open_upload(name)
    created(registry, registry.request("PUT", f"{location}?digest={digest}", body=WHOLE), name, WHOLE, digest)
    assert registry.get(location).code == "BLOB_UPLOAD_UNKNOWN"


def test_the_digest_may_be_percent_encoded(registry: Registry, name: str) -> None:
    digest = digest_of(WHOLE)
    target = f"{registry.open_upload(name)}?x=y&digest={digest.replace(':', '%3A')}"
    created(registry, registry.request("PUT", target, body=WHOLE), name, WHOLE, digest)


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_the_whole_blob_in_one_post(registry: Registry, name: str, algorithm: str) -> None:
    digest = digest_of(WHOLE, algorithm)
    target = f"/v2/{name}/blobs/uploads/?digest={digest}&digest-algorithm={algorithm}"
    created(registry, registry.request("POST", target, body=WHOLE), name, WHOLE, digest)


def test_a_stream_of_unknown_length_as_docker_sends_it(registry: Registry, name: str) -> None:
    digest = digest_of(WHOLE)
    location = registry.open_upload(name)
    with registry.connect() as connection:
        connection.send(head("PATCH", location, {"Transfer-Encoding": "chunked"}))
        for chunk in (A, B):
            connection.send(chunked(chunk).removesuffix(b"0\r\n\r\n"))
        connection.send(chunked(C))
        at(connection.answer("PATCH"), name, 202, len(WHOLE))
        answer = connection.ask(whole("PUT", f"{location}?digest={digest}", body=b""), "PUT")
    created(registry, answer, name, WHOLE, digest)


@pytest.mark.parametrize("last_in_put", [False, True])
@pytest.mark.parametrize("form", ["{}-{}", "bytes {}-{}/*", None])
@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_chunk_after_chunk(registry: Registry, name: str, form: str | None, last_in_put: bool, algorithm: str) -> None:
    digest = digest_of(WHOLE, algorithm)
    location, offset = registry.open_upload(name), 0
    chunks = [A, B] if last_in_put else [A, B, C]

    def place(chunk: bytes) -> dict[str, str]:
        return {"Content-Range": form.format(offset, offset + len(chunk) - 1)} if form else {}

    for chunk in chunks:
        answer = registry.request("PATCH", location, place(chunk), chunk)
        offset += len(chunk)
        location = at(answer, name, 202, offset)
        at(registry.get(location), name, 204, offset)
    last = C if last_in_put else b""
    target = f"{location}?digest={digest}"
    created(registry, registry.request("PUT", target, place(last) if last else (), last), name, WHOLE, digest)


def test_a_session_of_another_algorithm(registry: Registry, name: str) -> None:
    digest = digest_of(WHOLE, "sha512")
    location = registry.open_upload(name, "?digest-algorithm=sha512")
    assert registry.request("PATCH", location, body=A + B).status == 202
    created(registry, registry.request("PUT", f"{location}?digest={digest}", body=C), name, WHOLE, digest)
    location = registry.open_upload(name, "?digest-algorithm=sha512")
    assert registry.request("PATCH", location, body=WHOLE).status == 202
    digest = digest_of(WHOLE)
    created(registry, registry.request("PUT", f"{location}?digest={digest}", body=b""), name, WHOLE, digest)


def test_an_algorithm_that_is_not_supported_is_refused_at_the_post(server: Server, name: str) -> None:
    for algorithm in ("md5", "blake3", "sha384", ""):
        answer = server.request("POST", f"/v2/{name}/blobs/uploads/?digest-algorithm={algorithm}")
        assert (answer.status, answer.code) == (400, "DIGEST_INVALID"), algorithm


@pytest.mark.parametrize("span", ["0-4", "9-13", "14-18"])
@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_a_chunk_out_of_order_is_416_and_changes_nothing(registry: Registry, name: str, span: str, method: str) -> None:
    location = registry.open_upload(name)
    assert registry.request("PATCH", location, body=A).status == 202
    query = f"?digest={digest_of(A + C)}" if method == "PUT" else ""
    answer = registry.request(method, location + query, {"Content-Range": span}, C)
    assert answer.code == "BLOB_UPLOAD_INVALID"
    at(answer, name, 416, len(A))
    at(registry.get(location), name, 204, len(A))
    created(registry, registry.request("PUT", f"{location}?digest={digest_of(A)}", body=b""), name, A, digest_of(A))


def test_the_first_chunk_starts_at_zero(registry: Registry, name: str) -> None:
    location = registry.open_upload(name)
    at(registry.request("PATCH", location, {"Content-Range": "5-17"}, A), name, 416, 0)


@pytest.mark.parametrize("span", ["13-13", "13-99"])
@pytest.mark.parametrize("method", ["PATCH", "PUT"])
@pytest.mark.parametrize("framing", ["length", "chunked", "chunked and empty"])
def test_a_content_range_that_does_not_fit_its_body_is_refused_and_loses_nothing(
    registry: Registry, name: str, span: str, method: str, framing: str
) -> None:
    location = registry.open_upload(name)
    assert registry.request("PATCH", location, body=A).status == 202
    target = f"{location}?digest={digest_of(A + C)}" if method == "PUT" else location
    headers = {"Content-Range": span}
    with registry.connect() as connection:
        if framing == "length":
            answer = connection.ask(whole(method, target, headers, C), method)
        else:
            body = chunked(C) if framing == "chunked" else chunked()
            answer = connection.ask(head(method, target, {**headers, "Transfer-Encoding": "chunked"}) + body, method)
    check_promises(answer, method, target)
    assert answer.status in (400, 416)
    at(registry.get(location), name, 204, len(A))
    digest = digest_of(A + C)
    created(registry, registry.request("PUT", f"{location}?digest={digest}", body=C), name, A + C, digest)


@pytest.mark.parametrize(
    "span", ["", "x", "-", "5-", "-5", "9-5", "bytes=", "0-4, 5-9", "0--4", "1" * 40 + "-" + "2" * 40]
)
def test_a_content_range_that_cannot_be_read_is_refused(server: Server, name: str, span: str) -> None:
    answer = server.request("PATCH", server.open_upload(name), {"Content-Range": span}, C)
    assert (answer.status, answer.code) == (416, "BLOB_UPLOAD_INVALID")


@pytest.mark.parametrize("form", ["post", "put", "patch", "chunk in the put", "stream"])
def test_a_wrong_digest_is_refused_and_ends_the_session(registry: Registry, name: str, form: str) -> None:
    wrong = digest_of(b"something else")
    if form == "post":
        answer = registry.request("POST", f"/v2/{name}/blobs/uploads/?digest={wrong}", body=WHOLE)
    else:
        location = registry.open_upload(name)
        if form in ("patch", "stream", "chunk in the put"):
            assert registry.request("PATCH", location, body=A).status == 202
        if form == "stream":
            assert registry.request("PATCH", location, body=B).status == 202
        last = b"" if form in ("patch", "stream") else C
        answer = registry.request("PUT", f"{location}?digest={wrong}", body=last)
        assert registry.get(location).status == 404
    assert (answer.status, answer.code) == (400, "DIGEST_INVALID")
    assert registry.get(f"/v2/{name}/blobs/{wrong}").status == 404


def test_a_put_without_a_usable_digest_is_400_and_the_session_goes_on(server: Server, name: str) -> None:
    location = server.open_upload(name)
    for query in ("", "?digest=", "?digest=sha256:abc", "?digest=md5:" + "0" * 32, "?digest=sha256%253A" + "0" * 64):
        answer = server.request("PUT", location + query, body=A)
        assert (answer.status, answer.code) == (400, "DIGEST_INVALID"), query
    assert server.request("PUT", f"{location}?digest={digest_of(A)}", body=A).status == 201


def test_cancelling_ends_a_session(registry: Registry, name: str) -> None:
    location = registry.open_upload(name)
    assert registry.request("PATCH", location, body=A).status == 202
    assert registry.delete(location).status == 204
    for method, query in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("PUT", f"?digest={digest_of(A)}")):
        body = A if method in ("PATCH", "PUT") else None
        answer = registry.request(method, location + query, body=body)
        assert (answer.status, answer.code) == (404, "BLOB_UPLOAD_UNKNOWN")


def test_a_session_belongs_to_one_repository(registry: Registry, name: str) -> None:
    location = registry.open_upload(name)
    elsewhere = location.replace(name, f"{name}/other")
    for method, query in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("PUT", f"?digest={digest_of(A)}")):
        body = A if method in ("PATCH", "PUT") else None
        assert registry.request(method, elsewhere + query, body=body).code == "BLOB_UPLOAD_UNKNOWN"
    at(registry.get(location), name, 204, 0)


@pytest.mark.parametrize("session", ["x", "%20", "..", "0193a5a4-0000-7000-8000-000000000000", "a" * 5000])
def test_a_session_that_never_was_is_404(registry: Registry, name: str, session: str) -> None:
    for method in ("GET", "PATCH", "DELETE"):
        answer = registry.request(method, f"/v2/{name}/blobs/uploads/{session}", body=A if method == "PATCH" else None)
        assert (answer.status, answer.code) == (404, "BLOB_UPLOAD_UNKNOWN")


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_a_client_that_goes_away_finds_what_arrived_and_goes_on(
    registry: Registry, name: str, method: str, algorithm: str
) -> None:
    location, digest = registry.open_upload(name), digest_of(WHOLE, algorithm)
    target = f"{location}?digest={digest}" if method == "PUT" else location
    with registry.connect() as connection:
        asked = connection.ask(head(method, target, {"Content-Length": "1000", "Expect": "100-continue"}))
        assert asked.status == 100  # the server is reading now
        connection.send(A)
    at(settled(registry, location), name, 204, len(A))
    created(registry, registry.request("PUT", f"{location}?digest={digest}", body=B + C), name, WHOLE, digest)


def test_what_arrived_of_a_put_may_be_all_of_the_blob(registry: Registry, name: str) -> None:
    location = registry.open_upload(name)
    with registry.connect() as connection:
        target = f"{location}?digest={digest_of(A, 'sha512')}"
        connection.ask(head("PUT", target, {"Content-Length": "1000", "Expect": "100-continue"}))
        connection.send(A)
    settled(registry, location)
    created(registry, registry.request("PUT", f"{location}?digest={digest_of(A)}", body=b""), name, A, digest_of(A))


def settled(registry: Registry, location: str) -> Answer:
    """The session's state, asked for until the server has seen that the connection with the first bytes ended."""
    for _ in range(2000):
        answer = registry.get(location)
        if answer["range"] != "0-0":
            break
    return answer


def test_a_blob_that_is_there_already_can_be_pushed_again(registry: Registry, name: str) -> None:
    for _ in range(3):
        assert registry.push_blob(name, WHOLE) == digest_of(WHOLE)
    assert registry.get(f"/v2/{name}/blobs/{digest_of(WHOLE)}").body == WHOLE


def test_a_mount_links_a_blob_of_another_repository(registry: Registry, name: str) -> None:
    digest = registry.push_blob(f"{name}/from", WHOLE)
    for target, source in ((f"{name}/a", f"{name}/from"), (f"{name}/b", f"{name}/from".replace("/", "%2F"))):
        answer = registry.request("POST", f"/v2/{target}/blobs/uploads/?mount={digest}&from={source}&origin=x.example")
        created(registry, answer, target, WHOLE, digest)
    answer = registry.request("POST", f"/v2/{name}/c/blobs/uploads/?mount={digest}")
    created(registry, answer, f"{name}/c", WHOLE, digest)


@pytest.mark.parametrize("source", ["nowhere", "NOT-A-NAME", "a//b", ""])
def test_a_mount_that_misses_opens_an_upload(registry: Registry, name: str, source: str) -> None:
    digest = digest_of(name.encode())
    answer = registry.request("POST", f"/v2/{name}/blobs/uploads/?mount={digest}&from={source}")
    location = at(answer, name, 202, 0)
    put = registry.request("PUT", f"{location}?digest={digest}", body=name.encode())
    created(registry, put, name, name.encode(), digest)


def test_a_mount_takes_only_from_the_repository_it_names(registry: Registry, name: str) -> None:
    digest = registry.push_blob(f"{name}/here", name.encode())
    registry.push_blob(f"{name}/there", b"another")
    answer = registry.request("POST", f"/v2/{name}/blobs/uploads/?mount={digest}&from={name}/there")
    assert answer.status == 202
    assert registry.get(f"/v2/{name}/blobs/{digest}").status == 404


def test_an_upload_leaves_one_file_and_a_refused_one_none(server: Server, name: str) -> None:
    """The trash is emptied by a job; what it will remove is not counted here, so only the key's row matters."""
    before = set(server.blob_files())
    digest = server.push_blob(name, name.encode())
    made = set(server.blob_files()) - before
    assert sum(path.read_bytes() == name.encode() for path in made) == 1
    assert server.get(f"/v2/{name}/blobs/{digest}").status == 200
