"""Turns, cancelling and replaying keep their promises on every store."""

import asyncio
from dataclasses import replace

import pytest

from lightning.domain.conversations import Conversations
from lightning.domain.deliveries import Attempt, Deliveries
from lightning.errors import Conflict, NotFound
from lightning.events import Draft, now_text
from lightning.ids import derived_id
from lightning.log import Claimed, Dispatch, Ended, EventLog, Void, wakeups
from lightning.log.turns import MAX_TURNS
from tests.lightning.domain.conftest import Died, Mortal
from tests.memory_queue import Clock, MemoryQueue


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def storage(open_store):
    store = open_store()
    yield store
    await store.close()


@pytest.fixture
def log(storage, clock):
    return EventLog(storage, sweep_seconds=30, clock=clock)


@pytest.fixture
def queue():
    return MemoryQueue()


@pytest.fixture
def dispatch(log, queue):
    return Dispatch(log, queue)


@pytest.fixture
def conversations(storage, log):
    return Conversations(storage, log)


def said(id: str, conversation: str | None = "c", **metadata) -> Draft:
    if conversation is not None:
        metadata["conversationID"] = conversation
    return Draft(id, "llm.chat", "test", {"content": f"{id}?", **metadata}, "2026-01-01T00:00:00Z", {})


def told(id: str) -> Draft:
    return Draft(id, "user.message", "test", {"content": id}, "2026-01-01T00:00:00Z", {})


async def claimed(log, id: str, wake: int = 0, owner: str = "me") -> Claimed:
    verdict = await log.claim("anna", id, wake, owner, 10)
    assert isinstance(verdict, Claimed), verdict
    return verdict


async def current(log, id: str):
    return await log.get("anna", id)


async def states(log) -> dict[str, str]:
    found, page = {}, await log.events("anna", limit=1000)
    while True:
        found |= {event["id"]: event["state"] for event in page}
        if not page.more:
            return found
        page = await log.events("anna", after=page[-1]["seq"], limit=1000)


async def counted(log) -> bool:
    """Tell whether the counters of the head agree with the events."""
    found = list((await states(log)).values())
    counts = (await log.head("anna"))["counts"]
    return {state: found.count(state) for state in set(found)} == {k: v for k, v in counts.items() if v}


def attempt(number):
    return Attempt(number, now_text(), 1, 500, "unexpected_status", "the endpoint answered 500", "secret")


async def erase(log, conversations, event):
    """Do what the event of a deletion asks for."""
    asked = event["metadata"]
    return await conversations.erase("anna", asked["conversationID"], asked["createdAt"])


async def behind_chats_of(log, id: str, *, cause=None) -> list[str]:
    """Let chats in many conversations follow from an event, and more wait behind them than a batch takes."""
    [event] = await log.append("anna", [told(id)], cause=cause)
    chats = [said(f"{id}-chat{number}", f"{id}-c{number}") for number in range(12)]
    await log.append("anna", chats, cause=event)
    waiting = [said(f"waits{number}", f"{id}-c{number}", content="x" * 250_000) for number in range(12)]
    for each in waiting:
        await log.append("anna", [each])
    return [each.id for each in waiting]


