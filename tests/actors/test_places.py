"""Places: no user takes all of them, and who holds the fewest is called first."""

import asyncio
import time

import pytest

from actors.places import CALL_SECONDS, MAX_IN_VAIN, PATIENCE_SECONDS, QUICK_SECONDS, SLOW_SECONDS, Places
from actors.waiting import LOOK_APART_SECONDS, LOOK_SECONDS, MAX_EVENTS, MAX_USERS
from lightning.queue import Wakeup
from tests.memory_queue import Clock

WORK_SECONDS = 60.0


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def places(clock):
    return Places(4, 3, clock=clock, randomness=lambda: 0.5)


def event_of(user: str, event: str, wake: int = 1) -> Wakeup:
    return Wakeup(user, event, wake, "chat", 0.0)


async def take(places, user, count) -> list[bool]:
    return [await places.enter(event_of(user, f"{user}{n}")) for n in range(count)]


def is_told_at_once(places, user) -> bool:
    """Tell whether somebody for whom there is no place hears of it without a wait."""
    entering = places.enter(event_of(user, "one more"))
    try:
        entering.send(None)
    except StopIteration:
        return True
    entering.close()
    return False


def called(places) -> list[str]:
    return [message.event_id for message in places.call()]


class TestShare:
    async def test_a_user_has_a_share_and_the_others_the_rest(self, places):
        assert await take(places, "anna", 5) == [True, True, True, False, False]
        assert await take(places, "bert", 2) == [True, False]
        # and what is given back is free
        places.leave("anna", WORK_SECONDS)
        assert await take(places, "carl", 2) == [True, False]

    async def test_a_share_is_never_more_than_there_is(self):
        assert await take(Places(2, 5), "anna", 3) == [True, True, False]


class TestCalls:
    async def test_whoever_holds_the_fewest_is_called_first(self, places):
        # Given all places taken, and many who wait
        await take(places, "anna", 3)
        await take(places, "bert", 1)
        for user in ("anna", "bert", "carl"):
            for n in range(10, 12):
                places.wait(event_of(user, f"{user}{n}"))
        assert called(places) == []
        # When places become free one after the other
        order = []
        for user in ("anna", "anna", "anna", "bert"):
            places.leave(user, WORK_SECONDS)
            order += called(places)
        # Then they go to those who have none, and to equals in turn, oldest first
        assert order == ["carl10", "anna10", "bert10", "carl11"]

    async def test_who_has_their_share_is_not_called(self, places):
        await take(places, "anna", 3)
        places.wait(event_of("anna", "more"))
        assert called(places) == []
        places.leave("anna", WORK_SECONDS)
        assert called(places) == ["more"]

    async def test_the_place_is_kept_for_who_was_called(self, places, clock):
        # Given somebody called to the last place
        await take(places, "anna", 3)
        places.wait(event_of("bert", "b"))
        assert called(places) == ["b"]
        # When others come first
        assert not await places.enter(event_of("carl", "c"))
        assert not await places.enter(event_of("bert", "another"))
        # Then the place is there for the one, and then taken
        assert await places.enter(event_of("bert", "b"))
        clock.now += 2 * CALL_SECONDS
        assert not await places.enter(event_of("carl", "c"))

    async def test_it_is_not_kept_for_what_others_gave_the_same_id(self, places):
        # Given somebody called to the last place
        await take(places, "anna", 3)
        places.wait(event_of("bert", "same"))
        assert called(places) == ["same"]
        # When others come with events of that id
        assert not await places.enter(event_of("anna", "same"))
        assert not await places.enter(event_of("carl", "same"))
        # Then the place is there for the one
        assert await places.enter(event_of("bert", "same"))

    async def test_it_is_not_kept_for_ever(self, places, clock):
        await take(places, "anna", 3)
        places.wait(event_of("bert", "b"))
        assert called(places) == ["b"]
        clock.now += CALL_SECONDS
        assert await places.enter(event_of("carl", "c"))

    async def test_looks_at_which_there_was_nothing_to_do_teach_nothing(self, places):
        # Given many looks of somebody that did nothing, each over in no time
        for _ in range(20):
            assert await places.enter(event_of("anna", "void"))
            places.leave("anna", None)
        # Then places are kept as before
        await take(places, "anna", 3)
        places.wait(event_of("bert", "b"))
        assert called(places) == ["b"]
        assert not await places.enter(event_of("carl", "c"))

    async def test_who_found_a_place_without_being_called_waits_no_more(self, places):
        await take(places, "anna", 3)
        places.wait(event_of("bert", "b"))
        assert await places.enter(event_of("bert", "b"))
        places.leave("bert", WORK_SECONDS)
        assert called(places) == []

    async def test_the_newest_message_of_an_event_counts(self, places):
        for wake in (1, 2):
            places.wait(Wakeup("anna", "a", wake, "chat", 0.0))
        assert [message.wake for message in places.call()] == [2]


