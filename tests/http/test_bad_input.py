"""Names, tags, digests, paths and parameters that are not what they should be."""

import pytest

from tests.support.serving import OCI_INDEX, Registry, Server, a_manifest, digest_of

SHA256 = digest_of(b"x")
INDEX = a_manifest({"manifests": []}, OCI_INDEX)


def everywhere(name: str) -> list[tuple[str, str]]:
    """Every route that takes a repository's name."""
    return [
        ("GET", f"/v2/{name}/tags/list"),
        ("GET", f"/v2/{name}/manifests/v1"),
        ("HEAD", f"/v2/{name}/manifests/v1"),
        ("PUT", f"/v2/{name}/manifests/v1"),
        ("DELETE", f"/v2/{name}/manifests/v1"),
        ("GET", f"/v2/{name}/blobs/{SHA256}"),
        ("DELETE", f"/v2/{name}/blobs/{SHA256}"),
        ("POST", f"/v2/{name}/blobs/uploads/"),
        ("POST", f"/v2/{name}/blobs/uploads/?digest={SHA256}"),
        ("GET", f"/v2/{name}/blobs/uploads/x"),
        ("PATCH", f"/v2/{name}/blobs/uploads/x"),
        ("PUT", f"/v2/{name}/blobs/uploads/x?digest={SHA256}"),
        ("DELETE", f"/v2/{name}/blobs/uploads/x"),
        ("GET", f"/v2/{name}/referrers/{SHA256}"),
    ]


@pytest.mark.parametrize(
    ("name", "corrected"),
    [("Hello", "hello"), ("library/HELLO-World", "library/hello-world"), ("A/B__c", "a/b__c")],
)
def test_upper_case_names_are_told_what_would_be_right(server: Server, name: str, corrected: str) -> None:
    for method, target in everywhere(name):
        answer = server.request(method, target, body=b"x" if method in ("PUT", "PATCH") else None)
        assert answer.status == 400
        if method != "HEAD":
            assert answer.code == "NAME_INVALID"
            assert "must be lowercase" in answer.message
            assert f"'{corrected}'" in answer.message


@pytest.mark.parametrize(
    "name",
    [
        "-a", "a-", ".a", "a.", "_a", "a_", "a..b", "a___b", "a._b", "a//b", "/a", "a/", "a/-b", "a b", "a:b", "a@b",
        "%C3%A9", "a%00b", "a%0Ab", "..", "../..", "a/../b", "a/./b", "%2e%2e/%2e%2e/etc", "..%2F..%2Fetc%2Fpasswd",
        "a%252Fb", "a%5Cb", "~a", "_catalog", "%FF", "%", "%zz", "a;b", "a'--", "x" * 256, "%EF%BC%A1", "a%20",
    ],
)  # fmt: skip
def test_a_name_that_breaks_the_grammar_is_400_on_every_route(server: Server, name: str) -> None:
    before = set(server.data.rglob("*"))
    for method, target in everywhere(name):
        answer = server.request(method, target, body=INDEX if method in ("PUT", "PATCH") else None)
        assert answer.status == 400, (method, target)
        assert method == "HEAD" or answer.code in ("NAME_INVALID", "UNSUPPORTED")
    assert {path for path in set(server.data.rglob("*")) - before if path.is_file() and "blobs" in path.parts} == set()


@pytest.mark.parametrize("name", ["a", "0", "a--b", "a---b", "a__b", "a.b_c-d", "a/b/c/d/e/f", "x" * 255])
def test_every_name_that_the_grammar_allows_can_be_used(registry: Registry, name: str) -> None:
    assert registry.put_manifest(name, "v1", INDEX, OCI_INDEX).status == 201
    assert registry.get(f"/v2/{name}/manifests/v1").body == INDEX
    encoded = name.replace("/", "%2F").replace("-", "%2D")
    assert registry.get(f"/v2/{encoded}/manifests/v1").body == INDEX
    assert registry.delete(f"/v2/{name}/manifests/{digest_of(INDEX)}").status == 202


@pytest.mark.parametrize("tag", ["v1", "_", "0", "A.b-C_d", "x" * 128, "a..b"])
def test_every_tag_that_the_grammar_allows_can_be_used(registry: Registry, name: str, tag: str) -> None:
    assert registry.put_manifest(name, tag, INDEX, OCI_INDEX).status == 201
    assert registry.get(f"/v2/{name}/manifests/{tag}").body == INDEX


@pytest.mark.parametrize(
    "tag", ["-a", ".a", "..", "a b", "a+b", "%C3%A9", "a%00", "a@b", "x" * 129, "%7E", "a%0D%0AX:1"]
)
def test_a_tag_that_breaks_the_grammar_is_400(registry: Registry, name: str, tag: str) -> None:
    for method in ("GET", "HEAD", "PUT", "DELETE"):
        answer = registry.request(method, f"/v2/{name}/manifests/{tag}", body=INDEX if method == "PUT" else None)
        assert answer.status == 400
        assert method == "HEAD" or answer.code in ("MANIFEST_INVALID", "UNSUPPORTED")