class TestQueue:
    async def test_the_first_is_announced_and_the_others_wait(self, log, conversations):
        # When three messages of a conversation come
        events = [(await log.append("anna", [said(name)]))[0] for name in "abc"]
        # Then only the first is to be looked at
        assert [each.event_id for each in wakeups(events)] == ["a"]
        assert [event["dueAt"] is None for event in events] == [False, True, True]
        # And the conversation knows their order
        assert (await conversations.find("anna", "c"))["turns"] == ["a", "b", "c"]

    @pytest.mark.parametrize("state", ["done", "dead", "cancelled"])
    async def test_the_batch_that_ends_one_releases_the_next(self, log, state):
        await log.append("anna", [said("a"), said("b")])
        # Given that the second cannot be claimed
        assert await log.claim("anna", "b", 0, "me", 10) == Void()
        # When the first leaves `accepted`, whatever for
        follow = await log.end(await claimed(log, "a"), state)
        # Then the second has a wake of its own, and is what workers must hear of
        assert [(event["id"], event["wake"]) for event in follow] == [("b", 1)]
        assert [each.wake for each in wakeups(follow)] == [1]
        await claimed(log, "b", wake=1)

    async def test_a_released_message_that_was_not_announced_is_swept(self, log, clock):
        await log.append("anna", [said("a"), said("b")])
        clock.now += 10_000
        # Given that nothing sweeps a message that waits for its turn
        assert [item.body["id"] for item in (await log.overdue.overlooked(10)).items] == ["a"]
        # When its turn comes and the process dies before it says so
        await log.end(await claimed(log, "a"), "done")
        clock.now += 31
        # Then the sweep finds it
        assert [item.body["id"] for item in (await log.overdue.overlooked(10)).items] == ["b"]

    async def test_the_front_is_found_again_when_the_one_before_is_delivered_once_more(self, log):
        await log.append("anna", [said("a"), said("b"), told("x")])
        await log.end(await claimed(log, "a"), "done")
        verdict = await log.claim("anna", "a", 0, "me", 10)
        assert isinstance(verdict, Ended)
        assert (await log.front(verdict.event))["id"] == "b"
        assert await log.front(await current(log, "x")) is None

    async def test_messages_of_one_batch_queue_in_their_order(self, log, conversations):
        await log.append("anna", [said("a"), said("x", None), said("b"), said("c", "d"), said("e")])
        assert (await conversations.find("anna", "c"))["turns"] == ["a", "b", "e"]
        assert [event["id"] for event in await log.events("anna") if event["dueAt"] is None] == ["b", "e"]

    async def test_writers_that_meet_keep_the_order_of_places(self, log, clock, open_store, conversations):
        # Given two processes that accept messages of one conversation, and a third that answers them
        other_storage = open_store()
        other = EventLog(other_storage, clock=clock)
        answered = []

        async def answer_all():
            while len(answered) < 40:
                found = await conversations.find("anna", "c")
                if found is None or not found["turns"]:
                    await asyncio.sleep(0)
                    continue
                first = await current(log, found["turns"][0])
                verdict = await log.claim("anna", first["id"], first["wake"], "me", 10)
                if isinstance(verdict, Claimed):
                    await log.end(verdict, "done")
                    answered.append(first["seq"])

        # When all of them go at once
        async with asyncio.timeout(60):
            drafts = [(writer, said(f"{n}-{i}")) for n, writer in enumerate([log, other]) for i in range(20)]
            await asyncio.gather(answer_all(), *(writer.append("anna", [draft]) for writer, draft in drafts))
        # Then each was answered once, in the order of the log
        assert answered == list(range(1, 41))
        assert (await conversations.find("anna", "c"))["turns"] == []
        assert await counted(log)
        await other_storage.close()

    async def test_no_more_wait_than_a_batch_can_interrupt(self, log):
        for n in range(MAX_TURNS):
            await log.append("anna", [said(f"m{n}")])
        # When one more comes, it is refused, and nothing is recorded
        with pytest.raises(Conflict) as refused:
            await log.append("anna", [said("more")])
        assert (refused.value.code, refused.value.pointer) == (
            "conversation_full",
            "/metadata/conversationID",
        )
        assert await current(log, "more") is None
        # Then one that interrupts them all still fits
        await log.append("anna", [said("now", whenBusy="interrupt")])
        assert sorted((await states(log)).values()) == ["accepted", *["cancelled"] * MAX_TURNS]
        assert await counted(log)

    async def test_a_conversation_that_has_the_name_of_an_event_to_come(self, log, conversations):
        # Given a conversation that somebody named as a later message will be called
        await log.append("anna", [said("a", "b")])
        # When that message comes, which would begin a conversation of that name
        async with asyncio.timeout(10):
            [event] = await log.append("anna", [said("b", None)])
        # Then it belongs to the one that is there
        assert event["dueAt"] is None
        assert (await conversations.find("anna", "b"))["turns"] == ["a", "b"]

    async def test_the_title_is_what_was_said_first(self, log, conversations):
        await log.append(
            "anna", [Draft("a", "llm.chat", "t", {"content": " What\n is  new? " + "x" * 99}, "now", {})]
        )
        await log.append("anna", [said("b", "a")])
        title = (await conversations.find("anna", "a"))["title"]
        assert title.startswith("What is new? xxx")
        assert len(title) == 80


