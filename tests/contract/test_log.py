"""The event log keeps its promises on every store."""

import asyncio
import threading

import pytest

from lightning.errors import Conflict, PreconditionFailed
from lightning.events import Draft
from lightning.log import Claimed, Ended, EventLog, Later, Void, wakeup
from lightning.storage import Replace


class Clock:
    """A clock that a test moves by hand."""

    def __init__(self):
        self.now = 1_000_000.0

    def __call__(self):
        return self.now


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


def draft(id: str, type: str = "user.message", **metadata):
    return Draft(id, type, "test", metadata or {"content": id}, "2026-01-01T00:00:00Z", {})


async def claimed(log, id="a", wake=0, owner="me", user="anna") -> Claimed:
    verdict = await log.claim(user, id, wake, owner, 10)
    assert isinstance(verdict, Claimed)
    return verdict


async def test_places_are_consecutive_whoever_writes(log, storage, open_store, clock):
    # Given two writers, as two processes are
    other_storage = open_store()
    other = EventLog(other_storage, clock=clock)
    # When both append at once
    await asyncio.gather(
        *(
            writer.append("anna", [draft(f"{n}-{i}")])
            for n, writer in enumerate([log, other])
            for i in range(50)
        )
    )
    # Then the places are 1 to 100, each given once, and the head counts them
    log.resume(other.session())
    events = await log.events("anna", limit=200)
    assert [event["seq"] for event in events] == list(range(1, 101))
    head = await log.head("anna")
    assert head["seq"] == 100
    assert head["counts"] == {"accepted": 100}
    await other_storage.close()


async def is_bulk(log, *ids: str) -> list[bool]:
    return [wakeup(await log.get("anna", each)).bulk for each in ids]


async def test_what_a_user_has_under_way_beyond_the_bound_is_bulk(storage, clock):
    # Given a bound of three, and a user who has two events under way
    log = EventLog(storage, clock=clock, bulk_above=3)
    await log.append("anna", [draft("a"), draft("b")])
    # When three more come at once, the first of them goes with everybody's, and others' do anyhow
    await log.append("anna", [draft("c"), draft("d"), draft("e")])
    await log.append("bert", [draft("f")])
    assert await is_bulk(log, "a", "b", "c", "d", "e") == [False, False, False, True, True]
    assert not wakeup(await log.get("bert", "f")).bulk
    # Then what follows from one of them counts as well, in place of it
    await log.end(await claimed(log, "a"), "done", outputs=[draft("a1"), draft("a2")])
    assert await is_bulk(log, "a1", "a2") == [True, True]
    # And what comes when few are left goes with everybody's, while the others stay what they are
    for each in ("b", "c", "a1", "a2"):
        await log.end(await claimed(log, each), "done")
    later = await log.postpone(await claimed(log, "d"), 5, attempts=1)
    await log.append("anna", [draft("g"), draft("h")])
    assert wakeup(later).bulk
    assert await is_bulk(log, "d", "e", "g", "h") == [True, True, False, True]


async def test_what_is_accepted_again_is_bulk_or_not_by_what_is_under_way_then(storage, clock):
    # Given two dead events, of which one was bulk
    log = EventLog(storage, clock=clock, bulk_above=2)
    await log.append("anna", [draft("a"), draft("b"), draft("c")])
    for each in ("a", "c"):
        await log.end(await claimed(log, each), "dead")
    # When they are accepted again, one after the other
    await log.interventions.revive("anna", "c")
    await log.interventions.revive("anna", "a")
    # Then it is the one that is too many now
    assert await is_bulk(log, "a", "b", "c") == [True, False, False]


async def test_a_dead_event_is_discarded_or_accepted_again_but_never_both(log):
    # Given dead events, each of which one wants discarded and another one accepted again at the same time
    ids = [f"event-{number}" for number in range(8)]
    await log.append("anna", [draft(each) for each in ids])
    error = {"code": "x", "message": "no"}
    for each in ids:
        await log.end(await claimed(log, each), "dead", error=error)
    both = [work(each) for each in ids for work in (discard_in(log), revive_in(log))]
    results = await asyncio.gather(*both)
    # Then one of the two was done to each, whose reason a discarded one keeps
    assert all(sorted(results[place : place + 2]) == [False, True] for place in range(0, 16, 2))
    events = [await log.get("anna", each) for each in ids]
    states = [event["state"] for event in events]
    assert states == ["cancelled" if done else "accepted" for done in results[::2]]
    assert all(event["error"] == error for event in events if event["state"] == "cancelled")
    # And the head counts them
    counts = {state: count for state, count in (await log.head("anna"))["counts"].items() if count}
    assert counts == {state: states.count(state) for state in set(states)}


