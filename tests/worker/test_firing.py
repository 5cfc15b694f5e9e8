"""The clock hands over what is due, once, whoever dies and however many do it."""

import asyncio
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from lightning.domain import handover as handover_module
from lightning.domain.accounts import Accounts
from lightning.domain.disabled import DisabledAccounts
from lightning.domain.fires import fires_of
from lightning.domain.handover import AHEAD_SECONDS, LONGEST_REST_SECONDS, Handover
from lightning.domain.schedule import Schedule, Scheduled
from lightning.domain.schedules import CONTAINER, DISABLED, Schedules
from lightning.domain.when import Policies, When
from lightning.errors import Transient
from lightning.ids import new_id
from lightning.log import Dispatch, EventLog
from lightning.storage import Replace
from lightning.telemetry import carrier
from tests.memory_queue import Clock, MemoryQueue
from tests.stores import storage_of
from worker import firing as firing_module
from worker.firing import NEXT_SECONDS, Firing

HOUR = 3600.0
POINTS = ["accept:recorded", "accept:sent", "schedule:ticked", "schedule:settled"]


class Killed(BaseException):
    """Stands for the death of the process, which nothing catches."""


class Clocks:
    """A store, and clocks that look at it; their time moves by hand."""

    def __init__(self, storage):
        self.storage = storage
        self.clock = Clock()
        self.clock.now = datetime.fromisoformat("2026-11-26T12:00:00Z").timestamp()
        self.schedules = Schedules(storage, clock=self.clock)
        self.queue = MemoryQueue()
        self.log = EventLog(storage, clock=self.clock)
        self.accounts = Accounts(storage, rounds=4)
        self.disabled = DisabledAccounts(self.accounts, clock=self.clock)

    def firing(self, crash=lambda point: None, dispatch=None) -> Firing:
        handover = Handover(dispatch or Dispatch(self.log, self.queue, crash=crash))
        return Firing(self.schedules, handover, self.disabled, crash=crash)

    async def schedule(self, user="anna", *, policies=None, trace=None, **when):
        return await self.schedules.create(
            Schedule(
                id=new_id(),
                user_id=user,
                event=Scheduled("user.message", "my-app", {"content": "hello"}),
                when=When.model_validate(when or {"every": HOUR}),
                said_at=self.schedules.now(),
                policies=Policies.model_validate(policies or {}),
                trace=trace or {},
            )
        )

    async def ticks(self, schedule):
        return (await fires_of(self.log, schedule.user_id, schedule.id, limit=1000)).ticks[::-1]

    async def slots(self, schedule):
        return [tick["metadata"]["slot"][11:16] for tick in await self.ticks(schedule)]


@pytest.fixture
async def clocks(tmp_path: Path):
    store = storage_of(tmp_path)
    yield Clocks(store)
    await store.close()


async def test_what_is_not_due_is_left_alone_and_not_read(clocks):
    for user in ("anna", "bob"):
        await clocks.schedule(user)
    paused = await clocks.schedule()
    await clocks.schedules.pause("anna", paused.id)
    assert await clocks.firing().round() == 0
    assert clocks.queue.sent == []


async def test_a_slot_is_handed_over_shortly_before_as_a_message_that_comes_in_time(clocks):
    schedule = await clocks.schedule()
    clocks.clock.now += HOUR - 2
    # When the clock looks two seconds before
    assert await clocks.firing().round() == 1
    # Then the tick is recorded, and its message comes when it is due
    [tick] = await clocks.ticks(schedule)
    assert tick["dueAt"] == clocks.clock.now + 2
    assert [each.event_id for each in clocks.queue.sent] == [tick["id"]]
    assert tick["metadata"] == {
        "scheduleID": schedule.id,
        "slot": "2026-11-26T13:00:00Z",
        "plannedAt": "2026-11-26T13:00:00Z",
        "revision": 1,
        "reason": "due",
    }
    # And the schedule waits for its next slot
    after = await clocks.schedules.get("anna", schedule.id)
    assert (after.next - schedule.next, after.fired) == (timedelta(hours=1), 1)
    assert await clocks.firing().round() == 0


