"""The Debian layer: a handful of packages, unpacked and pruned, with no package manager and no root needed.

The packages are fetched by the host's apt-get from Debian's own archive into a private state directory, so its
signatures are checked, its proxy settings are used, and what the host itself runs or has installed does not matter.
"""

import fnmatch
import io
import os
import shutil
import subprocess
import tarfile
import time
from pathlib import Path

SUITE = "bookworm"
PYTHON = "python3.11"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
SOURCES = f"""\
deb [signed-by={KEYRING}] http://deb.debian.org/debian {SUITE} main
deb [signed-by={KEYRING}] http://deb.debian.org/debian-security {SUITE}-security main
"""
APT_CONFIGURATION = """\
Dir::State "{state}";
Dir::State::lists "{state}/lists";
Dir::State::status "{state}/status";
Dir::Cache "{state}/cache";
Dir::Etc::sourcelist "{state}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
APT::Sandbox::User "root";
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
"""
"""Laid over the host's own: another state, and none of the host's actions after an update."""
LISTS_LIFETIME = 24 * 3600
"""Seconds after which apt's package lists are fetched again."""

PACKAGES = (
    "base-files",
    "ca-certificates",
    "libbz2-1.0",
    "libc6",
    "libcrypt1",
    "libexpat1",
    "libffi8",
    "libgcc-s1",
    "liblzma5",
    f"lib{PYTHON}-minimal",
    f"lib{PYTHON}-stdlib",
    "libssl3",
    "libstdc++6",
    "libuuid1",
    f"{PYTHON}-minimal",
    "zlib1g",
)
"""Written out rather than resolved: the dependencies left out (perl, dpkg, a shell) serve installing, not running.
A test loads every shared object of the image, so a missing library is found there."""

DROPPED = (
    "etc/*",
    "usr/bin/*",
    "usr/games/*",
    "usr/lib/*/audit/*",
    "usr/lib/*/engines-3/*",
    "usr/lib/*/gconv/*",
    "usr/lib/*/libc_malloc_debug.so*",
    "usr/lib/*/libmemusage.so",
    "usr/lib/*/libpcprofile.so",
    "usr/lib/*/libthread_db.so*",
    "usr/lib/valgrind/*",
    # Not used by a server, or linked with a library that is left out. Without _sqlite3 there is exactly one SQLite.
    "usr/lib/python3*/ensurepip/*",
    "usr/lib/python3*/idlelib/*",
    "usr/lib/python3*/lib2to3/*",
    "usr/lib/python3*/pydoc_data/*",
    "usr/lib/python3*/test/*",
    "usr/lib/python3*/tkinter/*",
    "usr/lib/python3*/turtle*",
    "usr/lib/python3*/curses/*",
    "usr/lib/python3*/sqlite3/*",
    "usr/lib/python3*/lib-dynload/_curses*",
    "usr/lib/python3*/lib-dynload/_dbm*",
    "usr/lib/python3*/lib-dynload/_sqlite3*",
    "usr/lib/python3*/lib-dynload/_test*",
    "usr/lib/python3*/lib-dynload/_tkinter*",
    "usr/lib/python3*/lib-dynload/nis*",
    "usr/lib/python3*/lib-dynload/readline*",
    "usr/sbin/*",
    "usr/share/*",
    "var/lib/*",
)
KEPT = (
    "etc/debian_version",
    "etc/os-release",
    "etc/python3*/*",
    f"usr/bin/{PYTHON}",
    "usr/share/ca-certificates/*",
    "usr/share/doc/*/copyright",
)
"""Patterns (a * also matches a slash) that win over DROPPED: licences stay with what they license."""

MERGED = ("bin", "lib", "lib64", "sbin")
"""Top directories that are links into /usr on every Debian since 12."""


def missing_tools() -> list[str]:
    """The Debian packages a host needs and lacks, empty when the build can start."""
    tools = {"apt-get": "apt", "dpkg-deb": "dpkg", "strip": "binutils"}
    missing = {package for tool, package in tools.items() if shutil.which(tool) is None}
    if not KEYRING.is_file():
        missing.add("debian-archive-keyring")
    return sorted(missing)


def architecture() -> str:
    """The host's architecture as Debian and OCI both name it: amd64, arm64."""
    return subprocess.run(["dpkg", "--print-architecture"], check=True, capture_output=True, text=True).stdout.strip()


