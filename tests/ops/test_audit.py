"""`lightning audit`: how it writes what others wrote, and which moments it takes."""

import csv
import io
from datetime import UTC, datetime

import pytest

from lightning.client import ClientError
from lightning.trail import COLUMNS
from ops.commands import audit

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


def test_the_columns_are_those_of_the_api():
    assert audit.COLUMNS == COLUMNS


@pytest.mark.parametrize(
    "text",
    ["=1+1", "+1", "-1", "@sum(a1)", "\t=1", "\r=1", "\x1b=1", " =1", "＝1", '=cmd|" /c calc"!a1'],  # noqa: RUF001
)
def test_no_cell_is_a_formula(text):
    # Given a cell that somebody wrote for a spreadsheet to compute
    [cells] = csv.reader(io.StringIO(audit.csv_line((text, "fine")), newline=""))
    # Then it is text, in its own cell
    assert cells[0][0] == "'"
    assert cells[1] == "fine"


def test_a_line_has_one_line_and_numbers_are_numbers():
    line = audit.csv_line(('a\nb, "c"', None, 0.0007, 3))
    assert line == '"a b, ""c""","",0.0007,3\r\n'


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-30", "2026-01-30T00:00:00+00:00"),
        ("2026-01-30T06:00:00+02:00", "2026-01-30T06:00:00+02:00"),
        ("90m", "2026-01-31T10:30:00+00:00"),
        ("24h", "2026-01-30T12:00:00+00:00"),
        ("7d", "2026-01-24T12:00:00+00:00"),
        ("2w", "2026-01-17T12:00:00+00:00"),
    ],
)
def test_moments(text, moment):
    assert audit.moment(text, NOW) == moment


@pytest.mark.parametrize("text", ["yesterday", "7", "d", "-7d", "", "999999d", "999999w"])
def test_what_is_no_moment_is_refused(text):
    with pytest.raises(ClientError, match="give a date"):
        audit.moment(text, NOW)