class TestWhenBusy:
    async def test_reject(self, log, dispatch):
        # Given a conversation in which nobody speaks
        await dispatch.accept("anna", said("a", whenBusy="reject"))
        # When somebody speaks who would not wait
        with pytest.raises(Conflict) as refused:
            await dispatch.accept("anna", said("b", whenBusy="reject"))
        # Then nothing is recorded
        assert (refused.value.code, refused.value.pointer) == ("conversation_busy", "/metadata/whenBusy")
        assert await states(log) == {"a": "accepted"}
        # And it may speak when the answer is there
        await log.end(await claimed(log, "a"), "done")
        await dispatch.accept("anna", said("b", whenBusy="reject"))

    async def test_a_repetition_of_what_was_accepted_is_not_rejected(self, dispatch):
        draft = Draft(
            "a",
            "llm.chat",
            "t",
            {"content": "?", "conversationID": "c", "whenBusy": "reject"},
            "now",
            {},
            "f",
        )
        first, new = await dispatch.accept("anna", draft)
        second, again = await dispatch.accept("anna", draft)
        assert (new, again, first["id"]) == (True, False, second["id"])

    async def test_interrupt(self, log, dispatch, queue, conversations):
        # Given a message that is being answered, and one that waits
        await dispatch.accept("anna", said("a"))
        await dispatch.accept("anna", said("b"))
        claim = await claimed(log, "a")
        # When one comes that interrupts
        await dispatch.accept("anna", said("c", whenBusy="interrupt"))
        # Then those before it are over, and it is its turn
        assert await states(log) == {"a": "cancelled", "b": "cancelled", "c": "accepted"}
        assert (await current(log, "a"))["error"]["code"] == "interrupted"
        assert (await conversations.find("anna", "c"))["turns"] == ["c"]
        assert [each.event_id for each in queue.sent] == ["a", "c"]
        assert not await log.holds(claim)
        assert await counted(log)

    async def test_more_is_interrupted_than_a_batch_takes(self, log, dispatch, conversations):
        # Given messages that wait, of four times the bytes of a batch, and one that is being answered
        await log.append("anna", [said("first")])
        for number in range(32):
            await log.append("anna", [said(f"n{number}", content="x" * 250_000)])
        # When one comes that interrupts them
        event, new = await dispatch.accept("anna", said("now", whenBusy="interrupt"))
        # Then it is the only one left
        assert (event["id"], new) == ("now", True)
        assert (await conversations.find("anna", "c"))["turns"] == ["now"]
        found = await states(log)
        assert found.pop("now") == "accepted"
        assert set(found.values()) == {"cancelled"}
        assert (await current(log, "n7"))["error"]["code"] == "interrupted"
        assert await counted(log)

    async def test_one_that_is_repeated_interrupts_nothing_that_came_after_it(
        self, log, dispatch, conversations
    ):
        # Given a message that interrupted, its answer, and much that waits behind it
        draft = replace(said("now", whenBusy="interrupt"), fingerprint="f")
        await dispatch.accept("anna", draft)
        await log.end(await claimed(log, "now"), "done")
        for number in range(8):
            await log.append("anna", [said(f"n{number}", content="x" * 250_000)])
        # When its sender sends it once more
        event, new = await dispatch.accept("anna", draft)
        # Then it is known
        assert (event["state"], new) == ("done", False)
        assert (await conversations.find("anna", "c"))["turns"] == [f"n{n}" for n in range(8)]

    async def test_a_process_that_dies_while_it_interrupts_many(self, log, storage, conversations):
        # Given much that waits
        await log.append("anna", [said("first")])
        for number in range(16):
            await log.append("anna", [said(f"n{number}", content="x" * 250_000)])
        # When a process dies while it interrupts them, and others after it
        for survived in range(3):
            with pytest.raises(Died):
                await EventLog(Mortal(storage, survived + 1)).append(
                    "anna", [said("now", whenBusy="interrupt")]
                )
            # Then the queue and the counters agree with the events, and the first one goes on
            accepted = [name for name, state in (await states(log)).items() if state == "accepted"]
            assert (await conversations.find("anna", "c"))["turns"] == accepted
            assert accepted[0] == "first"
            assert await counted(log)
        # And the repetition does the rest
        await log.append("anna", [said("now", whenBusy="interrupt")])
        assert (await conversations.find("anna", "c"))["turns"] == ["now"]
        assert await counted(log)

    async def test_a_process_that_dies_while_it_interrupts_in_two_conversations(self, log, storage):
        # Given two conversations in which much waits
        for conversation in ("c", "d"):
            await log.append("anna", [said(f"first-{conversation}", conversation)])
            for number in range(4):
                large = said(f"{conversation}{number}", conversation, content="x" * 250_000)
                await log.append("anna", [large])
        now = [said(f"now-{name}", name, whenBusy="interrupt") for name in ("c", "d")]
        # When a process dies before it has recorded two messages that interrupt, accepted together
        for survived in range(2):
            with pytest.raises(Died):
                await EventLog(Mortal(storage, survived + 1)).append("anna", now)
            # Then what is being answered goes on, in both
            found = await states(log)
            assert (found["first-c"], found["first-d"]) == ("accepted", "accepted")
        # And the repetition does the rest
        await log.append("anna", now)
        found = await states(log)
        assert [name for name, state in found.items() if state == "accepted"] == ["now-c", "now-d"]
        assert await counted(log)

    async def test_no_batch_interrupts_what_many_conversations_answer(self, log, dispatch):
        # Given more that is being answered, in a conversation each, than a batch ends
        for number in range(12):
            await log.append("anna", [said(f"first{number}", f"c{number}", content="x" * 250_000)])
        # When all are interrupted in one moment
        now = [said(f"now{number}", f"c{number}", whenBusy="interrupt") for number in range(12)]
        await asyncio.gather(*(dispatch.accept("anna", each) for each in now))
        # Then each is, by the one of its conversation
        found = await states(log)
        assert {state for name, state in found.items() if name.startswith("first")} == {"cancelled"}
        assert {state for name, state in found.items() if name.startswith("now")} == {"accepted"}
        assert await counted(log)

    async def test_interrupting_what_comes_in_the_same_moment(self, log, dispatch):
        # When both are accepted together
        await asyncio.gather(
            dispatch.accept("anna", said("x")),
            dispatch.accept("anna", said("a")),
            dispatch.accept("anna", said("b", whenBusy="interrupt")),
        )
        # Then the last one stands
        assert await states(log) == {"x": "cancelled", "a": "cancelled", "b": "accepted"}


