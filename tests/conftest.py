"""What every test may ask for: a bucket at a real S3 server, a database at a real PostgreSQL, a real Redis."""

import pytest

from tests.support.postgres import postgres_server, postgres_url
from tests.support.redis import redis_url
from tests.support.s3 import bucket, s3_server

__all__ = ["bucket", "postgres_server", "postgres_url", "redis_url", "s3_server"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say once for each reason what this machine could not run."""
    skipped: dict[str, int] = {}
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2].removeprefix("Skipped: ")
        skipped[reason] = skipped.get(reason, 0) + 1
    for reason, tests in skipped.items():
        terminalreporter.write_line(f"left out: {tests} tests: {reason}")
