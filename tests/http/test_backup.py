"""`entrepot backup` beside a running server, and `entrepot restore` of what it has made: on both kinds, and across."""

import os
import subprocess
import sys
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.http.conftest import BOTH, large
from tests.support.s3 import ACCESS_KEY_ID, REGION, SECRET_ACCESS_KEY, Bucket
from tests.support.serving import Server, digest_of, serving

SHORT = {"lifecycle__undo": "1", "lifecycle__grace": "1", "lifecycle__quarantine": "1"}
"""Phases so short that collection removes bytes while a backup runs."""


class Place:
    """Where a backup goes, and a hand in it."""

    def __init__(self, where: str, settings: dict[str, str], bucket: Bucket | None) -> None:
        self.where = where
        self.settings = settings
        self.bucket = bucket

    def files(self) -> set[str]:
        """Everything that is there."""
        if self.bucket is not None:
            return set(self.bucket.objects())
        return {str(path.relative_to(self.where)) for path in Path(self.where).rglob("*") if path.is_file()}

    def remove(self, name: str) -> None:
        """Take something away."""
        if self.bucket is not None:
            self.bucket.delete(name)
        else:
            (Path(self.where) / name).unlink()

    def cut(self, name: str) -> None:
        """Leave half of a snapshot, as a copy that was cut off would."""
        if self.bucket is not None:
            self.bucket.put(name, b"\x1f\x8b\x08\x00")
        else:
            path = Path(self.where) / name
            path.write_bytes(path.read_bytes()[:-20])


@pytest.fixture(params=["a directory", pytest.param("a bucket", marks=pytest.mark.xdist_group("large"))])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """An empty place of each kind."""
    if request.param == "a directory":
        return Place(str(tmp_path / "backup"), {}, None)
    bucket: Bucket = request.getfixturevalue("bucket")
    s3 = {"endpoint": bucket.endpoint, "region": REGION}
    s3 |= {"access_key_id": ACCESS_KEY_ID, "secret_access_key": SECRET_ACCESS_KEY}
    return Place(f"s3://{bucket.name}/of/office", {f"storage__s3__{key}": value for key, value in s3.items()}, bucket)


