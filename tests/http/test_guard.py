"""Who may talk to an open registry: Host, Origin, the public URL, trusted proxies."""

from collections.abc import Iterator

import pytest

from entrepot.web.guard import Guard
from tests.support.serving import OCI_INDEX, Registry, Server, a_manifest, digest_of, serving
from tests.support.wire import Headers, head, whole

INDEX = a_manifest({"manifests": []}, OCI_INDEX)


@pytest.fixture(scope="module")
def behind_a_proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a public URL, a host of its own, and a proxy on this machine that is trusted."""
    with serving(
        tmp_path_factory.mktemp("behind-a-proxy"),
        http__hosts='["registry.local"]',
        http__public_url="https://hub.example.com",
        http__trusted_proxies='["127.0.0.0/8", "10.0.0.0/8", "fd00::/8"]',
    ) as running:
        yield running


@pytest.fixture(scope="module")
def behind_a_standard_proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose trusted proxies write the header of RFC 7239."""
    with serving(
        tmp_path_factory.mktemp("behind-a-standard-proxy"),
        http__trusted_proxies='["127.0.0.0/8", "10.0.0.0/8"]',
        http__forwarded_header="forwarded",
    ) as running:
        yield running


def statuses(registry: Registry, name: str, headers: Headers) -> list[int]:
    """A hot GET by the fast door, the same by the ordinary one, a push, a probe."""
    requests = [
        ("GET", f"/v2/{name}/manifests/v1", headers, None),
        ("GET", f"/v2/{name}/manifests/v1", {**dict(headers), "X-Ordinary": "1"}, None),
        ("PUT", f"/v2/{name}/manifests/v2", headers, INDEX),
        ("GET", "/metrics", headers, None),
    ]
    return [registry.request(method, target, fields, body).status for method, target, fields, body in requests]


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:5000", "127.0.0.1", "127.8.9.1:80", "[::1]:5000", "a.localhost", ""]
)
def test_on_loopback_every_name_of_loopback_is_known(server: Server, name: str, host: str) -> None:
    server.push_image(name, "v1")
    if host:
        assert statuses(server, name, {"Host": host}) == [200, 200, 201, 200]


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:5000", "localhost.evil.example", "10.0.0.1", "127.0.0.1.evil.example", "[fe80::1]",
     "x@localhost", "localhost@evil.example", "hub.example.com", "registry.local", "0.0.0.0", "2130706433"],
)  # fmt: skip
def test_on_loopback_a_host_that_nobody_named_is_403_at_every_door(server: Server, name: str, host: str) -> None:
    server.push_image(name, "v1")
    assert statuses(server, name, {"Host": host}) == [403, 403, 403, 403]
    answer = server.get("/v2/", {"Host": host})
    assert answer.code == "DENIED"
    assert "http.hosts" in answer.message
    assert server.get(f"/v2/{name}/tags/list").json()["tags"] == ["v1"]


def test_hosts_of_the_configuration_and_the_public_url_are_known(behind_a_proxy: Server, name: str) -> None:
    assert behind_a_proxy.request("PUT", f"/v2/{name}/manifests/v1", {"Content-Type": OCI_INDEX}, INDEX).status == 201
    for host in ("registry.local", "Registry.Local:5000", "hub.example.com", "localhost"):
        assert statuses(behind_a_proxy, name, {"Host": host}) == [200, 200, 201, 200]
    assert statuses(behind_a_proxy, name, {"Host": "evil.example"}) == [403, 403, 403, 403]


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "http://localhost:1",
        "http://127.0.0.1",
        "x",
        "",
        "file://",
        "http://localhost.evil.example",
    ],
)
def test_a_page_of_another_origin_changes_nothing(server: Server, name: str, origin: str) -> None:
    server.push_image(name, "v1")
    location = server.open_upload(name)
    for method, target in (
        ("POST", f"/v2/{name}/blobs/uploads/"),
        ("POST", f"/v2/{name}/blobs/uploads/?digest={digest_of(b'x')}"),
        ("PATCH", location),
        ("PUT", f"{location}?digest={digest_of(b'x')}"),
        ("PUT", f"/v2/{name}/manifests/v2"),
        ("DELETE", f"/v2/{name}/manifests/v1"),
        ("DELETE", location),
    ):
        answer = server.request(method, target, {"Origin": origin}, b"x")
        assert (answer.status, answer.code) == (403, "DENIED"), (method, target)
    assert server.get(location).status == 204
    assert server.get(f"/v2/{name}/tags/list", {"Origin": origin}).json()["tags"] == ["v1"]


