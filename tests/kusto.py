"""Asks in KQL what the monitor emulator kept, as an operator or an alert asks Application Insights."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import duckdb_kql
from pydantic import TypeAdapter

from ops.azure.rules import Alert
from ops.emulators.monitor.tables import SHARED, TABLES
from tests.architecture.tree import ROOT

FOLDER = ROOT / "ops" / "kql"

_KINDS = {
    "timestamp": "TIMESTAMP",
    "customDimensions": "JSON",
    "customMeasurements": "JSON",
    "details": "JSON",
    **dict.fromkeys(("duration", "value", "valueSum", "valueMin", "valueMax"), "DOUBLE"),
    **dict.fromkeys(("itemCount", "valueCount", "severityLevel"), "BIGINT"),
}

_DURATION = TypeAdapter(timedelta)


def ask(file: Path, question: str, **changes: str) -> list[dict]:
    """Put a question of `ops/kql` to what an emulator kept.

    Parameters:
      file: Its `telemetry.db`.
      question: The name of the question.
      changes: What the first lines of it are to say instead, by variable.
    """
    query = (FOLDER / f"{question}.kql").read_text()
    for name, value in changes.items():
        placeholder = f'let {name} = "00000000-0000-0000-0000-000000000000";'
        assert placeholder in query
        query = query.replace(placeholder, f'let {name} = "{value}";')
    with loaded(file) as tables:
        return rows(tables, query)


def fires(tables: duckdb.DuckDBPyConnection, alert: Alert) -> bool:
    """Tell whether an alert fires, by the rule that `infra/` makes of it: more rows than its threshold."""
    return len(rows(tables, alert.query())) > alert.threshold


def rows(tables: duckdb.DuckDBPyConnection, query: str) -> list[dict]:
    """Run a query."""
    answer = duckdb_kql.query(tables, query)
    return [dict(zip(answer.columns, row, strict=True)) for row in answer.fetchall()]


@contextmanager
def loaded(file: Path, window: str = "P10000D") -> Iterator[duckdb.DuckDBPyConnection]:
    """Read what an emulator kept.

    Parameters:
      file: Its `telemetry.db`.
      window: How far back, as an ISO 8601 duration.
    """
    since = (datetime.now(UTC) - _DURATION.validate_python(window)).isoformat()
    with duckdb.connect() as tables, closing(sqlite3.connect(file)) as kept:
        for table, own in TABLES.items():
            columns = (*SHARED, *own)
            declared = ", ".join(f"{column} {_KINDS.get(column, 'VARCHAR')}" for column in columns)
            tables.execute(f"CREATE TABLE {table} ({declared})")
            found = kept.execute(
                f"SELECT {', '.join(columns)} FROM {table} WHERE timestamp >= ?", (since,)
            ).fetchall()
            if found:
                marks = ", ".join("?" * len(columns))
                tables.executemany(f"INSERT INTO {table} VALUES ({marks})", found)
        yield tables
