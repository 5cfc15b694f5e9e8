"""Slots, their names, their jitter, and what becomes of those that were missed."""

import random
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from lightning.domain.firing import GRACE, MOST_TOGETHER, Plan, decide

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")
HOUR = timedelta(hours=1)
ONE = timedelta(microseconds=1)


def plan(**changes) -> Plan:
    return Plan("s", BERLIN, NOW, **changes)


def slots_of(made: Plan, after: datetime, number: int) -> list[datetime]:
    found = []
    while len(found) < number and (slot := made.next(after)) is not None:
        found.append(slot)
        after = slot
    return found


def test_one_moment_fires_once():
    made = plan(at=NOW + HOUR)
    assert slots_of(made, NOW, 5) == [NOW + HOUR]


def test_the_same_time_over_and_over_counts_from_its_beginning():
    assert slots_of(plan(every=HOUR), NOW, 2) == [NOW + HOUR, NOW + 2 * HOUR]
    assert slots_of(plan(every=HOUR), NOW + 10.5 * HOUR, 1) == [NOW + 11 * HOUR]
    # a start is the first slot itself
    assert slots_of(plan(every=HOUR, start=NOW), NOW - 5 * HOUR, 2) == [NOW, NOW + HOUR]


def test_nothing_fires_outside_its_bounds():
    made = plan(cron="0 * * * *", start=NOW + HOUR, end=NOW + 2 * HOUR)
    assert slots_of(made, NOW - 9 * HOUR, 9) == [NOW + HOUR, NOW + 2 * HOUR]


def test_a_slot_is_named_by_the_wall_clock_and_no_two_alike():
    made = plan(cron="30 * * * *")
    twice = slots_of(made, datetime(2026, 10, 25, 0, tzinfo=UTC), 2)
    assert [made.label(slot) for slot in twice] == [
        "2026-10-25T02:30:00[Europe/Berlin]",
        "2026-10-25T02:30:00[Europe/Berlin;2]",
    ]
    assert plan(every=HOUR).label(NOW) == "2026-11-26T12:00:00Z"


def test_jitter_is_always_the_same_and_never_reaches_the_next_slot():
    made = plan(every=HOUR, jitter=timedelta(hours=5))
    slots = slots_of(made, NOW, 50)
    due = [made.due(slot) for slot in slots]
    assert due == [made.due(slot) for slot in slots]
    assert all(slot <= at < slot + HOUR for slot, at in zip(slots, due, strict=True))
    assert len({at - slot for slot, at in zip(slots, due, strict=True)}) == 50
    # others are spread otherwise
    other = Plan("other", BERLIN, NOW, every=HOUR, jitter=timedelta(hours=5))
    assert [other.due(slot) for slot in slots] != due
    # and at most by what was asked for
    made = plan(every=HOUR, jitter=timedelta(seconds=2))
    assert all(made.due(slot) < slot + timedelta(seconds=2) for slot in slots)


@pytest.mark.parametrize("seed", range(30))
def test_the_latest_slot_is_the_last_of_all(seed):
    chance = random.Random(seed)
    choices = [
        {"cron": chance.choice(["*/7 * * * *", "0 9 * * 1-5", "0 0 1 * *", "* 3 1-15 * *"])},
        {"every": timedelta(seconds=chance.randint(10, 90_000))},
    ]
    made = plan(**chance.choice(choices))
    after = NOW + timedelta(seconds=chance.randint(0, 9_000_000))
    until = after + timedelta(seconds=chance.randint(0, 200_000))
    every = slots_of(made, after, 100_000 if until < after else 4_000)
    expected = [slot for slot in every if slot <= until]
    assert made.latest(after, until) == (expected[-1] if expected else None)
    assert made.count(after, until) == min(1000, len([slot for slot in every if slot < until]))


def late(catch_up: str, hours: float, *, window: float = 24, **changes):
    """Decide about an hourly schedule whose first slot was so long ago."""
    made = plan(every=HOUR, **changes)
    first = NOW + HOUR
    return decide(made, first, first + hours * HOUR, catch_up, window * HOUR)


def hour(number: int) -> datetime:
    return NOW + number * HOUR


@pytest.mark.parametrize("catch_up", ["none", "latest", "all"])
def test_what_is_on_time_fires_whatever_becomes_of_missed_slots(catch_up):
    decision = late(catch_up, GRACE / HOUR)
    assert (decision.slots, decision.missed, decision.next) == ((hour(1),), 0, hour(2))


def test_missed_slots_do_not_fire_unless_asked_for():
    decision = late("none", 3.5)
    assert (decision.slots, decision.missed, decision.next) == ((), 4, hour(5))


def test_missed_slots_do_not_keep_one_on_time_from_firing():
    for catch_up in ("none", "latest"):
        decision = late(catch_up, 3)
        assert (decision.slots, decision.missed, decision.next) == ((hour(4),), 3, hour(5))


def test_the_latest_missed_slot_fires():
    decision = late("latest", 3.5)
    assert (decision.slots, decision.missed, decision.next) == ((hour(4),), 3, hour(5))


def test_one_moment_that_was_missed_fires_late():
    decision = decide(plan(at=NOW), NOW, NOW + 99 * HOUR, "latest", HOUR)
    assert (decision.slots, decision.missed, decision.next) == ((NOW,), 0, None)
    decision = decide(plan(at=NOW), NOW, NOW + 99 * HOUR, "none", HOUR)
    assert (decision.slots, decision.missed, decision.next) == ((), 1, None)


def test_all_missed_slots_within_the_window_fire_in_order():
    decision = late("all", 5.5, window=2.6)
    assert (decision.slots, decision.missed) == ((hour(4), hour(5), hour(6)), 3)
    assert decision.next == hour(7)


def test_many_missed_slots_fire_in_portions():
    decision = late("all", 100, window=1000)
    assert decision.slots == tuple(hour(n) for n in range(1, MOST_TOGETHER + 1))
    assert decision.next == hour(MOST_TOGETHER + 1)


@pytest.mark.parametrize("catch_up", ["none", "latest", "all"])
def test_a_slot_is_as_late_as_its_jitter_lets_it_be(catch_up):
    # Given a slot whose jitter is longer than the grace
    made = plan(every=HOUR, jitter=HOUR)
    slot = next(slot for slot in slots_of(made, NOW, 50) if made.due(slot) - slot > 5 * GRACE)
    # When it is due, and not before
    for until, slots in [(made.due(slot), (slot,)), (made.due(slot) - ONE, ())]:
        decision = decide(made, slot, until, catch_up, HOUR)
        # Then it fires, and nothing was missed
        assert (decision.slots, decision.missed) == (slots, 0)


def test_a_missed_slot_fires_while_the_one_behind_it_waits_for_its_jitter():
    made = plan(every=HOUR, jitter=HOUR)

    def fits(slot):
        is_missed = made.due(slot) < slot + HOUR + 3 * GRACE
        return is_missed and made.due(slot + HOUR) > slot + HOUR + 5 * GRACE

    slot = next(slot for slot in slots_of(made, NOW, 99) if fits(slot))
    decision = decide(made, slot, slot + HOUR + 4 * GRACE, "latest", HOUR)
    assert (decision.slots, decision.missed, decision.next) == ((slot,), 0, slot + HOUR)
