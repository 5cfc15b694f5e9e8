"""Budgets hold on every store, however many spend at one time and whoever dies."""

import asyncio

import pytest

from lightning.domain.budgets import BudgetExhausted, BudgetReserved, Budgets, Limits
from lightning.events import Draft
from lightning.log import EventLog
from tests.memory_queue import Clock
from tests.stores import catch_up

WHOLE = "*"


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def storage(open_store):
    store = open_store()
    yield store
    await store.close()


@pytest.fixture
async def task(storage):
    """Record the task that is the root of others."""
    draft = Draft("root", "worker.task", "test", {"agent": "echo"}, "now", {})
    [event] = await EventLog(storage).append("anna", [draft])
    return event


def child(task, id):
    """Make an event that follows from the task."""
    return {**task, "id": id, "cause": task["id"]}


@pytest.fixture
async def stores(open_store):
    """Open the store as three processes do."""
    opened = [open_store() for _ in range(3)]
    yield opened
    for store in opened:
        await store.close()


async def test_many_who_reserve_at_one_time_never_reserve_more_than_there_is(storage, stores, task):
    # Given a budget that is enough for ten calls, and three processes
    processes = [Budgets(store) for store in stores]
    await processes[0].open(task, Limits(tokens=1000))
    # When each begins ten calls at one time
    calls = [(process, f"{number}-{call}") for number, process in enumerate(processes) for call in range(10)]
    outcomes = await asyncio.gather(
        *(process.reserve(task, call, least=100, most=100, seconds=60) for process, call in calls),
        return_exceptions=True,
    )
    # Then ten have their tokens, and the others were told that these are reserved
    granted = [call for call, outcome in zip(calls, outcomes, strict=True) if outcome == 100]
    refused = [outcome for outcome in outcomes if isinstance(outcome, BudgetReserved)]
    assert (len(granted), len(refused)) == (10, 20)
    # And when each of them settles, the sum is what they cost
    await asyncio.gather(*(process.settle(task, call, 30) for process, call in granted))
    for store in stores:
        catch_up(storage, store)
    ledger = await Budgets(storage).find("anna", "root")
    assert (ledger.accounts[WHOLE].tokens, ledger.held(WHOLE)) == (300, 0)


async def test_what_is_left_is_granted_and_then_nothing(storage, task):
    # Given a budget of which little is left
    budgets = Budgets(storage)
    await budgets.open(task, Limits(tokens=100))
    assert await budgets.reserve(task, "first", least=10, most=90, seconds=60) == 90
    await budgets.settle(task, "first", 80)
    # When a call would take more, then it gets what there is
    assert await budgets.reserve(task, "second", least=5, most=90, seconds=60) == 20
    await budgets.settle(task, "second", 18)
    # And when there is less than it needs, it is told what to do
    with pytest.raises(BudgetExhausted, match=r"98 of 100 tokens are used.* larger budget"):
        await budgets.reserve(task, "third", least=5, most=90, seconds=60)


async def test_a_call_that_nobody_settles_is_counted_in_full(storage, task, clock):
    # Given a process that died within a call
    budgets = Budgets(storage, clock=clock)
    await budgets.open(task, Limits(tokens=100))
    await budgets.reserve(task, "dead", least=60, most=60, seconds=10)
    with pytest.raises(BudgetReserved):
        await budgets.reserve(task, "other", least=60, most=60, seconds=10)
    # When its time is over, then its tokens are spent
    clock.now += 11
    assert (await budgets.find("anna", "root")).accounts[WHOLE].tokens == 60
    with pytest.raises(BudgetExhausted):
        await budgets.reserve(task, "other", least=60, most=60, seconds=10)
    # And who settles after all changes nothing
    await budgets.settle(task, "dead", 5)
    assert (await budgets.find("anna", "root")).accounts[WHOLE].tokens == 60


async def test_all_that_follows_from_an_event_shares_its_budget(storage, task):
    # Given a task with a budget, and two that follow from it, one with less for itself
    budgets = Budgets(storage)
    await budgets.open(task, Limits(tokens=100))
    narrow, other = child(task, "narrow"), child(task, "other")
    await budgets.open(narrow, Limits(tokens=30))
    # When the narrow one asks for more, then it gets no more than its own
    assert await budgets.reserve(narrow, "a", least=1, most=90, seconds=60) == 30
    await budgets.settle(narrow, "a", 30)
    with pytest.raises(BudgetExhausted, match="of this task alone is spent: 30 of 30"):
        await budgets.reserve(narrow, "b", least=1, most=1, seconds=60)
    # And what it spent is missing to the other
    assert await budgets.reserve(other, "c", least=1, most=1000, seconds=60) == 70


