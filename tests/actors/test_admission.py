"""Admission: what finds no place waits without a claim, and is neither lost nor late."""

import asyncio
from dataclasses import replace

import pytest

from actors.admission import Admission
from actors.outcome import Done
from actors.places import Places
from actors.step import Step
from actors.waiting import LOOK_SECONDS
from lightning.events import Draft
from lightning.log import Claimed, Dispatch, EventLog, wakeup
from lightning.storage import SqliteStorage
from tests.actors.test_places import event_of
from tests.actors.test_step import BlinkingStorage, Fake, output
from tests.memory_queue import Clock, MemoryQueue

SWEEP_SECONDS = 30.0


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def storage(tmp_path):
    store = SqliteStorage(tmp_path / "log.db")
    yield BlinkingStorage(store)
    await store.close()


@pytest.fixture
def log(storage, clock):
    return EventLog(storage, sweep_seconds=SWEEP_SECONDS, clock=clock)


@pytest.fixture
def queue():
    return MemoryQueue()


@pytest.fixture
def places(clock):
    return Places(1, 1, clock=clock)


@pytest.fixture
def actor():
    return Fake(Done())


@pytest.fixture
async def admission(log, queue, places, actor):
    dispatch = Dispatch(log, queue)
    step = Step(log, dispatch, {"messenger": actor, "chat": actor}, owner="me")
    admission = Admission(step, log, dispatch, {"messenger": places})
    yield admission
    await admission.close()


async def said(log, id, type="user.message", user="anna"):
    [event] = await log.append(user, [Draft(id, type, "test", {"content": id}, "now", {})])
    return wakeup(event)


async def test_who_finds_no_place_waits_without_a_claim_and_without_an_attempt(
    admission, log, queue, places, actor, clock
):
    # Given no place
    await places.enter(event_of("bert", "b"))
    message = await said(log, "a")
    # When an event is looked at
    await admission.run(message)
    # Then nobody has it, nothing was tried, and it is looked at again by a message of a new wake
    event = await log.get("anna", "a")
    assert (event["state"], event["attempts"], event["claims"], event["claim"]) == ("accepted", 0, 0, None)
    [later] = queue.take()
    assert (later.event_id, later.wake, message.wake) == ("a", 1, 0)
    assert later.delay_seconds > LOOK_SECONDS
    # And the sweep leaves it alone until that message is overdue
    clock.now += later.delay_seconds + SWEEP_SECONDS - 1
    assert (await log.overdue.overlooked(10)).items == []
    clock.now += 1
    assert [each.body["id"] for each in (await log.overdue.overlooked(10)).items] == ["a"]
    # And the message that it answered is void
    places.leave("bert", 60.0)
    await admission.run(message)
    assert actor.handled == []
    await admission.run(later)
    assert (await log.get("anna", "a"))["state"] == "done"


async def test_it_is_called_as_soon_as_there_is_a_place(log, queue, clock, places):
    # Given an event that holds the only place, and others that wait
    begun, gate = asyncio.Event(), asyncio.Event()

    async def hold(event):
        begun.set()
        await gate.wait()
        return Done()

    dispatch = Dispatch(log, queue)
    actors = {"messenger": Fake(hold, Done())}
    admission = Admission(Step(log, dispatch, actors, owner="me"), log, dispatch, {"messenger": places})
    working = asyncio.create_task(admission.run(await said(log, "first", user="bert")))
    async with asyncio.timeout(10):
        await begun.wait()
    for name in ("a", "b"):
        await admission.run(await said(log, name))
    fallback = queue.take()
    assert [message.event_id for message in fallback] == ["a", "b"]
    # When it ends
    gate.set()
    await working
    # Then the one that has waited longest is called, and when that one ends the next
    for expected in ("a", "b"):
        [call] = queue.take()
        assert (call.event_id, call.delay_seconds) == (expected, 0.0)
        await admission.run(call)
        assert (await log.get("anna", expected))["state"] == "done"
    # And their late messages change nothing
    for message in fallback:
        await admission.run(message)
    assert len(actors["messenger"].handled) == 3
    assert [(await log.get("anna", name))["attempts"] for name in ("a", "b")] == [1, 1]
    await admission.close()


async def test_a_place_that_became_free_meanwhile_is_not_missed(admission, log, queue, places, storage):
    await places.enter(event_of("bert", "b"))

    class Leaving(MemoryQueue):
        async def send(self, wakeups):
            await super().send(wakeups)
            if len(self.sent) == 1:
                places.leave("bert", 60.0)

    leaving = Leaving()
    admission._dispatch = Dispatch(log, leaving)
    await admission.run(await said(log, "a"))
    later, call = leaving.take()
    assert (later.event_id, call.event_id, call.delay_seconds) == ("a", "a", 0.0)


