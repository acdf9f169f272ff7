"""The two Python layers: the locked dependencies, and Entrepot itself, each installed by the image's own Python.

Running the image's interpreter (debian.python_command) makes pip choose the wheels that fit it, and the compiled
bytecode fit it, whatever Python the host has.
"""

import base64
import csv
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

from deploy.image import debian

SITE = Path("usr/local/lib") / debian.PYTHON / "dist-packages"
"""Where the image's Python looks for installed packages."""

NEEDLESS_DIRECTORIES = ("include", "testing", "tests")
NEEDLESS_SUFFIXES = (".c", ".cpp", ".h", ".pxd", ".pyi", ".pyx")
"""What only those need who develop a dependency or compile against it."""

LAUNCHER = """\
#!/usr/bin/python3
from entrepot.__main__ import main

main()
"""


def has_pip() -> bool:
    """Whether the Python that runs this build has pip, which installs into the image."""
    return importlib.util.find_spec("pip") is not None


def install_requirements(system: Path, requirements: Path, tree: Path) -> None:
    """Install the wheels that `requirements` locks by hash into `tree`, for the Python in `system`."""
    _pip_install(system, tree, "--require-hashes", "--requirement", str(requirements))
    site = tree / SITE
    for path in sorted(site.rglob("*")):
        if path.name in NEEDLESS_DIRECTORIES and path.is_dir():
            shutil.rmtree(path)
        elif path.suffix in NEEDLESS_SUFFIXES and path.is_file():
            path.unlink()
        elif path.suffix == ".so" and path.is_file():  # some wheels carry five times their size in symbols
            subprocess.run(["strip", "--strip-unneeded", str(path)], check=True)
    _finish(system, tree)


def install_project(system: Path, project: Path, tree: Path, scratch: Path) -> None:
    """Build the wheel of the project in `project` and install it, with its command, into `tree`."""
    shutil.rmtree(scratch, ignore_errors=True)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(scratch), str(project)]
    subprocess.run(build, check=True)
    (wheel,) = scratch.glob("*.whl")
    _pip_install(system, tree, str(wheel))
    launcher = tree / "usr/local/bin/entrepot"
    launcher.parent.mkdir(parents=True)
    launcher.write_text(LAUNCHER)
    launcher.chmod(0o755)
    _finish(system, tree)


def _pip_install(system: Path, tree: Path, *arguments: str) -> None:
    """Run the host's pip on the image's Python."""
    specification = importlib.util.find_spec("pip")
    if specification is None or specification.origin is None:
        raise ModuleNotFoundError("pip")
    site = tree / SITE
    command, variables = debian.python_command(system)
    options = ["--quiet", "--no-deps", "--no-compile", "--only-binary", ":all:", "--root-user-action", "ignore"]
    pip = ["-m", "pip", "install", *options, "--target", str(site), *arguments]
    environment = os.environ | variables | {"PYTHONPATH": str(Path(specification.origin).parents[1])}
    subprocess.run([*command, *pip], env=environment, check=True)


def _finish(system: Path, tree: Path) -> None:
    """Remove what knows the host's paths, make each package's RECORD true again, and compile."""
    site = tree / SITE
    shutil.rmtree(site / "bin", ignore_errors=True)  # commands, their first line the path of the host's Python
    for path in site.glob("*.dist-info/direct_url.json"):
        path.unlink()
    for record in sorted(site.glob("*.dist-info/RECORD")):
        with record.open(newline="") as file:
            names = sorted(row[0] for row in csv.reader(file) if (site / row[0]).is_file())
        with record.open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(_record_row(site, name) for name in names)
    compile_bytecode(system, tree, site)


def _record_row(site: Path, name: str) -> tuple[str, str, str]:
    """Path, hash and size as a RECORD has them (PEP 376 and 627); the RECORD itself has no hash."""
    if name.endswith(".dist-info/RECORD"):
        return name, "", ""
    content = (site / name).read_bytes()
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    return name, f"sha256={digest}", str(len(content))


def compile_bytecode(system: Path, tree: Path, directory: Path) -> None:
    """Compile every module under `directory` of `tree`; the bytecode holds no timestamp, so it is reproducible."""
    command, variables = debian.python_command(system)
    options = ["-q", "--invalidation-mode", "unchecked-hash", "-s", str(tree), "-p", "/"]
    subprocess.run([*command, "-m", "compileall", *options, str(directory)], env=os.environ | variables, check=True)
