"""Answers while they are written, on both kinds of stream: in order, never behind their response."""

import json
import socket
import threading
import time
from contextlib import closing, contextmanager
from itertools import islice

import pytest

from tests.api.conftest import PATIENCE_SECONDS, serving
from tests.api.other_processes import answer, fail, piece, record, take_up_again, tell


@contextmanager
def by_sse(person, **parameters):
    with person.stream(**parameters) as frames:
        yield ((frame.event, frame.data) for frame in frames)


@contextmanager
def by_websocket(person, **parameters):
    with person.websocket(**parameters) as connection:
        yield (read(frame) for frame in iter(lambda: connection.recv(PATIENCE_SECONDS), None))


def read(text: str) -> tuple[str, dict]:
    frame = json.loads(text)
    kind = frame.pop("type")
    return (frame["event"]["type"], frame["event"]) if kind == "event" else (kind, frame)


@pytest.fixture(params=[by_sse, by_websocket])
def opened(request):
    return request.param


def test_they_come_as_they_were_told(ingress, person, opened):
    # Given a stream whose user has asked something
    asked = person.says("question")
    with opened(person, after=asked["seq"]) as frames:
        wait_for_streams(ingress, 1, person)
        # When a worker tells of the answer, piece by piece
        pieces = [piece(asked, 0, "Über "), piece(asked, 5, "den 🌊\n\ndata: x")]
        for one in pieces:
            tell(ingress, deltas={person.id: [one]})
        # Then they come as they are
        assert list(islice(frames, 2)) == [("delta", one) for one in pieces]


def test_what_a_run_shows_comes_as_it_was_told_and_to_nobody_else(ingress, person, opened):
    # Given a stream, and somebody else's
    said, other = person.says("question"), ingress.person()
    theirs = other.says("question")
    with opened(person, after=said["seq"]) as frames, opened(other, after=theirs["seq"]) as others:
        wait_for_streams(ingress, 1, person)
        wait_for_streams(ingress, 1, other)
        # When a worker tells what a run shows
        names = {"run": "r", "task": "t"}
        stage = {**names, "status": "running"}
        line = {**names, "offset": 3, "text": "Über\n\ndata: x"}
        progress = {**names, "at": "2026-01-01T00:00:00Z", "message": "half", "percent": 50.0}
        told = {"stages": stage, "lines": line, "progress": progress}
        tell(ingress, **{name: {person.id: [each]} for name, each in told.items()})
        # Then it comes as it is
        assert list(islice(frames, 3)) == [("run", stage), ("log", line), ("progress", progress)]
        # And to nobody else
        other.says("the next that is theirs")
        assert next(others)[0] == "llm.chat"


def test_none_comes_behind_the_response(ingress, person, opened):
    # Given an answer under way
    asked = person.says("question")
    with opened(person, after=asked["seq"]) as frames:
        wait_for_streams(ingress, 1, person)
        tell(ingress, deltas={person.id: [piece(asked, 0, "ans")]})
        assert next(frames) == ("delta", piece(asked, 0, "ans"))
        # When its last piece, and the news of the response, arrive together
        answer(ingress, asked, "answer")
        tell(ingress, users={person.id: 9}, deltas={person.id: [piece(asked, 3, "wer")]})
        # Then the piece comes first
        assert next(frames) == ("delta", piece(asked, 3, "wer"))
        kind, response = next(frames)
        assert (kind, response["cause"]) == ("llm.chat.response", asked["id"])
        # And when a worker that was late tells more of it, nothing comes before the next event
        tell(ingress, deltas={person.id: [piece(asked, 6, "late"), piece(asked, 9, "late")]})
        marker = person.says("marker")
        assert next(frames) == ("llm.chat", marker)


def test_those_of_a_replay_come_on_streams_that_were_open_before(ingress, person, opened):
    # Given a stream that has seen the answer begin, and fail
    asked = person.says("question")
    with opened(person, after=asked["seq"]) as frames:
        wait_for_streams(ingress, 1, person)
        tell(ingress, deltas={person.id: [piece(asked, 0, "first try")]})
        assert next(frames) == ("delta", piece(asked, 0, "first try"))
        fail(ingress, asked)
        tell(ingress, users={person.id: 9})
        assert next(frames)[0] == "llm.chat.response"
        # When the chat is replayed, and a worker writes anew while another one was late
        assert person.request("POST", f"/api/events/{asked['id']}/replay").status_code == 202
        anew = piece(asked, 0, "anew", attempt=take_up_again(ingress, asked))
        tell(ingress, deltas={person.id: [piece(asked, 9, "late"), anew]})
        # Then what it writes is shown
        assert next(frames) == ("delta", anew)