async def test_a_late_message_does_not_have_an_event_forgotten_that_waits(
    admission, log, queue, places, actor, clock
):
    # Given an event that was put aside twice, so that its message of the first time comes late
    await places.enter(event_of("bert", "b"))
    await admission.run(await said(log, "a"))
    [first] = queue.take()
    await admission.run(first)
    [second] = queue.take()
    assert (first.wake, second.wake) == (1, 2)
    # When that message comes where there is a place
    places.leave("bert", None)
    await admission.run(first)
    # Then nothing is done for it, and the event is called to the next place
    assert actor.handled == []
    await places.enter(event_of("bert", "b"))
    places.leave("bert", None)
    await admission._call(places)
    [call] = queue.take()
    assert (call.event_id, call.wake, call.delay_seconds) == ("a", 2, 0.0)
    await admission.run(call)
    assert (await log.get("anna", "a"))["state"] == "done"


class TestOffers:
    @pytest.fixture
    def places(self):
        return Places(1, 1)  # on the real clock

    async def called(self, queue) -> list[tuple[str, float]]:
        """Wait for the next call."""
        sent = asyncio.Event()

        async def at_send():
            sent.set()

        queue.at_send = at_send
        async with asyncio.timeout(10):
            await sent.wait()
        return [(message.event_id, message.delay_seconds) for message in queue.take()]

    async def test_a_place_that_nobody_took_is_offered_on(self, admission, log, queue, places):
        # Given somebody who holds the only place, and two who wait for it
        await places.enter(event_of("carl", "c"))
        for user in ("anna", "bert"):
            await admission.run(await said(log, f"of {user}", user=user))
        assert [message.delay_seconds > 0 for message in queue.take()] == [True, True]
        # When it is given back, and who is called to it does not come
        places.leave("carl", 60.0)
        await admission._call(places)
        assert [message.event_id for message in queue.take()] == ["of anna"]
        [offering] = admission._offering.values()
        # Then the next is called
        assert await self.called(queue) == [("of bert", 0.0)]
        # And the offers end with those who wait
        async with asyncio.timeout(10):
            await offering
        assert admission._offering == {}
        assert not places.keeps_some()

    async def test_nothing_is_offered_after_the_end(self, admission, log, queue, places):
        # Given two who wait, of whom one was called
        await places.enter(event_of("carl", "c"))
        for user in ("anna", "bert"):
            await admission.run(await said(log, f"of {user}", user=user))
        places.leave("carl", 60.0)
        await admission._call(places)
        [offering] = admission._offering.values()
        # When the process ends
        await admission.close()
        # Then nothing runs on, and nothing begins any more
        assert offering.done()
        assert [message.event_id for message in queue.take() if not message.delay_seconds] == ["of anna"]
        await admission._call(places)
        assert admission._offering == {}


async def test_an_event_that_is_over_is_not_put_aside(admission, log, queue, places):
    # Given an event that ended, whose worker died before it sent what follows
    message = await said(log, "a")
    claim = await log.claim("anna", "a", 0, "dead", 30)
    assert isinstance(claim, Claimed)
    [follows] = await log.end(
        claim, "done", outputs=[Draft("o", "user.message", "test", {"content": "o"}, "now", {})]
    )
    # When its message comes again and there is no place
    await places.enter(event_of("bert", "b"))
    await admission.run(message)
    # Then what follows is sent now
    [sent] = queue.take()
    assert (sent.event_id, sent.delay_seconds) == (follows["id"], 0.0)


async def test_a_store_that_does_not_answer_loses_nothing(admission, log, queue, places, storage):
    await places.enter(event_of("bert", "b"))
    message = await said(log, "a")
    storage.refusals = 1
    await admission.run(message)
    [again] = queue.take()
    assert replace(again, delay_seconds=0.0) == message
    assert again.delay_seconds > LOOK_SECONDS
    # nor does a fault of ours, for the sweep knows of the event
    storage.refusals, storage.refusal = 1, ZeroDivisionError()
    await admission.run(message)
    assert queue.take() == []
    assert (await log.get("anna", "a"))["sweepAt"] is not None


async def test_other_actors_need_no_place(admission, log, places, actor):
    await places.enter(event_of("bert", "b"))
    await admission.run(await said(log, "a", "llm.chat"))
    assert (await log.get("anna", "a"))["state"] == "done"


async def test_messages_of_what_is_over_do_not_make_work_seem_quick(admission, log, queue, places):
    # Given an event that is over, and is looked at again and again
    over = await said(log, "over")
    await log.end(await log.claim("anna", "over", 0, "another", 30), "done")
    for _ in range(20):
        await admission.run(over)
    # When somebody else is called to the only place
    await places.enter(event_of("bert", "b"))
    await admission.run(await said(log, "a"))
    places.leave("bert", None)
    assert [message.event_id for message in places.call()] == ["a"]
    # Then it is kept for them
    assert not await places.enter(event_of("carl", "c"))


async def test_a_failure_gives_the_place_back(log, queue, places, admission, actor):
    actor.answers = [ZeroDivisionError("no"), Done([output("one")])]
    await admission.run(await said(log, "a"))
    await admission.run(await said(log, "b"))
    assert (await log.get("anna", "b"))["state"] == "done"