async def test_what_follows_from_an_event_shares_what_that_was_given_alone(storage, task):
    # Given a root with much, a group below it with less, and what follows from that, at two distances
    budgets = Budgets(storage)
    await budgets.open(task, Limits(tokens=1000, container_seconds=1000))
    group = child(task, "group")
    await budgets.open(group, Limits(tokens=100, container_seconds=10))
    first, second = child(group, "first"), child(group, "second")
    for each in (first, second):
        await budgets.open(each)
    part = child(first, "part")
    await budgets.open(part, Limits(tokens=90))
    # When one of them spends, then it is missing to the others
    assert await budgets.reserve(part, "a", least=1, most=1000, seconds=60) == 90
    await budgets.settle(part, "a", 90)
    assert await budgets.reserve(second, "b", least=1, most=1000, seconds=60) == 10
    await budgets.settle(second, "b", 10)
    with pytest.raises(BudgetExhausted, match="of what this task is a part of is spent: 100 of 100"):
        await budgets.reserve(first, "c", least=1, most=1, seconds=60)
    await budgets.ran(first, "one", 6.0)
    ledger = await budgets.ran(part, "two", 5.0)
    with pytest.raises(BudgetExhausted, match="containers ran 11 of 10"):
        ledger.check_time("second", 0)
    # And what is beside the group has the rest
    assert await budgets.reserve(child(task, "beside"), "d", least=1, most=1000, seconds=60) == 900


async def test_a_child_cannot_widen_what_it_inherits(storage, task):
    budgets = Budgets(storage)
    await budgets.open(task, Limits(tokens=100))
    greedy = child(task, "greedy")
    await budgets.open(greedy, Limits(tokens=1000))
    assert await budgets.reserve(greedy, "a", least=1, most=1000, seconds=60) == 100


async def test_the_first_that_brings_a_budget_brings_that_of_the_whole(storage, task):
    # Given a root without a budget, of which something was spent
    budgets = Budgets(storage)
    assert await budgets.open(task) is None
    await budgets.reserve(task, "a", least=1, most=50, seconds=60)
    await budgets.settle(task, "a", 50)
    # When a child brings one, then it holds for all, with what was spent before
    await budgets.open(child(task, "first"), Limits(tokens=100))
    assert await budgets.reserve(task, "b", least=1, most=1000, seconds=60) == 50
    # And when the child comes again, nothing changes
    ledger = await budgets.open(child(task, "first"), Limits(tokens=100))
    assert list(ledger.accounts) == [WHOLE]


async def test_no_budget_exceeds_what_the_operator_allows(storage, task):
    budgets = Budgets(storage, Limits(tokens=100, container_seconds=5))
    await budgets.open(task, Limits(tokens=1000))
    assert await budgets.reserve(task, "a", least=1, most=1000, seconds=60) == 100
    ledger = await budgets.ran(task, "start", 5.0)
    with pytest.raises(BudgetExhausted, match="containers ran 5 of 5 seconds"):
        ledger.check_time("root", 0)


async def test_seconds_of_containers_add_up_and_each_counts_once(storage, task, clock):
    # Given two containers of one root
    budgets = Budgets(storage, clock=clock)
    await budgets.open(task, Limits(container_seconds=10))
    second = child(task, "second")
    # When each is looked at again and again
    for seconds in (1.0, 3.0, 3.0, 2.0):
        ledger = await budgets.ran(task, "one", seconds)
    ledger.check_time("root", clock.now)
    assert ledger.seconds_left("second", clock.now) == 7
    ledger = await budgets.ran(second, "two", 7.0)
    # Then both are at their end
    assert ledger.container_seconds(WHOLE) == 10
    for event in ("root", "second"):
        with pytest.raises(BudgetExhausted, match="containers ran 10 of 10 seconds"):
            ledger.check_time(event, clock.now)


async def test_wall_time_begins_with_the_event_that_brings_it(storage, task):
    # Given a budget of wall time
    clock = Clock()
    budgets = Budgets(storage, clock=clock)
    ledger = await budgets.open(task, Limits(wall_seconds=60))
    began = ledger.accounts[WHOLE].since
    ledger.check_time("root", began + 59)
    assert ledger.seconds_left("root", began + 59) == 1
    # When it is over, then nothing more is done
    with pytest.raises(BudgetExhausted, match="60 seconds of wall time are over"):
        ledger.check_time("root", began + 60)
    clock.now = began + 61
    with pytest.raises(BudgetExhausted):
        await budgets.reserve(task, "a", least=1, most=1, seconds=60)


async def test_wall_time_that_a_later_event_brings_begins_with_it(storage, task):
    # Given a root that was recorded long before, of which something was spent
    budgets = Budgets(storage)
    old = {**task, "recordedAt": "2026-01-01T00:00:00.000Z"}
    await budgets.reserve(old, "a", least=1, most=1, seconds=60)
    # When what follows from it brings a budget, then its time begins with that
    later = {**child(task, "later"), "recordedAt": "2026-01-01T02:00:00.000Z"}
    ledger = await budgets.open(later, Limits(wall_seconds=60))
    began = ledger.accounts[WHOLE].since
    assert ledger.seconds_left("later", began) == 60
    assert began - 7200 == 1767225600
