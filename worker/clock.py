"""The clock process: whatever has to happen because time passes."""

import asyncio
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

import structlog

from brokers import queue_names
from lightning.domain.handover import LONGEST_REST_SECONDS, Handover
from lightning.errors import LightningError, StoreTooNew
from lightning.settings import Settings, SettingsError, from_environment
from lightning.storage import refuse_newer
from lightning.telemetry.setup import configure_from
from worker.firing import Firing
from worker.fleet import open_fleet
from worker.graveyard import Graveyard
from worker.health import serve_health
from worker.orphans import LOOK_SECONDS, Orphans
from worker.put_back import CLAIMS_APART, PutBack
from worker.queue_depth import QueueDepth
from worker.sweep import Sweep

if TYPE_CHECKING:
    from lightning.telemetry.scrape import Scrape

#: A round of the clock.
TICK_SECONDS = 1.0

T = TypeVar("T")

_log = structlog.get_logger(__name__)


#: What is looked for is found so much later than it is due, as a share of the shortest wait that there is.
LOOK_SHARE = 0.2


class Every:
    """A job of the clock that is not due in every round, unless it has just found something to do.

    Parameters:
      seconds: The time between two runs of which the first found nothing.
      job: What is to be done; tells what it found.
      clock: Gives seconds that only grow.
    """

    def __init__(
        self,
        seconds: float,
        job: Callable[[], Awaitable[object]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._seconds = seconds
        self._job = job
        self._clock = clock
        self._due_at = clock()

    async def round(self) -> None:
        """Do the job if it is due."""
        now = self._clock()
        # A round ends a little before or after its second; one that is due is not put off by a whole one.
        if now + TICK_SECONDS / 2 >= self._due_at:
            self._due_at = now + self._seconds
            if await self._job():
                self._due_at = now  # there may be more of it


async def run(settings: Settings, scrape: "Scrape | None" = None) -> None:
    """Tick until told to stop.

    Parameters:
      settings: The settings.
      scrape: What answers whoever asks for the metrics.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    fleet = open_fleet(settings, [], "clock")
    sweep = Sweep(fleet.log, fleet.queue, fleet.dispatch)

    async def look() -> bool:
        return await sweep.round() > 0 or not sweep.is_through

    # each look asks everybody's partitions, which Cosmos DB charges for
    waits = min(settings.claim_seconds, settings.sweep_seconds)
    sweeps = Every(max(TICK_SECONDS, waits * LOOK_SHARE), look)
    put_back = PutBack(fleet.log, fleet.dispatch, settings.claim_seconds)
    put_backs = Every(CLAIMS_APART * settings.claim_seconds, put_back.round)
    graveyard = Graveyard(fleet.broker, fleet.step)
    burials = Every(fleet.broker.dead_letters_every_seconds, graveyard.round)
    orphans = Every(LOOK_SECONDS, Orphans(fleet.runner, fleet.log, fleet.task_runner).round)
    firing = Firing(
        fleet.schedules,
        Handover(fleet.dispatch),
        fleet.disabled,
        rest_seconds=LONGEST_REST_SECONDS if fleet.storage.charges else TICK_SECONDS,
        crash=fleet.crash,
    )
    depth = QueueDepth(fleet.broker, queue_names(settings.servicebus_queue))
    with serve_health(settings.host, settings.port, scrape):
        # a container may take its time to stop, and nothing else waits for it; schedules wait for nothing
        await asyncio.gather(
            _tick(stop, [sweeps, put_backs, burials]), _tick(stop, [orphans]), _fire(stop, firing)
        )
    depth.close()
    await fleet.close()
    fleet.broker.close()


async def _tick(stop: asyncio.Event, jobs: Sequence[Every]) -> None:
    """Do jobs in rounds until told to stop."""
    while not stop.is_set():
        for job in jobs:
            await _done(job.round)
        await _pause(stop, TICK_SECONDS)


async def _fire(stop: asyncio.Event, firing: Firing) -> None:
    """Hand over what is due, when it is, until told to stop."""
    while not stop.is_set():
        await _pause(stop, await _done(firing.look) or TICK_SECONDS)


async def _done(job: Callable[[], Awaitable[T]]) -> T | None:
    """Do a job; give None where it fails."""
    try:
        return await job()
    except LightningError as error:
        _log.warning("clock_round_failed", error=error.message)
    except Exception:  # noqa: BLE001 -- a clock that stops is worse than one that complains
        _log.exception("clock_round_failed")
    return None


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()


def main() -> None:
    """Run the process."""
    try:
        settings = from_environment()
        refuse_newer(settings)
    except (SettingsError, StoreTooNew) as error:
        sys.exit(str(error))
    telemetry = configure_from(settings, "lightning-clock")
    try:
        asyncio.run(run(settings, telemetry.scrape))
    finally:
        telemetry.shutdown()


if __name__ == "__main__":
    main()
