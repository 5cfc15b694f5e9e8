"""`lightning tail`: the log as it grows."""

from typing import Annotated

import typer

from lightning.client import Event
from ops.commands import output
from ops.commands.options import AsJsonLines, Data, Url, User, connect


def tail(
    *,
    after: Annotated[int, typer.Option(min=0, help="Begin behind this place.")] = 0,
    type: Annotated[str | None, typer.Option(help="Only this type.")] = None,
    user: User = None,
    url: Url = None,
    data: Data = None,
    as_json: AsJsonLines = False,
) -> None:
    """Follow events, one line each, until Ctrl-C."""
    output.leave_when_unread()
    with connect(url, data, user) as client:
        for event in client.tail(after):
            if type is not None and event["type"] != type:
                continue
            if as_json:
                output.write_json(event)
            else:
                output.write(_line(event) + "\n")


def _line(event: Event) -> str:
    content = event["metadata"].get("content", "")
    fields = (str(event["seq"]), event["recordedAt"], event["id"], event["type"], str(content))
    return "  ".join(output.one_line(field) for field in fields)
