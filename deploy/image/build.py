"""`make image`: build Entrepot's images from Debian's and Python's packages, without root and without an engine.

Writes dist/entrepot.tar (the name entrepot:latest), dist/entrepot-registry.tar (entrepot:registry) and
dist/entrepot-oci/ (an OCI layout with both). What has not changed since the last run is taken from build/image.
"""

import datetime
import fcntl
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

from deploy.image import debian, image, layers, python
from deploy.image.layers import Layer, layer

PROJECT = Path(__file__).resolve().parents[2]
HERE = PROJECT / "deploy" / "image"
WORK = PROJECT / "build" / "image"
DIST = PROJECT / "dist"

COMMANDS = {"latest": ["serve"], "registry": ["serve", "--open", "--open-to-network"]}
"""What each image, by its tag, tells `entrepot` to do."""

ACCOUNTS = {
    "etc/passwd": f"root:x:0:0::/:/none\nentrepot:x:{image.USER_ID}:{image.USER_ID}::{image.DATA_DIRECTORY}:/none\n",
    "etc/group": f"root:x:0:\nentrepot:x:{image.USER_ID}:\n",
}
BUILDER = tuple(sorted(HERE.glob("*.py")))


def main() -> int:
    """Build everything; the exit status."""
    missing = debian.missing_tools() + ([] if python.has_pip() else ["python3-pip"])
    if missing:
        _say(f"needs Debian packages that are missing here: apt-get install {' '.join(missing)}")
        return 1
    WORK.mkdir(parents=True, exist_ok=True)
    with (WORK / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of two builds in one checkout the second waits, and finds all done
        try:
            _build()
        except subprocess.CalledProcessError as error:
            _say(f"{Path(error.cmd[0]).name} failed, see above: {' '.join(map(str, error.cmd))}")
            return 1
    return 0


def _build() -> None:
    """Build the layers, then the images of them, and say what came out."""
    stack = _layers()
    release = _release()
    images = [image.assemble(WORK / "blobs", tag, command, stack, release) for tag, command in COMMANDS.items()]
    _write(images)
    _remove_old_blobs(images)
    compressed, unpacked = (sum(sizes) for sizes in zip(*((each.size, each.unpacked) for each in stack), strict=True))
    _say(f"{_megabytes(unpacked)} unpacked, {_megabytes(compressed)} to pull; version {release.version}")


def _layers() -> list[Layer]:
    """The three layers, from what changes least to what changes most."""
    debs = debian.fetch(WORK / "apt")
    system, scratch = WORK / "debian", WORK / "wheel"
    requirements = PROJECT / "requirements.lock"

    def fill_debian(tree: Path) -> None:
        _say(f"unpacking {len(debs)} Debian packages")
        debian.unpack(debs, tree)
        python.compile_bytecode(tree, tree, tree / "usr/lib" / debian.PYTHON)

    def fill_dependencies(tree: Path) -> None:
        _say("installing the locked Python packages")
        python.install_requirements(system, requirements, tree)

    def fill_entrepot(tree: Path) -> None:
        _say("installing Entrepot")
        python.install_project(system, PROJECT, tree, scratch)
        _add_account_and_data(tree)

    # Each layer is made by programs of the ones below it, so its inputs hold theirs.
    inputs = layers.key([*_contents(BUILDER), *(deb.name.encode() for deb in debs)])
    lowest = _report(layer(WORK, "debian", inputs, fill_debian, {}))
    inputs = layers.key([inputs.encode(), requirements.read_bytes()])
    middle = _report(layer(WORK, "dependencies", inputs, fill_dependencies, {}))
    sources = [HERE / "entrepot.yaml", PROJECT / "pyproject.toml", PROJECT / "README.md"]
    sources += sorted(path for path in (PROJECT / "src").rglob("*") if path.is_file() and path.suffix != ".pyc")
    inputs = layers.key([inputs.encode(), *_contents(sources)])
    owners = {image.DATA_DIRECTORY.lstrip("/"): image.USER_ID}
    return [lowest, middle, _report(layer(WORK, "entrepot", inputs, fill_entrepot, owners))]


def _contents(paths: Iterable[Path]) -> Iterable[bytes]:
    """The name and the bytes of each file."""
    for path in paths:
        yield path.relative_to(PROJECT).as_posix().encode()
        yield path.read_bytes()


def _add_account_and_data(tree: Path) -> None:
    """The configuration, the user, and the directory that gives a fresh named volume its owner."""
    for name, content in ACCOUNTS.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(content)
    configuration = tree / image.CONFIGURATION.lstrip("/")
    configuration.parent.mkdir(parents=True)
    configuration.write_bytes((HERE / "entrepot.yaml").read_bytes())
    (tree / image.DATA_DIRECTORY.lstrip("/")).mkdir(parents=True)


def _release() -> image.Release:
    """Version from pyproject.toml, revision from git, time from SOURCE_DATE_EPOCH or else the last commit."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    epoch = int(os.environ.get("SOURCE_DATE_EPOCH") or _git("log", "-1", "--format=%ct") or layers.MTIME)
    return image.Release(
        version=project["version"],
        revision=_git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*") or "unknown",
        created=datetime.datetime.fromtimestamp(epoch, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        architecture=debian.architecture(),
    )


def _git(*arguments: str) -> str:
    """What git prints, or nothing outside a clone."""
    try:
        result = subprocess.run(["git", *arguments], cwd=PROJECT, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return result.stdout.strip() if result.returncode == 0 else ""


def _write(images: list[image.Image]) -> None:
    """Write the images into DIST, and say what is where."""
    DIST.mkdir(exist_ok=True)
    for each, name in zip(images, ("entrepot.tar", "entrepot-registry.tar"), strict=True):
        image.write_tar(DIST / name, WORK / "blobs", each)
        _say(f"dist/{name}: {each.name} {each.manifest['digest']}")
    image.write_layout(DIST / "entrepot-oci", WORK / "blobs", images)
    _say("dist/entrepot-oci: both, as an OCI layout")


def _remove_old_blobs(images: list[image.Image]) -> None:
    """Forget the blobs of earlier builds."""
    current = {layers.blob_path(WORK / "blobs", digest) for each in images for digest in each.blobs}
    for path in (WORK / "blobs").rglob("*"):
        if path.is_file() and path not in current:
            path.unlink()


def _report(made: Layer) -> Layer:
    _say(f"layer {made.title}: {_megabytes(made.unpacked)}, {_megabytes(made.size)} compressed")
    return made


def _megabytes(size: int) -> str:
    """`size` in bytes, as people read it."""
    return f"{size / 1e6:.1f} MB"


def _say(line: str) -> None:
    """One line of progress, seen at once also through a pipe."""
    sys.stdout.write(f"image: {line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