async def test_a_clock_rests_until_something_is_due(clocks):
    looks = clocks.firing()
    assert await looks.look() == LONGEST_REST_SECONDS
    # Given a schedule that is due in an hour: it is not read, and whatever others make is found in time
    schedule = await clocks.schedule()
    assert await looks.look() == LONGEST_REST_SECONDS
    clocks.clock.now += HOUR - 20
    # When it comes near, then it is known, and nothing is asked meanwhile
    wait = await looks.look()
    assert wait == pytest.approx(20 - AHEAD_SECONDS)
    assert await clocks.ticks(schedule) == []
    clocks.clock.now += wait
    # And once it is handed over, there may be more soon, before the next rest
    assert await looks.look() == NEXT_SECONDS
    assert len(await clocks.ticks(schedule)) == 1
    assert await looks.look() == LONGEST_REST_SECONDS


async def test_what_is_due_before_clocks_have_looked_is_handed_over_by_whoever_makes_it(clocks):
    # Given a clock that has just begun to rest, and a schedule that is made behind its back
    looks = clocks.firing()
    rest = await looks.look()
    schedule = await clocks.schedule(every=10, startAt="2026-11-26T12:00:04Z")
    handover = Handover(Dispatch(clocks.log, clocks.queue))
    for _ in range(2):
        await handover.soon(schedule, clocks.schedules.now())
    # Then all of its slots have ticks up to when the clock looks again, and it stands as it was
    ticks = await clocks.ticks(schedule)
    assert [tick["metadata"]["slot"][14:19] for tick in ticks] == ["00:04", "00:14", "00:24", "00:34"]
    assert [tick["dueAt"] - clocks.clock.now for tick in ticks] == [4, 14, 24, 34]
    assert await clocks.schedules.get("anna", schedule.id) == schedule
    # When the clock looks, it notes what has fired, and no slot has another tick
    clocks.clock.now += rest
    while await looks.round():
        pass
    after = await clocks.schedules.get("anna", schedule.id)
    assert (after.fired, after.missed, after.next - schedule.next) == (3, 0, timedelta(seconds=30))
    assert len(await clocks.ticks(schedule)) == 4
    # And what is far off is left to it
    far = await clocks.schedule(timestamp="2026-11-26T12:01:10Z")
    await handover.soon(far, clocks.schedules.now())
    assert await clocks.ticks(far) == []


async def test_what_whoever_makes_it_cannot_hand_over_is_left_to_the_clock(clocks):
    class Away(Dispatch):
        async def accept(self, user_id, draft):
            raise Transient("the store is away")

    schedule = await clocks.schedule(timestamp="2026-11-26T12:00:05Z")
    await Handover(Away(clocks.log, clocks.queue)).soon(schedule, clocks.schedules.now())
    clocks.clock.now += LONGEST_REST_SECONDS
    await clocks.firing().look()
    assert [tick["metadata"]["reason"] for tick in await clocks.ticks(schedule)] == ["due"]


@pytest.mark.parametrize("catch_up", ["none", "latest", "all"])
async def test_schedules_of_a_disabled_account_fire_nothing_and_go_on_when_it_is_enabled(clocks, catch_up):
    account = await clocks.accounts.register("anna", "correct horse")
    schedule = await clocks.schedule(account.id, policies={"catchUp": catch_up})
    other = await clocks.schedule("bob")
    # Given an account that is disabled for three slots
    await clocks.accounts.set_disabled("anna", disabled=True)
    for _ in range(3):
        clocks.clock.now += HOUR
        await clocks.firing().round()
    # Then nothing was recorded for it, the schedule tells why, and those of others fire
    assert await clocks.ticks(schedule) == []
    during = await clocks.schedules.get(account.id, schedule.id)
    assert (during.state, during.missed, during.reason) == ("active", 3, DISABLED)
    assert await clocks.slots(other) == ["13:00", "14:00", "15:00"]
    # When it is enabled, then the next slot fires, and those of before do not
    await clocks.accounts.set_disabled("anna", disabled=False)
    clocks.clock.now += HOUR
    await clocks.firing().round()
    assert await clocks.slots(schedule) == ["16:00"]
    assert (await clocks.schedules.get(account.id, schedule.id)).reason is None


async def test_what_was_missed_and_caught_up_is_counted(clocks, monkeypatch):
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    for module in (firing_module, handover_module):
        monkeypatch.setattr(module, "get_meter", provider.get_meter)
    await clocks.schedule(policies={"catchUp": "all", "catchUpWindow": 1.6 * HOUR})
    clocks.clock.now += 3.5 * HOUR
    await clocks.firing().round()
    assert counted(reader) == {"lightning.schedule.missed": 1, "lightning.schedule.caught_up": 2}
    provider.shutdown()


