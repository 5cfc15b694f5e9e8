"""`lightning tail`: the log as it grows."""

from dataclasses import asdict
from typing import Annotated

import typer

from lightning.client import Delta, Event, RunFrame
from ops.commands import output
from ops.commands.options import AsJsonLines, Data, Url, User, connect


def tail(
    *,
    after: Annotated[int, typer.Option(min=0, help="Begin behind this place.")] = 0,
    type: Annotated[str | None, typer.Option(help="Only this type.")] = None,
    user: User = None,
    url: Url = None,
    data: Data = None,
    live: Annotated[
        bool, typer.Option("--live", help="Also what runs print and say of themselves while they go on.")
    ] = False,
    as_json: AsJsonLines = False,
) -> None:
    """Follow events, one line each, until Ctrl-C."""
    output.leave_when_unread()
    printed = _Printed()
    with connect(url, data, user) as client:
        for frame in client.watch(after) if live else client.tail(after):
            if isinstance(frame, Delta):
                continue
            if not isinstance(frame, RunFrame):
                if type is not None and frame["type"] != type:
                    continue
                lines = [_line(frame)]
            else:
                lines = printed.lines(frame)
            if as_json:
                output.write_json(asdict(frame) if isinstance(frame, RunFrame) else frame)
            else:
                output.write("".join(f"{line}\n" for line in lines))


class _Printed:
    """What runs print, line by line: a frame may end in the middle of one."""

    def __init__(self) -> None:
        self._begun: dict[str, str] = {}

    def lines(self, frame: RunFrame) -> list[str]:
        """Give the lines to show of a frame."""
        head = f"run {frame.run}"
        if frame.kind != "log":
            percent = "" if frame.percent is None else f" ({frame.percent:g} %)"
            return [f"{head}  {output.one_line(frame.text)}{percent}"]
        *whole, begun = (self._begun.pop(frame.run, "") + frame.text).split("\n")
        if begun:
            self._begun[frame.run] = begun
        return [f"{head} | {output.one_line(line)}" for line in whole]


def _line(event: Event) -> str:
    content = event["metadata"].get("content", "")
    fields = (str(event["seq"]), event["recordedAt"], event["id"], event["type"], str(content))
    return "  ".join(output.one_line(field) for field in fields)
