"""The schedule-tick actor, over a real store: what a tick fires, what gives way, and slots of the past."""

import itertools
from datetime import timedelta
from pathlib import Path

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from actors.actor import Actor
from actors.outcome import Again, Done
from actors.schedule_tick import BACKFILLED_TOGETHER, ScheduleTick
from actors.step import Step
from lightning.domain.accounts import Accounts
from lightning.domain.disabled import DisabledAccounts
from lightning.domain.fires import fires_of, outcome_of
from lightning.domain.schedule import Schedule, Scheduled
from lightning.domain.schedules import Schedules
from lightning.domain.when import Policies, When, now_utc
from lightning.errors import Permanent
from lightning.events import Draft, now_text
from lightning.ids import new_id
from lightning.log import Dispatch, EventLog, wakeup
from tests.memory_queue import MemoryQueue
from tests.stores import storage_of


class Slow(Actor):
    """Is not over until it is told."""

    def __init__(self):
        self.over = False

    async def handle(self, event, metadata):
        return Done() if self.over else Again(1.0)

    def on_dead(self, event, error):
        return []


class Installation:
    """Schedules, log, step and actors of one process."""

    def __init__(self, storage):
        self.storage = storage
        self.user = "anna"
        self.queue = MemoryQueue()
        self.log = EventLog(storage)
        self.schedules = Schedules(storage)
        self.dispatch = Dispatch(self.log, self.queue)
        self.slow = Slow()
        self.accounts = Accounts(storage, rounds=4)
        self.disabled = DisabledAccounts(self.accounts, clock=itertools.count(step=60).__next__)
        actors = {
            "schedule_tick": ScheduleTick(self.schedules, self.log, self.dispatch, self.disabled),
            "messenger": self.slow,
        }
        self.step = Step(self.log, self.dispatch, actors, owner="w")

    async def schedule(self, overlap="allow", user="anna", **when):
        self.user = user
        return await self.schedules.create(
            Schedule(
                id=new_id(),
                user_id=user,
                event=Scheduled("user.message", "my-app", {"content": "hello"}),
                when=When.model_validate(when or {"every": 60}),
                said_at=self.schedules.now() - timedelta(hours=3),
                policies=Policies(overlap=overlap),
            )
        )

    async def tick(self, schedule, *, reason="due", number=0, **changes) -> str:
        """Record the tick of a slot, and look at it once."""
        draft = schedule.tick(
            schedule.next + timedelta(minutes=number), reason, schedule.next + timedelta(hours=1), {}
        )
        draft.metadata.update(changes)
        await self.dispatch.accept(self.user, draft)
        await self.look(draft.id)
        return draft.id

    async def look(self, event_id):
        event = await self.log.get(self.user, event_id)
        if event["state"] == "accepted":
            event = await self.log.hasten(self.user, event_id) or event
            await self.step.run(wakeup(event))

    async def fired(self, event_id):
        event = await self.log.get(self.user, event_id)
        return outcome_of(event), [await self.log.get(self.user, each) for each in event["outputs"]]

    async def outcome(self, event_id):
        return (await self.fired(event_id))[0]


@pytest.fixture
async def platform(tmp_path: Path):
    store = storage_of(tmp_path)
    yield Installation(store)
    await store.close()


async def test_a_tick_fires_the_event_as_it_is_now(platform):
    schedule = await platform.schedule()
    # Given that the event was changed since the tick was recorded
    changed = Scheduled("user.message", "my-app", {"content": "changed"})
    await platform.schedules.change(
        "anna", schedule.id, lambda before: Schedule(**{**_fields(before), "event": changed})
    )
    # When the tick is looked at
    tick = await platform.tick(schedule)
    # Then it fires, and what it fires belongs to it
    outcome, [event] = await platform.fired(tick)
    assert outcome == "fired"
    assert (event["type"], event["source"], event["metadata"]) == (
        "user.message",
        "my-app",
        {"content": "changed"},
    )
    assert (event["cause"], event["root"]) == (tick, tick)


def _fields(schedule):
    return {name: getattr(schedule, name) for name in Schedule.__dataclass_fields__}


async def test_nothing_fires_of_what_is_paused_changed_or_deleted(platform):
    schedule = await platform.schedule()
    await platform.schedules.pause("anna", schedule.id)
    assert await platform.outcome(await platform.tick(schedule, number=1)) == "skipped"
    # but what somebody asks for
    assert await platform.outcome(await platform.tick(schedule, reason="now", number=2)) == "fired"
    await platform.schedules.resume("anna", schedule.id)
    assert await platform.outcome(await platform.tick(schedule, number=3)) == "fired"
    assert await platform.outcome(await platform.tick(schedule, number=4, revision=7)) == "skipped"
    await platform.schedules.delete("anna", schedule.id)
    assert await platform.outcome(await platform.tick(schedule, number=5)) == "skipped"


