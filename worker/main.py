"""A worker process: Dramatiq's worker over the fleet's broker, one event loop for all actors."""

import signal
import sys
import threading
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any

import dramatiq
import uvloop
from dramatiq import Worker
from dramatiq.asyncio import EventLoopThread, get_event_loop_thread, set_event_loop_thread
from dramatiq.middleware import AsyncIO

from actors.step import Step
from brokers import queue_name, read_wakeup
from brokers.tracing import Tracing
from lightning.events import TYPES
from lightning.settings import Settings, SettingsError, from_environment
from lightning.telemetry.setup import configure
from worker.fleet import Fleet, open_fleet
from worker.health import serve_health

#: What is under way when the process is told to stop may take this long; App Service gives about 30 s.
DRAIN_MILLISECONDS = 20_000


def declare_actors(broker: dramatiq.Broker, step: Step, default_queue: str) -> None:
    """Give every actor its queue; all of them run the one step.

    Parameters:
      broker: The broker that they are declared on.
      step: What each message is handed to.
      default_queue: Name of the default queue.
    """
    for actor in sorted({kind.actor for kind in TYPES.values()}):
        declare = dramatiq.actor(actor_name=actor, queue_name=queue_name(default_queue, actor), broker=broker)
        declare(_look(actor, step))


def _look(actor: str, step: Step) -> Callable[..., Coroutine[Any, Any, None]]:
    async def look(**kwargs: Any) -> None:
        await step.run(read_wakeup(actor, kwargs))

    return look


def run(settings: Settings) -> None:
    """Work until told to stop, then finish what is under way."""
    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    fleet = open_fleet(settings, [Tracing(), EventLoop()], "worker")
    fleet.broker.add_middleware(CloseFleet(fleet))
    declare_actors(fleet.broker, fleet.step, settings.servicebus_queue)
    # an actor blocks its thread while it waits: what waits for webhooks has threads of its own
    worker = Worker(fleet.broker, worker_threads=settings.threads + settings.webhook_threads)
    worker.start()
    with serve_health(settings.host, settings.port):
        stop.wait()
    worker.stop(timeout=DRAIN_MILLISECONDS)
    fleet.broker.close()


class EventLoop(AsyncIO):
    """The middleware that runs all actors on one event loop, which is uvloop's."""

    def before_worker_boot(self, broker: dramatiq.Broker, worker: Worker) -> None:
        """Start the loop on a thread of its own."""
        del broker, worker
        thread = EventLoopThread(self.logger)
        thread.loop.close()
        thread.loop = uvloop.new_event_loop()
        thread.start(timeout=1.0)
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
    except SettingsError as error:
        sys.exit(str(error))
    telemetry = configure(
        service_name="lightning-worker",
        span_path=settings.data / "spans.db",
        log_format=settings.log,
        log_level=settings.log_level,
        secrets=settings.secret_values(),
    )
    try:
        run(settings)
    finally:
        telemetry.shutdown()


if __name__ == "__main__":
    main()
