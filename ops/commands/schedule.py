"""`lightning schedule`: create, change, list, show, pause, resume, run, backfill, delete."""

import json
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from lightning.client import Fire, Schedule
from ops.commands import output
from ops.commands.options import AsJson, Data, Limit, PageName, Url, User, connect

app = typer.Typer()

Id = Annotated[str, typer.Argument(help="Id of a schedule.")]

At = Annotated[str | None, typer.Option(help="Once, then: 2030-01-31T09:00:00+01:00.")]
Cron = Annotated[str | None, typer.Option(help="'0 9 * * 1-5', or @daily and such.")]
Every = Annotated[str | None, typer.Option(help="Seconds, or PT15M.")]
Zone = Annotated[str | None, typer.Option(help="Whose clocks --cron means.", show_default="UTC")]
Start = Annotated[str | None, typer.Option(help="Not before (RFC 3339).")]
End = Annotated[str | None, typer.Option(help="Not after (RFC 3339).")]
Jitter = Annotated[str | None, typer.Option(help="Later by up to so many seconds, or PT5M.")]
Overlap = Annotated[
    str | None, typer.Option(help="skip, queue, allow or cancel-previous.", show_default="skip")
]
CatchUp = Annotated[str | None, typer.Option(help="none, latest or all.", show_default="latest")]
Window = Annotated[str | None, typer.Option(help="How late a slot may be for all.", show_default="P1D")]
Description = Annotated[str | None, typer.Option(help="What it is for.")]
Type = Annotated[str, typer.Option(help="Type of the event.")]

SOURCE = "lightning.cli"


