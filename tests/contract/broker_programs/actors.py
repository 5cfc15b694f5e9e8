"""A Dramatiq program on any broker: a worker, or with ``--send`` a sender.

Each actor notes what it does as a line of a log file, since its process may not live to tell otherwise.
"""

import argparse
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import dramatiq
from dramatiq import Broker, Worker

from brokers.servicebus import ServiceBusBroker
from brokers.sqlite import SqliteBroker
from worker.stopping import stop_signals


def open_broker(kind: str, options: dict[str, object]) -> Broker:
    """Open a broker of the kind under test."""
    return {"servicebus": ServiceBusBroker, "sqlite": SqliteBroker}[kind](**options)


def declare(broker: Broker, log: Path) -> dict[str, dramatiq.Actor]:
    """Declare the actors that the tests send to."""

    def note(what: str, value: object) -> None:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(descriptor, f"{what} {value} {time.time()}\n".encode())  # one write: lines never mix
        os.close(descriptor)

    @dramatiq.actor(broker=broker)
    def record(value: object) -> None:
        note("record", value)

    @dramatiq.actor(broker=broker)
    def hang(value: object) -> None:
        note("hang", value)
        threading.Event().wait()

    @dramatiq.actor(broker=broker)
    def kill(value: object) -> None:
        note("kill", value)
        os.kill(os.getpid(), signal.SIGKILL)

    return {"record": record, "hang": hang, "kill": kill}


def work(broker: Broker, threads: int) -> None:
    """Work until SIGTERM."""
    with stop_signals() as wait_for_stop:
        worker = Worker(broker, worker_threads=threads, worker_timeout=1000)
        worker.start()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        wait_for_stop()
        worker.stop()
        broker.close()


def main() -> None:
    """Run as the arguments say."""
    parser = argparse.ArgumentParser()
    parser.add_argument("kind")
    parser.add_argument("options", type=json.loads)
    parser.add_argument("log", type=Path)
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--send", type=int, nargs=2, help="send the numbers of this range instead of working")
    arguments = parser.parse_args()
    broker = open_broker(arguments.kind, arguments.options)
    actors = declare(broker, arguments.log)
    if arguments.send:
        for number in range(*arguments.send):
            actors["record"].send(number)
        broker.close()
    else:
        work(broker, arguments.threads)


if __name__ == "__main__":
    main()