def test_they_can_be_left_out(ingress, person, opened):
    asked = person.says("question")
    with opened(person, after=asked["seq"], deltas=0) as frames:
        wait_for_streams(ingress, 1, person)
        tell(ingress, deltas={person.id: [piece(asked, 0, "x")]})
        marker = person.says("marker")
        assert next(frames) == ("llm.chat", marker)


def test_nobody_else_gets_them(ingress, person, opened):
    other = ingress.person()
    asked = person.says("question")
    with opened(other) as frames:
        wait_for_streams(ingress, 1, other)
        tell(ingress, deltas={person.id: [piece(asked, 0, "x")]})
        marker = other.says("marker")
        assert next(frames) == ("llm.chat", marker)


def test_a_client_that_resumes_at_every_frame_misses_nothing(ingress, person, opened):
    # Given somebody who writes without a pause, and answers that are being told
    stop = threading.Event()

    def write():
        number = 0
        while not stop.is_set():
            said = person.says(str(number))
            tell(ingress, deltas={person.id: [piece(said, 0, "x")]})
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        # When a client takes one event, drops the connection and comes back behind it, again and again
        seen = []
        while len(seen) < 40:
            with opened(person, after=seen[-1]["seq"] if seen else 0) as frames:
                seen.append(next(data for kind, data in frames if kind != "delta"))
    finally:
        stop.set()
        writer.join(PATIENCE_SECONDS)
    # Then it has seen each event once, in order
    assert [event["seq"] for event in seen] == list(range(1, 41))
    assert seen == person.log()[:40]


def test_a_lost_notification_only_delays(tmp_path, opened):
    # Given an ingress that repairs soon, and a stream that waits
    with serving(tmp_path / "data", LIGHTNING_STREAM_REPAIR_SECONDS="0.5") as ingress:
        person = ingress.person()
        first = person.says("first")
        with opened(person, after=first["seq"]) as frames:
            wait_for_streams(ingress, 1, person)
            # When another process records something, and its notification is lost
            record(ingress, person.id, "unheard")
            # Then it comes all the same
            kind, event = next(frames)
            assert (kind, event["metadata"]["content"]) == ("user.message", "unheard")


SLOW = {"LIGHTNING_SLOW_READER_SECONDS": "1", "LIGHTNING_STREAM_REPAIR_SECONDS": "1"}
WEBSOCKET = (
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {}\r\n"
)


@pytest.mark.parametrize(
    ("path", "more"),
    [("/api/stream", ""), ("/api/ws", WEBSOCKET.format("dGhlIHNhbXBsZSBub25jZQ=="))],
)
@pytest.mark.parametrize("kind", ["deltas", "events"])
def test_a_reader_that_takes_nothing_is_cut_off(tmp_path, path, more, kind, caplog):
    with serving(tmp_path / "data", **SLOW) as ingress:
        # Given a client that opens a stream and never reads
        person = ingress.person()
        asked = person.says("question")
        address = ("127.0.0.1", int(ingress.url.rsplit(":", 1)[1]))
        with closing(socket.socket()) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(address)
            head = f"GET {path} HTTP/1.1\r\nHost: x\r\n{more}Authorization: Bearer {person.token}\r\n\r\n"
            client.sendall(head.encode())
            [stream] = wait_for_streams(ingress, 1, person)

            # When far more comes in than the sockets between take
            offset, deadline = 0, time.monotonic() + 30
            while len(ingress.platform.streams) and time.monotonic() < deadline:
                if kind == "events":
                    person.says("x" * 100_000)
                else:
                    many = [piece(asked, offset + n * 400, "x" * 400) for n in range(250)]
                    tell(ingress, deltas={person.id: many})
                    offset += 250 * 400
                # Then what waits for it stays within bounds
                assert len(stream.mailbox._deltas) <= 256

            # And it is cut off, and nothing is held for it
            wait_for_streams(ingress, 0, person)
            assert len(ingress.platform.hub) == 0
            # and not once it reads again, but at once
            wait_for_hang_up(ingress, client.getsockname())
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []


def wait_for_hang_up(ingress, address) -> None:
    """Wait until the server has no connection to an address."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while address in [connection.client for connection in list(ingress.server.server_state.connections)]:
        assert time.monotonic() < deadline, "the connection is still held"
        time.sleep(0.005)


def wait_for_streams(ingress, count: int, person) -> list:
    """Wait until so many streams of a person are open, and give them."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        mine = [each for each in list(ingress.platform.streams) if each.claims.subject == person.id]
        if len(mine) == count:
            return mine
        assert time.monotonic() < deadline, f"{len(mine)} streams are open, not {count}"
        time.sleep(0.005)
