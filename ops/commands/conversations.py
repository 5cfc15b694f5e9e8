"""`lightning conversations`: list, show, delete."""

from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from lightning.client import ClientError, Event
from ops.commands import output
from ops.commands.options import AsJson, Data, Limit, PageName, Url, User, connect

app = typer.Typer()

Id = Annotated[str, typer.Argument(help="Id of a conversation.")]


@app.command("list")
def list_conversations(
    *,
    limit: Limit = 50,
    page: PageName = None,
    user: User = None,
    url: Url = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """List conversations."""
    with connect(url, data, user) as client:
        found = client.conversations(limit=limit, **({} if page is None else {"page": page}))
    if as_json:
        output.write_json(found, indent=2)
        return
    # clients choose these ids, so they may be long
    ids = [output.one_line(each["id"]) for each in found["conversations"]]
    table = Table(output.whole_column("id", ids), "title", "updated", "waiting", box=None)
    for shown, each in zip(ids, found["conversations"], strict=True):
        title = escape(output.one_line(each["title"]))
        table.add_row(escape(shown), title, each["updatedAt"], str(len(each["waiting"])))
    output.console.print(table)
    if found["next"] is not None:
        output.console.print(f"more with --page {found['next']}")


@app.command()
def show(
    conversation: Id,
    *,
    limit: Limit = 50,
    before: Annotated[int | None, typer.Option(min=1, help="Only places before this one.")] = None,
    user: User = None,
    url: Url = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Show what was said in a conversation."""
    place = {} if before is None else {"before": before}
    with connect(url, data, user) as client:
        head = client.conversation(conversation)
        page = client.messages(conversation, limit=limit, **place)
    if as_json:
        output.write_json({**head, **page}, indent=2)
        return
    if page["next"] is not None:
        output.console.print(f"earlier ones with --before {page['next']}")
    for message in sorted(page["messages"], key=lambda message: message["seq"]):
        output.write(_paragraph(message))


@app.command()
def delete(
    conversation: Id, *, user: User = None, url: Url = None, data: Data = None, as_json: AsJson = False
) -> None:
    """Delete a conversation."""
    with connect(url, data, user) as client:
        over = client.wait(client.delete_conversation(conversation))
    if over["state"] != "done":
        problem = over["error"]
        raise ClientError(problem["message"] if problem else f"the deletion is {over['state']}")
    if as_json:
        output.write_json({"id": conversation, "deleted": True})
    else:
        output.console.print(f"deleted {escape(output.one_line(conversation))}")


def _paragraph(message: Event) -> str:
    said = message["metadata"]
    speaker = "you" if message["type"] == "llm.chat" else said.get("model", message["type"])
    error = said.get("error")
    text = error["message"] if error else said.get("content", "")
    return f"{output.one_line(speaker)}: {output.plain(text)}\n"