def test_a_large_body_of_another_origin_is_refused_with_an_answer_that_arrives(server: Server, name: str) -> None:
    with server.connect() as connection:
        request = whole("POST", f"/v2/{name}/blobs/uploads/", {"Origin": "https://evil.example"}, b"x" * 2_000_000)
        assert connection.ask(request, "POST").status == 403
        assert connection.ended()


def test_a_page_of_the_registry_itself_may_change_things(server: Server, behind_a_proxy: Server, name: str) -> None:
    for registry, headers in (
        (server, {"Host": "localhost:5000", "Origin": "http://localhost:5000"}),
        (behind_a_proxy, {"Host": "localhost:5000", "Origin": "https://hub.example.com"}),
    ):
        answer = registry.request("PUT", f"/v2/{name}/manifests/v1", {**headers, "Content-Type": OCI_INDEX}, INDEX)
        assert answer.status == 201


def test_locations_and_links_are_those_of_the_public_url(behind_a_proxy: Server, name: str) -> None:
    base = "https://hub.example.com"
    opened = behind_a_proxy.request("POST", f"/v2/{name}/blobs/uploads/")
    assert opened["location"].startswith(f"{base}/v2/{name}/blobs/uploads/")
    put = behind_a_proxy.request("PUT", f"{opened['location'].removeprefix(base)}?digest={digest_of(b'x')}", body=b"x")
    assert put["location"] == f"{base}/v2/{name}/blobs/{digest_of(b'x')}"
    for tag in ("v1", "v2"):
        put = behind_a_proxy.put_manifest(name, tag, INDEX, OCI_INDEX)
        assert put["location"] == f"{base}/v2/{name}/manifests/{digest_of(INDEX)}"
    assert behind_a_proxy.get(f"/v2/{name}/tags/list?n=1")["link"] == f'</v2/{name}/tags/list?last=v1&n=1>; rel="next"'


@pytest.mark.parametrize(
    ("forwarded", "logged"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("198.51.100.1, 203.0.113.9", "203.0.113.9"),
        ("198.51.100.1, 203.0.113.9, 10.1.2.3", "203.0.113.9"),
        ("2001:db8::1", "2001:db8::1"),
        ("203.0.113.9, fd00::7", "203.0.113.9"),
        ("10.9.9.9", "10.9.9.9"),
        ("nonsense", "127.0.0.1"),
        ("203.0.113.9, nonsense", "127.0.0.1"),
        ('fe80::1%"x', "127.0.0.1"),
        ("", "127.0.0.1"),
    ],
)
def test_the_log_has_the_address_that_trusted_proxies_tell(
    behind_a_proxy: Server, name: str, forwarded: str, logged: str
) -> None:
    answer = behind_a_proxy.get(f"/v2/{name}/tags/list", {"X-Forwarded-For": forwarded})
    assert behind_a_proxy.logged(answer["x-request-id"])["from"] == logged


def test_a_proxy_that_adds_a_line_of_its_own_is_believed_and_not_the_line_that_a_client_sent(
    behind_a_proxy: Server, name: str
) -> None:
    lines = [("X-Forwarded-For", "198.51.100.1"), ("X-Forwarded-For", "203.0.113.9")]
    answer = behind_a_proxy.get(f"/v2/{name}/tags/list", lines)
    assert behind_a_proxy.logged(answer["x-request-id"])["from"] == "203.0.113.9"