class TestBounds:
    async def test_looks_are_spread_however_many_wait(self, places):
        waits = [places.wait_seconds("anna") for _ in range(50_000)]
        assert waits[0] > LOOK_SECONDS
        assert waits == sorted(set(waits))
        assert waits[-1] == pytest.approx(LOOK_SECONDS + 50_000 * LOOK_APART_SECONDS)

    async def test_nobody_looks_later_for_how_many_others_wait(self, places):
        # Given very many events of somebody that wait
        for _ in range(30_000):
            places.wait_seconds("anna")
        # When a few of somebody else wait
        waits = [places.wait_seconds("bert") for _ in range(7)]
        # Then they look again soon
        assert waits[-1] == pytest.approx(LOOK_SECONDS + 7 * 2 * LOOK_APART_SECONDS)

    async def test_the_lines_of_looks_are_bounded(self, places):
        for n in range(2 * MAX_USERS):
            places.wait_seconds(f"user {n}")
        assert len(places._waiting._lines) == MAX_USERS

    async def test_so_many_are_remembered_and_the_others_come_by_themselves(self, clock):
        # Given more who wait than are remembered
        places = Places(2 * MAX_EVENTS + MAX_USERS, 2 * MAX_EVENTS, clock=clock)
        for n in range(2 * MAX_EVENTS):
            places.wait(event_of("anna", str(n)))
        for n in range(2 * MAX_USERS):
            places.wait(event_of(f"user {n}", f"event {n}"))
        # When there is a place for everybody, those who are remembered are called
        users = [message.user_id for message in places.call()]
        assert len(set(users)) == MAX_USERS
        assert users.count("anna") == MAX_EVENTS


