"""What the log says of a failure: where it was, never the values that were at hand there."""

import subprocess
import sys

import pytest

PROGRAM = """
import sys
import structlog
from entrepot.logs import configure_logs

configure_logs("debug", as_json=sys.argv[1] == "json")

def fail(password):
    raise RuntimeError("on purpose")

try:
    fail("".join(["se", "cret"]))
except RuntimeError:
    structlog.get_logger().exception("request failed")
"""


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_traceback_names_places_and_no_values(form: str) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, form], capture_output=True, text=True, timeout=60, check=True)
    assert "on purpose" in done.stderr
    assert "fail" in done.stderr
    assert "secret" not in done.stderr
