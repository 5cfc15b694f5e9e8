"""A worker on Service Bus that is there to be killed: it notes each message that it has worked on."""

import os
import random
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import dramatiq
import typer
from dramatiq import Worker

if TYPE_CHECKING:
    from brokers.servicebus import ServiceBusBroker

#: Reconnects are not put off for longer, so that a storm of seconds has many.
MAX_BACKOFF_SECONDS = 1.0


def connect(connection_string: str) -> "ServiceBusBroker":
    """Open a broker that soon tries again."""
    from brokers.servicebus import ServiceBusBroker  # noqa: PLC0415 -- its SDK takes a second to import

    return ServiceBusBroker(connection_string, max_backoff_seconds=MAX_BACKOFF_SECONDS)


def declare(broker: "ServiceBusBroker", log: Path, most_seconds: float = 0.0) -> Any:
    """Declare the actor that notes its messages.

    Parameters:
      broker: Where.
      log: The file that the notes of all processes are appended to, a line each.
      most_seconds: How long it works on a message at most; how long, is chance.
    """

    @dramatiq.actor(broker=broker)
    def note(number: int) -> None:
        time.sleep(random.uniform(0, most_seconds))
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(descriptor, f"{number}\n".encode())  # one write: lines never mix
        os.close(descriptor)

    return note


def main(
    connection_string: Annotated[str, typer.Argument()],
    log: Annotated[Path, typer.Argument()],
    threads: Annotated[int, typer.Option()],
    most_seconds: Annotated[float, typer.Option()],
) -> None:
    """Work until SIGTERM."""
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda _number, _frame: stopped.set())
    broker = connect(connection_string)
    declare(broker, log, most_seconds)
    worker = Worker(broker, worker_threads=threads)
    worker.start()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    stopped.wait()
    worker.stop()
    broker.close()


if __name__ == "__main__":
    typer.run(main)
