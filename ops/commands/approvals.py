"""`lightning approvals`: list, show, approve, refuse."""

import json
from typing import Annotated, Literal

import typer
from rich.markup import escape
from rich.table import Column, Table

from lightning.client import Approval
from ops.commands import output
from ops.commands.options import AsJson, Data, Url, User, connect

app = typer.Typer()

Id = Annotated[str, typer.Argument(help="Id of an approval.")]
Hash = Annotated[
    str | None, typer.Option(help="Of the action, as `show` prints it; else you are shown it and asked.")
]

#: An id is there to be copied, however narrow the terminal is.
ID_CHARS = 36


@app.command("list")
def list_approvals(
    *,
    every: Annotated[bool, typer.Option("--all", help="Also those that are decided or expired.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=200, help="At most so many.")] = 50,
    page: Annotated[str | None, typer.Option(help="The page that the one before names.")] = None,
    user: User = None,
    url: Url = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """List what models want to do and you have to agree to."""
    parameters: dict[str, str | int] = {"limit": limit, "pending": 0 if every else 1}
    with connect(url, data, user) as client:
        found = client.approvals(**parameters, **({} if page is None else {"page": page}))
    if as_json:
        output.write_json(found, indent=2)
        return
    table = Table(Column("id", min_width=ID_CHARS), "tool", "state", "expires", box=None)
    for each in found["approvals"]:
        table.add_row(each["id"], escape(output.one_line(each["tool"])), each["state"], each["expiresAt"])
    output.console.print(table)
    if found["next"] is not None:
        output.console.print(f"more with --page {found['next']}")


@app.command()
def show(
    approval: Id, *, user: User = None, url: Url = None, data: Data = None, as_json: AsJson = False
) -> None:
    """Show exactly what would be done."""
    with connect(url, data, user) as client:
        found = client.approval(approval)
    if as_json:
        output.write_json(found, indent=2)
    else:
        _show(found)


@app.command()
def approve(
    approval: Id,
    *,
    hash: Hash = None,
    user: User = None,
    url: Url = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Have exactly this done."""
    _decide(approval, "approve", hash, (url, data, user), as_json=as_json)


@app.command()
def refuse(
    approval: Id,
    *,
    hash: Hash = None,
    user: User = None,
    url: Url = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Have it not done."""
    _decide(approval, "refuse", hash, (url, data, user), as_json=as_json)


def _decide(
    approval: str,
    decision: Literal["approve", "refuse"],
    hash: str | None,
    where: tuple[str | None, Data, str | None],
    *,
    as_json: bool,
) -> None:
    with connect(*where) as client:
        seen = hash
        if seen is None:
            found = client.approval(approval)
            _show(found)
            typer.confirm(f"{decision} this?", abort=True)
            seen = found["hash"]
        decided = client.decide(approval, decision, seen)
    if as_json:
        output.write_json(decided, indent=2)
    else:
        output.console.print(decided["state"])


def _show(approval: Approval) -> None:
    lines = [f"{name}: {approval[name]}" for name in ("id", "tool", "state", "expiresAt", "hash")]
    # as JSON on one line each: nothing in it can look like a line of ours
    lines += [f"{name}: {json.dumps(approval[name])}" for name in ("arguments", "scope")]
    output.write("".join(f"{output.plain(line)}\n" for line in lines))
