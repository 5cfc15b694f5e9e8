"""`/api/ws`: events both ways, and what is no event."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from websockets.exceptions import ConnectionClosed

from api import follow
from api.websocket import MAX_FRAME_BYTES, MAX_UNREADABLE
from tests.api.conftest import PATIENCE_SECONDS, serving


def receive(socket, *kinds: str) -> dict:
    """Receive the next frame of these kinds."""
    while True:
        frame = json.loads(socket.recv(PATIENCE_SECONDS))
        if frame["type"] in kinds:
            return frame


def post(socket, event, **fields) -> dict:
    socket.send(json.dumps({"type": "event", "event": event, **fields}))
    return receive(socket, "accepted", "problem")


def code_of_close(socket) -> int:
    """Receive nothing more, and tell with which code the server closed."""
    with pytest.raises(ConnectionClosed) as closed:
        socket.recv(PATIENCE_SECONDS)
    return closed.value.rcvd.code


@pytest.fixture
def socket(person):
    with person.websocket() as socket:
        yield socket


class TestStream:
    def test_events_come_in_order_from_any_place(self, person):
        for number in range(80):
            person.says(str(number))
        for after in (0, 1, 33, 79):
            with person.websocket(after=after) as socket:
                seen = [receive(socket, "event")["event"] for _ in range(80 - after)]
            assert seen == person.log()[after:]

    @pytest.mark.parametrize("after", ["-1", "x", "", "1.5", "9" * 19])
    def test_a_bad_place(self, person, after):
        with pytest.raises(Exception, match="HTTP 400"), person.websocket(after=after):
            pass

    def test_silence_is_broken_by_heartbeats(self, person, monkeypatch):
        # as by default, only sooner
        monkeypatch.setattr(follow, "HEARTBEAT_SECONDS", 0.05)
        with person.websocket() as socket:
            assert json.loads(socket.recv(PATIENCE_SECONDS)) == {"type": "heartbeat"}
        headers = person.headers()
        with person.ingress.http.stream("GET", "/api/stream", headers=headers) as answer:
            assert next(answer.iter_lines()) == ": heartbeat"

    def test_it_ends_when_the_ingress_does(self, tmp_path):
        with serving(tmp_path / "data") as ingress:
            person = ingress.person()
            with person.websocket() as socket, ThreadPoolExecutor(1) as pool:
                closed = pool.submit(code_of_close, socket)
                begin = time.monotonic()
                ingress.stop()
                # Then the client is told that it may come back
                assert closed.result() == 1012
                assert time.monotonic() - begin < 5


class TestPosting:
    def test_an_event_is_accepted_and_comes_back_in_the_log(self, person, socket):
        # When an event is posted
        answer = post(socket, person.event(), ref="mine")
        # Then it is recorded
        [recorded] = person.log()
        assert answer == {"type": "accepted", "ref": "mine", "event": recorded}
        # And streamed to whoever listens, here too
        assert receive(socket, "event")["event"] == recorded

    def test_many_are_answered_in_order(self, person, socket):
        for number in range(50):
            event = person.event(metadata={"content": str(number)})
            socket.send(json.dumps({"type": "event", "event": event, "ref": str(number)}))
        answers = [receive(socket, "accepted") for _ in range(50)]
        assert [answer["ref"] for answer in answers] == [str(number) for number in range(50)]
        assert [event["metadata"]["content"] for event in person.log()] == [str(n) for n in range(50)]

    def test_the_same_key_means_the_same_event(self, person, socket):
        event = person.event()
        first = post(socket, event, idempotencyKey="k")
        assert post(socket, event, idempotencyKey="k", ref="again")["event"] == first["event"]
        # and over HTTP too
        assert person.post(event, idempotency_key="k").json() == first["event"]
        other = post(socket, person.event(metadata={"content": "else"}), idempotencyKey="k")
        assert (other["problem"]["status"], other["problem"]["code"]) == (409, "id_taken")

    @pytest.mark.parametrize(
        ("changes", "status", "code", "pointer"),
        [
            ({"userID": "somebody else"}, 403, "foreign_user", "/userID"),
            ({"type": "llm.chat.response"}, 403, "platform_event", "/type"),
            ({"type": "nonsense"}, 422, "unknown_type", "/type"),
            ({"metadata": {"content": ""}}, 422, "invalid_field", "/metadata/content"),
            ({"timestamp": "2999-01-01T00:00:00Z"}, 422, "timestamp_in_future", "/timestamp"),
        ],
    )
    def test_it_is_checked_as_over_http(self, person, socket, changes, status, code, pointer):
        event = person.event(**changes)
        answer = post(socket, event, ref="r")
        assert answer == {"type": "problem", "ref": "r", "problem": person.post(event).json()}
        problem = answer["problem"]
        assert (problem["status"], problem["code"], problem["pointer"]) == (status, code, pointer)
        assert post(socket, person.event())["type"] == "accepted"

    def test_the_limits_are_those_of_http(self, person, socket):
        event = person.event()
        size = 262_144 - len(json.dumps({**event, "metadata": {"content": ""}}, separators=(",", ":")))
        largest = {**event, "metadata": {"content": "x" * size}}
        answer = post(socket, {**event, "metadata": {"content": "x" * (size + 1)}})
        assert (answer["problem"]["status"], answer["problem"]["code"]) == (413, "too_large")
        over_http = person.post_raw(json.dumps(largest, separators=(",", ":")).encode())
        assert post(socket, largest)["type"] == ("accepted" if over_http.status_code == 202 else "problem")

        deepest: object = "x"
        for _ in range(30):
            deepest = [deepest]
        for depth, code in ((deepest, "invalid_field"), ([[deepest]], "too_deep")):
            body = {**event, "metadata": {"content": depth}}
            assert post(socket, body)["problem"]["code"] == code == person.post(body).json()["code"]


class TestFrames:
    @pytest.mark.parametrize(
        ("text", "status", "code"),
        [
            ("", 400, "not_json"),
            ("x", 400, "not_json"),
            ("{}", 422, "invalid_frame"),
            ("[]", 422, "invalid_frame"),
            ('{"type": "delta", "event": {}}', 422, "invalid_frame"),
            ('{"type": "event"}', 422, "invalid_frame"),
            ('{"type": "event", "event": {}, "more": 1}', 422, "invalid_frame"),
            ('{"type": "event", "event": {}, "ref": 1}', 422, "invalid_frame"),
            ('{"type": "event", "event": {}, "ref": "%s"}' % ("x" * 257), 422, "invalid_frame"),
            ('{"type": "event", "type": "event"}', 400, "duplicate_key"),
            ('{"type": "event", "event": NaN}', 400, "not_json"),
            ('{"type": "event", "event": "\\u0000"}', 400, "unstorable_text"),
            ("[" * 34, 400, "too_deep"),
        ],
    )
    def test_one_that_cannot_be_read_is_answered(self, person, socket, text, status, code):
        socket.send(text)
        answer = receive(socket, "problem")
        assert (answer["ref"], answer["problem"]["status"], answer["problem"]["code"]) == (None, status, code)
        assert post(socket, person.event())["type"] == "accepted"

    def test_too_many_end_the_connection(self, socket):
        for _ in range(MAX_UNREADABLE + 1):
            socket.send("x")
        for _ in range(MAX_UNREADABLE + 1):
            assert receive(socket, "problem", "event")["type"] == "problem"
        assert code_of_close(socket) == 1008

    @pytest.mark.parametrize(
        ("frame", "code"), [(b"{}", 1003), ("x" * (MAX_FRAME_BYTES + 1), 1009)], ids=["binary", "too large"]
    )
    def test_what_is_no_text_of_that_size_ends_it_at_once(self, socket, frame, code):
        socket.send(frame)
        assert code_of_close(socket) == code