@pytest.fixture(params=BOTH)
def kind(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """Settings of each kind of registry."""
    if request.param == "sqlite and files":
        yield {}
        return
    with large(request.getfixturevalue("postgres_server"), request.getfixturevalue("s3_server")) as settings:
        yield settings


@contextmanager
def empty(kind: dict[str, str], request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """Settings of another registry of the same kind, which nobody has used."""
    if not kind:
        yield {}
        return
    with large(request.getfixturevalue("postgres_server"), request.getfixturevalue("s3_server")) as settings:
        yield settings


def run(data: Path, settings: dict[str, str], *words: str) -> tuple[int, str, str]:
    """The status of a command on this data, and what it printed on both streams."""
    environment = {f"ENTREPOT_{key.upper()}": value for key, value in settings.items()}
    environment |= {"ENTREPOT_DATA_DIR": str(data), "ENTREPOT_OPEN": "true", "PATH": os.environ["PATH"]}
    command = [sys.executable, "-m", "entrepot", *words]
    ended = subprocess.run(command, env=environment, check=False, capture_output=True, text=True, timeout=120)
    return ended.returncode, ended.stdout, ended.stderr


def backed_up(server: Server, kind: dict[str, str], place: Place) -> str:
    """What a backup that succeeds has printed."""
    status, said, wrong = run(server.data, place.settings | kind, "backup", place.where)
    assert status == 0, (said, wrong)
    return said


def restored(data: Path, kind: dict[str, str], place: Place, *words: str) -> tuple[int, str, str]:
    """What a restore has printed."""
    return run(data, place.settings | kind, "restore", *words, place.where)


def test_a_backup_under_load_restores_to_what_was_acknowledged_and_every_byte(
    tmp_path: Path, kind: dict[str, str], place: Place, request: pytest.FixtureRequest
) -> None:
    """While images are pushed, deleted and collected as fast as they can be."""
    with serving(tmp_path / "old", accounts=False, **kind, **SHORT) as server:
        before = {f"load/old{number}": server.push_image(f"load/old{number}", "v1") for number in range(5)}
        kept = server.push_image("load/old0", "v2")
        with _load(server):
            backed_up(server, kind, place)
            after = server.push_image("load/after", "v1")
            said = backed_up(server, kind, place)
        assert "could not be copied" not in said
    with empty(kind, request) as fresh:
        status, said, wrong = restored(tmp_path / "new" / "data", fresh, place)
        assert status == 0, (said, wrong)
        assert run(tmp_path / "new" / "data", fresh, "verify", "--rehash")[0] == 0
        with serving(tmp_path / "new", accounts=False, **fresh) as again:
            for name, manifest in (before | {"load/after": after}).items():
                assert again.get(f"/v2/{name}/manifests/v1").body == manifest
            assert again.get("/v2/load/old0/manifests/v2").body == kept
            assert _all_pull(again) >= 7
            again.push_image("load/new", "v1")


def test_a_registry_moves_from_sqlite_and_files_to_postgresql_and_s3_and_back(
    tmp_path: Path, postgres_server: str, s3_server: str
) -> None:
    first, second = (Place(str(tmp_path / place), {}, None) for place in ("there", "back"))
    with serving(tmp_path / "old") as server:
        image = server.push_image("library/hello", "v1")
        gone = server.push_image("library/hello", "v2")
        assert server.delete(f"/v2/library/hello/manifests/{digest_of(gone)}").status == 202
        unfinished = server.open_upload("library/hello")
        assert server.request("PATCH", unfinished, (), b"half of it").status == 202
        backed_up(server, {}, first)
    with large(postgres_server, s3_server) as where:
        assert restored(tmp_path / "large" / "data", where, first)[0] == 0
        with serving(tmp_path / "large", accounts=False, **where) as server:
            assert server.get("/v2/library/hello/manifests/v1").body == image
            path = f"/api/v1/repositories/library/hello/-/manifests/{digest_of(gone)}/undo"
            assert server.request("POST", path, body=b"").status == 200
            assert server.get("/v2/library/hello/manifests/v2").body == gone
            more = server.push_image("library/hello", "v3")
            backed_up(server, where, second)
    assert restored(tmp_path / "new" / "data", {}, second)[0] == 0
    with serving(tmp_path / "new") as server:
        assert [server.get(f"/v2/library/hello/manifests/v{n}").body for n in (1, 2, 3)] == [image, gone, more]
        server.push_image("library/hello", "v4")
    assert run(tmp_path / "new" / "data", {}, "verify", "--rehash")[0] == 0


def test_a_second_backup_adds_only_what_is_new_and_each_can_be_restored(
    tmp_path: Path, kind: dict[str, str], place: Place
) -> None:
    with serving(tmp_path / "old", accounts=False, **kind) as server:
        first = server.push_image("library/hello", "v1")
        assert "2 blobs, 2 of them new" in backed_up(server, kind, place)
        files = place.files()
        server.push_image("library/hello", "v1")
        assert "4 blobs, 2 of them new" in backed_up(server, kind, place)
        assert files < place.files()
        assert "4 blobs, 0 of them new" in backed_up(server, kind, place)
    names = restored(tmp_path / "none", {}, place, "--list")[1].split()
    assert (len(names), names) == (3, sorted(names))
    assert restored(tmp_path / "new" / "data", {}, place, "--snapshot", names[0])[0] == 0
    with serving(tmp_path / "new") as server:
        assert server.get("/v2/library/hello/manifests/v1").body == first


def test_bytes_that_are_damaged_or_missing_are_named_by_the_backup(tmp_path: Path, place: Place) -> None:
    with serving(tmp_path / "old") as server:
        backed_up(server, {}, place)
        damaged, missing = os.urandom(100), os.urandom(100)
        for content in (damaged, missing):
            before = set(server.blob_files())
            server.push_blob("library/hello", content)
            (file,) = set(server.blob_files()) - before
            file.unlink()
            if content is damaged:
                file.write_bytes(b"x" * 100)
        status, said, _ = run(server.data, place.settings, "backup", "--keep", "1", place.where)
    assert (status, "0 older backups" in said) == (1, True)
    assert f"damaged\t{digest_of(damaged)}" in said
    assert f"missing\t{digest_of(missing)}" in said
    assert not any(name.rpartition("/")[2] in (file.name,) for name in place.files())


def test_what_is_not_whole_is_refused_and_nothing_is_restored_over_anything(tmp_path: Path, place: Place) -> None:
    with serving(tmp_path / "old") as server:
        image = server.push_image("library/hello", "v1")
        backed_up(server, {}, place)
        status, _, said = restored(server.data, {}, place)
        assert (status, "not empty" in said) == (2, True)
    (snapshot,) = (name for name in place.files() if "snapshots/" in name)
    blob = next(name for name in place.files() if "blobs/" in name and "snapshots/" not in name)
    place.cut(snapshot)
    status, _, said = restored(tmp_path / "cut", {}, place)
    assert (status, "not whole" in said) == (2, True)
    assert not (tmp_path / "cut" / "entrepot.db").exists()
    place.remove(snapshot)
    status, _, said = restored(tmp_path / "none", {}, place)
    assert (status, "there is no snapshot" in said) == (2, True)
    with serving(tmp_path / "old") as server:
        backed_up(server, {}, place)
    place.remove(blob)
    status, said, _ = restored(tmp_path / "part" / "data", {}, place)
    assert (status, "missing\tsha256:" in said) == (1, True)
    with serving(tmp_path / "part") as server:
        assert server.get("/v2/library/hello/manifests/v1").body == image


def test_what_cannot_be_read_is_named_and_the_rest_is_backed_up(tmp_path: Path, place: Place) -> None:
    """As with a bad sector: a file that can be opened and not read."""
    with serving(tmp_path / "old") as server:
        image = server.push_image("library/hello", "v1")
        before = set(server.blob_files())
        unreadable = server.push_blob("library/hello", os.urandom(100))
        (file,) = set(server.blob_files()) - before
        file.unlink()
        file.mkdir()
        status, said, _ = run(server.data, place.settings, "backup", place.where)
    assert (status, f"damaged\t{unreadable}" in said) == (1, True)
    assert restored(tmp_path / "new" / "data", {}, place)[0] == 1
    with serving(tmp_path / "new") as server:
        assert server.get("/v2/library/hello/manifests/v1").body == image


def test_copies_that_have_rotted_are_mended_by_rehash(tmp_path: Path, place: Place) -> None:
    with serving(tmp_path / "old") as server:
        server.push_image("library/hello", "v1")
        backed_up(server, {}, place)
        blob, content = next((path.name, path.read_bytes()) for path in server.blob_files())
        (name,) = (name for name in place.files() if name.endswith(blob))
        if place.bucket is not None:
            place.bucket.put(name, bytes(len(content)))
        else:
            (Path(place.where) / name).write_bytes(bytes(len(content)))
        assert "0 of them new" in backed_up(server, {}, place)
        status, said, _ = run(server.data, place.settings, "backup", "--rehash", place.where)
    assert (status, "2 blobs, 1 of them new" in said) == (0, True)
    assert restored(tmp_path / "new" / "data", {}, place)[0] == 0


def test_a_bucket_for_backups_may_be_at_another_server_than_the_registrys(tmp_path: Path, bucket: Bucket) -> None:
    keys = {"access_key_id": ACCESS_KEY_ID, "secret_access_key": SECRET_ACCESS_KEY, "endpoint": bucket.endpoint}
    settings = {f"backup__s3__{key}": value for key, value in keys.items()}
    nowhere = {"storage__s3__endpoint": "http://127.0.0.1:1", "storage__s3__access_key_id": "x"}
    settings |= nowhere | {"storage__s3__secret_access_key": "y"}
    place = Place(f"s3://{bucket.name}", settings, bucket)
    with serving(tmp_path / "old") as server:
        image = server.push_image("library/hello", "v1")
        backed_up(server, {}, place)
    assert restored(tmp_path / "new" / "data", {}, place)[0] == 0
    with serving(tmp_path / "new") as server:
        assert server.get("/v2/library/hello/manifests/v1").body == image


def test_a_backup_is_for_its_owner_alone_and_never_into_the_data_itself(
    tmp_path: Path, kind: dict[str, str], request: pytest.FixtureRequest
) -> None:
    place = Place(str(tmp_path / "backup"), {}, None)
    with serving(tmp_path / "old", accounts=False, **kind) as server:
        server.push_image("library/hello", "v1")
        backed_up(server, kind, place)
        assert {(Path(place.where) / name).stat().st_mode & 0o777 for name in place.files()} == {0o600}
        itself = f"s3://{kind['storage__s3__bucket']}" if kind else str(server.data)
        status, _, said = run(server.data, kind, "backup", itself)
        assert (status, "elsewhere" in said) == (2, True)


def test_two_backups_at_once_are_both_whole(tmp_path: Path, place: Place) -> None:
    with serving(tmp_path / "old") as server:
        images = [server.push_image("library/hello", f"v{number}") for number in range(5)]
        ended: list[tuple[int, str, str]] = []
        threads = [
            threading.Thread(target=lambda: ended.append(run(server.data, place.settings, "backup", place.where)))
            for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [status for status, *_ in ended] == [0, 0], ended
    names = restored(tmp_path / "none", {}, place, "--list")[1].split()
    assert len(names) == 2
    for name in names:
        assert restored(tmp_path / name / "data", {}, place, "--snapshot", name)[0] == 0
        assert run(tmp_path / name / "data", {}, "verify", "--rehash")[0] == 0
    with serving(tmp_path / names[0]) as server:
        found = [server.get(f"/v2/library/hello/manifests/v{number}").body for number in range(5)]
    assert found == images


def test_a_place_is_for_one_registry_until_taken_over(tmp_path: Path, kind: dict[str, str], place: Place) -> None:
    with serving(tmp_path / "one", accounts=False, **kind) as one, serving(tmp_path / "another") as another:
        backed_up(one, kind, place)
        files = place.files()
        status, _, said = run(another.data, place.settings, "backup", place.where)
        assert (status, "another registry's" in said, place.files()) == (2, True, files)
        assert run(another.data, place.settings, "backup", "--take-over", place.where)[0] == 0
        assert run(one.data, place.settings | kind, "backup", place.where)[0] == 2


def test_only_the_newest_backups_and_their_bytes_are_kept(tmp_path: Path, kind: dict[str, str], place: Place) -> None:
    with serving(tmp_path / "old", accounts=False, **kind, **SHORT) as server:
        gone = server.push_image("library/hello", "v1")
        backed_up(server, kind, place)
        first = place.files()
        assert server.delete(f"/v2/library/hello/manifests/{digest_of(gone)}").status == 202
        while not run(server.data, kind, "gc", "--dry-run")[1].startswith("0 would go"):
            pass  # the server collects
        image = server.push_image("library/hello", "v2")
        backed_up(server, kind, place)
        status, said, _ = run(server.data, place.settings | kind, "backup", "--keep", "2", place.where)
        assert (status, "1 older backups and 2 of their blobs removed" in said) == (0, True)
    assert len(first & place.files()) == 1  # whose they are
    for name in restored(tmp_path / "none", {}, place, "--list")[1].split():
        assert restored(tmp_path / name / "data", {}, place, "--snapshot", name)[0] == 0
        with serving(tmp_path / name) as again:
            assert again.get("/v2/library/hello/manifests/v2").body == image


def test_passwords_hold_after_a_restore_with_the_secret_beside_it(tmp_path: Path) -> None:
    place = Place(str(tmp_path / "backup"), {}, None)
    basic = {"Authorization": "Basic " + b64encode(b"admin:correct horse battery").decode()}
    with serving(tmp_path / "old", accounts=True, admin_password="correct horse battery") as server:
        assert server.get("/v2/", basic).status == 200
        backed_up(server, {}, place)
    assert restored(tmp_path / "new" / "data", {}, place)[0] == 0
    assert not (tmp_path / "new" / "data" / "secret").exists()
    (tmp_path / "new" / "data" / "secret").write_bytes((tmp_path / "old" / "data" / "secret").read_bytes())
    with serving(tmp_path / "new", accounts=True, admin_password="another one that has no effect") as server:
        assert server.get("/v2/", basic).status == 200
        wrong = {"Authorization": "Basic " + b64encode(b"admin:another one that has no effect").decode()}
        assert server.get("/v2/", wrong).status == 401


def test_a_backup_that_is_killed_is_none_and_the_next_one_is_whole(tmp_path: Path) -> None:
    place = Place(str(tmp_path / "backup"), {}, None)
    with serving(tmp_path / "old") as server:
        image = server.push_image("library/hello", "v1")
        for _ in range(4):
            server.push_blob("library/hello", os.urandom(64 * 1024 * 1024))
        environment = {"ENTREPOT_DATA_DIR": str(server.data), "ENTREPOT_OPEN": "true", "PATH": os.environ["PATH"]}
        running = subprocess.Popen([sys.executable, "-m", "entrepot", "backup", place.where], env=environment)
        while not any(name.startswith(".part-") for name in place.files()):
            assert running.poll() is None, "it has ended before a byte was seen on its way"
        running.kill()
        running.wait()
        assert restored(tmp_path / "none", {}, place, "--list")[1] == ""
        assert "6 blobs" in backed_up(server, {}, place)
        assert not any(name.startswith(".part-") for name in place.files())
    assert restored(tmp_path / "new" / "data", {}, place)[0] == 0
    assert run(tmp_path / "new" / "data", {}, "verify", "--rehash")[0] == 0
    with serving(tmp_path / "new") as server:
        assert server.get("/v2/library/hello/manifests/v1").body == image


@contextmanager
def _load(server: Server) -> Iterator[None]:
    """Pushes and deletes, again and again, until the block ends; whatever fails in it fails the test."""
    ended, failures = threading.Event(), list[BaseException]()

    def push(number: int) -> None:
        try:
            while not ended.is_set():
                manifest = server.push_image(f"load/busy{number}", "latest")
                assert server.delete(f"/v2/load/busy{number}/manifests/{digest_of(manifest)}").status == 202
                server.push_image(f"load/busy{number}", "latest")
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=push, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    assert failures == []


def _all_pull(server: Server) -> int:
    """Pull every image that there is, whole; how many."""
    count = 0
    for name in server.get("/v2/_catalog?n=1000").json()["repositories"]:
        for tag in server.get(f"/v2/{name}/tags/list").json()["tags"] or []:
            answer = server.get(f"/v2/{name}/manifests/{tag}")
            assert answer.status == 200
            document = answer.json()
            for blob in [document["config"], *document["layers"]]:
                assert digest_of(server.get(f"/v2/{name}/blobs/{blob['digest']}").body) == blob["digest"]
            count += 1
    return count