def counted(reader):
    return {
        metric.name: metric.data.data_points[0].value
        for scope in reader.get_metrics_data().resource_metrics[0].scope_metrics
        for metric in scope.metrics
    }


async def test_what_fires_once_has_ended_then_and_is_free(clocks):
    clocks.schedules = Schedules(clocks.storage, 1, clocks.clock)
    schedule = await clocks.schedule(timestamp="2026-11-26T13:00:00Z")
    clocks.clock.now += HOUR
    await clocks.firing().round()
    after = await clocks.schedules.get("anna", schedule.id)
    assert (after.state, after.next) == ("ended", None)
    # so that another one has its place, and said anew it would be one too many
    await clocks.schedule()
    with pytest.raises(Exception, match="you have 1 schedules"):
        await clocks.schedules.change(
            "anna", schedule.id, lambda before: _with(before, when=When(every=HOUR))
        )


def _with(schedule, **changes):
    return Schedule(**{name: getattr(schedule, name) for name in Schedule.__dataclass_fields__} | changes)


@pytest.mark.parametrize("point", POINTS)
async def test_a_clock_that_dies_anywhere_loses_nothing_and_doubles_nothing(clocks, point):
    # Given schedules that are due, and a clock that dies at its first, at its third
    schedules = [await clocks.schedule(f"u{number}") for number in range(5)]
    clocks.clock.now += HOUR
    for last in (1, 3):
        left = [last]

        def crash(reached, left=left):
            left[0] -= reached == point
            if reached == point and left[0] == 0:
                raise Killed

        with suppress(Killed):
            await clocks.firing(crash).round()
    # When another one looks
    while await clocks.firing().round():
        pass
    # Then each has fired once, and a message for it was sent
    for schedule in schedules:
        [tick] = await clocks.ticks(schedule)
        assert tick["id"] in {each.event_id for each in clocks.queue.sent}
        assert (await clocks.schedules.get(schedule.user_id, schedule.id)).fired == 1


async def test_several_clocks_share_the_work(clocks):
    schedules = [await clocks.schedule(f"u{number % 7}") for number in range(150)]
    for hour in range(1, 4):
        clocks.clock.now += HOUR
        await asyncio.gather(*(clocks.firing().round() for _ in range(3)))
        # then each has fired once each time
        for schedule in schedules:
            assert len(await clocks.slots(schedule)) == hour


@pytest.mark.parametrize(
    ("catch_up", "slots", "missed"),
    [
        ({"catchUp": "none"}, [], 3),
        ({"catchUp": "latest"}, ["15:00"], 2),
        ({"catchUp": "all"}, ["13:00", "14:00", "15:00"], 0),
        ({"catchUp": "all", "catchUpWindow": 1.6 * HOUR}, ["14:00", "15:00"], 1),
    ],
)
async def test_after_three_hours_without_a_clock_missed_slots_do_as_they_were_told(
    clocks, catch_up, slots, missed
):
    schedule = await clocks.schedule(policies=catch_up)
    clocks.clock.now += 3.5 * HOUR
    await clocks.firing().round()
    assert await clocks.slots(schedule) == slots
    assert {tick["metadata"]["reason"] for tick in await clocks.ticks(schedule)} <= {"missed"}
    # and the next one comes as ever
    clocks.clock.now += 0.5 * HOUR
    await clocks.firing().round()
    assert await clocks.slots(schedule) == [*slots, "16:00"]
    assert (await clocks.schedules.get("anna", schedule.id)).missed == missed


@pytest.mark.parametrize("jump", [HOUR, -HOUR, 24 * HOUR, -24 * HOUR])
@pytest.mark.parametrize("catch_up", ["none", "latest", "all"])
async def test_no_slot_fires_twice_when_the_clock_jumps(clocks, jump, catch_up):
    schedule = await clocks.schedule(policies={"catchUp": catch_up})

    async def pass_hours(number):
        for _ in range(number):
            clocks.clock.now += HOUR
            await clocks.firing().round()

    await pass_hours(3)
    clocks.clock.now += jump
    await clocks.firing().round()
    await pass_hours(3)
    clocks.clock.now -= jump
    await pass_hours(30)
    ticks = await clocks.ticks(schedule)
    slots = [tick["metadata"]["slot"] for tick in ticks]
    assert len(set(slots)) == len(slots)
    assert slots == sorted(slots)
    # and it goes on as ever, at the end
    assert slots[-1] == max(slots)
    assert (
        schedule.plan.next(clocks.schedules.now()) <= (await clocks.schedules.get("anna", schedule.id)).next
    )


