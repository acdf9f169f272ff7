"""The API keeps what its OpenAPI document promises, whatever it is sent: schemathesis asks."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.hub_world import World

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
# What would end the caller itself, or throttle it: passwords are guessed there.
LEFT_OUT = "/account/delete|/account/password|/sessions$|/admin/accounts/.*"
EXAMPLES = 5


@pytest.mark.parametrize("caller", ["administrator", "person", "nobody"])
def test_the_api_keeps_what_its_document_promises(world: World, caller: str, tmp_path: Path) -> None:
    who = {"administrator": world.administrator, "person": world.person(), "nobody": None}[caller]
    command = [str(Path(sys.executable).with_name("schemathesis")), "run"]
    command += [f"{world.server.url}/api/v1/openapi.json", "--checks", CHECKS, "--exclude-path-regex", LEFT_OUT]
    command += ["--max-examples", str(EXAMPLES), "--phases", "fuzzing", "--seed", "1", "--no-color"]
    command += ["--suppress-health-check", "all"]  # how long inventing requests takes says nothing of the API
    if who is not None:
        command += ["--header", f"Authorization: {who.basic['Authorization']}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-6000:]