async def test_nothing_fires_for_an_account_that_is_disabled(platform):
    # Given ticks that were recorded, and a backfill that has begun, before an account was disabled
    account = await platform.accounts.register("anna", "correct horse")
    schedule = await platform.schedule(user=account.id, cron="* * * * *")
    backfill_id = await backfill(platform, schedule, 24)
    await platform.look(backfill_id)
    assert await platform.schedules.backfilled(account.id, backfill_id) is not None
    await platform.accounts.set_disabled("anna", disabled=True)
    # Then none fires, not even what somebody had asked for, and the backfill ends
    for number, reason in enumerate(("due", "missed", "now", "backfill")):
        tick = await platform.tick(schedule, reason=reason, number=30 + number)
        assert await platform.outcome(tick) == "skipped"
    await platform.look(backfill_id)
    assert (await platform.log.get(account.id, backfill_id))["state"] == "done"
    assert await platform.schedules.backfilled(account.id, backfill_id) is None
    # When it is enabled again, then they fire
    await platform.accounts.set_disabled("anna", disabled=False)
    assert await platform.outcome(await platform.tick(schedule, number=40)) == "fired"


async def test_drift_and_outcomes_are_metrics(platform, monkeypatch):
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    monkeypatch.setattr("actors.schedule_tick.get_meter", provider.get_meter)
    metered = Installation(platform.storage)
    schedule = await metered.schedule()
    # Given a slot that fires five seconds late, and one that is left out
    late = now_utc() - timedelta(seconds=5)
    await metered.tick(schedule, plannedAt=late.isoformat())
    await metered.tick(schedule, number=1, revision=7)
    # Then its drift is measured, and each is counted by what became of it
    [scope] = reader.get_metrics_data().resource_metrics[0].scope_metrics
    metrics = {metric.name: metric.data.data_points for metric in scope.metrics}
    [drift] = metrics["lightning.schedule.drift"]
    assert drift.count == 1
    assert 5 <= drift.sum < 65
    assert {tuple(sorted(point.attributes.items())) for point in metrics["lightning.schedule.ticks"]} == {
        (("outcome", "fired"), ("reason", "due")),
        (("outcome", "skipped"), ("reason", "changed")),
    }
    provider.shutdown()


async def test_a_slot_is_left_out_while_the_one_before_goes_on(platform):
    schedule = await platform.schedule("skip")
    first = await platform.tick(schedule)
    assert await platform.outcome(await platform.tick(schedule, number=1)) == "skipped"
    # When that is over
    platform.slow.over = True
    await platform.look((await platform.fired(first))[1][0]["id"])
    # Then the next one fires
    assert await platform.outcome(await platform.tick(schedule, number=2)) == "fired"


async def test_a_slot_is_left_out_however_many_were_before_it(platform):
    schedule = await platform.schedule("skip")
    ticks = [await platform.tick(schedule, number=number) for number in range(30)]
    assert [await platform.outcome(each) for each in ticks] == ["fired", *["skipped"] * 29]


async def test_a_slot_waits_while_the_one_before_goes_on(platform):
    schedule = await platform.schedule("queue")
    first = await platform.tick(schedule)
    second, third = [await platform.tick(schedule, number=number) for number in (1, 2)]
    assert [await platform.outcome(each) for each in (first, second, third)] == [
        "fired",
        "waiting",
        "waiting",
    ]
    # When the first is over
    platform.slow.over = True
    await platform.look((await platform.fired(first))[1][0]["id"])
    # Then the third waits still, for the second one
    await platform.look(third)
    assert await platform.outcome(third) == "waiting"
    platform.slow.over = False
    for each in (second, third):
        await platform.look(each)
    assert [await platform.outcome(each) for each in (second, third)] == ["fired", "waiting"]


async def test_no_more_than_so_many_wait(platform, monkeypatch):
    monkeypatch.setattr("actors.schedule_tick.MOST_WAITING", 3)
    schedule = await platform.schedule("queue")
    ticks = [await platform.tick(schedule, number=number) for number in range(6)]
    assert [await platform.outcome(each) for each in ticks] == ["fired", *["waiting"] * 3, *["skipped"] * 2]


