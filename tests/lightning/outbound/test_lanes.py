"""Room for requests: nobody takes all of it."""

import pytest

from lightning.outbound import Full, Lanes
from tests.memory_queue import Clock


@pytest.fixture
def clock():
    return Clock()


class Guests:
    """Takes room and keeps it."""

    def __init__(self, lanes):
        self.lanes = lanes
        self.taken = []

    def fill(self, user, endpoint):
        """Take room until there is none; give how much it was, and the wait that was asked."""
        for count in range(1000):
            room = self.lanes.room(user, endpoint)
            try:
                room.__enter__()
            except Full as full:
                return count, full.wait_seconds
            self.taken.append(room)
        raise AssertionError("there is room without end")

    def leave(self):
        while self.taken:
            self.taken.pop().__exit__(None, None, None)


def test_an_endpoint_a_user_and_all_have_their_limits(clock):
    guests = Guests(Lanes(8, clock=clock))
    # one endpoint: a quarter
    assert guests.fill("anna", "a1")[0] == 2
    # one user: three quarters, with however many endpoints
    assert [guests.fill("anna", f"a{n}")[0] for n in (2, 3, 4)] == [2, 2, 0]
    # the rest is for others, up to the total
    assert guests.fill("bert", "b1")[0] == 2
    assert guests.fill("carl", "c1")[0] == 0
    # and all is free again when they have left
    guests.leave()
    assert guests.fill("carl", "c1")[0] == 2


def test_who_finds_no_room_is_given_a_moment_of_their_own(clock):
    guests = Guests(Lanes(4, clock=clock))
    waits = [guests.fill("anna", "a")[1] for _ in range(10)]
    assert waits == sorted(set(waits))


def test_the_moments_follow_what_requests_take(clock):
    guests = Guests(Lanes(4, clock=clock))
    # Given an endpoint whose requests take 8 s each
    for _ in range(20):
        guests.fill("anna", "slow")
        clock.now += 8
        guests.leave()
    # Then who finds it busy comes again after about so long, and sooner elsewhere
    assert 6 < guests.fill("anna", "slow")[1] < 10
    assert guests.fill("bert", "quick")[1] < 1


def test_the_memory_does_not_grow_with_the_number_of_endpoints(clock):
    lanes = Lanes(8, clock=clock)
    for number in range(3000):
        with lanes.room(f"user {number}", f"endpoint {number}"):
            pass
    assert len(lanes._lanes) <= 1001
