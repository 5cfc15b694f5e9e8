"""The clock process: whatever has to happen because time passes."""

import asyncio
import signal
import sys

import structlog

from brokers.tracing import Tracing
from lightning.errors import LightningError
from lightning.settings import Settings, SettingsError, from_environment
from lightning.telemetry.setup import configure
from worker.fleet import open_fleet
from worker.graveyard import Graveyard
from worker.health import serve_health
from worker.sweep import Sweep

#: A round of the clock.
TICK_SECONDS = 1.0

_log = structlog.get_logger(__name__)


async def run(settings: Settings) -> None:
    """Tick until told to stop."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    fleet = open_fleet(settings, [Tracing()], "clock")
    sweep = Sweep(fleet.log, fleet.queue, fleet.dispatch)
    graveyard = Graveyard(fleet.broker, fleet.step)
    with serve_health(settings.host, settings.port):
        while not stop.is_set():
            for job in (sweep.round, graveyard.round):
                try:
                    await job()
                except LightningError as error:
                    _log.warning("clock_round_failed", error=error.message)
                except Exception:  # noqa: BLE001 -- a clock that stops is worse than one that complains
                    _log.exception("clock_round_failed")
            try:
                async with asyncio.timeout(TICK_SECONDS):
                    await stop.wait()
            except TimeoutError:
                continue
    await fleet.close()
    fleet.broker.close()


def main() -> None:
    """Run the process."""
    try:
        settings = from_environment()
    except SettingsError as error:
        sys.exit(str(error))
    telemetry = configure(
        service_name="lightning-clock",
        span_path=settings.data / "spans.db",
        log_format=settings.log,
        log_level=settings.log_level,
        secrets=settings.secret_values(),
    )
    try:
        asyncio.run(run(settings))
    finally:
        telemetry.shutdown()


if __name__ == "__main__":
    main()
