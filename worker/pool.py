"""The threads of a worker, and how many messages it takes from each queue."""

from collections.abc import Mapping
from typing import Final

import dramatiq
from dramatiq import Worker
from dramatiq.worker import ConsumerThread

from actors.pace import ALONE
from actors.task_looks import WATCHED_RUNS
from brokers import queue_name
from lightning.events import TYPES
from lightning.settings import Settings

#: Threads that chats, webhooks and runs hold for no more than a moment: for messages to people, and to put
#: aside what waits.
QUICK_THREADS: Final = 2

#: Messages that a worker holds of a queue for bulk, where the settings do not say it.
BULK_MESSAGES: Final = {"messenger": ALONE}
FEW: Final = 4


def open_worker(broker: dramatiq.Broker, settings: Settings) -> Worker:
    """Make the worker: no message on a queue for bulk holds a thread that another one needs.

    An actor blocks its thread while it waits. So there is a thread for each message of bulk that is taken,
    beside those for all others; and what waits for models, webhooks or runs never has all of these.

    Parameters:
      broker: Where the messages are.
      settings: The settings.
    """
    threads = settings.threads + settings.webhook_threads + WATCHED_RUNS + QUICK_THREADS
    bulk = bulk_messages(settings)
    broker.add_middleware(Portions(bulk, most=2 * threads))
    return Worker(broker, worker_threads=threads + sum(bulk.values()))


def bulk_messages(settings: Settings) -> dict[str, int]:
    """Give how many messages a worker holds of each queue for bulk: as many as may be under way."""
    held = {**BULK_MESSAGES, "chat": settings.threads, "webhook": settings.webhook_threads}
    return {
        queue_name(settings.servicebus_queue, kind.actor, bulk=True): held.get(kind.actor, FEW)
        for kind in TYPES.values()
    }


class Portions(dramatiq.Middleware):
    """Sets how many messages a worker holds of each queue.

    Parameters:
      of: Of the queues named.
      most: Of any other.
    """

    def __init__(self, of: Mapping[str, int], most: int) -> None:
        self._of = of
        self._most = most

    def after_consumer_thread_boot(self, broker: dramatiq.Broker, thread: ConsumerThread) -> None:
        """Set it, before the thread begins to consume."""
        del broker
        thread.prefetch = self._of.get(thread.queue_name, self._most)
