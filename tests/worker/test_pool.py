"""A worker's queues: whoever has few events under way passes those of somebody who has many."""

import asyncio
from contextlib import ExitStack, contextmanager

import dramatiq
import pytest

from brokers import BrokerQueue, open_broker, queue_name, queue_names
from lightning.events import TYPES, Draft
from lightning.keys import with_keys
from lightning.log import Dispatch, EventLog, wakeups
from lightning.settings import Settings
from lightning.storage import open_storage
from ops.emulators.servicebus import ServiceBusEmulator
from tests.contract.broker_kits import eventually
from tests.stores import settings_of
from worker.fleet import open_fleet
from worker.main import CloseFleet, EventLoop, declare_actors
from worker.pool import bulk_messages, open_worker

#: Of the settings.
BULK_ABOVE = 20

NOISY, SMALL = 300, 10

TOGETHER = 40


class Order(dramatiq.Middleware):
    """Notes which messages were worked off, as user, event and queue, in their order."""

    def __init__(self):
        self.seen: list[tuple[str, str, str]] = []

    def after_process_message(self, broker, message, *, result=None, exception=None):
        self.seen.append((message.kwargs["userID"], message.kwargs["eventID"], message.queue_name))

    def told_before(self, user: str, count: int, other: str) -> int:
        """Give how much the other user was told when this one had been told all: messages, or answers."""
        told: dict[str, set[str]] = {user: set(), other: set()}
        for whose, event, name in self.seen:
            if "-messenger" in name:
                told[whose].add(event)
            if len(told[user]) == count:
                break
        return len(told[other])

    def events(self, user: str, queue: str) -> set[str]:
        """Give the events of a user that were seen on a queue; each may come again."""
        return {event for whose, event, name in self.seen if (whose, name) == (user, queue)}


@pytest.fixture(params=["sqlite", "servicebus"])
def settings(request, tmp_path):
    with ExitStack() as stack:
        environment = {
            **settings_of(tmp_path / "data"),
            "LIGHTNING_THREADS": "2",
            "LIGHTNING_WEBHOOK_THREADS": "1",
        }
        if request.param == "servicebus":
            emulator = stack.enter_context(ServiceBusEmulator())
            environment |= {
                "LIGHTNING_BROKER": "servicebus",
                "SERVICEBUS_CONNECTION": emulator.connection_string,
            }
        yield with_keys(Settings.load({"LIGHTNING_DATA": str(tmp_path / "data"), **environment}))


async def post(settings: Settings, user: str, type: str, count: int) -> None:
    """Accept events as an ingress does."""
    storage, broker = open_storage(settings), open_broker(settings)
    queue = BrokerQueue(broker, settings.servicebus_queue)
    log = EventLog(storage, bulk_above=settings.bulk_above)
    drafts = [Draft(f"{user}-{type}-{n}", type, "test", {"content": f"{n}"}, "now", {}) for n in range(count)]
    for start in range(0, count, TOGETHER):
        events = await log.append(user, drafts[start : start + TOGETHER])
        await Dispatch(log, queue).announce(wakeups(events))
    await queue.close()
    await storage.close()
    broker.close()


@contextmanager
def counting(settings: Settings):
    """Give a function that counts a user's events by their state; it looks often, so the store stays open."""
    with asyncio.Runner() as runner:
        storage = open_storage(settings)
        log = EventLog(storage)

        def states(user: str) -> dict[str, int]:
            counts = runner.run(log.head(user))["counts"]
            return {state: count for state, count in counts.items() if count}

        try:
            yield states
        finally:
            runner.run(storage.close())


@pytest.mark.parametrize("type", ["user.message", "llm.chat"])
def test_few_events_of_one_user_pass_the_many_of_another(settings, type):
    # Given many events of a user, and behind them a few of another
    asyncio.run(post(settings, "noisy", type, NOISY))
    asyncio.run(post(settings, "small", type, SMALL))
    # When a worker with few threads works them all off
    order = Order()
    fleet = open_fleet(settings, [EventLoop()], "worker")
    fleet.broker.add_middleware(CloseFleet(fleet))
    fleet.broker.add_middleware(order)
    declare_actors(fleet.broker, fleet.admission, settings.servicebus_queue)
    worker = open_worker(fleet.broker, settings)
    worker.start()
    answers = 2 if type == "llm.chat" else 1
    with counting(settings) as states:
        try:
            eventually(lambda: states("noisy") == {"done": answers * NOISY}, within=100)
        finally:
            worker.stop()
            fleet.broker.close()
        # Then all of the few are done, and were when most of the many still waited
        assert states("small") == {"done": answers * SMALL}
    assert order.told_before("small", SMALL, "noisy") < NOISY / 2
    # And of the many, all but the first went by the other queue
    queue = queue_name(settings.servicebus_queue, TYPES[type].actor)
    posted = {f"noisy-{type}-{n}" for n in range(NOISY)}
    assert len(order.events("noisy", queue) & posted) == BULK_ABOVE
    assert len(order.events("noisy", f"{queue}-bulk") & posted) == NOISY - BULK_ABOVE


def test_every_queue_for_bulk_has_its_share_of_the_pool(tmp_path):
    # Given the settings of a worker
    settings = Settings.load({"LIGHTNING_DATA": str(tmp_path), "LIGHTNING_WEBHOOK_THREADS": "3"})
    # When it is told how many messages it may hold of each queue for bulk, all of them are named
    held = bulk_messages(settings)
    assert sorted(held) == sorted(name for name in queue_names("lightning") if name.endswith("-bulk"))
    # And what waits for other sides may take as many as elsewhere
    assert held["lightning-webhook-bulk"] == 3
    assert held["lightning-bulk"] == settings.threads
