"""`lightning eval`: judge an agent or a model by scenarios."""

import json
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lightning.client import Client, ClientError
from ops.commands import output
from ops.commands.options import Data, User, connect

if TYPE_CHECKING:
    from ops.eval.judging import Prices
    from ops.eval.report import Judged
    from ops.eval.scenario import Scenario


def evaluate(
    folder: Annotated[
        Path | None, typer.Argument(help="Scenarios, or one; those that come with it.", show_default=False)
    ] = None,
    *,
    agent: Annotated[str | None, typer.Option(help="Agent that does all of them.")] = None,
    model: Annotated[str | None, typer.Option(help="Model that the agent asks.")] = None,
    scripted: Annotated[
        bool, typer.Option("--scripted", help="Have the scripted model answer, whatever else is set.")
    ] = False,
    input_price: Annotated[
        float | None, typer.Option(help="What a million tokens that the model reads cost.")
    ] = None,
    output_price: Annotated[
        float | None, typer.Option(help="What a million tokens that it writes cost.")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="A file for all that was found, as JSON; - is the output.")
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(help="Address of a running platform.", show_default="one of its own, thrown away"),
    ] = None,
    user: User = None,
    data: Data = None,
) -> None:
    """Run scenarios, and say which an agent and its model pass.

    Without a key or another address of a model, and without --url, a scripted model answers: it shows that
    platform and agent work, and judges no model.
    """
    # what these need would slow every other command down
    from ops.eval import platform, report, scenario  # noqa: PLC0415
    from ops.eval.judging import Prices  # noqa: PLC0415

    if (input_price is None) != (output_price is None):
        raise typer.BadParameter("give both --input-price and --output-price")
    if scripted and url is not None:
        raise typer.BadParameter("a running platform has its own model: --scripted goes without --url")
    prices = None if input_price is None or output_price is None else Prices(input_price, output_price)
    try:
        scenarios = scenario.read(folder or scenario.SHIPPED)
    except scenario.ScenarioError as error:
        raise ClientError(str(error)) from error
    scripted = url is None and (scripted or not platform.has_model())
    place: AbstractContextManager[Client]
    if url is not None:
        place, asked = connect(url, data, user), model
    else:
        steps = [step for each in scenarios for step in each.steps()] if scripted else None
        place, asked = platform.own_platform(steps=steps, model=model), None
    with place as client:
        judged = _judge_all(client, scenarios, agent, asked, prices)
    about = {"model": "scripted" if scripted else model, "agent": agent, "url": url}
    if json_file is None or str(json_file) != "-":
        output.console.print(report.as_table(judged, prices))
        said = ", answered by the scripted model" if scripted else ""
        output.console.print(report.total(judged, prices) + said)
    if json_file is not None:
        _write(json_file, report.as_json(judged, prices, about))
    if any(each.problems for each in judged):
        raise typer.Exit(1)


def _judge_all(
    client: Client,
    scenarios: "Sequence[Scenario]",
    agent: str | None,
    model: str | None,
    prices: "Prices | None",
) -> "list[Judged]":
    from ops.eval.judging import Came, judge  # noqa: PLC0415 -- as above
    from ops.eval.report import Judged  # noqa: PLC0415
    from ops.eval.running import run  # noqa: PLC0415

    judged: list[Judged] = []
    with output.console.status("") as status:
        for number, each in enumerate(scenarios, 1):
            status.update(f"{number} of {len(scenarios)}: {each.title}")
            try:
                came = run(client, each, agent=agent, model=model)
            except ClientError as error:
                judged.append(Judged(each, Came(status="not run"), [str(error)]))
            else:
                judged.append(Judged(each, came, judge(each, came, prices)))
    return judged


def _write(path: Path, found: dict[str, Any]) -> None:
    if str(path) == "-":
        output.write_json(found, indent=2)
        return
    try:
        path.write_text(json.dumps(found, indent=2) + "\n")
    except OSError as error:
        raise ClientError(f"{path} cannot be written: {error.strerror}") from error