async def test_what_is_not_dead_is_not_discarded(log):
    await log.append("anna", [draft("a")])
    assert not await discard_in(log)("a")
    assert (await log.get("anna", "a"))["state"] == "accepted"


async def test_the_events_of_all_users_are_listed_by_when_they_were_recorded(log):
    # Given events of several users
    users = [("anna", "a1"), ("bert", "b1"), ("anna", "a2"), ("carl", "c1"), ("bert", "b2")]
    for user, name in users:
        await log.append(user, [draft(name)])
    # When they are listed a page at a time
    listed, page = [], None
    while True:
        found = await log.all_users.recorded(limit=2, page=page)
        listed += found.events
        page = found.next
        if page is None:
            break
        assert page == log.all_users.behind(found.events[-1])
    # Then each comes once, the latest first, and nothing else that stands in the store
    assert sorted((event["userID"], event["id"]) for event in listed) == sorted(users)
    times = [event["recordedAt"] for event in listed]
    assert times == sorted(times, reverse=True)
    # And a span of time has those that were recorded in it
    middle = times[2]
    since = await log.all_users.recorded(since=middle, limit=10)
    until = await log.all_users.recorded(until=middle, limit=10)
    assert [event["id"] for event in (*since.events, *until.events)] == [event["id"] for event in listed]


async def test_the_dead_events_of_all_users_are_those_that_are_dead_now(log):
    error = {"code": "x", "message": "no"}
    for user, name in (("anna", "a"), ("bert", "b"), ("anna", "c"), ("bert", "d")):
        await log.append(user, [draft(name)])
        state = "done" if name == "d" else "dead"
        await log.end(await claimed(log, name, user=user), state, error=error)
    assert {event["id"] for event in (await log.all_users.dead(limit=10)).events} == {"a", "b", "c"}
    # When one is accepted again, and another one discarded
    await log.interventions.revive("anna", "a")
    await log.interventions.discard("bert", "b")
    # Then neither is listed, also when it ended well afterwards
    assert [event["id"] for event in (await log.all_users.dead(limit=10)).events] == ["c"]
    await log.end(await claimed(log, "a", wake=1), "done")
    assert [event["id"] for event in (await log.all_users.dead(limit=10)).events] == ["c"]


def discard_in(log):
    return lambda each: done(log.interventions.discard("anna", each))


def revive_in(log):
    return lambda each: done(log.interventions.revive("anna", each))


async def done(work) -> bool:
    try:
        await work
    except Conflict:
        return False
    return True


async def test_a_root_is_its_own_root(log):
    [event] = await log.append("anna", [draft("a")])
    assert (event["root"], event["cause"], event["state"]) == ("a", None, "accepted")


async def test_an_id_is_recorded_once(log):
    await log.append("anna", [draft("a")])
    with pytest.raises(Conflict) as refused:
        await log.append("anna", [draft("b"), draft("a")])
    assert refused.value.pointer == "a"
    assert await log.get("anna", "b") is None
    assert (await log.head("anna"))["seq"] == 1


async def test_the_head_is_no_event(log):
    await log.append("anna", [draft("a")])
    assert await log.get("anna", "head") is None
    assert await log.claim("anna", "nothing", 0, "me", 10) is None


async def test_only_one_gets_the_claim(log, clock):
    await log.append("anna", [draft("a")])
    verdicts = await asyncio.gather(*(log.claim("anna", "a", 0, f"w{n}", 10) for n in range(20)))
    winners = [verdict for verdict in verdicts if isinstance(verdict, Claimed)]
    assert len(winners) == 1
    assert winners[0].event["attempts"] == 1
    assert {verdict.at for verdict in verdicts if isinstance(verdict, Later)} == {clock.now + 10}


async def test_a_claim_runs_out_and_counts_another_attempt(log, clock):
    await log.append("anna", [draft("a")])
    first = await claimed(log)
    clock.now += 10.1
    second = await claimed(log, owner="other")
    assert second.event["attempts"] == 2
    # Then the first owner can neither end, nor renew, nor postpone
    with pytest.raises(PreconditionFailed):
        await log.end(first, "done")
    with pytest.raises(PreconditionFailed):
        await log.renew(first, "me", 10)
    with pytest.raises(PreconditionFailed):
        await log.postpone(first, 1, attempts=0)
    await log.end(second, "done")


