"""Layers of the image: the same content is the same layer, whenever and however it was written."""

import gzip
import io
import os
import tarfile
from pathlib import Path

import pytest

from deploy.image.layers import Layer, blob_path, key, layer


def fill(tree: Path) -> None:
    """A small tree with one of everything."""
    (tree / "usr/bin").mkdir(parents=True)
    (tree / "usr/bin/program").write_bytes(b"#!\n")
    (tree / "usr/bin/program").chmod(0o700)
    (tree / "usr/bin/link").symlink_to("program")
    (tree / "data").mkdir()
    (tree / "tmp").mkdir()


def fill_otherwise(tree: Path) -> None:
    """The same tree as written another day, in another order, with another umask."""
    (tree / "tmp").mkdir(mode=0o700)
    (tree / "data").mkdir(mode=0o700)
    (tree / "usr/bin").mkdir(parents=True)
    (tree / "usr/bin/link").symlink_to("program")
    (tree / "usr/bin/program").write_bytes(b"#!\n")
    (tree / "usr/bin/program").chmod(0o755)
    os.utime(tree / "usr/bin/program", (1, 1))


def members(work: Path, made: Layer) -> dict[str, tarfile.TarInfo]:
    """What a packed layer holds, by name."""
    content = gzip.decompress(blob_path(work / "blobs", made.digest).read_bytes())
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        return {member.name: member for member in archive}


def test_one_content_is_one_layer_however_it_was_written(tmp_path: Path) -> None:
    first = layer(tmp_path / "a", "title", key([b"1"]), fill, {"data": 10001})
    second = layer(tmp_path / "b", "title", key([b"2"]), fill_otherwise, {"data": 10001})
    assert first == second


def test_files_are_roots_but_for_the_owners_named_and_modes_are_the_images_own(tmp_path: Path) -> None:
    found = members(tmp_path, layer(tmp_path, "title", key([]), fill, {"data": 10001}))
    seen = {name: (member.uid, member.gid, oct(member.mode)) for name, member in found.items()}
    assert seen == {
        "data": (10001, 10001, "0o755"),
        "tmp": (0, 0, "0o1777"),
        "usr": (0, 0, "0o755"),
        "usr/bin": (0, 0, "0o755"),
        "usr/bin/link": (0, 0, "0o777"),
        "usr/bin/program": (0, 0, "0o755"),
    }


def test_a_layer_is_filled_again_only_when_its_inputs_change(tmp_path: Path) -> None:
    filled: list[Path] = []

    def fill_and_count(tree: Path) -> None:
        filled.append(tree)
        fill(tree)

    for inputs in (b"1", b"1", b"2"):
        layer(tmp_path, "title", key([inputs]), fill_and_count, {})
    assert len(filled) == 2


def test_a_build_that_broke_off_is_not_taken_for_a_layer(tmp_path: Path) -> None:
    def break_off(tree: Path) -> None:
        (tree / "half").touch()
        raise InterruptedError

    with pytest.raises(InterruptedError):
        layer(tmp_path, "title", key([]), break_off, {})
    made = layer(tmp_path, "title", key([]), fill, {})
    assert "half" not in members(tmp_path, made)
