"""`make chaos`: storms with several seeds, on every pair of store and queue."""

import asyncio
import sys
import tempfile
import time
from itertools import product
from pathlib import Path
from typing import Annotated, Final

import typer

from ops.chaos.installation import Installation, ModelServer, until
from ops.chaos.queues import FileQueue, QueueServer, ServiceBusProcess
from ops.chaos.receiver import receiving
from ops.chaos.runners import EmulatedContainers
from ops.chaos.stores import CosmosProcess, FileStore, StoreServer
from ops.chaos.storm import THREADS, storm
from ops.chaos.verdict import Verdict

#: Short times, so that what waits for a timeout does not wait long.
HASTE: Final = {
    "LIGHTNING_CLAIM_SECONDS": "3",
    "LIGHTNING_SWEEP_SECONDS": "2",
    "LIGHTNING_LEASE_SECONDS": "2",
    "LIGHTNING_RETRY_SECONDS": "0.2",
    "LIGHTNING_THREADS": str(THREADS),
    "LIGHTNING_CHATS_PER_USER": str(
        THREADS
    ),  # there is only one, and who is put aside costs a write each time
    "LIGHTNING_MAX_ATTEMPTS": "20",  # a thread's event is killed with its process, again and again
    "LIGHTNING_WEBHOOK_ALLOW": "127.0.0.1",
    "LIGHTNING_WEBHOOK_RETRIES": ",".join(["0.2"] * 19),
    "LIGHTNING_WEBHOOK_THREADS": str(THREADS),
}

#: Pairs of store and queue, and the part of all events that each has: what is slow by itself has fewer, so
#: that all of them take about as long.
PAIRS: Final = {
    ("sqlite", "sqlite"): 0.45,
    ("sqlite", "servicebus"): 0.3,
    ("cosmos", "sqlite"): 0.15,
    ("cosmos", "servicebus"): 0.1,
}


def run_storm(
    data: Path,
    *,
    store: str,
    queue: str,
    events: int,
    seed: int,
    delete_queue: bool = False,
    deaths: int = 0,
) -> Verdict:
    """Run one storm on a fresh installation with two workers.

    Parameters:
      data: An empty directory.
      store: ``sqlite`` or ``cosmos``.
      queue: ``sqlite`` or ``servicebus``.
      events: How many events.
      seed: Decides who dies and when.
      delete_queue: Lose the queue in the middle; that of Service Bus with every kill of its server.
      deaths: How often each process dies at least.
    """
    stores: StoreServer = CosmosProcess() if store == "cosmos" else FileStore()
    queues: QueueServer = (
        ServiceBusProcess(durable=not delete_queue) if queue == "servicebus" else FileQueue()
    )
    with (
        ModelServer(data) as model,
        receiving() as receiver,
        EmulatedContainers(data / "images", data / "arm") as containers,
    ):
        until(containers.serves, "Container Instances are emulated", seconds=60)
        environment = {**HASTE, **model.environment(), **containers.environment()}
        with Installation(data / "data", environment, workers=2, queue=queues, store=stores) as running:
            blowing = storm(
                running,
                model,
                receiver,
                containers,
                events=events,
                seed=seed,
                delete_queue=delete_queue,
                deaths=deaths,
            )
            return asyncio.run(blowing)


def main(
    events: Annotated[
        int, typer.Option(help="Events over all pairs of store and queue, and all seeds.")
    ] = 20_000,
    seeds: Annotated[int, typer.Option(help="Storms on each pair, each with another seed.")] = 5,
) -> None:
    """Run the storms on each pair of store and queue, and print each verdict.

    Worker, ingress, clock and emulators are killed; storms with an odd seed lose the queue in the middle. Of
    all events SQLite has 45% with its own queue and 30% with Service Bus, Cosmos DB 15% and 10%: with
    20,000 events and five seeds each of their storms has 1,800, 1,200, 600 and 400.
    """
    started, failed = time.monotonic(), 0
    for ((store, queue), part), seed in product(PAIRS.items(), range(seeds)):
        share = max(1, round(events * part / seeds))
        with tempfile.TemporaryDirectory() as folder:
            verdict = run_storm(
                Path(folder), store=store, queue=queue, events=share, seed=seed, delete_queue=seed % 2 == 1
            )
        print(f"{store} and {queue}, seed {seed}: {verdict.summary()}", flush=True)
        failed += bool(verdict.problems)
    total = len(PAIRS) * seeds
    print(f"{total - failed} of {total} storms passed, in {time.monotonic() - started:.0f} s", flush=True)
    sys.exit(failed > 0)


if __name__ == "__main__":
    typer.run(main)