async def test_what_follows_while_it_goes_on_is_kept_whatever_becomes_of_it(log, clock):
    # Given an event that went on twice with something that follows
    await log.append("anna", [draft("a")])
    first = await log.go_on(await claimed(log), 5, [draft("b")], attempts=0)
    assert [(each["id"], each["dueAt"]) for each in first] == [("b", clock.now), ("a", clock.now + 5)]
    clock.now += 5
    claim = await claimed(log, wake=1)
    await log.go_on(claim, 0, [draft("c"), draft("b")], attempts=0)  # one is known, as after a replay
    # When it is cancelled, then all of that is listed still, and over
    with pytest.raises(PreconditionFailed):
        await log.go_on(claim, 0, [draft("d")], attempts=0)
    event, _ = await log.interventions.cancel("anna", "a")
    assert (event["state"], event["outputs"]) == ("cancelled", ["b", "c"])
    assert (await log.head("anna"))["counts"]["cancelled"] == 3
    assert await log.get("anna", "d") is None


async def test_a_branch_is_cancelled_and_the_rest_of_the_tree_is_not(log):
    # Given a tree with two branches, one of them with a task in it
    await log.append("anna", [draft("root")])
    await log.append("anna", [draft("left"), draft("right")], cause=await log.get("anna", "root"))
    await log.append("anna", [draft("r1")], cause=await log.get("anna", "right"))
    await log.append(
        "anna", [draft("l1"), draft("l2", "worker.task", agent="echo")], cause=await log.get("anna", "left")
    )
    await log.append("anna", [draft("l11")], cause=await log.get("anna", "l1"))
    # When one is cancelled, however often
    why = {"code": "group_failed", "message": "Another one failed"}
    ended, follow = await log.interventions.cancel_branches("anna", "root", ["left"], why)
    assert await log.interventions.cancel_branches("anna", "root", ["left"], why) == ([], [])
    # Then all of it is over, and nothing else
    assert set(ended) == {"left", "l1", "l2", "l11"}
    events = {each["id"]: each for each in await log.events("anna")}
    assert {name for name, each in events.items() if each["state"] == "cancelled"} == set(ended)
    assert events["l1"]["error"] == why
    assert not await log.is_cancelled(events["r1"])
    # And the task tells so
    [told] = follow
    assert (told["type"], told["cause"]) == ("worker.task.result", "l2")
    assert told["metadata"]["message"].startswith("Another one failed")


async def test_a_renewed_claim_holds(log, clock):
    await log.append("anna", [draft("a")])
    claim = await claimed(log)
    clock.now += 8
    claim = await log.renew(claim, "me", 10)
    clock.now += 8
    assert isinstance(await log.claim("anna", "a", 0, "other", 10), Later)
    assert claim.event["attempts"] == 1


async def test_the_end_and_what_follows_are_one_batch(log):
    await log.append("anna", [draft("a")])
    claim = await claimed(log)
    [output] = await log.end(claim, "done", outputs=[draft("o")])
    assert (output["seq"], output["root"], output["cause"]) == (2, "a", "a")
    event = await log.get("anna", "a")
    assert (event["state"], event["outputs"], event["claim"], event["sweepAt"]) == ("done", ["o"], None, None)
    assert (await log.head("anna"))["counts"] == {"accepted": 1, "done": 1}
    assert isinstance(await log.claim("anna", "a", 0, "me", 10), Ended)


async def test_an_end_that_comes_second_changes_nothing(log, clock):
    await log.append("anna", [draft("a")])
    first = await claimed(log)
    clock.now += 11
    await log.end(await claimed(log, owner="other"), "done", outputs=[draft("o")])
    with pytest.raises(PreconditionFailed):
        await log.end(first, "done", outputs=[draft("p")])
    assert await log.get("anna", "p") is None
    assert (await log.head("anna"))["seq"] == 2


async def test_an_output_that_exists_already_is_kept(log):
    await log.append("anna", [draft("a"), draft("o")])
    created = await log.end(await claimed(log), "done", outputs=[draft("o"), draft("p")])
    assert [event["id"] for event in created] == ["p"]
    assert (await log.get("anna", "a"))["outputs"] == ["o", "p"]


async def test_a_postponed_event_answers_to_its_new_wake_when_it_is_due(log, clock):
    await log.append("anna", [draft("a")])
    event = await log.postpone(await claimed(log), 5, attempts=0)
    assert (event["wake"], event["attempts"], event["dueAt"]) == (1, 0, clock.now + 5)
    # Then the old message is void, and the new one comes too early
    assert isinstance(await log.claim("anna", "a", 0, "me", 10), Void)
    assert await log.claim("anna", "a", 1, "me", 10) == Later(event, clock.now + 5)
    clock.now += 5
    await claimed(log, wake=1)


