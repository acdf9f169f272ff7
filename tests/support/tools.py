"""Which programs the tests can use on this machine; the list itself is in `install-tools`."""

import os
import re
import subprocess
from functools import cache
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
TOOLS = CHECKOUT / ".tools"
INSTALL_TOOLS = CHECKOUT / "tests" / "support" / "install-tools"
COSIGN_3 = str(TOOLS / "cosign3" / "cosign")

_MISSING = re.compile(r"missing: (?P<tool>\S+) \(get it: (?P<how>.+)\)")


def search_path() -> str:
    """The PATH for clients: the checkout's own tools first, and the places of system programs too."""
    return os.pathsep.join(
        [str(TOOLS / "bin"), "/usr/sbin", "/sbin", os.environ.get("PATH", os.defpath), "/usr/local/sbin"]
    )


@cache
def missing_tools() -> dict[str, str]:
    """Every missing program of the list → how to get it."""
    report = subprocess.run([INSTALL_TOOLS, "check"], capture_output=True, text=True, check=False)
    return {found["tool"]: found["how"] for found in _MISSING.finditer(report.stdout)}
