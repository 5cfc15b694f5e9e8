"""A worker process: Dramatiq's worker over the fleet's broker, one event loop for all actors."""

import sys
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import dramatiq
import uvloop
from dramatiq import Worker
from dramatiq.asyncio import EventLoopThread, get_event_loop_thread, set_event_loop_thread
from dramatiq.middleware import AsyncIO, MiddlewareError

from actors.admission import Admission
from brokers import queue_name, read_wakeup
from lightning.errors import StoreTooNew
from lightning.events import TYPES
from lightning.garbage import look_less_often
from lightning.settings import Settings, SettingsError, from_environment
from lightning.storage import refuse_newer
from lightning.telemetry.setup import configure_from
from worker.fleet import Fleet, open_fleet
from worker.health import serve_health
from worker.last_resort import LastResort
from worker.pool import open_worker
from worker.stopping import stop_signals
from worker.unreadable import Unreadable
from worker.watchdog import Watchdog

if TYPE_CHECKING:
    from lightning.telemetry.scrape import Scrape

#: What is closed behind the drain may take so long: whatever hangs then is left behind.
CLOSING_SECONDS = 6.0


def declare_actors(broker: dramatiq.Broker, admission: Admission, default_queue: str) -> None:
    """Give every actor its queue; all of them run the one step, once they are admitted.

    Parameters:
      broker: The broker that they are declared on.
      admission: What each message is handed to.
      default_queue: Name of the default queue.
    """
    for actor in sorted({kind.actor for kind in TYPES.values()}):
        declare = dramatiq.actor(actor_name=actor, queue_name=queue_name(default_queue, actor), broker=broker)
        declare(_look(actor, admission))


def _look(actor: str, admission: Admission) -> Callable[..., Coroutine[Any, Any, None]]:
    async def look(**kwargs: Any) -> None:
        await admission.run(read_wakeup(actor, kwargs))

    return look


def run(settings: Settings, wait_for_stop: Callable[[], None], scrape: "Scrape | None" = None) -> None:
    """Work until told to stop, then finish what is under way.

    Parameters:
      settings: The settings.
      wait_for_stop: Returns once the process is to stop.
      scrape: What answers whoever asks for the metrics.
    """
    fleet = open_fleet(settings, [EventLoop(), Unreadable()], "worker")
    fleet.broker.add_middleware(CloseFleet(fleet))
    last_resort = LastResort()
    fleet.broker.add_middleware(Watchdog(last_resort, settings.stuck_seconds))
    declare_actors(fleet.broker, fleet.admission, settings.servicebus_queue)
    worker = open_worker(fleet.broker, settings)
    worker.start()
    look_less_often()
    with serve_health(settings.host, settings.port, scrape):
        wait_for_stop()
        last_resort.end_within(settings.drain_seconds + CLOSING_SECONDS)
    worker.stop(timeout=round(settings.drain_seconds * 1000))
    fleet.broker.close()


class EventLoop(AsyncIO):
    """The middleware that runs all actors on one event loop, which is uvloop's."""

    def before_worker_boot(self, broker: dramatiq.Broker, worker: Worker) -> None:
        """Start the loop on a thread of its own, however long that takes on a busy machine.

        Raises:
          MiddlewareError: There can be no such thread. Dramatiq takes anything else for a small matter, and a
            worker without the loop would fail every message.
        """
        del broker, worker
        thread = EventLoopThread(self.logger)
        thread.daemon = True  # a worker that could not start has nobody who stops it
        thread.loop.close()
        thread.loop = uvloop.new_event_loop()
        try:
            thread.start()
        except RuntimeError as error:
            thread.loop.close()
            raise MiddlewareError(f"the event loop cannot be started: {error}") from error
        set_event_loop_thread(thread)


class CloseFleet(dramatiq.Middleware):
    """Closes the parts on the event loop that they belong to.

    Middleware after `AsyncIO` in the list hears of the shutdown before the loop is stopped.
    """

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def after_worker_shutdown(self, broker: dramatiq.Broker, worker: Worker) -> None:
        """Close what the actors used."""
        del broker, worker
        loop = get_event_loop_thread()
        if loop is not None:
            loop.run_coroutine(self._fleet.close())


def main() -> None:
    """Run the process."""
    try:
        settings = from_environment()
        refuse_newer(settings)
    except (SettingsError, StoreTooNew) as error:
        sys.exit(str(error))
    telemetry = configure_from(settings, "lightning-worker")
    with stop_signals() as wait_for_stop:
        try:
            run(settings, wait_for_stop, telemetry.scrape)
        finally:
            telemetry.shutdown()


if __name__ == "__main__":
    main()