async def test_overlooked_events_are_found_and_looked_at_ever_more_rarely(log, clock):
    await log.append("anna", [draft("a")])
    await log.append("bert", [draft("b")])
    assert (await log.overdue.overlooked(10)).items == []
    waits = []
    clock.now += 30
    for _ in range(7):
        found = (await log.overdue.overlooked(10)).items
        assert {item.body["id"] for item in found} == {"a", "b"}
        swept = [await log.overdue.sweep(item) for item in found]
        assert [event["wake"] for event in swept] == [0, 0]
        assert (await log.overdue.overlooked(10)).items == []
        wait = swept[0]["sweepAt"] - clock.now
        waits.append(wait)
        clock.now += wait
    assert waits == [60, 120, 240, 480, 600, 600, 600]


async def test_two_clocks_sweep_an_event_once(log, clock):
    await log.append("anna", [draft("a")])
    clock.now += 31
    [found] = (await log.overdue.overlooked(10)).items
    assert await log.overdue.sweep(found) is not None
    assert await log.overdue.sweep(found) is None


async def test_a_claimed_event_is_found_when_its_claim_runs_out(log, clock):
    await log.append("anna", [draft("a")])
    await claimed(log)
    clock.now += 9
    assert (await log.overdue.lapsed(10)).items == []
    clock.now += 1
    [lapsed] = (await log.overdue.lapsed(10)).items
    # Then it is in no other list, and is looked at ever more rarely
    assert (await log.overdue.overlooked(10)).items == []
    await log.overdue.sweep(lapsed)
    assert (await log.overdue.lapsed(10)).items == []
    clock.now += 60
    assert len((await log.overdue.lapsed(10)).items) == 1
    # And in none when it was given back, or has ended
    await log.postpone(await claimed(log), 5, attempts=0)
    assert await log.put_aside("anna", "a", 1, 5) is None
    clock.now += 5
    await log.claim("anna", "a", 1, "me", 1)
    clock.now += 1
    assert await log.put_aside("anna", "a", 1, 5) is not None
    assert (await log.overdue.lapsed(10)).items == []
    await log.end(await claimed(log, wake=2), "done")
    clock.now += 10_000
    assert (await log.overdue.lapsed(10)).items == []
    assert (await log.overdue.overlooked(10)).items == []


async def test_a_claim_that_an_older_version_wrote_is_found(log, storage, clock):
    # Given a claim whose end stands where that version looked for it
    await log.append("anna", [draft("a")])
    await claimed(log)
    stored = await storage.get("events", "anna", "a")
    body = stored.body | {"sweepAt": stored.body["claim"]["until"]}
    del body["reclaimAt"]
    await storage.batch("events", "anna", [Replace(body, stored.etag)])
    clock.now += 10
    # When the clock looks
    [found] = (await log.overdue.overlooked(10)).items
    await log.overdue.sweep(found)
    # Then it stands where this one does
    clock.now += 60
    assert (await log.overdue.overlooked(10)).items == []
    assert [each.body["id"] for each in (await log.overdue.lapsed(10)).items] == ["a"]


async def test_events_are_listed_within_bounds(log):
    await log.append("anna", [draft(f"e{n}") for n in range(1, 8)])
    assert [e["seq"] for e in await log.events("anna", after=2, limit=3)] == [3, 4, 5]
    assert [e["seq"] for e in await log.events("anna", before=4, descending=True, limit=2)] == [3, 2]
    assert await log.events("bert") == []


async def test_a_commit_that_is_delayed_past_another_is_not_jumped_over(log, storage, open_store):
    # Given a writer that stands still in the middle of its commit
    entered, go_on = threading.Event(), threading.Event()
    slow_storage = open_store()
    slow = EventLog(slow_storage)
    batch_on = slow_storage.batch_on

    async def batch_slowly(container, partition, pivot, build):
        def build_slowly(stored):
            entered.set()
            assert go_on.wait(10)
            return build(stored)

        return await batch_on(container, partition, pivot, build_slowly)

    slow_storage.batch_on = batch_slowly

    async def append_slowly() -> str | None:
        await slow.append("anna", [draft("slow")])
        await slow_storage.close()
        return slow.session()

    first = asyncio.create_task(asyncio.to_thread(lambda: asyncio.run(append_slowly())))
    await asyncio.to_thread(entered.wait, 10)
    # When another writer commits, and a reader follows the log meanwhile
    second = asyncio.create_task(log.append("anna", [draft("fast")]))
    seen = [(event["seq"], event["id"]) for event in await log.events("anna")]
    go_on.set()
    session, _ = await asyncio.gather(first, second)
    log.resume(session)
    seen += [(event["seq"], event["id"]) for event in await log.events("anna", after=len(seen))]
    # Then it saw both, in order, once
    assert [seq for seq, _ in seen] == [1, 2]
    assert {name for _, name in seen} == {"slow", "fast"}
