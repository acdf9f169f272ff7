"""Other registries that accept our tokens: Debian's docker-registry 2.8 with `auth.token`."""

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.hub_world import Person, World, bearer
from tests.support.services import free_ports, require_tools
from tests.support.serving import digest_of

SERVICE = "relying.example"  # as serving_world configures it


@pytest.fixture(scope="module")
def relying(small_world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a docker-registry that trusts the certificates that our server publishes."""
    require_tools("docker-registry")
    directory, port = tmp_path_factory.mktemp("relying"), free_ports(1)
    (directory / "tokens.pem").write_bytes(small_world.server.get("/token/certificates.pem").body)
    (directory / "config.yml").write_text(_configuration(directory, port, small_world.server.url))
    program = shutil.which("docker-registry")
    assert program is not None
    process = subprocess.Popen([program, "serve", str(directory / "config.yml")], stderr=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}"
        while answer(f"{url}/v2/", {}) != 401:
            assert process.poll() is None
            time.sleep(0.05)  # it says nothing when it is ready
        yield url
    finally:
        process.terminate()
        process.wait()


def _configuration(directory: Path, port: int, realm: str) -> str:
    return (
        f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {directory}/data}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}'}}\nauth:\n  token:\n    realm: {realm}/token\n    service: {SERVICE}\n"
        f"    issuer: entrepot\n    rootcertbundle: {directory}/tokens.pem\n"
    )


def answer(url: str, headers: dict[str, str], method: str = "GET", body: bytes | None = None) -> int:
    """The status of an answer; 0 while nobody listens."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, headers, method=method)) as found:
            return int(found.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except OSError:
        return 0


def token(world: World, who: Person, scope: str, service: str = SERVICE) -> dict[str, str]:
    found = world.server.get(f"/token?service={service}&scope={scope}", who.basic).json()["token"]
    world.secrets.add(found)
    return bearer(found)


def test_it_takes_our_tokens_for_what_they_allow(small_world: World, relying: str) -> None:
    alice, stranger = small_world.person("alice"), small_world.person("stranger")
    name = f"{alice.name}/app"
    scope = f"repository:{name}:pull,push"
    uploads = f"{relying}/v2/{name}/blobs/uploads/"
    assert answer(uploads, {}, "POST", b"") == 401
    assert answer(uploads, token(small_world, stranger, scope), "POST", b"") == 401
    mine = token(small_world, alice, scope)
    assert answer(uploads, mine, "POST", b"") == 202
    request = urllib.request.Request(uploads, b"", mine, method="POST")
    with urllib.request.urlopen(request) as opened:
        location = opened.headers["Location"]
    content = json.dumps({"a": "blob"}).encode()
    target = f"{location}{'&' if '?' in location else '?'}digest={digest_of(content)}"
    assert answer(target, {**mine, "Content-Type": "application/octet-stream"}, "PUT", content) == 201
    assert answer(f"{relying}/v2/{name}/blobs/{digest_of(content)}", mine) == 200


def test_a_token_for_one_registry_does_not_open_the_other(small_world: World, relying: str) -> None:
    alice = small_world.person("alice")
    scope = f"repository:{alice.name}/app:pull,push"
    theirs, ours = token(small_world, alice, scope), token(small_world, alice, scope, "anything-else")
    assert small_world.visitor(theirs).get("/v2/").status == 401
    assert small_world.visitor(ours).get("/v2/").status == 200
    assert answer(f"{relying}/v2/", theirs) == 200
    assert answer(f"{relying}/v2/", ours) == 401


def test_the_catalog_there_is_for_administrators(small_world: World, relying: str) -> None:
    scope = "registry:catalog:*"
    assert answer(f"{relying}/v2/_catalog", token(small_world, small_world.person(), scope)) == 401
    assert answer(f"{relying}/v2/_catalog", token(small_world, small_world.administrator, scope)) == 200
