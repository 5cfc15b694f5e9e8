"""The step: each delivery is one decision, whatever fails around it."""

import asyncio
import time
from dataclasses import replace
from pathlib import Path

import pytest

from actors.outcome import Again, Done, Output
from actors.step import Step
from lightning.errors import Permanent, Transient
from lightning.events import Draft
from lightning.ids import derived_id
from lightning.log import Claimed, Dispatch, EventLog, Later, wakeup
from lightning.queue import Wakeup
from lightning.storage import Create, Replace, Upsert
from tests.memory_queue import Clock, MemoryQueue
from tests.stores import storage_of

POINTS = ["step:claimed", "step:handled", "step:committed", "step:sent"]


class Killed(BaseException):
    """Stands for the death of the process, which nothing catches."""


class BlinkingStorage:
    """A store that refuses some of its writes, before or after it made them, and remembers the rest."""

    def __init__(self, storage):
        self._storage = storage
        self.refusals = 0
        self.refusal: Exception = Transient("the store blinks", code="store_unavailable")
        self.losing_answers = False
        self.stalled: asyncio.Event | None = None  # batches that begin meanwhile wait for it
        self.waiting = asyncio.Event()
        self.batches: list[set[str]] = []

    def __getattr__(self, name):
        return getattr(self._storage, name)

    async def batch(self, container, partition, operations):
        if self.stalled is not None:
            self.waiting.set()
            await self.stalled.wait()
        return await self._write(self._storage.batch(container, partition, operations), operations)

    async def batch_on(self, container, partition, pivot, build):
        made = []

        def watched(stored):
            made[:] = build(stored)
            return made

        return await self._write(self._storage.batch_on(container, partition, pivot, watched), made)

    async def _write(self, writing, operations):
        refused = self.refusals > 0
        self.refusals -= refused
        if refused and not self.losing_answers:
            writing.close()
            raise self.refusal
        etags = await writing
        self.batches.append({operation.body["id"] for operation in operations})
        if refused:
            raise Transient("the answer was lost", code="store_unavailable")
        return etags


class Fake:
    """An actor that answers as it is told; the last answer holds for all further calls."""

    retries = None

    def __init__(self, *answers, on_dead=()):
        self.answers = list(answers)
        self.handled = []
        self.mourned = []
        self.released = []
        self._on_dead = on_dead

    async def handle(self, event, metadata):
        self.handled.append((event, metadata))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if callable(answer):
            answer = await answer(event)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def on_dead(self, event, error):
        self.mourned.append((event["id"], error.code))
        return self._on_dead() if callable(self._on_dead) else self._on_dead

    async def release(self, event):
        self.released.append((event["id"], event["state"]))


def output(name: str, content: str = "") -> Output:
    return Output(name, "user.message", {"content": content or name}, "test")


def raising(error: Exception):
    async def answer(event):
        raise error

    return answer


async def until(condition, seconds: float = 10.0) -> None:
    """Wait until an asynchronous condition holds."""
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 -- it is the store that changes
            await asyncio.sleep(0.01)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def storage(tmp_path: Path):
    store = storage_of(tmp_path)
    yield BlinkingStorage(store)
    await store.close()


@pytest.fixture
def log(storage, clock):
    return EventLog(storage, sweep_seconds=30, clock=clock)


@pytest.fixture
def queue():
    return MemoryQueue()


@pytest.fixture
def step_of(log, queue):
    """Make a step around an actor."""

    def make(actor, **options):
        return Step(log, Dispatch(log, queue), {"messenger": actor}, **{"owner": "me", **options})

    return make


@pytest.fixture
async def message(log) -> Wakeup:
    """The message of an accepted event ``a``."""
    [event] = await log.append("anna", [Draft("a", "user.message", "test", {"content": "a"}, "now", {})])
    return wakeup(event)


async def read(log, id="a"):
    return await log.get("anna", id)


async def fail_until(step, queue, clock, message, state, log) -> list[Wakeup]:
    """Deliver every message when it is due, until the event is in a state."""
    sent = []
    while (await read(log))["state"] != state:
        await step.run(message)
        sent += (taken := queue.take())
        message = taken[-1] if taken else message
        clock.now += message.delay_seconds
    return sent


