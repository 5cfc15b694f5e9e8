"""`/api/stream`: a log as server-sent events, from any place on."""

import time
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import pytest

from tests.api.conftest import assert_problem, serving

EVENTS = 7


@pytest.fixture(scope="module")
def reader(ingress):
    reader = ingress.person()
    for number in range(EVENTS):
        reader.says(f"{number}\nüber zwei Zeilen\r\ndata: x\n\n")
    return reader


def places(frames, count):
    return [int(frame.id) for frame in islice(frames, count)]


def test_events_come_in_order_as_the_log_has_them(reader):
    # When the stream is read from its beginning
    with reader.stream() as frames:
        seen = list(islice(frames, EVENTS))

    # Then each frame is one event, whose place is the frame's id
    assert [frame.data for frame in seen] == reader.log()
    assert [int(frame.id) for frame in seen] == [frame.data["seq"] for frame in seen]
    assert {frame.event for frame in seen} == {"llm.chat"}


@pytest.mark.parametrize("position", range(EVENTS + 1))
def test_it_goes_on_behind_any_place_exactly_once(reader, position):
    # Given a client that was cut off at a place, and one event more than it will miss
    marker = reader.says("marker")

    # When it comes back with Last-Event-ID, or asks for what is after it
    with reader.stream(last_event_id=str(position)) as frames:
        by_header = places(frames, marker["seq"] - position)
    with reader.stream(after=position) as frames:
        by_parameter = places(frames, marker["seq"] - position)

    # Then it gets every event behind that place once, and none from before it
    assert by_header == by_parameter == list(range(position + 1, marker["seq"] + 1))


def test_last_event_id_wins_over_the_address_it_was_opened_with(reader):
    # as EventSource repeats the address when it comes back
    headers = reader.headers(last_event_id="5")
    with reader.ingress.http.stream("GET", "/api/stream", params={"after": 2}, headers=headers) as response:
        lines = (line for line in response.iter_lines() if line.startswith("id:"))
        assert next(lines).removeprefix("id:").strip() == "6"


def test_an_event_posted_meanwhile_arrives(person):
    # Given a stream that has nothing to tell yet
    with person.stream() as frames:
        # When an event is posted
        said = person.says("news")

        # Then it arrives
        assert next(frames).data == said

        # And so does one that comes after it
        said = person.says("more news")
        assert next(frames).data == said


def test_two_readers_read_the_same(person):
    # Given two readers of one log
    with person.stream() as one, person.stream() as two, ThreadPoolExecutor(2) as pool:
        read = [pool.submit(places, frames, 30) for frames in (one, two)]

        # When events come in
        for number in range(30):
            person.says(str(number))

        # Then both see all of them, in order
        assert [future.result() for future in read] == [list(range(1, 31))] * 2


def test_events_that_come_all_at_once_are_neither_lost_nor_repeated(person):
    # Given a reader, and many who post at the same time
    with person.stream() as frames, ThreadPoolExecutor(8) as pool:
        read = pool.submit(places, frames, 60)
        for _ in pool.map(person.says, map(str, range(60))):
            pass
        assert read.result() == list(range(1, 61))


def test_a_log_longer_than_a_page(ingress):
    # Given more events than one reading of the log gives
    person = ingress.person()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(person.says, map(str, range(210))))

    # Then the stream has them all
    with person.stream() as frames:
        assert places(frames, 210) == list(range(1, 211))


def test_it_ends_when_the_ingress_does(tmp_path):
    # Given a stream that has nothing to tell
    with serving(tmp_path / "data") as ingress, ingress.person().stream() as frames:
        # When the ingress is told to stop
        begin = time.monotonic()
        ingress.stop()

        # Then the stream ends in good order, before it is cut off
        assert list(frames) == []
        assert time.monotonic() - begin < 1.5


def test_readers_who_leave_do_no_harm(person):
    # Given readers who came and left in the middle
    person.says("first")
    for _ in range(5):
        with person.stream() as frames:
            next(frames)

    # Then the next one is served, and the log too
    with person.stream(after=1) as frames:
        said = person.says("second")
        assert next(frames).data == said


TOO_FAR = [str(2**63), "9" * 19]
BAD = ["-1", "x", "1.5", "1e3", "0x1", "1 2", "9" * 20, "9" * 400, "\u0661".encode(), b"\xb2"]


@pytest.mark.parametrize("position", BAD, ids=repr)
def test_a_bad_last_event_id(reader, position):
    value = position if isinstance(position, bytes) else position.encode()
    headers = {**reader.headers(), "last-event-id": value}
    assert_problem(reader.ingress.http.get("/api/stream", headers=headers), 400, "invalid_position")


@pytest.mark.parametrize("position", TOO_FAR)
def test_a_last_event_id_that_no_log_has(reader, position):
    headers = reader.headers(last_event_id=position)
    assert_problem(reader.ingress.http.get("/api/stream", headers=headers), 400, "invalid_position")


@pytest.mark.parametrize("after", ["-1", "x", "", "1.5", str(2**53 + 1), "9" * 19, "9" * 400])
def test_a_bad_place_to_begin(reader, after):
    assert_problem(reader.get("/api/stream", after=after), 400, "invalid_parameter")


def test_it_is_kept_nowhere(reader):
    with reader.ingress.http.stream("GET", "/api/stream", headers=reader.headers()) as response:
        assert response.headers["cache-control"] == "no-store"
