"""`entrepot verify` beside a running server: what is missing, damaged, or named by nothing; on both stores."""

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.http.conftest import BOTH, large
from tests.support.postgres import new_database
from tests.support.s3 import Bucket
from tests.support.serving import an_image, serving
from tests.support.verified import Verified, until

REFUSED = 2


@pytest.fixture(params=BOTH)
def verified(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Verified]:
    """A server of each kind whose bytes are known to be its own; nothing is collected meanwhile."""
    with _a_server(request, tmp_path_factory.mktemp("verified"), {"lifecycle__undo": "2"}) as made:
        until(lambda: made.verify()[0] != REFUSED)
        yield made


@pytest.fixture(params=BOTH)
def hurried(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Verified]:
    """The same, with periods of a second."""
    settings = {"lifecycle__grace": "1", "lifecycle__quarantine": "1"}
    with _a_server(request, tmp_path_factory.mktemp("verified"), settings) as made:
        yield made


@contextmanager
def _a_server(request: pytest.FixtureRequest, directory: Path, settings: dict[str, str]) -> Iterator[Verified]:
    with ExitStack() as stack:
        if request.param != "sqlite and files":
            services = [request.getfixturevalue(name) for name in ("postgres_server", "s3_server")]
            settings = {**stack.enter_context(large(*services)), **settings}
        yield Verified(stack.enter_context(serving(directory, accounts=False, **settings)), settings)


def test_what_is_missing_or_damaged_is_named_and_the_rest_is_clean(verified: Verified, name: str) -> None:
    server = verified.server
    server.push_image(name, "v1")
    assert verified.verify("--rehash") == (0, "2 blobs, 0 do not agree\n")
    missing, gone = verified.pushed(name, os.urandom(100))
    shorter, cut = verified.pushed(name, os.urandom(100))
    turned, wrong = verified.pushed(name, os.urandom(100))
    verified.remove(gone)
    verified.remove(cut)
    verified.put(cut, b"x")
    verified.remove(wrong)
    verified.put(wrong, os.urandom(100))
    status, quick = verified.verify()
    assert status == 1
    found = {tuple(line.split("\t")[:2]) for line in quick.splitlines()[:-1]}
    assert found == {("missing", missing), ("damaged", shorter)}
    status, thorough = verified.verify("--rehash")
    assert (status, f"damaged\t{turned}" in thorough) == (1, True)


def test_what_nothing_names_goes_after_two_sightings_and_a_quarantine(hurried: Verified, name: str) -> None:
    image = hurried.server.push_image(name, "v1")
    upload = hurried.server.open_upload(name)
    assert hurried.server.request("PATCH", upload, (), b"half of it").status == 202
    before = hurried.stored()
    orphan = "0" * 32 + "-1234567890"
    hurried.put(orphan, b"lost")
    assert hurried.verify()[0] == 1
    assert orphan in hurried.stored()
    assert "sighted" in hurried.verify("--remove-orphans")[1]
    until(lambda: "quarantined" in hurried.verify("--remove-orphans")[1])
    assert orphan in hurried.stored()
    until(lambda: "trashed" in hurried.verify("--remove-orphans")[1])
    until(lambda: hurried.verify() == (0, "2 blobs, 0 do not agree\n"))
    assert hurried.run("gc")[0] == 0
    assert hurried.stored() == before
    assert hurried.server.get(f"/v2/{name}/manifests/v1").body == image


def test_nothing_is_compared_with_the_bytes_of_another_database(verified: Verified, name: str) -> None:
    verified.server.push_image(name, "v1")
    before = verified.stored()
    if verified.bucket is not None:
        verified.bucket.put("store", b"somebody else's 1")
    else:
        (verified.server.data / "store").write_text("somebody else's 1\n")
    status, said = verified.verify("--remove-orphans")
    assert (status, "do not belong together" in said) == (2, True)
    assert verified.stored() == before