class TestDone:
    async def test_the_end_and_its_outputs_are_one_batch(self, storage, log, queue, step_of, message):
        # Given an actor with two outputs
        actor = Fake(Done([output("one"), output("two")]))
        # When its event is delivered
        await step_of(actor).run(message)
        # Then one batch claims it, and one ends it with the outputs
        one, two = derived_id("a", "one"), derived_id("a", "two")
        assert storage.batches[-2:] == [{"a"}, {"a", "head", one, two}]
        event = await read(log)
        assert (event["state"], event["outputs"], event["attempts"]) == ("done", [one, two], 1)
        follow = await read(log, two)
        assert (follow["seq"], follow["cause"], follow["root"]) == (3, "a", "a")
        assert (follow["state"], follow["metadata"]) == ("accepted", {"content": "two"})
        assert [(each.event_id, each.wake, each.delay_seconds) for each in queue.sent] == [
            (one, 0, 0.0),
            (two, 0, 0.0),
        ]

    async def test_the_handler_gets_typed_metadata_and_the_claimed_event(self, step_of, message):
        actor = Fake(Done())
        await step_of(actor).run(message)
        [(event, metadata)] = actor.handled
        assert metadata.content == "a"
        assert (event["claim"]["owner"], event["attempts"]) == ("me", 1)

    async def test_it_is_committed_before_it_is_sent(self, log, queue, step_of, message):
        # Given a queue at which the log can be looked at
        states = []

        async def look():
            states.append(((await read(log))["state"], await read(log, derived_id("a", "one")) is not None))

        queue.at_send = look
        # When the event is delivered
        await step_of(Fake(Done([output("one")]))).run(message)
        # Then the output was recorded when its message was sent
        assert states == [("done", True)]

    async def test_writes_of_the_actor_belong_to_the_batch(self, storage, step_of, message):
        note = Upsert({"id": "note", "userID": "anna", "kind": "note"})
        await step_of(Fake(Done(writes=[note]))).run(message)
        assert storage.batches[-1] == {"a", "head", "note"}

    async def test_the_points_are_passed_in_order(self, queue, step_of, message):
        passed = []
        await step_of(Fake(Done([output("one")])), crash=passed.append).run(message)
        assert passed == POINTS

    async def test_the_ids_of_outputs_do_not_depend_on_the_run(self, log, clock, step_of, message):
        # Given a run that died after the handler, which said something
        def die(point):
            if point == "step:handled":
                raise Killed

        with pytest.raises(Killed):
            await step_of(Fake(Done([output("one", "first")])), crash=die).run(message)
        # When its claim has run out and another says something else
        clock.now += 31
        await step_of(Fake(Done([output("one", "second")])), owner="other").run(message)
        # Then there is one output, under the id that follows from cause and name
        assert [event["id"] for event in await log.events("anna")] == ["a", derived_id("a", "one")]
        assert (await read(log, derived_id("a", "one")))["metadata"] == {"content": "second"}


@pytest.mark.parametrize("point", POINTS)
async def test_a_crash_anywhere_is_repaired_by_delivery(log, clock, queue, step_of, message, point):
    # Given a process that dies at a point
    def die(reached):
        if reached == point:
            raise Killed

    with pytest.raises(Killed):
        await step_of(Fake(Done([output("one")])), crash=die).run(message)
    # When the message comes again after the claim
    clock.now += 31
    await step_of(Fake(Done([output("one")])), owner="other").run(message)
    # Then the event is done, with one output that was announced
    assert [event["state"] for event in await log.events("anna")] == ["done", "accepted"]
    assert {sent.event_id for sent in queue.sent} == {derived_id("a", "one")}


