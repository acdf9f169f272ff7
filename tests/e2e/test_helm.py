"""helm: charts as artifacts."""

from pathlib import Path

import pytest

from tests.support.machine import Machine
from tests.support.server import Registry

pytestmark = pytest.mark.needs("helm")

CHART = """\
apiVersion: v2
name: greeter
description: A chart of the tests
version: 1.2.3+build.4
"""


def test_a_pushed_chart_pulls_back_byte_for_byte_and_is_deleted(
    machine: Machine, registry: Registry, directory: Path
) -> None:
    plain = ["--plain-http"] if registry.plain_http else []

    def helm(*arguments: str | Path, status: int | None = 0) -> str:
        return machine.run("helm", *arguments, status=status, directory=directory)

    (directory / "greeter" / "templates").mkdir(parents=True)
    (directory / "greeter" / "Chart.yaml").write_text(CHART)
    (directory / "greeter" / "templates" / "greeting.yaml").write_text(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: greeting\n"
    )
    helm("package", "greeter")
    chart = f"oci://{registry.address}/charts/greeter"
    pushed = helm("push", "greeter-1.2.3+build.4.tgz", f"oci://{registry.address}/charts", *plain)
    digest = registry.manifest("charts/greeter", "1.2.3_build.4").digest
    assert f"Digest: {digest}" in pushed
    assert "A chart of the tests" in helm("show", "chart", chart, "--version", "1.2.3+build.4", *plain)
    assert "kind: ConfigMap" in helm("template", chart, *plain), "the newest version, found in the list of tags"
    (directory / "pulled").mkdir()
    helm("pull", chart, "--version", "1.2.3+build.4", "--destination", "pulled", *plain)
    packaged = directory / "greeter-1.2.3+build.4.tgz"
    assert (directory / "pulled" / packaged.name).read_bytes() == packaged.read_bytes()
    registry.delete_manifest("charts/greeter", digest)
    assert "not found" in helm("pull", chart, "--version", "1.2.3+build.4", *plain, status=None)