async def test_a_change_comes_first(clocks):
    # Given a slot that was handed over, and whose schedule was changed before the clock noted it
    schedule = await clocks.schedule()
    clocks.clock.now += HOUR - 1
    changing = []

    class Between(Dispatch):
        async def accept(self, user_id, draft):
            answer = await super().accept(user_id, draft)
            changing.append(
                await clocks.schedules.change(
                    "anna", schedule.id, lambda before: _with(before, when=When(every=2 * HOUR))
                )
            )
            return answer

    await clocks.firing(dispatch=Between(clocks.log, clocks.queue)).round()
    # Then the change stands; the tick of the old plan will not fire (`ScheduleTick`)
    after = await clocks.schedules.get("anna", schedule.id)
    assert after == changing[0]
    [tick] = await clocks.ticks(schedule)
    assert tick["metadata"]["revision"] == after.revision - 1


async def test_what_cannot_be_read_any_more_is_set_aside(clocks):
    good, bad = await clocks.schedule(), await clocks.schedule()
    stored = await clocks.storage.get(CONTAINER, "anna", bad.id)
    stored.body["when"]["timezone"] = "Mars/Olympus"
    await clocks.storage.batch(CONTAINER, "anna", [Replace(stored.body, stored.etag)])
    clocks.clock.now += HOUR
    await clocks.firing().round()
    # Then the others fire, and it is not looked at again
    assert len(await clocks.slots(good)) == 1
    assert await clocks.firing().round() == 0
    listed, _ = await clocks.schedules.of("anna", limit=10)
    assert [each.id for each in listed] == [good.id]
    await clocks.schedules.delete("anna", bad.id)


async def test_pages_of_what_is_due(clocks, monkeypatch):
    monkeypatch.setattr(firing_module, "PAGE", 3)
    schedules = [await clocks.schedule() for _ in range(10)]
    clocks.clock.now += HOUR
    assert await clocks.firing().round() == 10
    assert [await clocks.slots(each) for each in schedules] == [["13:00"]] * 10


async def test_a_fire_is_a_trace_of_its_own_that_leads_to_where_the_schedule_was_made(clocks, monkeypatch):
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(handover_module, "_tracer", provider.get_tracer("test"))
    with provider.get_tracer("test").start_as_current_span("POST") as request:
        schedule = await clocks.schedule(trace=carrier.current(), policies={"catchUp": "all"})
    clocks.clock.now += 2 * HOUR + AHEAD_SECONDS
    await clocks.firing().round()
    [span] = [each for each in exporter.get_finished_spans() if each.name == "fire schedule"]
    assert span.context.trace_id != request.get_span_context().trace_id
    assert [link.context.span_id for link in span.links] == [request.get_span_context().span_id]
    assert span.attributes["lightning.schedule"] == schedule.id
    assert span.attributes["lightning.schedule.caught_up"] == 1
    assert {tick["trace"]["traceparent"] for tick in await clocks.ticks(schedule)} == {
        carrier.of(span.context)["traceparent"]
    }


async def test_a_slot_that_is_handed_over_twice_stays_one_trace(clocks, monkeypatch):
    monkeypatch.setattr(handover_module, "_tracer", TracerProvider().get_tracer("test"))
    # Given a slot that whoever makes the schedule hands over, and a clock too
    schedule = await clocks.schedule(timestamp="2026-11-26T12:00:04Z")
    handover = Handover(Dispatch(clocks.log, clocks.queue))
    for _ in range(2):
        await handover.soon(schedule, clocks.schedules.now())
    # Then whichever message comes first belongs to the trace that the tick is recorded with
    [tick] = await clocks.ticks(schedule)
    assert [each.event_id for each in clocks.queue.sent] == [tick["id"]] * 2
    assert [each.trace for each in clocks.queue.sent] == [tick["trace"]] * 2