@app.command()
def create(
    content: Annotated[str, typer.Argument(help="What is said, or the metadata of --type as JSON.")],
    *,
    at: At = None,
    cron: Cron = None,
    every: Every = None,
    timezone: Zone = None,
    type: Type = "user.message",
    start: Start = None,
    end: End = None,
    jitter: Jitter = None,
    overlap: Overlap = None,
    catch_up: CatchUp = None,
    catch_up_window: Window = None,
    description: Description = None,
    user: User = None,
    url: Url = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Have an event fire later, and print when."""
    given = _given(
        timestamp=at,
        cron=cron,
        every=_seconds(every),
        timezone=timezone,
        startAt=start,
        endAt=end,
        jitter=_seconds(jitter),
        overlap=overlap,
        catchUp=catch_up,
        catchUpWindow=_seconds(catch_up_window),
        description=description,
    )
    with connect(url, data, user) as client:
        made = client.create_schedule(_event(type, content), **given)
    _foresee(made, "made", as_json=as_json)


@app.command()
def change(
    schedule: Id,
    *,
    content: Annotated[str | None, typer.Option(help="What is said, or the metadata of --type.")] = None,
    at: At = None,
    cron: Cron = None,
    every: Every = None,
    timezone: Zone = None,
    type: Type = "user.message",
    start: Start = None,
    end: End = None,
    jitter: Jitter = None,
    overlap: Overlap = None,
    catch_up: CatchUp = None,
    catch_up_window: Window = None,
    description: Description = None,
    user: User = None,
    url: Url = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Change a schedule from now on; what is not named stays as it is."""
    given = _given(
        event=None if content is None else _event(type, content),
        timestamp=at,
        cron=cron,
        every=_seconds(every),
        timezone=timezone,
        startAt=start,
        endAt=end,
        jitter=_seconds(jitter),
        overlap=overlap,
        catchUp=catch_up,
        catchUpWindow=_seconds(catch_up_window),
        description=description,
    )
    with connect(url, data, user) as client:
        changed = client.change_schedule(schedule, **given)
    _foresee(changed, "changed", as_json=as_json)


@app.command("list")
def list_schedules(
    *,
    limit: Limit = 50,
    page: PageName = None,
    user: User = None,
    url: Url = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """List schedules."""
    with connect(url, data, user) as client:
        found = client.schedules(limit=limit, **({} if page is None else {"page": page}))
    if as_json:
        output.write_json(found, indent=2)
        return
    fires = [next(iter(each["nextFires"]), "") for each in found["schedules"]]
    following = output.whole_column("next", fires)
    table = Table(output.id_column(), "when", "state", following, "what", box=None)
    for fire, each in zip(fires, found["schedules"], strict=True):
        table.add_row(each["id"], _when(each), each["state"], fire, escape(_what(each)))
    output.console.print(table)
    if found["next"] is not None:
        output.console.print(f"more with --page {found['next']}")


@app.command()
def show(
    schedule: Id, *, user: User = None, url: Url = None, data: Data = None, as_json: AsJson = False
) -> None:
    """Show a schedule: when it fires next, and what it fired last."""
    with connect(url, data, user) as client:
        found = client.schedule(schedule)
    if as_json:
        output.write_json(found, indent=2)
        return
    rows = {
        "what": _what(found),
        "when": _when(found),
        "state": found["state"] if found["reason"] is None else f"{found['state']}: {found['reason']}",
        "overlap": found["overlap"],
        "catch up": found["catchUp"],
        "next": "\n".join(found["nextFires"]),
        "fired": str(found["fired"]),
        "missed": str(found["missed"]),
        **{each["plannedAt"]: _became(each) for each in found.get("fires", [])},
    }
    table = Table(box=None, show_header=False)
    for name, value in rows.items():
        table.add_row(name, escape(value))
    output.console.print(table)


@app.command()
def pause(
    schedule: Id, *, user: User = None, url: Url = None, data: Data = None, as_json: AsJson = False
) -> None:
    """Let a schedule fire nothing until it is resumed."""
    with connect(url, data, user) as client:
        _tell(client.pause_schedule(schedule), as_json=as_json)


@app.command()
def resume(
    schedule: Id, *, user: User = None, url: Url = None, data: Data = None, as_json: AsJson = False
) -> None:
    """Let a schedule fire again from now on."""
    with connect(url, data, user) as client:
        _tell(client.resume_schedule(schedule), as_json=as_json)


@app.command()
def run(
    schedule: Id, *, user: User = None, url: Url = None, data: Data = None, as_json: AsJson = False
) -> None:
    """Have a schedule fire now, and wait for it."""
    with connect(url, data, user) as client:
        over = client.wait(client.run_schedule(schedule))
    if as_json:
        output.write_json(over, indent=2)
        return
    for each in over["outputs"]:
        output.console.print(f"fired {each['id']} {each['type']}")


@app.command()
def backfill(
    schedule: Id,
    start: Annotated[str, typer.Argument(help="From this moment on (RFC 3339).")],
    end: Annotated[str, typer.Argument(help="Up to this one.")],
    *,
    overlap: Annotated[
        str, typer.Option(help="What holds for these slots: skip, queue, allow or cancel-previous.")
    ] = "queue",
    user: User = None,
    url: Url = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Have the slots between two moments fire once more."""
    with connect(url, data, user) as client:
        event = client.backfill_schedule(schedule, startAt=start, endAt=end, overlap=overlap)
    if as_json:
        output.write_json(event, indent=2)
        return
    output.console.print(f"[dim]202 accepted[/dim] {event['id']}; lightning cancel {event['id']} stops it")


@app.command()
def delete(schedule: Id, *, user: User = None, url: Url = None, data: Data = None) -> None:
    """Delete a schedule; what it fired stays."""
    with connect(url, data, user) as client:
        client.delete_schedule(schedule)


def _given(**fields: object) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _event(type: str, content: str) -> dict[str, Any]:
    metadata = {"content": content} if type in {"user.message", "llm.chat"} else _object(content)
    return {"type": type, "source": SOURCE, "metadata": metadata}


def _foresee(schedule: Schedule, became: str, *, as_json: bool) -> None:
    if as_json:
        output.write_json(schedule, indent=2)
        return
    output.console.print(f"{became} {schedule['id']}")
    for moment in schedule["nextFires"]:
        output.console.print(f"  {moment}")


def _tell(schedule: Schedule, *, as_json: bool) -> None:
    if as_json:
        output.write_json(schedule, indent=2)
        return
    output.console.print(" ".join([schedule["state"], *schedule["nextFires"][:1]]))


def _seconds(text: str | None) -> float | str | None:
    """Take digits for seconds, and leave the rest to the platform, which knows durations."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return text


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise typer.BadParameter("events of this type take their metadata as a JSON object")
    return value  # pyright: ignore[reportUnknownVariableType] -- the platform checks it


def _when(schedule: Schedule) -> str:
    if schedule["timestamp"] is not None:
        return schedule["timestamp"]
    if schedule["cron"] is not None:
        return f"{schedule['cron']} {schedule['timezone']}"
    return f"every {schedule['every']:g} s"


def _what(schedule: Schedule) -> str:
    said = schedule["description"] or schedule["event"]["metadata"].get("content") or ""
    return output.one_line(f"{schedule['event']['type']} {said}")


def _became(fire: Fire) -> str:
    return " ".join([fire["outcome"], fire["reason"], *fire["events"]])
