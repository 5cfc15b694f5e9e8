"""`lightning events tree`: all that an event brought about, drawn as one tree."""

import time
from collections.abc import Sequence
from typing import Annotated, Final

import typer
from rich.live import Live
from rich.markup import escape
from rich.tree import Tree

from lightning.client import Client, TreeNode
from ops.commands import output
from ops.commands.options import AsJson, Data, Event, Url, User, connect

#: A page of the tree, of which all are drawn.
PAGE: Final = 200

#: While it is followed, it is read so often.
LOOK_SECONDS: Final = 1.0

_COLORS: Final = {"accepted": "yellow", "done": "green", "dead": "red", "cancelled": "magenta"}


def tree(
    event: Event,
    *,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Draw it anew until all of it is over.")
    ] = False,
    user: User = None,
    url: Url = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Draw all that began where an event did."""
    with connect(url, data, user) as client:
        nodes = _nodes(client, event)
        if follow and not as_json:
            with Live(draw(nodes), console=output.console, auto_refresh=False) as live:
                while _goes_on(nodes):
                    time.sleep(LOOK_SECONDS)
                    nodes = _nodes(client, event)
                    live.update(draw(nodes), refresh=True)
            return
        while follow and _goes_on(nodes):
            time.sleep(LOOK_SECONDS)
            nodes = _nodes(client, event)
    if as_json:
        output.write_json(nodes, indent=2)
    else:
        output.console.print(draw(nodes))


def draw(nodes: Sequence[TreeNode]) -> Tree:
    """Draw events, each below its cause.

    Parameters:
      nodes: The events by ``seq``, the root first.
    """
    branches: dict[str, Tree] = {}
    for node in nodes:
        above = branches.get(node["cause"] or "")
        label = _label(node)
        # where the cause has expired, it hangs below the first that is there
        above = above or next(iter(branches.values()), None)
        branches[node["id"]] = Tree(label) if above is None else above.add(label)
    return next(iter(branches.values()), Tree("nothing is left of it"))


def _label(node: TreeNode) -> str:
    name = "" if node["name"] is None else f" [bold]{_plain(node['name'])}[/bold]"
    run = node["run"]
    stands = [_plain(each) for each in (None if run is None else run["status"], node["status"]) if each]
    took = "" if node["seconds"] is None else f" {node['seconds']:.1f} s"
    error = "" if node["error"] is None else f" [red]{_plain(node['error']['message'])}[/red]"
    state = f"[{_COLORS[node['state']]}]{node['state']}[/]"
    return f"{_plain(node['type'])}{name} {' '.join([state, *stands])}{took} [dim]{node['id']}[/dim]{error}"


def _plain(text: str) -> str:
    return escape(output.one_line(text))


def _nodes(client: Client, event: str) -> list[TreeNode]:
    """Read all pages of a tree."""
    nodes, after = list[TreeNode](), 0
    while True:
        page = client.tree(event, after=after, limit=PAGE)
        nodes += page["events"]
        if page["next"] is None:
            return nodes
        after = page["next"]


def _goes_on(nodes: Sequence[TreeNode]) -> bool:
    return any(node["state"] == "accepted" for node in nodes)