def fetch(state: Path) -> list[Path]:
    """Download the newest PACKAGES into `state`/debs and return the files in name order.

    Raises subprocess.CalledProcessError where apt-get fails; it has then said why on standard error.
    """
    debs = state / "debs"
    for directory in (debs, state / "lists/partial", state / "cache/archives/partial"):
        directory.mkdir(parents=True, exist_ok=True)
    (state / "status").touch()
    (state / "sources.list").write_text(SOURCES)
    (state / "apt.conf").write_text(APT_CONFIGURATION.format(state=state))
    stamp = state / "updated"
    if not stamp.exists() or time.time() - stamp.stat().st_mtime > LISTS_LIFETIME or stamp.read_text() != SOURCES:
        _apt_get(state, state, "update", "--error-on=any")
        stamp.write_text(SOURCES)
    _apt_get(state, debs, "download", *PACKAGES)  # verifies and keeps what is already there
    uris = _apt_get(state, state, "download", "--print-uris", *PACKAGES)
    names = sorted(line.split()[1] for line in uris.splitlines())
    for deb in debs.iterdir():
        if deb.name not in names:
            deb.unlink()
    return [debs / name for name in names]


def _apt_get(state: Path, directory: Path, *arguments: str) -> str:
    """Run apt-get in `directory` on the private state and return what it printed."""
    command = ["apt-get", "-qq", f"--config-file={state / 'apt.conf'}", *arguments]
    return subprocess.run(command, cwd=directory, check=True, stdout=subprocess.PIPE, text=True).stdout


def unpack(debs: list[Path], tree: Path) -> None:
    """Fill `tree` with the pruned contents of `debs` and with what their installation scripts would have made."""
    for name in MERGED:
        (tree / "usr" / name).mkdir(parents=True)
        (tree / name).symlink_to(f"usr/{name}")
    for deb in debs:
        _extract(deb, tree)
    _configure(tree)
    _write_package_status(debs, tree)
    for directory in ("lib", "share"):
        _remove_empty_directories(tree / "usr" / directory)


def _extract(deb: Path, tree: Path) -> None:
    """Extract the files of one package that the image keeps."""
    command = ["dpkg-deb", "--fsys-tarfile", str(deb)]
    plain = io.BytesIO(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    with tarfile.open(fileobj=plain) as archive:
        for member in archive:
            path = os.path.normpath(member.name)
            if path.split("/")[0] in MERGED:
                path = f"usr/{path}"
            if _is_kept(path):
                _write(archive, member, tree / path, tree)


def _is_kept(path: str) -> bool:
    def matches(patterns: tuple[str, ...]) -> bool:
        return any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns)

    return matches(KEPT) or not matches(DROPPED)


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path, tree: Path) -> None:
    """Write one member; ownership and times are set when the layer is packed."""
    if member.isdir():
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    if member.issym():
        path.symlink_to(member.linkname)
    elif member.islnk():
        os.link(tree / os.path.normpath(member.linkname), path)
    else:
        content = archive.extractfile(member)
        if content is None:
            raise ValueError(f"{member.name}: neither a file, a directory nor a link")
        path.write_bytes(content.read())
        path.chmod(0o755 if member.mode & 0o111 else 0o644)


def _configure(tree: Path) -> None:
    """What packages' installation scripts do on a real system: certificates, links, name look-ups."""
    (tree / "usr/bin/python3").symlink_to(PYTHON)
    mozilla = tree / "usr/share/ca-certificates"
    certificates = b"".join(path.read_bytes() for path in sorted(mozilla.rglob("*.crt")))
    shutil.rmtree(mozilla)
    for directory in ("etc/ssl/certs", "usr/lib/ssl", "proc", "sys", "dev", "tmp", "run", "var/lib"):
        (tree / directory).mkdir(parents=True, exist_ok=True)
    (tree / "etc/ssl/certs/ca-certificates.crt").write_bytes(certificates)
    (tree / "usr/lib/ssl/certs").symlink_to("/etc/ssl/certs")
    (tree / "usr/lib/ssl/cert.pem").symlink_to("/etc/ssl/certs/ca-certificates.crt")
    (tree / "etc/nsswitch.conf").write_text("passwd: files\ngroup: files\nhosts: files dns\n")


def _write_package_status(debs: list[Path], tree: Path) -> None:
    """Write dpkg's status file, by which scanners learn the packages and versions inside."""
    stanzas = []
    for deb in debs:
        control = subprocess.run(["dpkg-deb", "--field", str(deb)], check=True, capture_output=True, text=True).stdout
        name, rest = control.split("\n", 1)
        stanzas.append(f"{name}\nStatus: install ok installed\n{rest.rstrip()}\n")
    status = tree / "var/lib/dpkg/status"
    status.parent.mkdir(parents=True)
    status.write_text("\n".join(stanzas))


def _remove_empty_directories(directory: Path) -> None:
    for path, _, _ in os.walk(directory, topdown=False):
        if not os.listdir(path):
            os.rmdir(path)


def python_command(tree: Path) -> tuple[list[str], dict[str, str]]:
    """How to run the image's own Python on this host without chroot: the command and the variables it needs."""
    (loader,) = (tree / "usr/lib").glob("*-linux-gnu/ld-linux-*.so.*")
    command = [str(loader), "--library-path", str(loader.parent), str(tree / "usr/bin" / PYTHON)]
    return command, {"PYTHONHOME": str(tree / "usr"), "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
