"""What upstreams are asked with: credentials of repositories, helpers, sealed passwords, TLS, proxies."""

import json
import os
import ssl
import subprocess
import sys
from base64 import b64encode
from pathlib import Path

import pytest

from tests.support.certificates import Authority, Certificate, new_authority
from tests.support.scripted_upstream import IDENTITY, Script, scripted_proxy, scripted_upstream
from tests.support.serving import Server, digest_of, serving
from tests.support.wire import Answer, whole

HELPER = """\
#!/bin/sh
read -r server
echo "{\\"ServerURL\\": \\"$server\\", \\"Username\\": \\"helped\\", \\"Secret\\": \\"by-$1-for-$server\\"}"
"""
TEAMS = ("team-a", "team-b")
KEY_FILE = json.dumps(
    {"type": "service_account", "private_key": "-----BEGIN\nKEY-----\n", "name": "Zürich: 1"}, indent=2
)
USERS = {  # as they are called at known registries
    "org+robot": "quay's",
    "robot$project+ci": "harbor's",
    "AWS": "for twelve hours: " + "x" * 2000,
    "oauth2accesstoken": "ya29.access",
    "_json_key": KEY_FILE,
    "00000000-0000-0000-0000-000000000000": "a token of ACR in a password's place",
}


def basic(user: str, password: str) -> str:
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()


def ask(cache: Server, target: str) -> Answer:
    """A request that may be answered by a 5xx."""
    with cache.connect() as connection:
        return connection.ask(whole("GET", target, (), None), "GET")


def logins(script: Script) -> set[str]:
    """Those that were shown to the token service."""
    return {header for path, header in script.authorizations if path == "/token"}


def test_each_repository_is_asked_for_with_its_own_credential_and_budget(tmp_path: Path) -> None:
    with scripted_upstream() as upstream:
        script = upstream.script
        credentials = [
            {"username": team, "password": "pw", "repositories": [f"{team}/*"], "read": "everyone"} for team in TEAMS
        ]
        configured = json.dumps({"up.example": {"url": upstream.url, "credentials": credentials}})
        script.token = "a token"
        manifest = script.push("v1", os.urandom(100))
        with serving(tmp_path, upstreams=configured, workers="1") as cache:
            for team in (*TEAMS, "others"):
                script.authorizations.clear()
                assert cache.get(f"/v2/up.example/{team}/app/manifests/v1").body == manifest
                assert logins(script) == {basic(team, "pw") if team in TEAMS else ""}
            script.faults["manifest team-a/new"] = 429
            script.headers = {"Retry-After": "3600"}
            assert cache.get(f"/v2/up.example/team-a/new/manifests/{digest_of(manifest)}").status == 429
            script.headers = {}
            script.authorizations.clear()
            assert cache.get(f"/v2/up.example/team-a/other/manifests/{digest_of(manifest)}").status == 429
            assert script.authorizations == [], "its credential is left alone, and no other one takes its place"
            assert cache.get(f"/v2/up.example/team-b/other/manifests/{digest_of(manifest)}").status == 200
            metrics = cache.get("/metrics").body.decode()
            for credential, scarce in (("team-a", 1.0), ("team-b", 0.0), ("", 0.0)):
                series = f'entrepot_upstream_scarce{{credential="{credential}",upstream="up.example"}} {scarce}'
                assert series in metrics


def test_a_helper_of_the_servers_own_file_gives_the_login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "docker-credential-test"
    program.write_text(HELPER)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with scripted_upstream() as upstream:
        upstream.script.quirks = {"basic"}
        manifest = upstream.script.push("v1", os.urandom(100))
        configured = {"up.example": {"url": upstream.url, "helper": "test", "read": "everyone"}}
        with serving(tmp_path, upstreams=json.dumps(configured), workers="1") as cache:
            assert cache.get("/v2/up.example/library/app/manifests/v1").body == manifest
            server = upstream.url.removeprefix("http://")
            sent = {header for _, header in upstream.script.authorizations} - {""}
            assert sent == {basic("helped", f"by-get-for-{server}")}
            program.unlink()
            assert cache.get("/v2/up.example/library/app/manifests/v1").status == 200
        with serving(tmp_path, upstreams=json.dumps(configured), workers="1") as cache:
            upstream.script.push("v1", os.urandom(100))
            answer = cache.get("/v2/up.example/library/app/manifests/v1")
            assert (answer.status, answer.body) == (200, manifest), "what is stored is answered"
            assert "docker-credential-test cannot be run" in answer["warning"]
            absent = ask(cache, "/v2/up.example/library/other/manifests/v1")
            assert absent.status == 502
            assert b"docker-credential-test cannot be run" in absent.body


