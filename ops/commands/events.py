"""`lightning send`, `events`, `events tree`, `cancel`, `replay` and `discard`."""

from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from lightning.client import ClientError, answer_of
from ops.commands import event_tree, output
from ops.commands.options import AsJson, Data, Event, Url, User, connect

app = typer.Typer(invoke_without_command=True)
app.command()(event_tree.tree)


def send(
    content: Annotated[str, typer.Argument(help="What to say.")],
    *,
    conversation: Annotated[str | None, typer.Option(help="Go on in this conversation.")] = None,
    user: User = None,
    url: Url = None,
    data: Data = None,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for the answer.")] = 120.0,
    as_json: AsJson = False,
) -> None:
    """Say something and wait for the answer."""
    metadata = {"content": content} | ({} if conversation is None else {"conversationID": conversation})
    with connect(url, data, user) as client:
        event = client.send("llm.chat", metadata, source="lightning.cli")
        if not as_json:
            output.console.print(f"[dim]202 accepted[/dim] {event['id']}")
        over = client.wait(event, timeout_seconds=timeout)
    if as_json:
        output.write_json(over, indent=2)
    else:
        try:
            output.write(output.plain(answer_of(over).content) + "\n")
        except ClientError as error:
            output.console.print(f"[red]{escape(output.one_line(str(error)))}[/red]")
        output.console.print(f"[dim]{over['state']}[/dim] lightning trace {event['id']}")
    if over["state"] != "done":
        raise typer.Exit(1)


@app.callback(help="List events, or draw a tree of them.")
def events(
    context: typer.Context,
    *,
    after: Annotated[int, typer.Option(min=0, help="Only places beyond this one.")] = 0,
    limit: Annotated[int, typer.Option(min=1, max=200)] = 50,
    type: Annotated[str | None, typer.Option(help="Only this type.")] = None,
    state: Annotated[str | None, typer.Option(help="Only this state.")] = None,
    user: User = None,
    url: Url = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """List events, if it is not a command on them that was asked for."""
    if context.invoked_subcommand is not None:
        return
    chosen = {name: value for name, value in (("type", type), ("state", state)) if value is not None}
    with connect(url, data, user) as client:
        page = client.events(after=after, limit=limit, **chosen)
    if as_json:
        output.write_json(page, indent=2)
        return
    table = Table("seq", output.id_column(), "type", "state", "recorded", box=None)
    for event in page["events"]:
        table.add_row(str(event["seq"]), event["id"], event["type"], event["state"], event["recordedAt"])
    output.console.print(table)
    if page["next"] is not None:
        output.console.print(f"more with --after {page['next']}")


def cancel(
    event: Event, *, user: User = None, url: Url = None, data: Data = None, as_json: AsJson = False
) -> None:
    """Cancel an event and what follows from it."""
    with connect(url, data, user) as client:
        found = client.cancel(event)
    if as_json:
        output.write_json(found, indent=2)
    else:
        output.console.print(f"{found['state']} {found['id']}")


def replay(
    event: Event, *, user: User = None, url: Url = None, data: Data = None, as_json: AsJson = False
) -> None:
    """Have a dead event worked on again, or a done one once more as a new event."""
    with connect(url, data, user) as client:
        found = client.replay(event)
    if as_json:
        output.write_json(found, indent=2)
    else:
        output.console.print(f"{found['state']} {found['id']}")


def discard(
    event: Event, *, user: User = None, url: Url = None, data: Data = None, as_json: AsJson = False
) -> None:
    """Let a dead event count as cancelled, so that nobody has to look at it again."""
    with connect(url, data, user) as client:
        found = client.discard(event)
    if as_json:
        output.write_json(found, indent=2)
    else:
        output.console.print(f"{found['state']} {found['id']}")