class TestAgain:
    async def test_it_begins_a_new_wake_with_all_attempts(self, log, clock, queue, step_of, message):
        # Given an event that failed once
        actor = Fake(Transient("not now", retry_after=3), Again(40))
        step = step_of(actor)
        await step.run(message)
        [retry] = queue.take()
        clock.now += 3
        # When its actor wants to look again later
        await step.run(retry)
        # Then the failure is forgotten, and the message waits as long as the event
        event = await read(log)
        assert (event["state"], event["wake"], event["attempts"]) == ("accepted", 2, 0)
        assert (event["dueAt"], event["claim"], event["error"]) == (clock.now + 40, None, None)
        [later] = queue.sent
        assert (later.event_id, later.wake, later.delay_seconds, later.actor) == ("a", 2, 40, "messenger")

    async def test_it_may_be_said_more_often_than_there_are_attempts(
        self, log, clock, queue, step_of, message
    ):
        actor = Fake(*[Again(1)] * 9, Done())
        await fail_until(step_of(actor, max_attempts=2), queue, clock, message, "done", log)
        assert len(actor.handled) == 10

    @pytest.mark.parametrize("point", [None, *POINTS])
    async def test_what_follows_already_is_recorded_once(
        self, storage, log, clock, queue, step_of, message, point
    ):
        # Given an actor that has an output, and another one at its next look, and a worker that may die
        async def answer(event):
            return Done([output("two")]) if event["outputs"] else Again(0, outputs=[output("one")])

        def crash(reached):
            if reached == point:
                raise Killed

        if point is not None:
            with pytest.raises(Killed):
                await step_of(Fake(answer), crash=crash).run(message)
            clock.now += 31
        # When it is looked at to its end
        for _ in range(3):
            await step_of(Fake(answer)).run(wakeup(await read(log)))
        # Then both outputs are there once, listed in their order, each written with its look
        outputs = [derived_id("a", name) for name in ("one", "two")]
        event = await read(log)
        assert (event["state"], event["outputs"]) == ("done", outputs)
        assert [each["id"] for each in await log.events("anna")] == ["a", *outputs]
        assert [{"a", each} <= batch for each in outputs for batch in storage.batches if each in batch] == [
            True,
            True,
        ]
        assert {*outputs} <= {each.event_id for each in queue.sent} or point == "step:committed"

    async def test_what_follows_already_is_as_bounded_as_an_end(self, log, step_of, message):
        await step_of(Fake(Again(5, outputs=[output(f"o{n}") for n in range(91)]))).run(message)
        event = await read(log)
        assert (event["state"], event["error"]["code"]) == ("dead", "output_too_large")
        assert len(await log.events("anna")) == 1


class TestTransient:
    async def test_the_wait_that_was_asked_for_is_kept(self, log, clock, queue, step_of, message):
        await step_of(Fake(Transient("slow down", retry_after=7, code="model_busy"))).run(message)
        event = await read(log)
        assert (event["state"], event["wake"], event["attempts"]) == ("accepted", 1, 1)
        assert event["error"] == {"code": "model_busy", "message": "slow down"}
        assert (event["dueAt"], event["claim"], event["outputs"]) == (clock.now + 7, None, [])
        assert [(sent.wake, sent.delay_seconds) for sent in queue.sent] == [(1, 7)]

    async def test_the_wait_doubles_up_to_a_minute(self, log, clock, queue, step_of, message):
        step = step_of(Fake(Transient("no")), max_attempts=6, backoff_seconds=10)
        sent = await fail_until(step, queue, clock, message, "dead", log)
        waits = [each.delay_seconds for each in sent]
        for wait, full in zip(waits, [10, 20, 40, 60, 60], strict=True):
            assert full / 2 <= wait <= full
        assert [each.wake for each in sent] == [1, 2, 3, 4, 5]

    async def test_success_after_failures_leaves_no_error(self, log, clock, queue, step_of, message):
        actor = Fake(Transient("no"), Transient("no"), Done())
        await fail_until(step_of(actor), queue, clock, message, "done", log)
        assert [event["attempts"] for event, _ in actor.handled] == [1, 2, 3]
        assert (await read(log))["error"] is None

    async def test_the_last_attempt_is_the_end(self, log, clock, queue, step_of, message):
        # Given an actor that says what follows from giving up
        actor = Fake(Transient("no", code="model_busy"), on_dead=[output("failure")])
        # When it fails as often as it may
        sent = await fail_until(step_of(actor, max_attempts=3), queue, clock, message, "dead", log)
        # Then the event is dead with the last reason, and what follows is recorded and sent
        event = await read(log)
        assert len(actor.handled) == event["attempts"] == 3
        assert event["error"] == {"code": "model_busy", "message": "no"}
        assert event["outputs"] == [derived_id("a", "failure")]
        assert sent[-1].event_id == derived_id("a", "failure")
        assert actor.mourned == [("a", "model_busy")]
        assert (await log.head("anna"))["counts"] == {"accepted": 1, "dead": 1}

    async def test_any_other_exception_counts_as_one(self, log, clock, queue, step_of, message):
        actor = Fake(raising(ValueError("the password is hunter2")), on_dead=[output("failure")])
        step = step_of(actor, max_attempts=2)
        # When an actor fails in a way that nobody thought of
        await step.run(message)
        # Then it is tried again, and nothing of the exception is shown but its name
        event = await read(log)
        assert (event["state"], event["wake"]) == ("accepted", 1)
        assert event["error"] == {"code": "unexpected_error", "message": "ValueError in the handler"}
        # And in the end it is dead
        [retry] = queue.take()
        clock.now += retry.delay_seconds
        await step.run(retry)
        assert (await read(log))["state"] == "dead"
        assert actor.mourned == [("a", "unexpected_error")]


