"""`lightning doctor --azure`."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path
from typing import Final

import typer
from rich.markup import escape

from lightning.settings import SettingsError, from_environment
from ops.checkup import Check, examine
from ops.commands import output

_COLORS: Final = {"ok": "green", "skipped": "yellow", "failed": "red"}


def examine_azure(data: Path | None, seconds: float | None, *, as_json: bool) -> None:
    """Print what is in order on Azure, and what is not, with what to do.

    Parameters:
      data: The data directory, if another than the settings name.
      seconds: The longest that each part may take.
      as_json: Whether to print JSON, one check a line.

    Raises:
      typer.Exit: 1: something is not in order.
    """
    if not asyncio.run(_printed(_checks(data, seconds), as_json=as_json)):
        raise typer.Exit(1)


async def _checks(data: Path | None, seconds: float | None) -> AsyncIterator[Check]:
    try:
        settings = from_environment(LIGHTNING_DATA=data)
    except SettingsError as error:
        for problem in error.problems:
            detail = f"{problem.name}: {problem.message}"
            yield Check("settings", "failed", detail, f"for example {problem.example}")
        yield Check("services", "skipped", "the settings do not say where they are")
        return
    async for check in examine(settings, seconds):
        yield check


async def _printed(checks: AsyncIterator[Check], *, as_json: bool) -> bool:
    fine = True
    async for check in checks:
        fine = fine and check.verdict != "failed"
        if as_json:
            output.write_json(asdict(check))
            continue
        color = _COLORS[check.verdict]
        verdict = f"[{color}]{check.verdict:8}[/{color}]"
        output.console.print(f"{verdict} {escape(check.name)}: {escape(output.one_line(check.detail))}")
        if check.remedy:
            output.console.print(f"         {escape(output.one_line(check.remedy))}")
    return fine