def test_users_are_called_what_registries_call_them_and_their_passwords_come_byte_for_byte(tmp_path: Path) -> None:
    with scripted_upstream() as upstream:
        script = upstream.script
        manifest = script.push("v1", os.urandom(100))
        configured = {}
        for number, (user, password) in enumerate(USERS.items()):
            file = tmp_path / f"password{number}"
            file.write_text(f"{password}\n", encoding="utf-8")
            at = {"url": upstream.url, "username": user, "read": "everyone"}
            configured[f"file{number}.example"] = {**at, "password_file": str(file)}
            configured[f"key{number}.example"] = {**at, "password": password}
        with serving(tmp_path, upstreams=json.dumps(configured), workers="1") as cache:
            for alias, keys in configured.items():
                expected = basic(str(keys["username"]), USERS[str(keys["username"])])
                for script.quirks, script.token in (({"basic"}, ""), (set[str](), "a token")):
                    script.authorizations.clear()
                    assert cache.get(f"/v2/{alias}/library/app/manifests/v1").body == manifest
                    assert expected in {header for _, header in script.authorizations}
                    script.push("v1", os.urandom(100))
                    manifest = script.manifests["v1"]
            assert KEY_FILE[:20] not in cache.log_file.read_text()


def test_a_password_file_is_read_again_when_another_password_stands_in_it(tmp_path: Path) -> None:
    file = tmp_path / "password"
    with scripted_upstream() as upstream:
        upstream.script.quirks = {"basic"}
        login = {"username": "bot", "password_file": str(file), "read": "everyone"}
        configured = json.dumps({"up.example": {"url": upstream.url, **login}})
        with serving(tmp_path, upstreams=configured) as cache:
            for password in ("the first", "the second"):
                file.write_text(f"{password}\n")
                upstream.script.authorizations.clear()
                manifest = upstream.script.push("v1", os.urandom(100))
                assert cache.get("/v2/up.example/library/app/manifests/v1").body == manifest
                assert {header for _, header in upstream.script.authorizations} - {""} == {basic("bot", password)}
            file.unlink()
            assert cache.get("/v2/up.example/library/app/manifests/v1").header("warning"), "what is stored is answered"


def identity_helper(directory: Path, secret: str, user: str = "<token>") -> None:
    program = directory / "docker-credential-acr"
    program.write_text(f"#!/bin/sh\necho '{json.dumps({'Username': user, 'Secret': secret})}'\n")
    program.chmod(0o755)


@pytest.mark.parametrize("user", ["<token>", ""])
def test_a_helpers_identity_token_is_posted_for_an_access_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: str
) -> None:
    identity_helper(tmp_path, IDENTITY, user)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with scripted_upstream() as upstream:
        script = upstream.script
        script.token, script.quirks = "a token", {"identity"}
        layer = os.urandom(100)
        manifest = script.push("v1", layer)
        configured = {"up.example": {"url": upstream.url, "helper": "acr", "read": "everyone"}}
        with serving(tmp_path, upstreams=json.dumps(configured), workers="1") as cache:
            assert cache.get("/v2/up.example/library/app/manifests/v1").body == manifest
            assert cache.get(f"/v2/up.example/library/app/blobs/{digest_of(layer)}").body == layer
            assert script.forms == [
                {
                    "grant_type": "refresh_token",
                    "service": "scripted",
                    "client_id": "entrepot",
                    "scope": "repository:library/app:pull",
                    "refresh_token": IDENTITY,
                }
            ]
            assert {header for _, header in script.authorizations} == {"", "Bearer a token"}
            assert IDENTITY not in cache.log_file.read_text()


