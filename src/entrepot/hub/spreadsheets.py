"""Lists as CSV that a spreadsheet opens and does not run."""

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

_FORMULA = (
    "=",
    "+",
    "-",
    "@",
    "\t",
    "\r",
    "\n",
    "＝",
    "＋",
    "－",
    "＠",
)  # OWASP: CSV injection; the wide forms count too


def csv_of(rows: Iterable[Sequence[object]]) -> str:
    """Rows as CSV (RFC 4180); None is an empty cell, and no cell is a formula to a spreadsheet."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    for row in rows:
        writer.writerow([_cell(value) for value in row])
    return text.getvalue()


def iso(at: int) -> str:
    """Microseconds since 1970 in ISO 8601."""
    seconds, microseconds = divmod(at, 1_000_000)
    moment = datetime.fromtimestamp(seconds, UTC).replace(microsecond=microseconds, tzinfo=None)
    return moment.isoformat() + "Z"


def _cell(value: object) -> object:
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return "" if value is None else value
