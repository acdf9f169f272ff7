"""Directories that survive a power cut: what a directory holds is durable only when it was synced itself (fsync(2))."""

import os
from pathlib import Path


def sync_directory(path: str) -> None:
    """Return when the entries of this directory are durable; OSError when they are not."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(path: Path) -> None:
    """Make a directory, and those above it, durably; OSError when that cannot be done.

    One that is there already is not looked at: another process that has just made it may not have synced its entry yet.
    """
    made = [each for each in (path, *path.parents) if not each.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for each in reversed(made):
        sync_directory(str(each.parent))
