"""What the process does last."""

import sqlite3
from contextlib import closing

from tests.api.conftest import process


def test_spans_of_the_last_moment_are_kept_when_the_process_is_stopped(tmp_path):
    # Given a process that is stopped as soon as it has answered
    with process(tmp_path / "data", tmp_path / "printed") as http:
        assert http.get("/api/events").status_code == 401
    # Then what it did is in its store
    with closing(sqlite3.connect(tmp_path / "data" / "spans.db")) as file:
        names = [name for (name,) in file.execute("SELECT name FROM spans")]
    assert names == ["GET /api/events"]