class TestDead:
    async def test_a_permanent_error_needs_no_second_attempt(self, log, queue, step_of, message):
        actor = Fake(Permanent("never", code="model_refused"), on_dead=[output("failure")])
        await step_of(actor).run(message)
        event = await read(log)
        assert (event["state"], event["attempts"]) == ("dead", 1)
        assert event["error"] == {"code": "model_refused", "message": "never"}
        assert [sent.event_id for sent in queue.sent] == [derived_id("a", "failure")]
        assert (await read(log, derived_id("a", "failure")))["cause"] == "a"

    async def test_attempts_that_crashed_are_spent(self, log, clock, queue, step_of, message):
        # Given an event whose workers died, as often as there are attempts
        for _ in range(3):
            assert isinstance(await log.claim("anna", "a", 0, "died", 10), Claimed)
            clock.now += 10.5
        # When it is delivered once more
        actor = Fake(Done(), on_dead=[output("failure")])
        await step_of(actor, max_attempts=3).run(message)
        # Then it is not tried any more: it may be what kills the workers
        assert actor.handled == []
        event = await read(log)
        assert (event["state"], event["error"]["code"]) == ("dead", "attempts_exhausted")
        assert [sent.event_id for sent in queue.sent] == [derived_id("a", "failure")]

    async def test_what_is_written_with_the_death_is_asked_for_anew_when_it_has_changed(
        self, storage, log, queue, step_of, message
    ):
        # Given an actor whose last words go by a document that somebody changes meanwhile
        note = {"id": "note", "userID": "anna", "kind": "note", "state": "done", "seq": 0}
        [stale] = await storage.batch("events", "anna", [Create({**note, "said": "first"})])
        [fresh] = await storage.batch("events", "anna", [Replace({**note, "said": "second"}, stale)])
        etags = [stale, fresh]

        def last_words():
            return Done([output("failure")], [Replace({**note, "said": "last"}, etags.pop(0))])

        actor = Fake(Permanent("never", code="model_refused"), on_dead=last_words)
        # When the event dies
        await step_of(actor).run(message)
        # Then it is asked again, and what it says is written in one batch with the death
        assert etags == []
        assert (await read(log))["state"] == "dead"
        assert (await storage.get("events", "anna", "note")).body["said"] == "last"
        assert {"a", "note", derived_id("a", "failure")} <= storage.batches[-1]
        assert [sent.event_id for sent in queue.sent] == [derived_id("a", "failure")]

    async def test_the_last_of_crashed_attempts_is_still_tried(self, log, clock, step_of, message):
        for _ in range(2):
            await log.claim("anna", "a", 0, "died", 10)
            clock.now += 10.5
        await step_of(Fake(Done()), max_attempts=3).run(message)
        assert (await read(log))["state"] == "done"

    @pytest.mark.parametrize(
        "outcome",
        [
            Done([output(f"{n}") for n in range(91)]),
            Done(
                [output(f"{n}") for n in range(45)],
                [Upsert({"id": f"w{n}", "userID": "anna", "kind": "note"}) for n in range(46)],
            ),
            Done([output("big", "x" * (1024 * 1024))]),
            Done([output("a", "x" * 600_000), output("b", "x" * 600_000)]),
            Done(writes=[Upsert({"id": "w", "userID": "anna", "kind": "note", "x": "x" * 1024 * 1024})]),
        ],
        ids=["91 outputs", "91 documents", "one of 1 MiB", "two over 1 MiB", "a write of 1 MiB"],
    )
    async def test_an_outcome_over_the_limits(self, log, queue, step_of, message, outcome):
        await step_of(Fake(outcome)).run(message)
        event = await read(log)
        assert (event["state"], event["error"]["code"]) == ("dead", "output_too_large")
        assert len(await log.events("anna")) == 1
        assert queue.sent == []

    async def test_an_outcome_at_the_limit_is_none_of_these(self, log, queue, step_of, message):
        await step_of(Fake(Done([output(f"{n}", "x" * 11_000) for n in range(90)]))).run(message)
        assert (await read(log))["state"] == "done"
        assert len(queue.sent) == 90


