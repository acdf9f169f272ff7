"""`entrepot verify` beside a running server: what is missing, damaged, or named by nothing; on both stores."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from tests.http.conftest import BOTH, large
from tests.support.s3 import Bucket
from tests.support.serving import Server, an_image, serving

AT_ONCE = {"lifecycle__grace": "1", "lifecycle__quarantine": "1"}


class Verified:
    """A server, the command on its data, and a hand in its bytes."""

    def __init__(self, server: Server, settings: dict[str, str]) -> None:
        self.server = server
        self._settings = settings
        name = settings.get("storage__s3__bucket")
        self.bucket = Bucket(settings["storage__s3__endpoint"], name) if name else None

    def run(self, *words: str) -> tuple[int, str]:
        """The status of a command, and what it printed, but for its progress."""
        environment = {f"ENTREPOT_{key.upper()}": value for key, value in self._settings.items()}
        environment |= {"ENTREPOT_DATA_DIR": str(self.server.data), "ENTREPOT_OPEN": "true", "PATH": "/usr/bin:/bin"}
        command = [sys.executable, "-m", "entrepot", *words]
        ended = subprocess.run(command, env=environment, check=False, capture_output=True, text=True, timeout=60)
        return ended.returncode, ended.stdout or ended.stderr

    def verify(self, *words: str) -> tuple[int, str]:
        """What `entrepot verify` says."""
        return self.run("verify", *words)

    def stored(self) -> set[str]:
        """The keys of everything that is stored."""
        if self.bucket is not None:
            return {name.removeprefix("blobs/") for name in self.bucket.objects() if name.startswith("blobs/")}
        return {path.name for path in self.server.blob_files()}

    def pushed(self, name: str, content: bytes) -> tuple[str, str]:
        """Push a blob; its digest and its key."""
        before = self.stored()
        digest = self.server.push_blob(name, content)
        (key,) = self.stored() - before
        return digest, key

    def put(self, key: str, content: bytes) -> None:
        """Write bytes under a key, behind the server's back."""
        if self.bucket is not None:
            self.bucket.put(f"blobs/{key}", content)
            return
        path = self.server.data / "blobs" / key[:6] / key
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)

    def remove(self, key: str) -> None:
        """Remove bytes, behind the server's back."""
        if self.bucket is not None:
            self.bucket.delete(f"blobs/{key}")
        else:
            (self.server.data / "blobs" / key[:6] / key).unlink()


@pytest.fixture(params=BOTH)
def verified(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Verified]:
    """A server of each kind, of this test's own."""
    directory = tmp_path_factory.mktemp("verified")
    if request.param == "sqlite and files":
        with serving(directory, accounts=False, **AT_ONCE) as server:
            yield Verified(server, AT_ONCE)
        return
    with large(request.getfixturevalue("postgres_server"), request.getfixturevalue("s3_server")) as where:
        settings = {**where, **AT_ONCE}
        with serving(directory, accounts=False, **settings) as server:
            yield Verified(server, settings)


def test_what_is_missing_or_damaged_is_named_and_the_rest_is_clean(verified: Verified, name: str) -> None:
    server = verified.server
    server.push_image(name, "v1")
    assert verified.verify("--rehash") == (0, "2 blobs, 0 do not agree\n")
    config, *layers = (os.urandom(100) for _ in range(4))
    server.push_blob(name, config)
    (missing, gone), (shorter, cut), (turned, wrong) = (verified.pushed(name, layer) for layer in layers)
    assert server.put_manifest(name, "v2", an_image(config, *layers)).status == 201  # else they are soon collected
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


def test_what_nothing_names_goes_after_two_sightings_and_a_quarantine(verified: Verified, name: str) -> None:
    image = verified.server.push_image(name, "v1")
    upload = verified.server.open_upload(name)
    assert verified.server.request("PATCH", upload, (), b"half of it").status == 202
    before = verified.stored()
    orphan = "0" * 32 + "-1234567890"
    verified.put(orphan, b"lost")
    assert verified.verify()[0] == 1
    assert orphan in verified.stored()
    assert "sighted" in verified.verify("--remove-orphans")[1]
    _until(lambda: "quarantined" in verified.verify("--remove-orphans")[1])
    assert orphan in verified.stored()
    _until(lambda: "trashed" in verified.verify("--remove-orphans")[1])
    _until(lambda: verified.verify() == (0, "2 blobs, 0 do not agree\n"))
    assert verified.run("gc")[0] == 0
    assert verified.stored() == before
    assert verified.server.get(f"/v2/{name}/manifests/v1").body == image


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


def _until(condition: Callable[[], bool]) -> None:
    """Each look is a process that takes its time: no sleep is needed between two."""
    for _ in range(80):
        if condition():
            return
    raise AssertionError("it does not come")
