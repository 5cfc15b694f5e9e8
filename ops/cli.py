"""The `lightning` command."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from lightning.client import ClientError
from lightning.errors import StoreTooNew
from lightning.settings import SettingsError, from_environment
from ops.commands import audit, evaluation, events, login, output, tail
from ops.commands import chat as chat_command
from ops.commands.later import later
from ops.commands.options import AsJson, AsJsonLines, Data, Url
from ops.emulation import emulated_settings

app = typer.Typer(
    help="Lightning: event-driven AI orchestration.", no_args_is_help=True, add_completion=False
)
emulator = typer.Typer(help="Servers on loopback that stand in for others.", no_args_is_help=True)


@app.command("up")
def up_command(
    port: Annotated[int | None, typer.Option(help="Port of the ingress; 0 takes a free one.")] = None,
    host: Annotated[str | None, typer.Option(help="Address that the ingress listens on.")] = None,
    data: Data = None,
    workers: Annotated[int | None, typer.Option(help="Worker processes.")] = None,
    threads: Annotated[int | None, typer.Option(help="Chats that a worker answers at a time.")] = None,
    emulate_azure: Annotated[
        bool, typer.Option("--emulate-azure", help="Run in Azure mode, on emulators of its services.")
    ] = False,
    chat: Annotated[bool, typer.Option("--chat", help="Start the chat, too.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")] = False,
) -> None:
    """Start ingress, workers and clock; stop them with Ctrl-C or SIGTERM."""
    from ops.up import NotStartedError, up  # noqa: PLC0415 -- what it needs would slow every other command down

    read = emulated_settings if emulate_azure else from_environment
    settings = read(
        PORT=port,
        LIGHTNING_HOST=host,
        LIGHTNING_DATA=data,
        LIGHTNING_WORKERS=workers,
        LIGHTNING_THREADS=threads,
        LIGHTNING_LOG_LEVEL="error" if quiet else None,
    )
    try:
        up(settings, emulate_azure=emulate_azure, chat=chat, quiet=quiet)
    except NotStartedError as error:
        output.complain(str(error))
        raise typer.Exit(1) from error


for command in (
    *(login.login, login.logout, chat_command.chat, events.send, tail.tail),
    *(events.cancel, events.replay, events.discard, audit.audit),
):
    app.command()(command)
app.command("eval")(evaluation.evaluate)
app.add_typer(events.app, name="events")
for name, module, meaning in (
    ("approvals", "ops.commands.approvals", "What models want to do, and you decide."),
    ("conversations", "ops.commands.conversations", "Conversations."),
    ("deadletters", "ops.commands.deadletters", "Messages that the queue gave up."),
    ("runs", "ops.commands.runs", "Runs of tasks in containers."),
    ("repos", "ops.commands.repos", "Repositories: files and their history."),
    ("schedule", "ops.commands.schedule", "Schedules: events that fire later."),
    ("users", "ops.users", "The accounts of this installation, and who may register."),
    ("storage", "ops.commands.storage", "Move a deployment between stores; check one."),
):
    app.add_typer(later(module, meaning), name=name)


@app.command()
def trace(
    event: Annotated[str, typer.Argument(metavar="EVENT|TRACE", help="Id of an event, or of a trace.")],
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Draw the trace of an event: every span from the HTTP request on, with its wait, attempts and cost."""
    from ops import tracing  # noqa: PLC0415 -- only this command reads the span store

    settings = from_environment(LIGHTNING_DATA=data)
    if not tracing.show(settings.data, event, output.console, settings.prices, as_json_text=as_json):
        raise ClientError(f"there is no trace {event}, nor one of such an event, in {settings.data}")


@app.command("doctor")
def doctor_command(
    url: Url = None,
    data: Data = None,
    as_json: AsJsonLines = False,
    azure: Annotated[
        bool, typer.Option("--azure", help="Look at the services of Azure that the settings name.")
    ] = False,
    seconds: Annotated[
        float | None,
        typer.Option(min=0.1, help="With --azure: longest for each part.", show_default="60; containers 300"),
    ] = None,
) -> None:
    """Say what is in order here, and what is not."""
    from ops import doctor  # noqa: PLC0415 -- only this command looks at every part

    if azure:
        from ops.checkup.command import examine_azure  # noqa: PLC0415

        examine_azure(data, seconds, as_json=as_json)
        return
    try:
        settings = from_environment(LIGHTNING_DATA=data)
        findings = doctor.examine(settings, url or f"http://127.0.0.1:{settings.port}")
    except SettingsError as error:
        findings = [doctor.Finding("settings", "wrong", str(error))]
    fine = True
    for finding in findings:
        fine = fine and finding.verdict != "wrong"
        if as_json:
            output.write_json(asdict(finding))
            continue
        color = {"ok": "green", "missing": "yellow", "wrong": "red"}[finding.verdict]
        verdict = f"[{color}]{finding.verdict:8}[/{color}]"
        output.console.print(f"{verdict} {finding.part:12} {escape(finding.detail)}")
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


@emulator.command(
    "servicebus",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
)
def servicebus_emulator(context: typer.Context) -> None:
    """Serve Azure Service Bus for its unmodified SDK; --port N [--data DIR], and more by --help."""
    from ops.emulators import servicebus  # noqa: PLC0415 -- only this command serves it

    servicebus.main(context.args)


@emulator.command(
    "cosmos",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
)
def cosmos_emulator(context: typer.Context) -> None:
    """Serve a part of Azure Cosmos DB for its unmodified SDK; --port N [--data DIR], and more by --help."""
    from ops.emulators import cosmos  # noqa: PLC0415 -- only this command serves it

    cosmos.main(context.args)


@emulator.command(
    "arm",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
)
def arm_emulator(context: typer.Context) -> None:
    """Serve Azure's container groups for their unmodified SDK; --port N [--data DIR], and more by --help."""
    from ops.emulators import arm  # noqa: PLC0415 -- only this command serves it

    arm.main(context.args)


@emulator.command(
    "monitor",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
)
def monitor_emulator(context: typer.Context) -> None:
    """Take what Application Insights' exporter sends; --port N [--data DIR], and more by --help."""
    from ops.emulators import monitor  # noqa: PLC0415 -- only this command serves it

    monitor.main(context.args)


app.add_typer(emulator, name="emulator")


def main() -> None:
    """Run the command; what a person did wrong is one line, not a traceback."""
    output.tolerate()
    try:
        app()
    except (ClientError, SettingsError, StoreTooNew) as error:
        output.complain(str(error))
        sys.exit(1)
