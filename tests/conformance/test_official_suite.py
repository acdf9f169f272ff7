"""The official OCI conformance suite against the real server: every profile, on every backend, nothing left out.

The suite exits 0 when it cannot even be set up, so the number of its cases is checked too. With accounts it logs in.
Mounts without a source (`?mount=` and no `from=`) are uploads there, as they would open what may not be read: the
specification allows that ("a registry MAY"), and the suite calls it a skip.
"""

import os
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.s3 import ACCESS_KEY_ID, SECRET_ACCESS_KEY, Bucket
from tests.support.tools import TOOLS, missing_tools

_SECONDS = 300
# profile, sparse data → the least number of cases that the pinned version of the suite has
_CASES = {("stable", False): 850, ("stable", True): 890, ("dev", False): 970, ("dev", True): 1020}
_PASSWORD = "of the suite only"
_MAY_SKIP = "mount anonymous"
_READY = "entrepot: ready on http://"


@pytest.fixture(params=["SQLite and files", "PostgreSQL and S3"])
def backend(request: pytest.FixtureRequest) -> dict[str, str]:
    """The settings of one backend, as environment variables."""
    if request.param == "SQLite and files":
        return {}
    bucket: Bucket = request.getfixturevalue("bucket")
    return {
        "ENTREPOT_DATABASE__URL": request.getfixturevalue("postgres_url"),
        "ENTREPOT_STORAGE__BACKEND": "s3",
        "ENTREPOT_STORAGE__S3__BUCKET": bucket.name,
        "ENTREPOT_STORAGE__S3__ENDPOINT": bucket.endpoint,
        "ENTREPOT_STORAGE__S3__ACCESS_KEY_ID": ACCESS_KEY_ID,
        "ENTREPOT_STORAGE__S3__SECRET_ACCESS_KEY": SECRET_ACCESS_KEY,
    }


@pytest.fixture(params=[False, True], ids=["refuse what is missing", "accept what is missing"])
def sparse(request: pytest.FixtureRequest) -> bool:
    """Whether the suite pushes manifests of which not everything is there."""
    return bool(request.param)


@pytest.fixture(params=[False, True], ids=["open", "with accounts"])
def accounts(request: pytest.FixtureRequest) -> bool:
    """Whether the suite has to log in."""
    return bool(request.param)


@pytest.fixture
def registry(backend: dict[str, str], sparse: bool, accounts: bool, tmp_path: Path) -> Iterator[str]:
    """HOST:PORT of a fresh server."""
    settings = {
        "ENTREPOT_MANIFESTS__MISSING": "accept" if sparse else "refuse",
        "ENTREPOT_LOG__ACCESS": "false",
        "ENTREPOT_ADMIN_PASSWORD": _PASSWORD,
        "ENTREPOT_SECRET_KEY": _PASSWORD * 4,
    }
    command = [".venv/bin/entrepot", "serve", "--listen", "127.0.0.1:0", "--data-dir", str(tmp_path)]
    if not accounts:
        command.append("--open")
    with (
        (tmp_path / "log").open("w") as log,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, text=True, env={**os.environ, **backend, **settings}
        ) as server,
    ):
        try:
            assert server.stdout is not None
            line = server.stdout.readline()
            assert line.startswith(_READY), (tmp_path / "log").read_text()
            yield line.removeprefix(_READY).strip()
        finally:
            server.terminate()


@pytest.mark.parametrize("profile", ["stable", "dev"])
def test_the_suite_finds_no_failure_and_skips_nothing(
    registry: str, sparse: bool, accounts: bool, profile: str, tmp_path: Path
) -> None:
    lacking = missing_tools()
    if "conformance" in lacking and not os.environ.get("CI"):
        pytest.skip(f"the official suite is missing (get it: {lacking['conformance']})")
    results = tmp_path / "results"
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "OCI_REGISTRY": registry,
        "OCI_TLS": "disabled",
        "OCI_REPO1": "admin/repo1" if accounts else "conformance/repo1",
        "OCI_REPO2": "admin/repo2" if accounts else "conformance/repo2",
        "OCI_VERSION": profile,
        "OCI_DATA_SPARSE": str(sparse).lower(),
        "OCI_RESULTS_DIR": str(results),
        "OCI_LOG": "warn",
        **({"OCI_USERNAME": "admin", "OCI_PASSWORD": _PASSWORD} if accounts else {}),
    }
    run = subprocess.run(
        [TOOLS / "bin" / "conformance"], env=environment, capture_output=True, text=True, timeout=_SECONDS, check=False
    )
    assert run.returncode == 0, run.stdout[-4000:]
    suite = ET.parse(results / "junit.xml").getroot()
    counts = {key: int(suite.get(key, "0")) for key in ("tests", "failures", "errors", "skipped")}
    assert counts["failures"] == counts["errors"] == 0, (counts, run.stdout[-4000:])
    skipped = [str(case.get("name")) for case in suite.iter("testcase") if case.find("skipped") is not None]
    assert not [name for name in skipped if not (accounts and _MAY_SKIP in name.lower())], run.stdout[-4000:]
    assert not list(suite.iter("failure"))
    assert counts["tests"] >= _CASES[profile, sparse]
    # What "disabled" counts are features that this profile of the suite does not ask for.
    assert int(suite.get("disabled", "0")) <= (2 if profile == "stable" else 0)
