"""The `lightning` command."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lightning.client import Client, ClientError
from lightning.settings import SettingsError, from_environment
from ops import access, doctor
from ops.up import PortTakenError, up
from ops.users import users

app = typer.Typer(
    help="Lightning: event-driven AI orchestration.", no_args_is_help=True, add_completion=False
)
emulator = typer.Typer(help="Servers on loopback that stand in for others.", no_args_is_help=True)
app.add_typer(emulator, name="emulator")
app.add_typer(users, name="users")

_out = Console(highlight=False, soft_wrap=True)

Url = Annotated[
    str | None, typer.Option(help="Address of the ingress.", show_default="http://127.0.0.1:8000")
]
Data = Annotated[Path | None, typer.Option(help="Data directory.", show_default=".lightning")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def _connect(url: str | None, data: Path | None) -> Client:
    settings = from_environment(LIGHTNING_DATA=data)
    return access.connect(url or f"http://127.0.0.1:{settings.port}", settings.data)


@app.command("up")
def up_command(
    port: Annotated[int | None, typer.Option(help="Port of the ingress; 0 takes a free one.")] = None,
    host: Annotated[str | None, typer.Option(help="Address that the ingress listens on.")] = None,
    data: Data = None,
    workers: Annotated[int | None, typer.Option(help="Worker processes.")] = None,
    threads: Annotated[int | None, typer.Option(help="Events that a worker handles at a time.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")] = False,
) -> None:
    """Start ingress, workers and clock; stop them with Ctrl-C or SIGTERM."""
    settings = from_environment(
        PORT=port,
        LIGHTNING_HOST=host,
        LIGHTNING_DATA=data,
        LIGHTNING_WORKERS=workers,
        LIGHTNING_THREADS=threads,
        LIGHTNING_LOG_LEVEL="error" if quiet else None,
    )
    up(settings, quiet=quiet)


@app.command()
def send(
    content: Annotated[str, typer.Argument(help="What to say.")],
    conversation: Annotated[str | None, typer.Option(help="Go on in this conversation.")] = None,
    url: Url = None,
    data: Data = None,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for the answer.")] = 120.0,
    as_json: AsJson = False,
) -> None:
    """Say something as the first user, and wait for the answer."""
    metadata = {"content": content} | ({} if conversation is None else {"conversationID": conversation})
    with _connect(url, data) as client:
        event = client.send("llm.chat", metadata, source="lightning.cli")
        if not as_json:
            _out.print(f"[dim]202 accepted[/dim] {event['id']}")
        answer = client.wait(event, timeout_seconds=timeout)
        if as_json:
            _print_json(answer)
            return
        for output in answer["outputs"]:
            error = output["metadata"].get("error")
            text = (
                f"[red]{escape(error['message'])}[/red]" if error else escape(output["metadata"]["content"])
            )
            _out.print(text)
        _out.print(f"[dim]{answer['state']}[/dim] lightning trace {event['id']}")
    if answer["state"] != "done":
        raise typer.Exit(1)


@app.command()
def events(
    after: Annotated[int, typer.Option(help="Only places beyond this one.")] = 0,
    limit: Annotated[int, typer.Option(min=1, max=200)] = 50,
    type: Annotated[str | None, typer.Option(help="Only this type.")] = None,
    state: Annotated[str | None, typer.Option(help="Only this state.")] = None,
    url: Url = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """List the first user's events."""
    chosen = {name: value for name, value in (("type", type), ("state", state)) if value is not None}
    with _connect(url, data) as client:
        page = client.events(after=after, limit=limit, **chosen)
    if as_json:
        _print_json(page)
        return
    table = Table("seq", "id", "type", "state", "recorded", box=None)
    for event in page["events"]:
        table.add_row(str(event["seq"]), event["id"], event["type"], event["state"], event["recordedAt"])
    _out.print(table)
    if page["next"] is not None:
        _out.print(f"more with --after {page['next']}")


@app.command()
def trace(
    event: Annotated[str, typer.Argument(help="Id of an event.")],
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Draw the trace of an event: every span from the HTTP request on, across processes."""
    from ops import tracing  # noqa: PLC0415 -- only this command reads the span store

    settings = from_environment(LIGHTNING_DATA=data)
    if not tracing.show(settings.data, event, _out, as_json_text=as_json):
        raise ClientError(f"there is no trace of event {event} in {settings.data}")


@app.command("doctor")
def doctor_command(url: Url = None, data: Data = None) -> None:
    """Say what is in order here, and what is not."""
    try:
        settings = from_environment(LIGHTNING_DATA=data)
    except SettingsError as error:
        _out.print(f"[red]settings[/red]  {escape(str(error))}")
        raise typer.Exit(1) from error
    fine = True
    for finding in doctor.examine(settings, url or f"http://127.0.0.1:{settings.port}"):
        color = {"ok": "green", "missing": "yellow", "wrong": "red"}[finding.verdict]
        _out.print(f"[{color}]{finding.verdict:8}[/{color}] {finding.part:12} {escape(finding.detail)}")
        fine = fine and finding.verdict != "wrong"
    if not fine:
        raise typer.Exit(1)


@emulator.command("openai")
def openai_emulator(
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.")],
    script: Annotated[Path | None, typer.Option(help="What to answer, as JSON.")] = None,
) -> None:
    """Serve a scripted language model that speaks OpenAI's protocol."""
    from ops.emulators import openai  # noqa: PLC0415 -- only this command serves it

    openai.main(["--port", str(port), *(() if script is None else ("--script", str(script)))])


def _print_json(value: object) -> None:
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def main() -> None:
    """Run the command; what a person did wrong is one line, not a traceback."""
    try:
        app()
    except (ClientError, SettingsError, PortTakenError) as error:
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"[red]{escape(str(error))}[/red]")
        sys.exit(1)