@pytest.mark.parametrize(
    ("trouble", "status", "words"),
    [
        ("refused", 404, b"says 400 to the identity token"),
        ("post 401", 404, b"says 401 to the identity token"),
        ("post 404", 502, b"takes no identity tokens"),
        ("post 405", 502, b"takes no identity tokens"),
        ("post 503", 502, b"says 503"),
        ("redirect", 502, b"says 307"),
        ("elsewhere", 404, b"says 401"),
        ("basic", 502, b"its login is an identity token"),
    ],
)
def test_an_identity_token_goes_to_nobody_else_and_what_becomes_of_it_is_said(
    tmp_path: Path, trouble: str, status: int, words: bytes
) -> None:
    secret = "another" if trouble == "refused" else IDENTITY
    with scripted_upstream() as upstream, scripted_upstream() as elsewhere:
        script = upstream.script
        script.token, script.quirks = "a token", {"basic" if trouble == "basic" else "identity"}
        elsewhere.script.quirks = {"identity"}
        if trouble.startswith("post"):
            script.faults = {"token-post": int(trouble.partition(" ")[2])}
        if trouble == "redirect":
            script.token_at = elsewhere.url
        if trouble == "elsewhere":  # the same machine by another name
            script.realm = elsewhere.url.replace("127.0.0.1", "localhost") + "/token"
        script.push("v1", os.urandom(100))
        login = {"username": "<token>", "password": secret, "read": "everyone"}
        with serving(tmp_path, upstreams=json.dumps({"up.example": {"url": upstream.url, **login}})) as cache:
            answer = ask(cache, "/v2/up.example/library/app/manifests/v1")
        assert (answer.status, words in answer.body) == (status, True), answer.body
        assert elsewhere.script.forms == []
        assert {header for _, header in elsewhere.script.authorizations} <= {""}


def test_a_sealed_password_is_read_by_the_registry_that_sealed_it(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "entrepot", "mirror", "seal"]
    with serving(tmp_path):
        pass
    environment = {**os.environ, "ENTREPOT_DATA_DIR": str(tmp_path / "data")}
    sealing = subprocess.run(
        command, env=environment, input=f"{KEY_FILE}\n", capture_output=True, text=True, check=True
    )
    sealed = sealing.stdout.strip()
    with scripted_upstream() as upstream:
        upstream.script.quirks = {"basic"}
        manifest = upstream.script.push("v1", os.urandom(100))
        login = {"username": "bot", "password": sealed, "read": "everyone"}
        configured = json.dumps({"up.example": {"url": upstream.url, **login}})
        with serving(tmp_path, upstreams=configured, workers="1") as cache:
            assert cache.get("/v2/up.example/library/app/manifests/v1").body == manifest
            assert basic("bot", KEY_FILE) in {header for _, header in upstream.script.authorizations}
        with serving(tmp_path / "another", upstreams=configured, workers="1") as cache:
            answer = ask(cache, "/v2/up.example/library/app/manifests/v1")
            assert answer.status == 502
            assert b"sealed with another root secret" in answer.body
    nothing = subprocess.run(command, env=environment, input="\n", capture_output=True, text=True, check=False)
    assert (nothing.returncode, "no password was given" in nothing.stderr) == (2, True)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return new_authority(tmp_path_factory.mktemp("authority"), "the upstream's authority")


@pytest.fixture(scope="module")
def certificate(authority: Authority) -> Certificate:
    return authority.certify("127.0.0.1", "hub.example")


