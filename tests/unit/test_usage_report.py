"""Usage as CSV: what a client has sent must not become a formula in somebody's spreadsheet."""

import csv
import io

import pytest

from entrepot.hub.tally import HOUR
from entrepot.hub.usage import UsageRow, as_csv

NOTHING = UsageRow(*(None,) * 9, 2, 3, 50, HOUR + 1, HOUR + 2_500_000)


def read(text: str) -> list[list[str]]:
    """The cells."""
    return list(csv.reader(io.StringIO(text, newline="")))


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1", "=cmd|' /C calc'!A0"])
def test_no_cell_is_a_formula(text: str) -> None:
    _, row = read(as_csv([NOTHING._replace(tag=text, address=text, agent=text, repository=text, account=text)]))
    assert row.count(f"'{text}") == 5


@pytest.mark.parametrize("text", ['a"b', "a,b", "a\nb", "a=b", "acme+ci", "日本"])
def test_a_cell_is_read_as_it_was(text: str) -> None:
    _, row = read(as_csv([NOTHING._replace(tag=text)]))
    assert row[UsageRow._fields.index("tag")] == text


def test_the_first_line_names_the_columns_and_times_are_of_iso_8601() -> None:
    row = NOTHING._replace(period=24 * HOUR, repository_id=7, account_id=0)
    assert as_csv([row]).split("\r\n") == [
        "period,repository_id,repository,digest,tag,account_id,account,address,agent,pulls,requests,bytes,first_at,last_at",
        "1970-01-02T00:00:00Z,7,,,,0,,,,2,3,50,1970-01-01T01:00:00.000001Z,1970-01-01T01:00:02.500000Z",
        "",
    ]


def test_pages_put_together_are_one_file() -> None:
    assert as_csv([NOTHING, NOTHING]) == as_csv([NOTHING]) + as_csv([NOTHING], header=False)
    assert as_csv([], header=False) == ""
