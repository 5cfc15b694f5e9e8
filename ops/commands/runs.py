"""`lightning runs`: start, list, show, tell, logs, cancel, revert."""

import json
from collections.abc import Generator
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from lightning.client import Client, Run, RunQuestion, RunWithReport
from ops.commands import output
from ops.commands.options import AsJson, AsJsonLines, Data, Limit, PageName, Url, User, connect

app = typer.Typer()

Id = Annotated[str, typer.Argument(help="Id of a run.")]

RESULT = "worker.task.result"

#: A run may have to wait for room, beside the time that it takes.
WAIT_SECONDS = 3700.0


@app.command()
def start(
    agent: Annotated[str, typer.Argument(help="Name of the agent.")],
    *,
    input: Annotated[str, typer.Option(help="What it is given, as JSON.")] = "null",
    network: Annotated[str, typer.Option(help="`full` or `none`.")] = "full",
    timeout: Annotated[float, typer.Option(help="Seconds that it may take.")] = 1800.0,
    repo: Annotated[str | None, typer.Option(help="Repository that it works on, by id or name.")] = None,
    user: User = None,
    url: Url = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Have an agent run, and wait for its end."""
    try:
        given = json.loads(input)
    except (ValueError, RecursionError):
        raise typer.BadParameter("it is no JSON; text stands in quotes: '\"text\"'") from None
    task = {"agent": agent, "input": given, "network": network, "timeoutSeconds": timeout}
    if repo is not None:
        task["repo"] = repo
    with connect(url, data, user) as client:
        event = client.send("worker.task", task, source="lightning.cli")
        if not as_json:
            output.console.print(f"[dim]202 accepted[/dim] {event['id']}")
        over = client.wait(event, timeout_seconds=timeout + WAIT_SECONDS)
    result = next((each["metadata"] for each in over["outputs"] if each["type"] == RESULT), None)
    if as_json:
        output.write_json(over, indent=2)
    elif result is not None:
        output.write(output.plain(result["output"]))
        output.console.print(f"[dim]{result['status']}[/dim] {escape(output.one_line(result['message']))}")
        output.console.print(f"[dim]lightning runs show {result['runID']}[/dim]")
    if result is None or result["status"] != "succeeded":
        raise typer.Exit(1)


@app.command("list")
def list_runs(
    *,
    limit: Limit = 50,
    page: PageName = None,
    user: User = None,
    url: Url = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """List runs, the latest first."""
    with connect(url, data, user) as client:
        found = client.runs(limit=limit, **({} if page is None else {"page": page}))
    if as_json:
        output.write_json(found, indent=2)
        return
    table = Table(output.id_column(), "what", "status", "created", box=None)
    for run in found["runs"]:
        table.add_row(run["id"], escape(_what(run)), run["status"], run["createdAt"])
    output.console.print(table)
    if found["next"] is not None:
        output.console.print(f"more with --page {found['next']}")


@app.command()
def show(run: Id, *, user: User = None, url: Url = None, data: Data = None, as_json: AsJson = False) -> None:
    """Show where a run stands, or how it ended."""
    with connect(url, data, user) as client:
        found = client.run(run)
    if as_json:
        output.write_json(found, indent=2)
        return
    rows = {
        "what": _what(found),
        "status": found["status"],
        "message": found["message"],
        "exit code": found["exitCode"],
        "task": found["taskID"],
        "created": found["createdAt"],
        "started": found["startedAt"],
        "ended": found["endedAt"],
        "repository": found["repo"],
        "began from": found["base"],
        "commit": found["commit"],
        "progress": _latest(found),
        **{f"metric {each['name']}": f"{each['value']:g} {each['unit'] or ''}" for each in found["metrics"]},
        **{f"asks ({each['id']})": _asked(each) for each in found["questions"]},
        "result": None if found["result"] is None else json.dumps(found["result"]["output"]),
    }
    table = Table(box=None, show_header=False)
    for name, value in rows.items():
        if value is not None:
            table.add_row(name, escape(output.one_line(str(value))))
    output.console.print(table)


@app.command()
def tell(
    run: Id,
    content: Annotated[str, typer.Argument(help="What is said to it.")],
    *,
    question: Annotated[str | None, typer.Option(help="Id of the question that it answers.")] = None,
    user: User = None,
    url: Url = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Say something to a run that goes on, such as the answer to what it asks."""
    with connect(url, data, user) as client:
        told = client.tell_run(run, content, question_id=question)
    if as_json:
        output.write_json(told, indent=2)
    else:
        output.console.print(f"message {told['number']} to {run}")


@app.command()
def logs(
    run: Id,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run is over.")] = False,
    user: User = None,
    url: Url = None,
    data: Data = None,
    as_json: AsJsonLines = False,
) -> None:
    """Print what a run printed."""
    with connect(url, data, user) as client:
        for text in client.follow_run_log(run) if follow else _printed(client, run):
            _print(text, run, as_json=as_json)


@app.command()
def cancel(
    run: Id, *, user: User = None, url: Url = None, data: Data = None, as_json: AsJson = False
) -> None:
    """Cancel the task of a run; its container is stopped."""
    with connect(url, data, user) as client:
        client.cancel(client.run(run)["taskID"])
        found = client.run(run)
    if as_json:
        output.write_json(found, indent=2)
    else:
        output.console.print(f"{found['status']} {found['id']}")


@app.command()
def revert(
    run: Id, *, user: User = None, url: Url = None, data: Data = None, as_json: AsJson = False
) -> None:
    """Undo what a run has committed, as one commit; again, it says the same."""
    with connect(url, data, user) as client:
        made = client.undo_run(run)
    if as_json:
        output.write_json(made, indent=2)
    else:
        output.console.print(f"{'undone' if made['created'] else 'undone before'} {made['commit']}")


def _printed(client: Client, run: str) -> Generator[str]:
    """Give what a run has printed up to now."""
    offset = 0
    while (part := client.run_log(run, offset=offset))["text"]:
        yield part["text"]
        offset = part["next"]


def _print(text: str, run: str, *, as_json: bool) -> None:
    if as_json:
        output.write_json({"run": run, "text": text})
    else:
        output.write(output.plain(text))


def _latest(run: RunWithReport) -> str | None:
    if not run["progress"]:
        return None
    latest = run["progress"][-1]
    percent = "" if latest["percent"] is None else f"{latest['percent']:g} %: "
    return percent + latest["message"]


def _asked(question: RunQuestion) -> str:
    options = " / ".join(question["options"])
    return question["question"] + (f" ({options})" if options else "")


def _what(run: Run) -> str:
    return output.one_line(run["agent"] or " ".join([run["image"] or "", *(run["command"] or [])]))