class TestDelivery:
    async def test_an_ended_event_announces_the_outputs_that_wait(self, log, clock, queue, step_of, message):
        # Given a done event: one output is done, one was put off, one was never looked at
        actor = Fake(Done([output("over"), output("put off"), output("fresh")]))
        step = step_of(actor)
        await step.run(message)
        over, put_off, fresh = queue.take()
        await log.end(await log.claim("anna", over.event_id, 0, "other", 10), "done")
        await log.postpone(await log.claim("anna", put_off.event_id, 0, "other", 10), 50, attempts=0)
        before = await log.events("anna"), await log.head("anna")
        # When its message comes again
        await step.run(message)
        # Then the messages of those that wait are sent again as they stand, and nothing else happens
        sent = {each.event_id: each for each in queue.sent}
        assert set(sent) == {put_off.event_id, fresh.event_id}
        assert sent[put_off.event_id].wake == 1
        assert sent[put_off.event_id].delay_seconds == pytest.approx(50, abs=10)
        assert (sent[fresh.event_id].wake, sent[fresh.event_id].delay_seconds) == (0, 0.0)
        assert len(actor.handled) == 1
        assert (await log.events("anna"), await log.head("anna")) == before

    async def test_a_message_of_an_older_wake_does_nothing(self, log, clock, queue, step_of, message):
        # Given an event that was put off, and is due again
        actor = Fake(Again(5))
        await step_of(actor).run(message)
        queue.take()
        clock.now += 6
        before = await read(log)
        # When the first message comes again
        await step_of(actor).run(message)
        # Then it starts no second chain
        assert (len(actor.handled), queue.sent, await read(log)) == (1, [], before)

    async def test_an_event_that_another_holds_is_looked_at_when_the_claim_ends(
        self, log, queue, step_of, message
    ):
        await log.claim("anna", "a", 0, "other", 20)
        before, actor = await read(log), Fake(Done())
        await step_of(actor).run(message)
        [again] = queue.sent
        assert replace(again, delay_seconds=0.0, session=None) == message
        assert again.delay_seconds == pytest.approx(20, abs=10)
        assert (actor.handled, await read(log)) == ([], before)

    async def test_a_message_that_comes_early_is_sent_again(self, clock, queue, step_of, message):
        actor = Fake(Again(30))
        await step_of(actor).run(message)
        [early] = queue.take()
        await step_of(actor).run(early)
        [again] = queue.sent
        assert (len(actor.handled), again.wake) == (1, 1)
        assert again.delay_seconds == pytest.approx(30, abs=10)

    async def test_an_unknown_event_may_still_show_up(self, queue, step_of, message):
        unknown = replace(message, event_id="nobody", sent_at=time.time() - 30)
        await step_of(Fake(Done())).run(unknown)
        [again] = queue.sent
        assert replace(again, delay_seconds=0.0, session=None) == unknown
        assert 0 < again.delay_seconds <= 5

    async def test_an_unknown_event_is_dropped_after_a_minute(self, queue, step_of, message):
        unknown = replace(message, event_id="nobody", sent_at=time.time() - 61)
        await step_of(Fake(Done())).run(unknown)
        assert queue.sent == []

    async def test_an_outcome_that_comes_second_is_dropped(self, log, clock, queue, step_of, message):
        # Given a handler that takes so long that its claim runs out and another ends the event
        async def slow(event):
            clock.now += 31
            other = await log.claim("anna", "a", 0, "other", 10)
            await log.end(other, "done")
            return Done([output("late")])

        # When it answers
        await step_of(Fake(slow)).run(message)
        # Then nothing of it is recorded or sent
        event = await read(log)
        assert (event["state"], event["outputs"], event["attempts"]) == ("done", [], 2)
        assert await read(log, derived_id("a", "late")) is None
        assert queue.sent == []

    @pytest.mark.parametrize("late", [Again(5), Transient("no"), Permanent("no")])
    async def test_so_is_every_other_outcome(self, log, clock, queue, step_of, message, late):
        async def slow(event):
            clock.now += 31
            await log.claim("anna", "a", 0, "other", 10)
            return late

        await step_of(Fake(slow, on_dead=[output("failure")])).run(message)
        event = await read(log)
        assert (event["state"], event["wake"], event["claim"]["owner"]) == ("accepted", 0, "other")
        assert (len(await log.events("anna")), queue.sent) == (1, [])


