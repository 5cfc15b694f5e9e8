"""`make chaos`: storms with several seeds, on everything that this version can run on."""

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from ops.chaos.installation import Installation, ModelServer
from ops.chaos.storm import THREADS, Verdict, storm

#: Short times, so that what waits for a timeout does not wait long.
HASTE = {
    "LIGHTNING_CLAIM_SECONDS": "2",
    "LIGHTNING_SWEEP_SECONDS": "2",
    "LIGHTNING_RETRY_SECONDS": "0.2",
    "LIGHTNING_THREADS": str(THREADS),
    "LIGHTNING_MAX_ATTEMPTS": "20",  # a thread's event is killed with its process, again and again
}


def run_storm(data: Path, *, events: int, seed: int, delete_queue: bool = False) -> Verdict:
    """Run one storm on a fresh installation with two workers.

    Parameters:
      data: An empty directory.
      events: How many events.
      seed: Decides who dies and when.
      delete_queue: Remove the queue in the middle.
    """
    with (
        ModelServer(data) as model,
        Installation(data / "data", {**HASTE, **model.environment()}, workers=2) as installation,
    ):
        return asyncio.run(storm(installation, model, events=events, seed=seed, delete_queue=delete_queue))


def main(
    events: Annotated[int, typer.Option(help="Events of each storm.")] = 5_000,
    seeds: Annotated[int, typer.Option(help="Storms, each with another seed.")] = 4,
) -> None:
    """Run the storms, with and without the queue deleted in the middle, and print each verdict."""
    failed = False
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as folder:
            verdict = run_storm(Path(folder), events=events, seed=seed, delete_queue=seed % 2 == 1)
        print(f"seed {seed}: {verdict.summary()}", flush=True)
        failed = failed or bool(verdict.problems)
    sys.exit(failed)


if __name__ == "__main__":
    typer.run(main)