@pytest.mark.parametrize(
    "digest",
    [
        "sha256:", "sha256:abc", "sha256:" + "A" * 64, "sha256:" + "g" * 64, "sha256:" + "0" * 63, "sha256:" + "0" * 65,
        "sha256:" + "0" * 128, "sha512:" + "0" * 64, "SHA256:" + "0" * 64, "md5:" + "0" * 32, "sha256:baddigeststring",
        "sha256+b64:" + "0" * 64, ":", "::", "sha256::" + "0" * 64, "sha256:" + "0" * 64 + "%0A",
        "sha256:" + "0" * 9999, "sha256:" + "%D9%A0" * 64,
    ],
)  # fmt: skip
def test_a_digest_that_breaks_the_grammar_is_400(registry: Registry, name: str, digest: str) -> None:
    requests = [
        (method, f"/v2/{name}/{kind}/{digest}")
        for kind in ("manifests", "blobs")
        for method in ("GET", "HEAD", "DELETE")
    ]
    requests += [
        ("PUT", f"/v2/{name}/manifests/{digest}"),
        ("GET", f"/v2/{name}/referrers/{digest}"),
        ("POST", f"/v2/{name}/blobs/uploads/?digest={digest}"),
        ("POST", f"/v2/{name}/blobs/uploads/?mount={digest}&from=a"),
    ]
    for method, target in requests:
        answer = registry.request(method, target, body=INDEX if method in ("PUT", "POST") else None)
        assert answer.status == 400, (method, target)
        assert method == "HEAD" or answer.code in ("DIGEST_INVALID", "UNSUPPORTED")


@pytest.mark.parametrize(
    "target",
    [
        "/../../etc/passwd", "/v2/../../etc/passwd", "/v2/%2e%2e/%2e%2e/etc/passwd", "/v2/..%2f..%2fetc%2fpasswd",
        "/v2/a/blobs/..%2f..%2f..%2fdatabase.sqlite", "/v2/a/blobs/../../../etc/passwd", "/v2/a/manifests/..%2f..%2fx",
        "/v2/a/blobs/sha256:..%2f..%2fetc%2fpasswd", "//v2/a/tags/list", "/v2//a/tags/list", "/v2/a//tags/list",
        "/v2/a/blobs/uploads/..%2f..%2fx", "/v2/a/blobs/uploads/%2e%2e", "/v2/a%00/tags/list", "/v2/%ff/tags/list",
        "/v2/a/tags/list%00", "/v2/a/tags/%6cist%0a", "/v2\\a", "/static/../v2/", "/%2e%2e/v2/",
        "/v2/%252e%252e/tags/list",
    ],
)  # fmt: skip
def test_a_path_leads_nowhere_but_to_a_route(server: Server, target: str) -> None:
    for method in ("GET", "HEAD", "DELETE"):
        answer = server.request(method, target)
        assert answer.status in (400, 404, 405)
        assert b"root:" not in answer.body


@pytest.mark.parametrize(
    "query",
    [
        "%",
        "%zz",
        "a=%ff",
        "n=%00",
        "last=%0a",
        "n=1&n=2",
        "&&&=&",
        "n=1;last=2",
        "=",
        "a=b=c",
        "%6e=-1",
        "a=" + "x" * 20_000,
    ],
)
def test_odd_parameters_are_refused_or_ignored_but_never_an_error_of_ours(server: Server, query: str) -> None:
    for target in ("/v2/_catalog", "/v2/a/tags/list", f"/v2/a/referrers/{SHA256}", "/v2/", "/livez"):
        assert server.get(f"{target}?{query}").status in (200, 400, 404)


def test_unknown_parameters_and_those_given_twice_alike_are_ignored(registry: Registry, name: str) -> None:
    content = name.encode()
    digest = digest_of(content)
    query = f"x=y&digest={digest}&ns=docker.io&digest={digest.replace(':', '%3A')}&"
    assert registry.request("POST", f"/v2/{name}/blobs/uploads/?{query}", body=content).status == 201
    answer = registry.get(f"/v2/{name}/blobs/{digest}?ns=docker.io")
    assert (answer.body, answer.header("oci-namespace")) == (content, None)


def test_a_parameter_with_two_values_is_refused(registry: Registry, name: str) -> None:
    other = digest_of(b"y")
    for query in (f"digest={SHA256}&digest={other}", f"mount={SHA256}&mount={other}", f"mount={SHA256}&from=a&from=b"):
        answer = registry.request("POST", f"/v2/{name}/blobs/uploads/?{query}", body=b"x")
        assert (answer.status, answer.code) == (400, "UNSUPPORTED")


def test_a_digest_and_an_algorithm_that_disagree_are_refused(registry: Registry, name: str) -> None:
    target = f"/v2/{name}/blobs/uploads/?digest={SHA256}&digest-algorithm=sha512"
    assert registry.request("POST", target, body=b"x").code == "DIGEST_INVALID"


@pytest.mark.parametrize(
    "header",
    [
        "Accept",
        "Content-Type",
        "User-Agent",
        "Range",
        "If-None-Match",
        "Content-Range",
        "Origin",
        "X-Forwarded-For",
        "Forwarded",
        "Authorization",
    ],
)
@pytest.mark.parametrize("value", ["", " ", "\x80\xff", "a" * 20_000, "%00", '"', "\\", ",,,,", ";;;", "\t"])
def test_odd_headers_are_no_error_of_ours(server: Server, name: str, header: str, value: str) -> None:
    for method, target in (("GET", "/v2/"), ("PUT", f"/v2/{name}/manifests/v1"), ("GET", f"/v2/{name}/blobs/{SHA256}")):
        answer = server.request(method, target, {header: value}, b"{}" if method == "PUT" else None)
        assert answer.status in (200, 400, 403, 404, 416)