@pytest.mark.parametrize("says", [True, False], ids=["it says whose it is", "it does not"])
def test_a_new_database_on_a_full_store_removes_nothing_of_it_until_it_is_accepted(
    verified: Verified, name: str, tmp_path: Path, request: pytest.FixtureRequest, says: bool
) -> None:
    verified.server.push_image(name, "v1")
    before = verified.stored()
    with ExitStack() as stack:
        settings = dict(verified.settings)
        if verified.bucket is None:
            for each in ("blobs", "store"):
                source, target = verified.server.data / each, tmp_path / "data" / each
                target.parent.mkdir(exist_ok=True)
                (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
        else:
            fresh = new_database(request.getfixturevalue("postgres_server"))
            settings["database__url"] = stack.enter_context(fresh)
        if not says:
            unclaimed(tmp_path / "data", verified.bucket)
        other = Verified(stack.enter_context(serving(tmp_path, accounts=False, **settings)), settings)
        assert other.verify("--remove-orphans")[0] == REFUSED
        assert other.run("gc")[0] == REFUSED
        said = "database and bytes do not belong together; nothing is removed"
        assert any(line["event"] == said for line in other.server.log())
        image = other.server.push_image(name, "v2")
        assert other.server.get(f"/v2/{name}/manifests/v2").body == image
        assert other.verify("--remove-orphans")[0] == REFUSED
        assert before < other.stored()
        status, told = other.verify("--accept")
        assert (status, told.count("no row names; left alone")) == (1, 2)
        assert other.run("gc")[0] == 0
        assert before < other.stored()


def unclaimed(data: Path, bucket: Bucket | None) -> None:
    """Let a store say of nobody whose it is, as one of an early version."""
    if bucket is not None:
        bucket.delete("store")
    else:
        (data / "store").unlink()


@pytest.mark.parametrize("kind", BOTH)
def test_an_installation_whose_store_does_not_say_whose_it_is_goes_on_without_being_told(
    kind: str, tmp_path: Path, name: str, request: pytest.FixtureRequest
) -> None:
    with ExitStack() as stack:
        settings: dict[str, str] = {}
        if kind != "sqlite and files":
            servers = (request.getfixturevalue(each) for each in ("postgres_server", "s3_server"))
            settings = stack.enter_context(large(*servers))
        with serving(tmp_path, accounts=False, **settings) as server:
            old = Verified(server, settings)
            image = server.push_image(name, "v1")
        unclaimed(server.data, old.bucket)
        again = Verified(stack.enter_context(serving(tmp_path, accounts=False, **settings)), settings)
        assert again.verify("--rehash") == (0, "2 blobs, 0 do not agree\n")
        assert again.run("gc")[0] == 0
        assert again.server.get(f"/v2/{name}/manifests/v1").body == image
        assert "store" in again.bucket.objects() if again.bucket else (again.server.data / "store").exists()


@pytest.mark.parametrize("kind", ["damaged", "missing"])
def test_what_was_found_damaged_or_missing_is_answered_no_more_and_the_next_push_mends_it(
    verified: Verified, name: str, kind: str
) -> None:
    server = verified.server
    config, layer = b'{"of": "the image"}', os.urandom(1000)
    manifest = an_image(config, layer)
    server.push_blob(name, config)
    digest, key = verified.pushed(name, layer)
    assert server.put_manifest(name, "v1", manifest).status == 201
    blob = f"/v2/{name}/blobs/{digest}"
    assert server.get(blob).body == layer  # known by heart now, where something is
    if kind == "damaged":
        verified.damage(key, layer[::-1])
    else:
        verified.remove(key)
    assert f"{kind}\t{digest}\t{key}" in verified.verify("--rehash")[1]
    for _ in range(8):  # of either worker
        assert (server.head(blob).status, server.get(blob).status) == (404, 404)
    refused = server.put_manifest(name, "v2", manifest)
    assert (refused.status, refused.json()["errors"][0]["code"]) == (400, "MANIFEST_BLOB_UNKNOWN")
    mount = f"/v2/{name}-other/blobs/uploads/?mount={digest}&from={name}"
    assert server.request("POST", mount).status == 202
    assert server.get(f"/v2/{name}/manifests/v1").body == manifest
    assert digest in verified.verify()[1]  # without a --rehash it is not taken for whole

    assert server.push_blob(name, layer) == digest
    assert (server.head(blob).status, server.get(blob).body) == (200, layer)
    assert server.put_manifest(name, "v2", manifest).status == 201
    assert verified.verify("--rehash") == (0, "2 blobs, 0 do not agree\n")
    assert verified.run("gc")[0] == 0
    assert key not in verified.stored()


def test_what_is_whole_again_is_answered_again(verified: Verified, name: str) -> None:
    layer = os.urandom(1000)
    digest, key = verified.pushed(name, layer)
    verified.remove(key)
    assert verified.verify()[0] == 1
    assert verified.server.head(f"/v2/{name}/blobs/{digest}").status == 404
    verified.put(key, layer)
    assert verified.verify()[0] == 0
    assert verified.server.get(f"/v2/{name}/blobs/{digest}").body == layer


def test_blobs_that_many_push_again_at_once_are_mended_once(verified: Verified, name: str) -> None:
    layer = os.urandom(1000)
    digest, key = verified.pushed(name, layer)
    verified.damage(key, b"x")
    assert verified.verify()[0] == 1
    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(lambda _: verified.server.push_blob(name, layer), range(6))) == {digest}
    assert verified.server.get(f"/v2/{name}/blobs/{digest}").body == layer
    until(lambda: verified.run("gc")[0] == 0 and len(verified.stored()) == 1)
    assert verified.verify("--rehash") == (0, "1 blobs, 0 do not agree\n")


def test_what_cannot_be_read_is_damaged_and_the_next_push_mends_it(tmp_path: Path, name: str) -> None:
    """As with a bad sector: a file that can be opened and not read."""
    with serving(tmp_path, accounts=False) as server:
        verified = Verified(server, {})
        unreadable = tmp_path / "unreadable"
        unreadable.mkdir()
        layer = os.urandom(unreadable.stat().st_size)
        digest, key = verified.pushed(name, layer)
        verified.pushed(name, os.urandom(100))
        until(lambda: verified.verify()[0] != REFUSED)
        verified.remove(key)
        unreadable.rename(server.data / "blobs" / key[:6] / key)
        status, said = verified.verify("--rehash")
        assert (status, "2 blobs, 1 do not agree" in said) == (1, True)
        assert f"damaged\t{digest}\t{key}" in said
        assert server.head(f"/v2/{name}/blobs/{digest}").status == 404
        server.push_blob(name, layer)
        assert server.get(f"/v2/{name}/blobs/{digest}").body == layer
        assert verified.verify("--rehash")[0] == 0
