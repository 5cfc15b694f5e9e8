"""`lightning storage`: move a deployment from one store to another, and prove that one is whole.

They work on the store that the settings name, in any process. The platform is to be stopped meanwhile, but
while a file is exported.
"""

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import closing, contextmanager
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Final, TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from lightning.archive import Archive, export, load
from lightning.audit import Audit, Bounds, Finding, audit
from lightning.errors import LightningError, NotFound
from lightning.settings import Settings, from_environment
from lightning.storage import Storage, open_storage, refuse_newer
from ops.commands import output
from ops.commands.options import AsJson, Data

app = typer.Typer()

#: A claim for longer than this from now on is one of a wrong clock, whatever the setting says.
CLAIM_SECONDS: Final = 3600.0

#: Nothing is looked at later than this after it is due: the longest of our waits is an hour.
SWEEP_SECONDS: Final = 24 * 3600.0

Folder = Annotated[Path, typer.Argument(help="Directory of the export.")]
Report = Callable[[str, int], None]
Result = TypeVar("Result")


@app.command("export")
def export_command(folder: Folder, *, data: Data = None, as_json: AsJson = False) -> None:
    """Write all documents to a directory. The same command goes on after a kill.

    On SQLite the platform may work meanwhile: what is written is as it was at the beginning. On Cosmos DB it
    is to be stopped. The files hold secrets: hashes of passwords, and the secrets that sign webhooks.
    """
    settings = from_environment(LIGHTNING_DATA=data)
    with _at_one_moment(settings) as still:
        done = _work(
            still, lambda storage, report: export(storage, folder, store=settings.storage, report=report)
        )
    if as_json:
        output.write_json(
            {"documents": done.documents, "parts": done.parts, "resumed": done.resumed}, indent=2
        )
        return
    output.console.print(f"exported {_counts(done.documents)} to {escape(str(folder))}")
    output.console.print("[dim]It holds secrets: keep it as you keep the store.[/dim]")


@app.command("import")
def import_command(folder: Folder, *, data: Data = None, as_json: AsJson = False) -> None:
    """Write an export into the empty store that the settings name. The same command goes on after a kill."""
    settings = from_environment(LIGHTNING_DATA=data)
    archive = Archive(folder)
    try:
        archive.header()
        trailer = archive.trailer()
    except LightningError as error:
        raise _failed(error.message) from error
    total = None if trailer is None else sum(trailer.documents.values())
    done = _work(
        settings, lambda storage, report: load(storage, folder, report=report), new=True, total=total
    )
    if as_json:
        output.write_json({"documents": done.documents, "resumed": done.resumed}, indent=2)
        return
    output.console.print(f"imported {_counts(done.documents)}; each was read back and is the same")


@app.command()
def check(
    *,
    expired: Annotated[
        bool,
        typer.Option(
            "--expired", help="Events that are over may have been removed, as LIGHTNING_EXPIRE_DAYS does."
        ),
    ] = False,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Prove that counters, states, places, causes and queues agree for every user; exit 1 if they do not."""
    settings = from_environment(LIGHTNING_DATA=data)
    bounds = Bounds(
        now=time.time(),
        claim_seconds=max(CLAIM_SECONDS, 2 * settings.claim_seconds),
        sweep_seconds=SWEEP_SECONDS,
        expired=expired or settings.expire_days is not None,
    )
    found = _work(settings, lambda storage, report: audit(storage, bounds, report=report))
    if as_json:
        output.write_json(_shown(found), indent=2)
    else:
        _print(found)
    if found.wrong:
        raise typer.Exit(1)


def _work(
    settings: Settings,
    work: Callable[[Storage, Report], Awaitable[Result]],
    *,
    new: bool = False,
    total: int | None = None,
) -> Result:
    """Work on the store; what went wrong is one line, not a traceback.

    Parameters:
      settings: They name the store.
      work: What to do.
      new: Whether the store may be one that never was.
      total: How many documents there will be, where it is known.
    """

    async def with_store(report: Report) -> Result:
        storage = _open(settings, new=new)
        try:
            return await work(storage, report)
        finally:
            await storage.close()

    try:
        with _progress(total) as report:
            return asyncio.run(with_store(report))
    except LightningError as error:
        raise _failed(error.message) from error
    except OSError as error:
        raise _failed(f"{error.strerror}: {error.filename or 'the disk'}; mend it, and repeat") from error


@contextmanager
def _at_one_moment(settings: Settings) -> Generator[Settings]:
    """Give settings that name a store in which nothing changes, as far as that can be had.

    A file is copied whole within one transaction, beside those who write to it.
    """
    path = settings.data / "log.db"
    if settings.storage != "sqlite" or not path.exists():
        yield settings
        return
    refuse_newer(settings)
    with TemporaryDirectory(prefix=".export-", dir=settings.data) as name:
        try:
            with closing(sqlite3.connect(path)) as connection:
                connection.execute("VACUUM INTO ?", [str(Path(name, path.name))])
        except sqlite3.Error as error:
            raise _failed(f"{path} cannot be copied ({error}); is there room for it twice?") from error
        yield settings.model_copy(update={"data": Path(name)})


def _open(settings: Settings, *, new: bool) -> Storage:
    if not new and settings.storage == "sqlite" and not (settings.data / "log.db").exists():
        raise NotFound(f"there is no installation in {settings.data}; name its directory with --data")
    return open_storage(settings)


def _failed(message: str) -> typer.Exit:
    output.complain(message)
    return typer.Exit(1)


@contextmanager
def _progress(total: int | None) -> Generator[Report]:
    """Show on a terminal how many documents are done, stage by stage."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description:8}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f}"),
        TimeElapsedColumn(),
    )
    stages: dict[str, TaskID] = {}
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:

        def report(stage: str, documents: int) -> None:
            if stage not in stages:
                stages[stage] = progress.add_task(stage, total=total)
            progress.advance(stages[stage], documents)

        yield report


def _counts(documents: dict[str, int]) -> str:
    named = [f"{number} in {container}" for container, number in documents.items() if number]
    return f"{sum(documents.values())} documents ({', '.join(named)})"


def _shown(found: Audit) -> dict[str, object]:
    findings = [
        {"code": each.code, "userID": each.user_id, "detail": each.detail, "remedy": each.remedy}
        for each in found.findings
    ]
    return {"users": found.users, "events": found.events, "wrong": found.wrong, "findings": findings}


def _print(found: Audit) -> None:
    looked = f"{found.events} events of {found.users} users"
    if not found.wrong:
        output.console.print(f"[green]in order[/green]  {looked}")
        return
    for user_id, findings in groupby(found.findings, key=lambda finding: finding.user_id):
        if user_id:
            output.console.print(f"user {escape(output.one_line(user_id))}")
        for finding in findings:
            _print_finding(finding)
    more = found.wrong - len(found.findings)
    left_out = f", of which {more} are not shown" if more else ""
    output.console.print(f"[red]{found.wrong} wrong[/red]{left_out}  {looked}")


def _print_finding(finding: Finding) -> None:
    detail, remedy = escape(output.one_line(finding.detail)), escape(finding.remedy)
    output.console.print(f"  [red]{finding.code}[/red]  {detail}\n    {remedy}")
