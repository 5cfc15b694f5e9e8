"""A backlog: many events wait while the workers stand still, and the sweep should not take them for lost."""

import asyncio
import signal
from dataclasses import dataclass
from pathlib import Path

from brokers import BrokerQueue, declare_queues, open_broker
from lightning.events import Draft, now_text
from lightning.ids import new_id
from lightning.log import Dispatch, EventLog
from lightning.storage import Storage, Where, open_storage
from ops.chaos.installation import Installation, until
from ops.chaos.queues import QueueServer

#: Users that the events are spread over.
USERS = 10

#: Accepts under way at a time.
TOGETHER = 500

#: Events that are read at a time.
PAGE = 1000

SWEEP_SECONDS = 1.0

HASTE = {"LIGHTNING_SWEEP_SECONDS": str(SWEEP_SECONDS), "LIGHTNING_THREADS": "16"}


@dataclass(frozen=True, slots=True)
class Resent:
    """What became of a backlog.

    Parameters:
      events: How many waited.
      done: How many of them are done.
      messages: How many messages the sweep sent for them.
    """

    events: int
    done: int
    messages: int

    @property
    def share(self) -> float:
        """The messages that were too many, for each event."""
        return self.messages / self.events


def run_backlog(
    data: Path, *, events: int, queue: QueueServer | None = None, seconds: float = 600.0
) -> Resent:
    """Let a backlog wait for longer than the sweep is patient, then have it worked on.

    Parameters:
      data: An empty directory.
      events: How many.
      queue: Where the queue is; by default in a file.
      seconds: How long they may take.
    """
    with Installation(data, HASTE, queue=queue) as running:
        running.signal("worker.0", signal.SIGSTOP)
        asyncio.run(_fill(running, events))
        # every one of them is overdue by now, and the clock has looked through all of them
        until(lambda: running.messages() >= events, "all wait in the queue", seconds=seconds)
        running.signal("worker.0", signal.SIGCONT)
        until(lambda: running.messages() == 0, "the backlog is worked on", seconds=seconds)
        return asyncio.run(_count(running, events))


async def _fill(running: Installation, events: int) -> None:
    """Record the events as the ingress does, and announce them."""
    storage = open_storage(running.settings)
    broker = open_broker(running.settings)
    declare_queues(broker, running.settings.servicebus_queue)
    queue = BrokerQueue(broker, running.settings.servicebus_queue)
    dispatch = Dispatch(EventLog(storage, sweep_seconds=SWEEP_SECONDS), queue)
    try:
        for start in range(0, events, TOGETHER):
            numbers = range(start, min(start + TOGETHER, events))
            await asyncio.gather(*(dispatch.accept(f"user-{n % USERS}", _draft(n)) for n in numbers))
        await asyncio.sleep(4 * SWEEP_SECONDS)
    finally:
        await queue.close()
        await storage.close()
        broker.close()


def _draft(number: int) -> Draft:
    return Draft(new_id(), "user.message", "backlog", {"content": f"{number}"}, now_text(), {})


async def _count(running: Installation, events: int) -> Resent:
    storage = open_storage(running.settings)
    try:
        counted = [await _count_of(storage, f"user-{n}") for n in range(USERS)]
    finally:
        await storage.close()
    return Resent(events, sum(done for done, _ in counted), sum(sent for _, sent in counted))


async def _count_of(storage: Storage, user_id: str) -> tuple[int, int]:
    done = sent = after = 0
    while True:
        where = [Where("kind", "=", "event"), Where("seq", ">", after)]
        page = await storage.query("events", user_id, where, order_by="seq", limit=PAGE)
        done += sum(each.body["state"] == "done" for each in page.items)
        sent += sum(each.body["sweeps"] for each in page.items)
        if page.next is None:
            return done, sent
        after = page.items[-1].body["seq"]