class TestClaim:
    async def test_it_is_renewed_while_the_handler_runs(self, log, clock, queue, step_of, message):
        # Given a handler that runs for longer than a claim
        finish = asyncio.Event()

        async def wait(event):
            await finish.wait()
            return Done([output("one")])

        running = asyncio.create_task(step_of(Fake(wait), claim_seconds=0.3).run(message))

        async def held_from_now():
            event = await read(log)
            return event["claim"] is not None and event["claim"]["until"] == clock.now + 0.3

        await until(held_from_now)
        # When time passes, in sum more than a claim
        for _ in range(3):
            clock.now += 0.25
            await until(held_from_now)
        # Then nobody else gets it, it was one attempt, and its outcome counts
        assert isinstance(await log.claim("anna", "a", 0, "other", 10), Later)
        finish.set()
        await running
        event = await read(log)
        assert (event["state"], event["attempts"]) == ("done", 1)
        assert len(queue.sent) == 1

    async def test_a_renewal_that_fails_is_tried_again(self, storage, log, clock, step_of, message):
        # Given a handler that runs while the store is away
        finish = asyncio.Event()

        async def wait(event):
            storage.refusals = 2
            await finish.wait()
            return Done()

        running = asyncio.create_task(step_of(Fake(wait), claim_seconds=0.3).run(message))

        async def refused():
            return (await read(log))["claim"] is not None and storage.refusals == 0

        async def held_from_now():
            return (await read(log))["claim"]["until"] == clock.now + 0.3

        # When the store comes back
        await until(refused)
        clock.now += 0.25
        await until(held_from_now)
        # Then the event is still held, and ends as it should
        finish.set()
        await running
        assert (await read(log))["state"] == "done"

    async def test_nothing_holds_an_event_whose_step_was_interrupted_at_its_end(
        self, storage, log, step_of, message
    ):
        # Given a handler that has ended while its claim is renewed at a store that stands still
        finish = asyncio.Event()

        async def wait(event):
            storage.stalled = asyncio.Event()
            await finish.wait()
            return Done()

        before = asyncio.all_tasks()
        running = asyncio.create_task(step_of(Fake(wait), claim_seconds=0.3).run(message))
        await storage.waiting.wait()
        finish.set()
        for _ in range(10):  # it comes to wait for the renewal
            await asyncio.sleep(0)
        # When the step is interrupted, as by the loss of the message's lock, and the store goes on
        running.cancel()
        await asyncio.wait({running})
        storage.stalled.set()
        # Then nobody is left who renews the claim for ever
        assert asyncio.all_tasks() == before

    async def test_a_handler_whose_claim_is_lost_is_cancelled(self, log, clock, queue, step_of, message):
        # Given a handler at work
        started, cancelled = asyncio.Event(), asyncio.Event()

        async def wait(event):
            started.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.set()
                raise

        running = asyncio.create_task(step_of(Fake(wait), claim_seconds=0.3).run(message))
        await asyncio.wait_for(started.wait(), 10)
        # When the claim runs out and another takes the event
        clock.now += 1
        assert isinstance(await log.claim("anna", "a", 0, "other", 1000), Claimed)
        # Then the handler is stopped, and the step ends without an outcome
        await asyncio.wait_for(running, 10)
        assert cancelled.is_set()
        event = await read(log)
        assert (event["state"], event["claim"]["owner"], queue.sent) == ("accepted", "other", [])


