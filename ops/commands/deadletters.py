"""`lightning deadletters`: what the queue gave up, on whichever broker the settings name.

The clock turns those of the platform into dead events by itself; what stays here could not be read, or
no clock runs.
"""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated, Any

import typer
from dramatiq.errors import BrokerError
from rich.markup import escape
from rich.table import Column, Table

from brokers import AnyBroker, DeadLetter, declare_queues, open_broker
from lightning.client import ClientError
from lightning.settings import from_environment
from ops.commands import output
from ops.commands.options import AsJson, Data

app = typer.Typer()

#: The most that a command looks at.
LIMIT = 1000

Id = Annotated[str, typer.Argument(help="Id of a dead letter, as `list` shows it.")]
Queue = Annotated[str | None, typer.Option(help="Only those of this queue.")]


@app.command("list")
def list_letters(
    *,
    queue: Queue = None,
    limit: Annotated[int, typer.Option(min=1, max=LIMIT)] = 50,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """List dead letters, the oldest of each queue first."""
    with _broker(data) as broker:
        letters = broker.dead_letters(queue, limit)
    if as_json:
        output.write_json([_shown(letter) for letter in letters], indent=2)
        return
    ids = Column("id", no_wrap=True, min_width=max((len(letter.id) for letter in letters), default=0))
    table = Table(ids, "reason", "deliveries", "died", "error", box=None)
    for letter in letters:
        error = escape(output.one_line(letter.error.strip().rpartition("\n")[2]))
        died = letter.died_at.isoformat(timespec="seconds")
        table.add_row(
            escape(letter.id), escape(output.one_line(letter.reason)), str(letter.deliveries), died, error
        )
    output.console.print(table)


@app.command()
def show(letter: Id, *, data: Data = None, as_json: AsJson = False) -> None:
    """Show a dead letter whole: its message, and why it was given up."""
    with _broker(data) as broker:
        found = next((each for each in broker.dead_letters(limit=LIMIT) if each.id == letter), None)
    if found is None:
        raise _unknown(letter)
    if as_json:
        output.write_json(_shown(found), indent=2)
        return
    why = f"{output.one_line(found.reason)}, after {found.deliveries} deliveries, on {found.queue_name}"
    output.write(output.plain(f"{why}\n{found.body.decode(errors='replace')}\n{found.error}") + "\n")


@app.command()
def replay(letter: Id, *, data: Data = None) -> None:
    """Put a dead letter back on its queue, with all its retries before it."""
    with _broker(data) as broker:
        if not broker.replay_dead_letter(letter):
            raise _unknown(letter)
    output.console.print(f"replayed {letter}")


@app.command()
def discard(letter: Id, *, data: Data = None) -> None:
    """Remove a dead letter for good."""
    with _broker(data) as broker:
        if not broker.discard_dead_letter(letter):
            raise _unknown(letter)
    output.console.print(f"discarded {letter}")


@contextmanager
def _broker(data: Data) -> Generator[AnyBroker]:
    settings = from_environment(LIGHTNING_DATA=data)
    if settings.broker == "sqlite" and not settings.data.exists():
        raise ClientError(f"there is no installation in {settings.data}; name it with --data")
    broker = open_broker(settings)
    declare_queues(broker, settings.servicebus_queue)
    try:
        yield broker
    except BrokerError as error:
        raise ClientError(str(error)) from error
    finally:
        broker.close()


def _shown(letter: DeadLetter) -> dict[str, Any]:
    return {
        **asdict(letter),
        "body": letter.body.decode(errors="replace"),
        "died_at": letter.died_at.isoformat(),
    }


def _unknown(letter: str) -> ClientError:
    return ClientError(
        f"there is no dead letter {letter}; `lightning deadletters list` shows those there are"
    )