class TestCancel:
    async def test_what_is_being_answered(self, log, dispatch, queue):
        await dispatch.accept("anna", said("a"))
        await dispatch.accept("anna", said("b"))
        claim = await claimed(log, "a")
        queue.take()
        # When it is cancelled
        event = await dispatch.cancel("anna", "a")
        # Then it is over, its root is marked, and the next has its turn
        assert (event["state"], event["error"]["code"], "cancelledAt" in event) == (
            "cancelled",
            "cancelled",
            True,
        )
        assert [(each.event_id, each.wake) for each in queue.sent] == [("b", 1)]
        # And whoever worked on it can do nothing any more
        assert not await log.holds(claim)
        assert await counted(log)

    async def test_what_waits(self, log, dispatch, queue, conversations):
        for name in "abc":
            await dispatch.accept("anna", said(name))
        queue.take()
        await dispatch.cancel("anna", "b")
        assert (await conversations.find("anna", "c"))["turns"] == ["a", "c"]
        assert queue.sent == []
        assert [each["id"] for each in await log.end(await claimed(log, "a"), "done")] == ["c"]

    async def test_all_that_follows_from_a_root(self, log, dispatch):
        # Given a root that is done, with more that follows than one batch cancels
        await log.append("anna", [told("a"), told("other")])
        drafts = [told(derived_id("a", str(n))) for n in range(70)]
        await log.end(await claimed(log, "a"), "done", outputs=drafts)
        # When one of them is cancelled
        await dispatch.cancel("anna", drafts[3].id)
        # Then all are over, and nothing else is touched
        found = await states(log)
        assert {found[draft.id] for draft in drafts} == {"cancelled"}
        assert (found["a"], found["other"]) == ("done", "accepted")
        assert "cancelledAt" in await current(log, "a")
        assert await log.is_cancelled(await current(log, drafts[0].id))
        assert not await log.is_cancelled(await current(log, "other"))
        assert await counted(log)

    async def test_a_tree_that_lets_more_go_on_than_a_batch_takes(self, log, dispatch, queue):
        # Given a root with chats in many conversations, in each of which a long message waits for its turn
        waiting = await behind_chats_of(log, "root")
        # When it is cancelled
        event = await dispatch.cancel("anna", "root")
        # Then all of it is over, and the others have their turn
        found = await states(log)
        assert event["state"] == "cancelled"
        assert {state for name, state in found.items() if name not in waiting} == {"cancelled"}
        assert {found[name] for name in waiting} == {"accepted"}
        assert {(each.event_id, each.wake) for each in queue.take()} == {(name, 1) for name in waiting}
        assert await counted(log)

    async def test_a_branch_that_lets_more_go_on_than_a_batch_takes(self, log):
        await log.append("anna", [told("root")])
        await log.append("anna", [told("other")], cause=await current(log, "root"))
        waiting = await behind_chats_of(log, "branch", cause=await current(log, "root"))
        # When only one branch of a tree is cancelled
        why = {"code": "group_failed", "message": "Another one failed"}
        ended, follow = await log.interventions.cancel_branches("anna", "root", ["branch"], why)
        # Then all of that is over, and what waited has its turn
        assert {each["id"] for each in follow} == set(waiting)
        found = await states(log)
        assert {name for name, state in found.items() if state == "cancelled"} == set(ended)
        assert {name for name, state in found.items() if state == "accepted"} == {"root", "other", *waiting}
        assert await counted(log)

    async def test_what_is_over(self, log, dispatch):
        await log.append("anna", [told("a")])
        await log.end(await claimed(log, "a"), "done")
        with pytest.raises(Conflict) as refused:
            await dispatch.cancel("anna", "a")
        assert refused.value.code == "already_over"
        with pytest.raises(NotFound):
            await dispatch.cancel("anna", "nothing")

    async def test_twice(self, dispatch):
        await dispatch.accept("anna", told("a"))
        first = await dispatch.cancel("anna", "a")
        assert await dispatch.cancel("anna", "a") == first

    async def test_against_a_step_that_ends_it_meanwhile(self, log, dispatch):
        # When an event ends and is cancelled at once, again and again
        for n in range(30):
            await log.append("anna", [told(f"e{n}")])
            claim = await claimed(log, f"e{n}")
            results = await asyncio.gather(
                log.end(claim, "done", outputs=[told(derived_id(f"e{n}", "o"))]),
                dispatch.cancel("anna", f"e{n}"),
                return_exceptions=True,
            )
            # Then one of them was first, and whichever it was, nothing of it is still accepted
            found = await states(log)
            assert found[f"e{n}"] in {"done", "cancelled"}
            assert isinstance(results[0], Exception) == (found[f"e{n}"] == "cancelled")
            assert "accepted" not in found.values()
        assert await counted(log)