class TestOutages:
    async def test_a_queue_that_is_away_loses_nothing(self, log, clock, queue, step_of, message):
        # Given a queue that takes nothing
        queue.failing = True
        # When an event is done
        await step_of(Fake(Done([output("one")]))).run(message)
        # Then its output stands in the log, where the sweep finds it
        assert (await read(log))["state"] == "done"
        clock.now += 31
        overlooked = (await log.overdue.overlooked(10)).items
        assert [(item.body["id"], item.body["state"]) for item in overlooked] == [
            (derived_id("a", "one"), "accepted")
        ]

    async def test_a_store_that_blinks_gets_the_outcome_once(self, storage, log, queue, step_of, message):
        # Given a store that fails twice when the handler has answered
        async def then_blink(event):
            storage.refusals = 2
            return Done([output("one")])

        actor = Fake(then_blink)
        # When the event is delivered
        await step_of(actor).run(message)
        # Then the answer was not thrown away, nor made twice
        assert (storage.refusals, len(actor.handled)) == (0, 1)
        assert [event["state"] for event in await log.events("anna")] == ["done", "accepted"]
        assert [sent.event_id for sent in queue.sent] == [derived_id("a", "one")]

    async def test_a_lost_answer_of_the_store_records_nothing_twice(
        self, storage, log, clock, queue, step_of, message
    ):
        # Given a store that commits and does not say so
        async def then_blink(event):
            storage.refusals, storage.losing_answers = 1, True
            return Done([output("one")])

        # When the event is delivered
        await step_of(Fake(then_blink)).run(message)
        # Then there is one output, announced now or by the sweep
        assert [event["state"] for event in await log.events("anna")] == ["done", "accepted"]
        clock.now += 31
        overlooked = {item.body["id"] for item in (await log.overdue.overlooked(10)).items}
        assert derived_id("a", "one") in overlooked | {sent.event_id for sent in queue.sent}

    async def test_a_store_that_stays_away_puts_the_message_off(
        self, storage, log, clock, queue, step_of, message
    ):
        # Given a store that is gone when the handler has answered
        async def then_go(event):
            storage.refusals = 1000
            return Done([output("one")])

        step = step_of(Fake(then_go, Done([output("one")])))
        # When the event is delivered
        await step.run(message)
        # Then the message comes again, and finds the event when the claim has run out
        [again] = queue.take()
        assert replace(again, delay_seconds=0.0, session=None) == message
        assert again.delay_seconds > 0
        storage.refusals = 0
        clock.now += 31
        await step.run(again)
        assert [event["state"] for event in await log.events("anna")] == ["done", "accepted"]

    async def test_a_store_that_gives_no_claim_puts_the_message_off(self, storage, queue, step_of, message):
        storage.refusals, actor = 1, Fake(Done())
        await step_of(actor).run(message)
        assert actor.handled == []
        assert [replace(again, delay_seconds=0.0, session=None) for again in queue.sent] == [message]


class TestFaults:
    async def test_an_outcome_that_no_store_takes_is_the_end(self, storage, log, queue, step_of, message):
        # Given a store that refuses an outcome for good
        async def then_refuse(event):
            storage.refusals, storage.refusal = 1, Permanent("too much", code="output_too_large")
            return Done([output("one")])

        actor = Fake(then_refuse, on_dead=[output("failure")])
        # When the event is delivered
        await step_of(actor).run(message)
        # Then it is dead with that reason
        event = await read(log)
        assert (event["state"], event["error"]["code"]) == ("dead", "output_too_large")
        assert [sent.event_id for sent in queue.sent] == [derived_id("a", "failure")]

    async def test_an_outcome_that_cannot_be_recorded_spends_attempts(
        self, storage, log, clock, queue, step_of, message
    ):
        # Given an actor that wants to create what exists
        taken = {"id": "note", "userID": "anna", "kind": "note"}
        await storage.batch("events", "anna", [Upsert(taken)])
        actor = Fake(Done([output("one")], [Create(taken)]))
        # When its event is delivered as often as there are attempts, and once more
        for _ in range(3):
            await step_of(actor, max_attempts=2).run(message)
            clock.now += 31
        # Then nothing of it is recorded, and the event is dead
        event = await read(log)
        assert (event["state"], len(actor.handled), queue.sent) == ("dead", 2, [])
        assert len(await log.events("anna")) == 1


class TestBury:
    async def test_the_event_dies_with_the_reason(self, log, queue, step_of, message):
        actor = Fake(Done(), on_dead=[output("failure")])
        await step_of(actor).bury(message, Permanent("given up", code="dead_letter"))
        event = await read(log)
        assert (event["state"], event["error"]["code"], actor.handled) == ("dead", "dead_letter", [])
        assert [sent.event_id for sent in queue.sent] == [derived_id("a", "failure")]

    async def test_not_while_somebody_works_on_it(self, log, step_of, message):
        await log.claim("anna", "a", 0, "other", 20)
        with pytest.raises(Transient):
            await step_of(Fake(Done())).bury(message, Permanent("given up"))
        assert (await read(log))["state"] == "accepted"

    async def test_an_event_that_ended_or_moved_on_is_left_alone(self, log, clock, step_of, message):
        step = step_of(Fake(Again(5), Done()))
        await step.run(message)
        await step.bury(message, Permanent("given up"))
        assert (await read(log))["state"] == "accepted"
        clock.now += 5
        await step.run(replace(message, wake=1))
        await step.bury(replace(message, wake=1), Permanent("given up"))
        assert (await read(log))["state"] == "done"


