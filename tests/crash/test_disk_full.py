"""A full disk: pushes are refused in the specification's form, pulls go on, and room is all it takes to push again."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from entrepot.storage import layout
from tests.support.client import Client, Image, Reply, an_image, sha256
from tests.support.node import Node
from tests.support.stored import StoredFiles, disagreements, unnamed

_NAME = "full/app"
_SMALL = "3m"
_LARGE = "48m"
_BLOB = 700_000  # bytes: some of these fill a small disk
_FIRST = an_image(b"first" * 100)


@pytest.fixture(autouse=True)
def _root() -> None:
    if os.geteuid() != 0:
        leave_out = pytest.fail if os.environ.get("CI") else pytest.skip
        leave_out("only root can mount a small disk (get it: run as root)")


@contextmanager
def _disk(directory: Path, size: str) -> Iterator[None]:
    """A file system of this size on a new directory."""
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", directory], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", directory], check=True)


def _grow(directory: Path) -> None:
    subprocess.run(["mount", "-o", f"remount,size={_LARGE}", directory], check=True)


@pytest.fixture
def small_blobs(tmp_path: Path) -> Iterator[Path]:
    """A data directory with room for rows, and little for blobs."""
    data = tmp_path / "data"
    data.mkdir()
    with _disk(layout.blobs_directory(data), _SMALL):
        yield data


@pytest.fixture
def small_database(tmp_path: Path) -> Iterator[Path]:
    """A data directory with room for blobs, and little for rows."""
    data = tmp_path / "data"
    with _disk(data, _SMALL), _disk(layout.blobs_directory(data), _LARGE):
        yield data


def _assert_full(reply: Reply) -> None:
    assert (reply.status, reply.error) == (507, "UNAVAILABLE"), reply
    assert int(reply.headers["Retry-After"]) > 0


def _assert_sound(data: Path) -> None:
    stored = StoredFiles(data)
    assert list(disagreements(stored)) == []
    assert unnamed(stored) == set()


def _fill_with_blobs(client: Client) -> bytes:
    """Push until there is no room; returns the blob that was refused."""
    while True:
        content = os.urandom(_BLOB)
        reply = client.push_at_once(_NAME, content)
        if reply.status != 201:
            _assert_full(reply)
            return content


def _fill_with_manifests(client: Client) -> Image:
    """The same for rows, to the last page; returns an image that was refused."""
    number = 0
    while True:
        number += 1
        image = an_image(*_FIRST.blobs[1:], note=f"{number} {'long ' * 4000}")
        for reply in (
            client.push_at_once(_NAME, image.blobs[0]),
            client.put_manifest(_NAME, f"v{number}", image.manifest),
        ):
            if reply.status != 201:
                _assert_full(reply)
                while (reply := client.put_manifest(_NAME, "first", _FIRST.manifest)).status == 201:
                    pass  # the smallest change there is: one row of a known size
                _assert_full(reply)
                return image


def test_without_room_for_blobs_every_form_of_push_is_refused_and_leaves_nothing_behind(small_blobs: Path) -> None:
    with Node(small_blobs) as node, Client(node.address) as client:
        client.push_image(_NAME, "first", _FIRST)
        refused = _fill_with_blobs(client)
        digest = sha256(refused)
        _assert_full(client.append(client.open_upload(_NAME), refused))
        _assert_full(client.request("PATCH", client.open_upload(_NAME), body=[refused[:9], refused[9:]]))
        _assert_full(client.close_upload(client.open_upload(_NAME), digest, refused))
        assert client.blob(_NAME, digest).status == 404
        reply = client.put_manifest(_NAME, "refused", an_image(refused).manifest)
        assert (reply.status, reply.error) == (400, "MANIFEST_BLOB_UNKNOWN")
        client.assert_pulls(_NAME, "first", _FIRST)
        assert client.put_manifest(_NAME, "another-tag", _FIRST.manifest).status == 201
        _assert_sound(small_blobs)


def test_an_upload_that_a_full_disk_has_stopped_goes_on_when_there_is_room(small_blobs: Path) -> None:
    with Node(small_blobs) as node, Client(node.address) as client:
        first, second = os.urandom(_BLOB), os.urandom(_BLOB)
        location = client.open_upload(_NAME)
        assert client.append(location, first).status == 202
        _fill_with_blobs(client)
        _assert_full(client.append(location, second, len(first)))
        assert client.request("GET", location).offset == len(first)
        _grow(layout.blobs_directory(small_blobs))
        assert client.append(location, second, len(first)).status == 202
        assert client.close_upload(location, sha256(first + second)).status == 201
        assert client.blob(_NAME, sha256(first + second)).body == first + second
        _assert_sound(small_blobs)


def test_joining_bodies_without_room_for_the_whole_loses_none_of_them(small_blobs: Path) -> None:
    with Node(small_blobs) as node, Client(node.address) as client:
        pieces = [os.urandom(_BLOB), os.urandom(_BLOB)]
        whole = b"".join(pieces)
        location = client.open_upload(_NAME)
        for start, piece in zip((0, _BLOB), pieces, strict=True):
            assert client.append(location, piece, start).status == 202
        _fill_with_blobs(client)
        _assert_full(client.close_upload(location, sha256(whole)))
        assert client.blob(_NAME, sha256(whole)).status == 404
        _grow(layout.blobs_directory(small_blobs))
        assert client.close_upload(location, sha256(whole)).status == 201
        assert client.blob(_NAME, sha256(whole)).body == whole
        _assert_sound(small_blobs)


def test_without_room_for_rows_every_change_is_refused_and_pulls_go_on(small_database: Path) -> None:
    with Node(small_database) as node, Client(node.address) as client:
        client.push_image(_NAME, "first", _FIRST)
        location = client.open_upload(_NAME)
        refused = _fill_with_manifests(client)
        digest = sha256(_FIRST.blobs[0])
        uploads = f"/v2/{_NAME}/blobs/uploads/"
        for method, path in (
            ("POST", uploads),
            ("POST", f"/v2/full/other/blobs/uploads/?mount={digest}&from={_NAME}"),
            ("DELETE", location),
            ("DELETE", f"/v2/{_NAME}/blobs/{digest}"),
            ("DELETE", f"/v2/{_NAME}/manifests/first"),
            ("DELETE", f"/v2/{_NAME}/manifests/{_FIRST.digest}"),
        ):
            _assert_full(client.request(method, path))
        _assert_full(client.append(location, b"content"))
        _assert_full(client.close_upload(location, sha256(b"content"), b"content"))
        assert client.manifest(_NAME, refused.digest).status == 404
        client.assert_pulls(_NAME, "first", _FIRST)
        assert b'"first"' in client.request("GET", f"/v2/{_NAME}/tags/list").body
        assert client.request("GET", "/livez").status == 200
        _assert_sound(small_database)


@pytest.mark.parametrize(
    "restarted", [False, True], ids=["while it runs", "after SIGKILL and a start on the full disk"]
)
def test_room_for_rows_is_all_it_takes_to_push_again(small_database: Path, restarted: bool) -> None:
    with Node(small_database) as node:
        with Client(node.address) as client:
            client.push_image(_NAME, "first", _FIRST)
            location = client.open_upload(_NAME)
            refused = _fill_with_manifests(client)
        if restarted:
            node.kill()
            node.start()
        with Client(node.address) as client:
            client.assert_pulls(_NAME, "first", _FIRST)
            _grow(small_database)
            assert client.close_upload(location, sha256(b"content"), b"content").status == 201
            client.push_image(_NAME, "refused", refused)
            client.assert_pulls(_NAME, "refused", refused)
            client.assert_pulls(_NAME, "first", _FIRST)
        _assert_sound(small_database)