def test_a_header_that_the_proxies_do_not_write_is_not_believed(
    behind_a_proxy: Server, behind_a_standard_proxy: Server, name: str
) -> None:
    for server, header in ((behind_a_proxy, "Forwarded"), (behind_a_standard_proxy, "X-Forwarded-For")):
        value = "for=203.0.113.9" if header == "Forwarded" else "203.0.113.9"
        answer = server.get(f"/v2/{name}/tags/list", {header: value})
        assert server.logged(answer["x-request-id"])["from"] == "127.0.0.1"


@pytest.mark.parametrize(
    ("forwarded", "logged"),
    [
        (["for=203.0.113.9"], "203.0.113.9"),
        (["For=203.0.113.9:4711;proto=https;by=10.0.0.1"], "203.0.113.9"),
        (['proto=https;for="[2001:db8::1]:4711"'], "2001:db8::1"),
        (["for=198.51.100.1, for=203.0.113.9"], "203.0.113.9"),
        (["for=198.51.100.1, for=203.0.113.9, for=10.1.2.3"], "203.0.113.9"),
        (["for=198.51.100.1", "for=203.0.113.9"], "203.0.113.9"),
        (['for="198.51.100.1', 'for="[2001:db8::1]"'], "2001:db8::1"),
        (['by="x;for=198.51.100.1";for=203.0.113.9'], "203.0.113.9"),
        (['for="198.51.100.1, for=', 'for=203.0.113.9;by="a,b"'], "203.0.113.9"),
        (["for=unknown"], "127.0.0.1"),
        (["for=_hidden, for=10.1.2.3"], "10.1.2.3"),
        (["proto=https"], "127.0.0.1"),
        ([""], "127.0.0.1"),
        ([",,,"], "127.0.0.1"),
        (["for=203.0.113.9" + ", for=10.0.0.1" * 3000], "10.0.0.1"),
    ],
)
def test_the_standard_header_is_read_where_the_proxies_write_it(
    behind_a_standard_proxy: Server, name: str, forwarded: list[str], logged: str
) -> None:
    answer = behind_a_standard_proxy.get(f"/v2/{name}/tags/list", [("Forwarded", each) for each in forwarded])
    assert behind_a_standard_proxy.logged(answer["x-request-id"])["from"] == logged


@pytest.mark.parametrize(
    ("header", "headers", "scheme"),
    [
        ("x-forwarded-for", [(b"x-forwarded-proto", b"https")], "https"),
        ("x-forwarded-for", [(b"x-forwarded-proto", b"javascript")], None),
        ("x-forwarded-for", [(b"x-forwarded-proto", b"http"), (b"x-forwarded-proto", b"https")], None),
        ("x-forwarded-for", [(b"forwarded", b"proto=https")], None),
        ("forwarded", [(b"forwarded", b'for=203.0.113.9;proto="HTTPS"')], "https"),
        ("forwarded", [(b"forwarded", b"proto=http"), (b"forwarded", b"proto=https")], "https"),
        ("forwarded", [(b"x-forwarded-proto", b"https")], None),
    ],
)
def test_a_trusted_proxy_says_by_which_scheme_it_was_asked(
    header: str, headers: list[tuple[bytes, bytes]], scheme: str | None
) -> None:
    guard = Guard(loopback=False, hosts=[], public_url=None, trusted_proxies=["127.0.0.1"], forwarded_header=header)
    assert guard.scheme("127.0.0.1", headers) == scheme
    assert guard.scheme("192.0.2.1", headers) is None


def test_nobody_is_believed_who_is_not_trusted(server: Server, name: str) -> None:
    answer = server.get(f"/v2/{name}/tags/list", {"X-Forwarded-For": "203.0.113.9"})
    assert server.logged(answer["x-request-id"])["from"] == "127.0.0.1"


def test_without_a_host_only_http_1_0_is_heard(server: Server) -> None:
    with server.connect() as connection:
        assert connection.ask(b"GET /v2/ HTTP/1.0\r\n\r\n").status == 200
    with server.connect() as connection:
        assert connection.ask(head("GET", "/v2/", host="")).status == 400