class TestCancelled:
    """Somebody cancels the root while something follows from it."""

    async def follow_up(self, log, message) -> Wakeup:
        """Let the event end with one output, and give the message of that one."""
        claim = await log.claim("anna", message.event_id, 0, "other", 10)
        draft = Draft("b", "user.message", "test", {"content": "b"}, "now", {})
        [event] = await log.end(claim, "done", outputs=[draft])
        return wakeup(event)

    async def mark(self, storage, log):
        """Mark the root as a cancellation does that had not yet seen what followed."""
        stored = await storage.get("events", "anna", "a")
        body = {**stored.body, "cancelledAt": "now"}
        await storage.batch("events", "anna", [Replace(body, stored.etag)])

    async def test_it_is_not_begun(self, storage, log, queue, step_of, message):
        # Given a root that was cancelled, and something that follows from it
        follow = await self.follow_up(log, message)
        await self.mark(storage, log)
        # When it is delivered
        actor = Fake(Done([output("one")]))
        await step_of(actor).run(follow)
        # Then its handler is not run, and it is over
        assert actor.handled == []
        event = await read(log, "b")
        assert (event["state"], event["error"]["code"], event["outputs"]) == ("cancelled", "cancelled", [])
        assert queue.sent == []

    async def test_it_is_not_committed(self, storage, log, queue, step_of, message):
        # Given something that follows, whose root is cancelled while its handler runs
        follow = await self.follow_up(log, message)

        async def meanwhile(event):
            await self.mark(storage, log)
            return Done([output("one", "too late")])

        # When the handler has its outcome
        await step_of(Fake(meanwhile)).run(follow)
        # Then that is recorded as late, and nothing follows from it
        event = await read(log, "b")
        assert (event["state"], event["outputs"]) == ("cancelled", [])
        [late] = event["late"]["outputs"]
        assert (late["name"], late["metadata"]) == ("one", {"content": "too late"})
        assert [each["id"] for each in await log.events("anna")] == ["a", "b"]
        assert queue.sent == []

    async def test_it_is_done_where_nothing_was_to_follow(self, storage, log, queue, step_of, message):
        # Given something that follows, whose root is cancelled while its handler runs
        follow = await self.follow_up(log, message)

        async def meanwhile(event):
            await self.mark(storage, log)
            return Done()

        # When the handler has done what it does, and nothing is to follow from it
        await step_of(Fake(meanwhile)).run(follow)
        # Then that is what is recorded, and the root is not asked for again
        event = await read(log, "b")
        assert (event["state"], event["outputs"]) == ("done", [])

    async def test_the_result_of_what_was_cancelled_itself_is_recorded_as_late(self, log, step_of, message):
        async def meanwhile(event):
            await log.interventions.cancel("anna", "a")
            return Done([output("one", "too late")])

        await step_of(Fake(meanwhile)).run(message)
        event = await read(log)
        assert (event["state"], event["outputs"]) == ("cancelled", [])
        assert event["late"]["outputs"][0]["metadata"] == {"content": "too late"}
        assert len(await log.events("anna")) == 1

    async def test_a_handler_under_way_is_stopped(self, log, step_of, message):
        # Given a handler that would take for ever
        began, stopped = asyncio.Event(), asyncio.Event()

        async def for_ever(event):
            began.set()
            try:
                await asyncio.Event().wait()
            finally:
                stopped.set()

        running = asyncio.create_task(step_of(Fake(for_ever), claim_seconds=3600).run(message))
        await began.wait()
        # When its event is cancelled
        await log.interventions.cancel("anna", "a")
        # Then it is stopped long before its claim is due for renewal
        async with asyncio.timeout(20):
            await stopped.wait()
            await running
        assert (await read(log))["state"] == "cancelled"


class TestSession:
    async def test_reads_begin_where_the_sender_wrote(self, storage, log, queue, step_of, message):
        # Given a store whose reads need a token
        resumed = []
        storage.session = lambda container: f"{container}:7"
        storage.resume = lambda container, token: resumed.append((container, token))
        # When an event that was announced with one is worked on
        await step_of(Fake(Done([output("one")]))).run(replace(message, session="events:5"))
        # Then the token is used, and what follows is announced with the newest
        assert resumed == [("events", "events:5")]
        assert [each.session for each in queue.sent] == ["events:7"]
