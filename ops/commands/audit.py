"""`lightning audit`: what an event, or all of a user's events, caused, as the log tells it."""

import csv
import io
import re
import sys
import uuid
from collections.abc import Callable, Generator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Annotated, Final, Literal

import typer
from rich.markup import escape

from lightning.client import AuditRecord, Client, ClientError
from ops.commands import output
from ops.commands.options import AsJsonLines, Data, Url, User, connect

Form = Literal["table", "jsonl", "csv"]

COLUMNS: Final = tuple(AuditRecord.__annotations__)

#: What a spreadsheet takes for the beginning of a formula, whoever wrote the cell; the wide forms too.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")  # noqa: RUF001 -- they are meant

_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def audit(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="EVENT|USER", help="Id of an event, or a username or userID.", show_default="all of yours"
        ),
    ] = None,
    *,
    since: Annotated[
        str | None,
        typer.Option(
            help="Only what was recorded from then on: 2026-01-31, 2026-01-31T12:00Z, or 90m, 24h, 7d, 2w."
        ),
    ] = None,
    of: Annotated[
        str | None, typer.Option(help="Whose event it is, for operators: a username or userID.")
    ] = None,
    form: Annotated[
        Form | None,
        typer.Option("--format", help="How it is written.", show_default="jsonl, a table on a terminal"),
    ] = None,
    user: User = None,
    url: Url = None,
    data: Data = None,
    as_json: AsJsonLines = False,
) -> None:
    """Tell what an event, or all of a user's events, caused: from the log, never from telemetry."""
    chosen = {} if since is None else {"since": moment(since, datetime.now(UTC))}
    form = form or ("table" if sys.stdout.isatty() and not as_json else "jsonl")
    with connect(url, data, user) as client:
        records = _records(client, what, of, chosen)
        write = _WRITERS[form]
        if form == "csv":
            output.write(csv_line(COLUMNS))
        for record in records:
            write(record)


def moment(text: str, now: datetime) -> str:
    """Read a moment: of the calendar, or so long ago; as RFC 3339 text.

    Raises:
      ClientError: It is neither.
    """
    try:
        if (ago := re.fullmatch(r"([0-9]{1,6})([mhdw])", text)) is not None:
            return (now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})).isoformat()
        found = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise ClientError(f"--since {text}: give a date, a time, or 90m, 24h, 7d, 2w") from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).isoformat()


def csv_line(cells: "tuple[object, ...]") -> str:
    """Write a line of CSV (RFC 4180) that a spreadsheet takes for text and numbers, never for a formula."""
    line = io.StringIO()
    csv.writer(line, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\r\n").writerow(map(_cell, cells))
    return line.getvalue()


def _cell(value: object) -> object:
    if not isinstance(value, str):
        return "" if value is None else value
    text = output.one_line(value)
    return f"'{text}" if value.startswith(_FORMULA) or text.startswith(_FORMULA) else text


def _records(
    client: Client, what: str | None, of: str | None, chosen: Mapping[str, str]
) -> Generator[AuditRecord]:
    """Give the records of what is meant: ids of events and of users look alike."""
    whose = {} if of is None else {"user": of}
    if what is None:
        return client.audit(**whose, **chosen)
    if of is not None or _is_id(what):
        try:
            return _begun(client.audit(event=what, **whose, **chosen))
        except ClientError as error:
            if error.status != 404 or of is not None:
                raise
    return client.audit(user=what, **chosen)


def _begun(records: Generator[AuditRecord]) -> Generator[AuditRecord]:
    """Read the first page now, so that its error is had here."""
    first = next(records, None)

    def all_of_them() -> Generator[AuditRecord]:
        yield from chain(() if first is None else (first,), records)

    return all_of_them()


def _is_id(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False


def _write_csv(record: AuditRecord) -> None:
    output.write(csv_line(tuple(record.get(name) for name in COLUMNS)))


def _write_line(record: AuditRecord) -> None:
    """Print a record on one line for people."""
    said: dict[str, object] = {
        "by": record["by"],
        "#": record["number"] if record["kind"] != "event" or (record["number"] or 0) > 1 else None,
        "s": record["seconds"],
        "in": record["inputTokens"],
        "out": record["outputTokens"],
        "$": record["dollars"],
        "exit": record["exitCode"],
        "http": record["httpStatus"],
    }
    facts = " ".join(f"{name} {value}" for name, value in said.items() if value is not None)
    error = "" if record["error"] is None else f" [red]{_plain(record['error'])}[/red]"
    name = _plain(record["name"])
    output.console.print(
        f"[dim]{record['at'] or '-':24}[/dim] [bold]{record['kind']:10}[/bold] {name} {record['state'] or ''}"
        f" {_plain(facts)}{error} [dim]{_plain(record['id'] or record['eventID'])}[/dim]"
    )


def _plain(text: str) -> str:
    return escape(output.one_line(text))


_WRITERS: Final[Mapping[Form, Callable[[AuditRecord], None]]] = {
    "table": _write_line,
    "jsonl": output.write_json,
    "csv": _write_csv,
}