def tls_of(certificate: Certificate, clients: Path | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.certificate, certificate.key)
    if clients is not None:
        context.load_verify_locations(clients)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def test_tls_is_verified_by_the_systems_authorities_or_those_of_the_upstream(
    tmp_path: Path, authority: Authority, certificate: Certificate
) -> None:
    with scripted_upstream(tls_of(certificate)) as upstream:
        manifest = upstream.script.push("v1", os.urandom(100))
        at = {"url": upstream.url}
        configured = {
            "system.example": at,
            "ca.example": {**at, "ca": str(authority.root.certificate)},
            "insecure.example": {**at, "insecure": "true"},
        }
        with serving(tmp_path, upstreams=json.dumps(configured)) as cache:
            refused = ask(cache, "/v2/system.example/library/app/manifests/v1")
            assert (refused.status, b"CERTIFICATE_VERIFY_FAILED" in refused.body) == (502, True)
            for alias in ("ca.example", "insecure.example"):
                assert cache.get(f"/v2/{alias}/library/app/manifests/v1").body == manifest


def test_an_upstream_that_wants_to_know_who_asks_is_shown_the_certificate(
    tmp_path: Path, authority: Authority, certificate: Certificate
) -> None:
    ours = authority.certify("cache.example")
    with scripted_upstream(tls_of(certificate, clients=authority.root.certificate)) as upstream:
        manifest = upstream.script.push("v1", os.urandom(100))
        at = {"url": upstream.url, "ca": str(authority.root.certificate)}
        configured = {
            "nobody.example": at,
            "somebody.example": {**at, "certificate": str(ours.certificate), "key": str(ours.key)},
        }
        with serving(tmp_path, upstreams=json.dumps(configured)) as cache:
            assert ask(cache, "/v2/nobody.example/library/app/manifests/v1").status == 502
            assert cache.get("/v2/somebody.example/library/app/manifests/v1").body == manifest


def test_https_does_not_lead_to_where_it_is_not_spoken(
    tmp_path: Path, authority: Authority, certificate: Certificate
) -> None:
    layer = os.urandom(100)
    with scripted_upstream(tls_of(certificate)) as upstream, scripted_upstream() as plain:
        upstream.script.push("v1", layer)
        plain.script.blobs |= upstream.script.blobs
        upstream.script.blobs_at = plain.url
        at = {"url": upstream.url, "ca": str(authority.root.certificate)}
        login = {"username": "bot", "password": "secret", "read": "everyone"}
        with serving(tmp_path, upstreams=json.dumps({"up.example": at, "realm.example": {**at, **login}})) as cache:
            assert cache.get("/v2/up.example/library/app/manifests/v1").status == 200
            answer = ask(cache, f"/v2/up.example/library/app/blobs/{digest_of(layer)}")
            assert (answer.status, b"where https is not spoken" in answer.body) == (502, True)
            upstream.script.token, upstream.script.realm = "a token", f"{plain.url}/token"
            answer = ask(cache, "/v2/realm.example/library/app/manifests/v1")
            assert (answer.status, b"not reached by https" in answer.body) == (502, True)
        assert not plain.script.asked


def test_a_proxy_is_gone_through_for_the_upstream_that_says_so(
    tmp_path: Path, authority: Authority, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    with scripted_upstream(tls_of(certificate)) as upstream:
        port = int(upstream.url.rpartition(":")[2])
        manifest = upstream.script.push("v1", os.urandom(100))
        with scripted_proxy(port) as proxy, scripted_proxy(port) as of_environment:
            with_login = proxy.url.replace("http://", "http://me:my%20secret@")
            monkeypatch.setenv("HTTPS_PROXY", of_environment.url)
            ca = str(authority.root.certificate)
            configured = {
                "own.example": {"url": "https://hub.example", "ca": ca, "proxy": with_login},
                "environment.example": {"url": "https://hub.example", "ca": ca},
                "none.example": {"url": upstream.url, "ca": ca, "proxy": "none"},
            }
            with serving(tmp_path, upstreams=json.dumps(configured), workers="1") as cache:
                for alias in configured:
                    assert cache.get(f"/v2/{alias}/library/app/manifests/v1").body == manifest
            assert set(proxy.tunnels) == {("hub.example:443", basic("me", "my secret"))}
            assert set(of_environment.tunnels) == {("hub.example:443", "")}
            assert "my%20secret" not in cache.log_file.read_text()