class TestReplay:
    async def test_a_dead_event_is_accepted_again(self, log, dispatch, queue, clock):
        # Given an event that died after attempts, with what its actor said about it
        await log.append("anna", [said("a")])
        last_words = told(derived_id("a", "failure"))
        await log.end(
            await claimed(log, "a"), "dead", outputs=[last_words], error={"code": "x", "message": "y"}
        )
        clock.now += 100
        # When it is replayed
        event = await dispatch.replay("anna", "a")
        # Then it is as new, under its next wake, and a message is sent
        assert (event["state"], event["attempts"], event["wake"], event["error"]) == ("accepted", 0, 1, None)
        assert (event["dueAt"], event["sweepAt"]) == (clock.now, clock.now + 30)
        assert [(each.event_id, each.wake) for each in queue.sent] == [("a", 1)]
        assert await counted(log)
        # And it may die again, with the same last words
        again = await claimed(log, "a", wake=1)
        await log.end(again, "dead", outputs=[last_words])
        assert (await current(log, "a"))["outputs"] == [last_words.id]

    async def test_a_dead_message_waits_for_its_turn_again(self, log, dispatch, queue, conversations):
        await log.append("anna", [said("a"), said("b")])
        await log.end(await claimed(log, "a"), "dead")
        event = await dispatch.replay("anna", "a")
        assert (event["dueAt"], queue.sent) == (None, [])
        assert (await conversations.find("anna", "c"))["turns"] == ["b", "a"]
        assert [each["id"] for each in await log.end(await claimed(log, "b", wake=1), "done")] == ["a"]

    @pytest.mark.parametrize("state", ["done", "cancelled"])
    async def test_another_is_repeated_as_a_new_event(self, log, dispatch, state):
        [first] = await log.append("anna", [said("a")])
        await log.end(await claimed(log, "a"), state)
        event = await dispatch.replay("anna", "a", key="k")
        assert event["id"] != "a"
        assert (event["replayOf"], event["root"], event["cause"]) == ("a", event["id"], None)
        assert (event["type"], event["metadata"]) == (first["type"], first["metadata"])
        # And the same key answers with the same event
        assert (await dispatch.replay("anna", "a", key="k"))["id"] == event["id"]
        assert (await dispatch.replay("anna", "a"))["id"] != event["id"]

    async def test_what_is_not_over(self, dispatch):
        await dispatch.accept("anna", told("a"))
        with pytest.raises(Conflict) as refused:
            await dispatch.replay("anna", "a")
        assert refused.value.code == "not_over"
        with pytest.raises(NotFound):
            await dispatch.replay("anna", "nothing")

    async def test_a_cancelled_mark_does_not_outlive_it(self, log, dispatch):
        # Given an event that died, and whose last words were cancelled
        await log.append("anna", [told("a")])
        await log.end(await claimed(log, "a"), "dead", outputs=[told("words")])
        await dispatch.cancel("anna", "words")
        # When it is replayed, then it may go on
        assert not await log.is_cancelled(await dispatch.replay("anna", "a"))

    async def test_two_at_once_accept_it_once(self, log, dispatch, queue):
        await log.append("anna", [told("a")])
        await log.end(await claimed(log, "a"), "dead")
        results = await asyncio.gather(
            *(dispatch.replay("anna", "a") for _ in range(5)), return_exceptions=True
        )
        assert (await current(log, "a"))["wake"] == 1
        assert {error.code for error in results if isinstance(error, Conflict)} <= {"not_over", "not_dead"}
        assert [each.wake for each in queue.sent] == [1]
        assert await counted(log)


