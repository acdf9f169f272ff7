"""docs/operations.md, "Data and backup": its commands, typed on a running server's data, give a copy that serves."""

import re
import subprocess
from pathlib import Path

from tests.support.client import Client, an_image
from tests.support.node import Node
from tests.support.tools import CHECKOUT


def backup_commands(data: Path, backup: Path) -> str:
    """What the page says to type while the server runs, with these places."""
    page = (CHECKOUT / "docs" / "operations.md").read_text()
    found = re.search(r"Running, .*?```bash\n(.*?)```", page, re.DOTALL)
    assert found is not None
    return found[1].replace("/srv/registry", str(data)).replace("/backup", str(backup))


def test_a_copy_made_while_the_server_runs_serves_every_image(tmp_path: Path) -> None:
    backup = tmp_path / "backup"
    backup.mkdir()
    images = [an_image(b"layer %d" % number * 1000) for number in range(3)]
    with Node(tmp_path / "data") as node, Client(node.address) as client:
        for number, image in enumerate(images):
            client.push_image("library/hello", f"v{number}", image)
        unfinished = client.open_upload("library/hello")
        client.append(unfinished, b"half")
        for _ in range(2):  # the second copy only adds
            subprocess.run(
                ["sh", "-e", "-c", backup_commands(tmp_path / "data", backup)], cwd=CHECKOUT, check=True, timeout=60
            )
    with Node(backup) as restored, Client(restored.address) as client:
        for number, image in enumerate(images):
            client.assert_pulls("library/hello", f"v{number}", image)
        client.push_image("library/hello", "v3", an_image(b"new"))