async def test_what_goes_on_gives_way(platform):
    schedule = await platform.schedule("cancel-previous")
    first = await platform.tick(schedule)
    second = await platform.tick(schedule, number=1)
    [before], [behind] = [(await platform.fired(each))[1] for each in (first, second)]
    assert (before["state"], behind["state"]) == ("cancelled", "accepted")


async def test_all_may_go_on_together(platform):
    schedule = await platform.schedule("allow")
    ticks = [await platform.tick(schedule, number=number) for number in range(3)]
    assert {await platform.outcome(each) for each in ticks} == {"fired"}


async def test_a_tick_says_itself_what_holds_for_it(platform):
    schedule = await platform.schedule("skip")
    await platform.tick(schedule)
    assert await platform.outcome(await platform.tick(schedule, number=1, overlap="allow")) == "fired"


async def backfill(platform, schedule, minutes: int, overlap="allow"):
    end = schedule.next + timedelta(minutes=minutes)
    metadata = {
        "scheduleID": schedule.id,
        "startAt": schedule.next.isoformat(),
        "endAt": end.isoformat(),
        "overlap": overlap,
    }
    draft = Draft(new_id(), "schedule.backfill", "test", metadata, now_text(), {})
    await platform.dispatch.accept(platform.user, draft)
    return draft.id


async def ticks_of(platform, schedule):
    return [
        each["metadata"]["slot"]
        for each in (await fires_of(platform.log, "anna", schedule.id, limit=99)).ticks
    ]


async def test_slots_of_the_past_fire_once_more_a_page_at_a_time(platform):
    # Given 25 slots, of which one has fired
    schedule = await platform.schedule(cron="* * * * *", startAt="2026-01-01T00:00:00Z")
    await platform.tick(schedule)
    event_id = await backfill(platform, schedule, 24)
    # When the backfill is looked at, dies after it has handed over its second page, and is looked at again
    await platform.look(event_id)
    assert len(await ticks_of(platform, schedule)) == 1 + BACKFILLED_TOGETHER
    place = await platform.schedules.backfilled("anna", event_id)
    await platform.look(event_id)
    await platform.schedules.note_backfilled("anna", event_id, place)
    for _ in range(3):
        await platform.look(event_id)
    # Then each slot has come once more, in order, and nothing is left of it
    slots = (await ticks_of(platform, schedule))[::-1]
    assert slots[0] == slots[1]
    assert slots[1:] == sorted(set(slots))
    assert len(slots) == 26
    assert (await platform.log.get("anna", event_id))["state"] == "done"
    assert await platform.schedules.backfilled("anna", event_id) is None


async def test_a_backfill_waits_for_what_it_has_handed_over(platform):
    schedule = await platform.schedule(cron="* * * * *")
    event_id = await backfill(platform, schedule, 50, "queue")
    for _ in range(5):
        await platform.look(event_id)
    assert len(await ticks_of(platform, schedule)) == 2 * BACKFILLED_TOGETHER
    assert await platform.outcome(event_id) == "waiting"


async def test_nothing_is_left_of_a_backfill_that_was_cancelled(platform):
    # Given a backfill that has handed over its first page
    schedule = await platform.schedule(cron="* * * * *")
    event_id = await backfill(platform, schedule, 24)
    await platform.look(event_id)
    assert await platform.schedules.backfilled("anna", event_id) is not None
    # When it is cancelled, and let go of
    await platform.dispatch.cancel("anna", event_id)
    await platform.step.run(wakeup(await platform.log.get("anna", event_id)))
    # Then its place is forgotten
    assert await platform.schedules.backfilled("anna", event_id) is None


async def test_a_dead_backfill_goes_on_where_it_was(platform):
    # Given a backfill that died after its first page
    schedule = await platform.schedule(cron="* * * * *")
    event_id = await backfill(platform, schedule, 24)
    await platform.look(event_id)
    place = await platform.schedules.backfilled("anna", event_id)
    event = await platform.log.hasten("anna", event_id) or await platform.log.get("anna", event_id)
    await platform.step.bury(wakeup(event), Permanent("its message was given up"))
    # When what it has outside the log is let go of
    await platform.step.run(wakeup(await platform.log.get("anna", event_id)))
    assert (await platform.log.get("anna", event_id))["state"] == "dead"
    # Then its place is kept, and a replay hands over what is left
    assert await platform.schedules.backfilled("anna", event_id) == place
    await platform.dispatch.replay("anna", event_id)
    for _ in range(3):
        await platform.look(event_id)
    slots = await ticks_of(platform, schedule)
    assert len(slots) == len(set(slots)) == 25
    assert await platform.schedules.backfilled("anna", event_id) is None