class TestConversations:
    async def test_the_one_that_was_last_spoken_in_comes_first(self, log, conversations):
        for name, conversation in [("a", "c"), ("b", "d"), ("e", "c")]:
            await log.append("anna", [said(name, conversation)])
        await log.append("bert", [said("x", "other")])
        first = await conversations.newest("anna", limit=1)
        assert [each["conversationID"] for each in first.conversations] == ["c"]
        second = await conversations.newest("anna", limit=1, page=first.next)
        assert [each["conversationID"] for each in second.conversations] == ["d"]
        assert second.next is None

    async def test_properties_outlive_turns(self, log, conversations):
        await conversations.create("anna", "c", {"title": "Weather", "model": "m"})
        await log.append("anna", [said("a")])
        await conversations.change("anna", "c", {"model": None, "systemPrompt": "Be brief."})
        found = await conversations.find("anna", "c")
        assert (found["title"], found.get("model"), found["systemPrompt"]) == ("Weather", None, "Be brief.")
        assert found["turns"] == ["a"]
        with pytest.raises(Conflict):
            await conversations.create("anna", "c", {})
        with pytest.raises(NotFound):
            await conversations.change("bert", "c", {})

    async def test_what_was_said_is_forgotten(self, log, conversations, dispatch):
        # Given a conversation with an answer, a message that is being answered, and one that waits
        await log.append("anna", [said("a"), told("else")])
        answer = Draft("r", "llm.chat.response", "t", {"content": "secret", "conversationID": "c"}, "now", {})
        await log.end(await claimed(log, "a"), "done", outputs=[answer])
        await log.append("anna", [said("b"), said("d")])
        # When it is deleted
        event = await conversations.delete("anna", "c")
        # Then it is gone for people at once, and nobody speaks in it any more
        assert await conversations.find("anna", "c") is None
        assert (await conversations.newest("anna", limit=10)).conversations == []
        with pytest.raises(NotFound):
            await conversations.delete("anna", "c")
        with pytest.raises(Conflict) as refused:
            await dispatch.accept("anna", said("e"))
        assert refused.value.code == "conversation_deleted"
        # When it is erased while the answer is still on its way
        assert await erase(log, conversations, event) is None
        # Then the turns are over, and what is over is forgotten
        assert (await current(log, "b"))["state"] == (await current(log, "d"))["state"] == "cancelled"
        assert (await current(log, "a"))["metadata"] == {"conversationID": "c"}
        assert (await current(log, "r"))["metadata"]["content"] == "secret"
        # When the answer was delivered and it is erased again
        await log.end(await claimed(log, "r"), "done")
        removal = await erase(log, conversations, event)
        await log.end(await claimed(log, event["id"]), "done", writes=removal)
        # Then nothing of it is left, and all else is
        assert (await current(log, "r"))["metadata"] == {"conversationID": "c"}
        assert (await current(log, "else"))["metadata"] == {"content": "else"}
        assert [e["seq"] for e in await log.events("anna")] == list(range(1, 7))
        # And the name is free again
        await log.append("anna", [said("z")])
        assert (await conversations.delete("anna", "c"))["id"] != event["id"]

    async def test_a_turn_from_which_more_follows_than_a_batch_ends_is_forgotten(self, log, conversations):
        # Given a message from which chats in many conversations follow, each with a long one behind it
        await log.append("anna", [said("a")])
        waiting = await behind_chats_of(log, "b", cause=await current(log, "a"))
        # When its conversation is deleted
        event = await conversations.delete("anna", "c")
        # Then nothing of it is left, and the others have their turn
        assert await erase(log, conversations, event)
        found = await states(log)
        accepted = {name for name, state in found.items() if state == "accepted"}
        assert accepted == {event["id"], *waiting}
        assert await counted(log)

    async def test_a_forgotten_message_is_not_replayed(self, log, conversations, dispatch):
        await log.append("anna", [said("a")])
        await log.end(await claimed(log, "a"), "done")
        event = await conversations.delete("anna", "c")
        await erase(log, conversations, event)
        with pytest.raises(Conflict) as refused:
            await dispatch.replay("anna", "a")
        assert refused.value.code == "erased"

    async def test_what_a_receiver_answers_later_is_not_kept(self, storage, log, conversations):
        # Given a message whose delivery is on its way, and has been tried before
        deliveries = Deliveries(storage, log)
        await log.append("anna", [said("a")])
        metadata = {"webhookID": "w", "eventID": "a"}
        [delivery] = await log.append("anna", [Draft("d", "webhook.delivery", "t", metadata, now_text(), {})])
        await deliveries.note(delivery, attempt(1))
        # When the conversation is forgotten meanwhile
        await log.end(await claimed(log, "a"), "done")
        assert await erase(log, conversations, await conversations.delete("anna", "c"))
        await deliveries.note(delivery, attempt(2))
        # Then that there were answers is all that is left of them
        [found] = (await deliveries.latest("anna", "w")).deliveries
        assert [(each.status, each.answer) for each in found.attempts] == [(500, ""), (500, "")]

    async def test_another_conversation_of_that_name_is_left_alone(self, log, conversations, dispatch):
        # Given a conversation that was forgotten, and a new one of its name
        await log.append("anna", [said("a")])
        await log.end(await claimed(log, "a"), "done")
        event = await conversations.delete("anna", "c")
        removal = await erase(log, conversations, event)
        await log.end(await claimed(log, event["id"]), "done", writes=removal)
        await log.append("anna", [said("b")])
        # When the old deletion is done once more
        assert await erase(log, conversations, event) == []
        # Then the new one goes on
        assert (await conversations.find("anna", "c"))["turns"] == ["b"]
        assert (await current(log, "b"))["metadata"]["content"] == "b?"

    async def test_a_deletion_is_not_cancelled(self, log, conversations, dispatch):
        await log.append("anna", [said("a")])
        event = await conversations.delete("anna", "c")
        with pytest.raises(Conflict) as refused:
            await dispatch.cancel("anna", event["id"])
        assert refused.value.code == "not_cancellable"

    async def test_a_late_result_is_not_written_into_what_was_forgotten(self, log, conversations):
        # Given a message that was being answered when its conversation was forgotten
        await log.append("anna", [said("a")])
        await claimed(log, "a")
        await erase(log, conversations, await conversations.delete("anna", "c"))
        # When its answer comes after all
        assert not await log.interventions.record_late("anna", "a", [{"content": "secret"}])
        # Then nothing of it is kept
        assert "secret" not in str(await current(log, "a"))