class TestPatience:
    async def test_a_place_is_waited_for_a_moment(self, places):
        # Given no place for two
        await take(places, "anna", 3)
        first, second = (asyncio.create_task(places.enter(event_of("anna", each))) for each in ("b", "c"))
        await asyncio.sleep(0)
        assert not first.done()
        # When somebody leaves
        places.leave("anna", 0.001)
        # Then the one who has waited longer has the place
        assert await first
        assert not second.done()
        places.leave("anna", 0.001)
        assert await second

    async def test_who_waited_in_vain_is_remembered_within_bounds(self, places):
        await take(places, "anna", 3)
        await take(places, "bert", 1)
        async with asyncio.TaskGroup() as group:
            for n in range(MAX_IN_VAIN + 100):
                group.create_task(places.enter(event_of(f"user {n}", "e")))
        assert 0 < len(places._in_vain) <= MAX_IN_VAIN

    async def test_and_not_longer(self, places):
        await take(places, "anna", 3)
        begun = time.monotonic()
        assert not await places.enter(event_of("anna", "more"))
        assert PATIENCE_SECONDS * 0.9 < time.monotonic() - begun < PATIENCE_SECONDS + 2

    async def test_after_a_wait_in_vain_the_next_are_told_at_once(self, places):
        # Given somebody with a full share, for whom a place was waited for in vain
        await take(places, "anna", 3)
        await take(places, "carl", 1)
        assert not await places.enter(event_of("anna", "more"))
        # Then nothing more is waited for, until work of theirs proves to be quick
        assert is_told_at_once(places, "anna")
        assert not is_told_at_once(places, "bert")
        places.leave("anna", WORK_SECONDS)
        assert await places.enter(event_of("anna", "next"))
        assert is_told_at_once(places, "anna")
        places.leave("anna", 0.9 * PATIENCE_SECONDS)
        assert await places.enter(event_of("anna", "next"))
        assert not is_told_at_once(places, "anna")

    async def test_work_is_quick_where_places_become_free_often_however_long_it_takes(self, places):
        # Given somebody with a full share, who waited in vain
        await take(places, "anna", 3)
        await take(places, "carl", 1)
        assert not await places.enter(event_of("anna", "more"))
        # When work takes so long that, with all of the share at a time, a place is free within a moment
        places.leave("anna", 0.9 * QUICK_SECONDS * 3)
        assert await places.enter(event_of("anna", "next"))
        # Then the next wait
        assert not is_told_at_once(places, "anna")

    async def test_places_go_to_whoever_of_those_who_wait_holds_the_fewest(self, places):
        # Given all places taken, and three who wait for one, two of whom have some already
        await take(places, "anna", 2)
        await take(places, "bert", 2)
        order = []

        async def enter(user: str) -> None:
            assert await places.enter(event_of(user, "more"))
            order.append(user)

        async with asyncio.TaskGroup() as group:
            for user in ("anna", "bert", "carl"):
                group.create_task(enter(user))
            await asyncio.sleep(0)
            # When places become free one after the other
            for user in ("bert", "carl", "anna"):
                places.leave(user, 0.001)
        # Then the one who has none is first, and of the others whoever holds fewer
        assert order == ["carl", "bert", "anna"]

    async def test_whoever_stops_waiting_takes_no_place(self, places):
        # Given two who wait
        await take(places, "anna", 3)
        await take(places, "carl", 1)
        first, second = (asyncio.create_task(places.enter(event_of("bert", each))) for each in "ab")
        await asyncio.sleep(0)
        # When the first gives up in the very moment in which a place becomes free
        places.leave("carl", 0.001)
        first.cancel()
        # Then it goes to the second
        assert await second
        assert first.cancelled()
        assert places._taken == {"anna": 3, "bert": 1}

    async def test_where_work_is_quick_those_who_wait_here_come_before_those_who_were_put_aside(self, places):
        # Given quick work, somebody who was put aside, and somebody who waits here for a place
        for _ in range(20):
            assert await places.enter(event_of("anna", "quick"))
            places.leave("anna", 0.001)
        await take(places, "anna", 3)
        await take(places, "carl", 1)
        places.wait(event_of("bert", "put aside"))
        entering = asyncio.create_task(places.enter(event_of("dora", "waits here")))
        await asyncio.sleep(0)
        # When a place becomes free, then nobody is called in vain
        places.leave("carl", 0.001)
        assert called(places) == []
        assert await entering
        # but to the next
        places.leave("dora", 0.001)
        assert called(places) == ["put aside"]

    async def test_where_work_is_slow_those_who_were_put_aside_come_first(self, places):
        await take(places, "anna", 3)
        await take(places, "carl", 1)
        places.wait(event_of("bert", "put aside"))
        entering = asyncio.create_task(places.enter(event_of("dora", "waits here")))
        await asyncio.sleep(0)
        places.leave("carl", 2 * SLOW_SECONDS)
        assert called(places) == ["put aside"]
        assert not await entering

    async def test_whoever_is_called_while_they_wait_here_has_the_place(self, places):
        # Given no place, and somebody who was put aside and looks again just now
        assert await take(places, "anna", 3) == [True] * 3
        assert await take(places, "bert", 1) == [True]
        places.wait(event_of("carl", "c"))
        entering = asyncio.create_task(places.enter(event_of("carl", "c")))
        await asyncio.sleep(0)
        # When their turn has come
        places.leave("anna", WORK_SECONDS)
        # Then they need no call
        assert called(places) == []
        assert await entering
        assert await take(places, "dora", 1) == [False]

    async def test_whoever_is_called_twice_has_one_place(self, places):
        # Given a call that nobody has answered
        assert await take(places, "anna", 3) == [True] * 3
        assert await take(places, "bert", 1) == [True]
        places.wait(event_of("carl", "c"))
        places.leave("anna", WORK_SECONDS)
        assert called(places) == ["c"]
        # When another message of the same event was put aside meanwhile, and there is one more place
        places.wait(event_of("carl", "c", wake=2))
        places.leave("anna", WORK_SECONDS)
        assert called(places) == ["c"]
        # Then it is free
        assert await take(places, "dora", 2) == [True, False]
        assert await places.enter(event_of("carl", "c", wake=2))

    async def test_where_work_is_quick_no_place_is_kept(self, places):
        # Given quick work, and somebody who was called
        for _ in range(20):
            assert await places.enter(event_of("anna", "quick"))
            places.leave("anna", 0.001)
        await take(places, "anna", 3)
        places.wait(event_of("bert", "b"))
        assert called(places) == ["b"]
        # Then the place is not free meanwhile
        assert await places.enter(event_of("carl", "c"))


class TestVoidMessages:
    async def test_only_the_message_of_the_last_time_counts(self, places):
        # Given an event that was put aside twice
        for wake in (1, 2):
            places.wait(event_of("anna", "a", wake))
        # Then the message of the first time is void, also when it is called
        assert places.is_void(event_of("anna", "a", 1))
        assert not places.is_void(event_of("anna", "a", 2))
        assert not places.is_void(event_of("bert", "a", 1))
        assert called(places) == ["a"]
        assert places.is_void(event_of("anna", "a", 1))
        assert await places.enter(event_of("anna", "a", 2))
        assert not places.keeps_some()

    async def test_who_is_put_aside_meanwhile_is_called_all_the_same(self, places):
        # Given two messages of one event, of which one waits here and the other was put aside
        await take(places, "anna", 3)
        await take(places, "carl", 1)
        entering = asyncio.create_task(places.enter(event_of("bert", "b", 1)))
        await asyncio.sleep(0)
        places.wait(event_of("bert", "b", 2))
        # When the first gets a place, which is of no use to it
        places.leave("carl", 0.001)
        assert await entering
        places.leave("bert", None)
        # Then the event is called
        assert [message.wake for message in places.call()] == [2]
