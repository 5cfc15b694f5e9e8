"""Notifications: signed so that the receiver believes them, and never in anybody's way."""

import asyncio
import base64
import gc
import json
from collections import Counter
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from standardwebhooks import Webhook

from lightning.errors import InvalidRequest, Unauthorized
from lightning.live import Notifier, RunLines, RunProgress, RunStage, read_notification, run_frames
from lightning.live.outbox import MAX_BODY_BYTES, MAX_RUN_CHARACTERS, Outbox

SECRET = "whsec_" + base64.b64encode(b"a secret of thirty-two bytes ...").decode()
OTHER = "whsec_" + base64.b64encode(b"another secret, also of 32 bytes").decode()


class Receiver:
    """An HTTP server that keeps what it gets, and answers when it is let."""

    def __init__(self):
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.status = "204 No Content"
        self.hangs_up = False
        self.open = asyncio.Event()
        self.open.set()
        self.url = ""

    async def serve(self, reader, writer):
        try:
            while head := await self._head(reader):
                headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:] if line)
                headers = {name.lower(): value for name, value in headers.items()}
                body = await reader.readexactly(int(headers["content-length"]))
                self.requests.append((headers, body))
                await self.open.wait()
                if self.hangs_up:
                    return
                writer.write(f"HTTP/1.1 {self.status}\r\ncontent-length: 0\r\n\r\n".encode())
                await writer.drain()
        finally:
            writer.close()

    @staticmethod
    async def _head(reader) -> bytes:
        try:
            return await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return b""

    async def received(self, number: int) -> None:
        """Wait until so many requests came."""
        async with asyncio.timeout(10):
            while len(self.requests) < number:  # noqa: ASYNC110 -- it is the other side that changes
                await asyncio.sleep(0.005)

    def users(self) -> list[dict[str, int]]:
        return [json.loads(body)["users"] for _, body in self.requests]


@asynccontextmanager
async def receiving():
    receiver = Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/notify"
    async with server:
        yield receiver


@pytest.fixture
async def receiver():
    async with receiving() as receiver:
        yield receiver


@pytest.fixture
async def unheard():
    """What tasks raised that nobody waits for; a test that uses this fails when there is any."""
    errors: list[dict] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    gc.freeze()  # the look at the end is for what is made from now on, not for all that the run has loaded
    yield errors
    gc.collect()
    assert errors == []


@pytest.fixture
async def notifier(unheard, receiver):
    notifier = Notifier(receiver.url, SECRET)
    yield notifier
    await notifier.close()


def signed(body: bytes, *, secret=SECRET, at=None) -> dict[str, str]:
    moment = at or datetime.now(UTC)
    return {
        "webhook-id": "m",
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": Webhook(secret).sign("m", moment, body.decode()),
    }


BODY = b'{"type": "frames", "users": {"anna": 3}}'


class TestNotifier:
    async def test_the_receiver_believes_it(self, receiver, notifier):
        # When somebody's log has grown
        notifier.notify("anna", 3)
        await receiver.received(1)
        # Then the receiver can check the signature, and reads whose
        [(headers, body)] = receiver.requests
        assert headers["content-type"] == "application/json"
        assert json.loads(body) == {"type": "frames", "users": {"anna": 3}, "deltas": {}}
        assert read_notification(SECRET, headers, body).users == {"anna": 3}
        with pytest.raises(Unauthorized):
            read_notification(OTHER, headers, body)

    async def test_it_tells_how_far_the_store_had_come(self, receiver):
        # Given a store that has session tokens
        notifier = Notifier(f"{receiver.url}/notify", SECRET, lambda: "0:-1#7")
        # When it tells something
        notifier.notify("anna", 3)
        await receiver.received(1)
        await notifier.close()
        # Then the newest token goes with it
        [(headers, body)] = receiver.requests
        assert read_notification(SECRET, headers, body).session == "0:-1#7"

    async def test_what_comes_up_during_a_post_is_in_the_next(self, receiver, notifier):
        # Given a receiver that is slow to answer
        receiver.open.clear()
        notifier.notify("anna", 1)
        await receiver.received(1)
        # When much happens meanwhile
        for seq in (2, 5, 4):
            notifier.notify("anna", seq)
        notifier.notify("bert", 9)
        receiver.open.set()
        await receiver.received(2)
        await notifier.close()
        # Then it is told in one go, each user's last place only
        assert receiver.users() == [{"anna": 1}, {"anna": 5, "bert": 9}]

    async def test_each_notification_has_an_id_of_its_own(self, receiver, notifier):
        notifier.notify("anna", 1)
        await receiver.received(1)
        notifier.notify("anna", 2)
        await receiver.received(2)
        assert len({headers["webhook-id"] for headers, _ in receiver.requests}) == 2

    async def test_many_users_are_told_in_parts(self, receiver, notifier):
        # When more logs have grown than one post may name
        for n in range(700):
            notifier.notify(f"user {n} {'ü' * 200}", n)
        async with asyncio.timeout(10):
            while sum(map(len, receiver.users())) < 700:
                await receiver.received(len(receiver.requests) + 1)
        # Then each is named once, in posts that the receiver takes
        counts = Counter(user for users in receiver.users() for user in users)
        assert set(counts.values()) == {1}
        assert len(receiver.requests) > 1
        assert max(len(body) for _, body in receiver.requests) < MAX_BODY_BYTES

    @pytest.mark.parametrize("status", ["500 Oh", "401 No", "302 Found", "429 Slow down"])
    async def test_a_refusal_is_in_nobody_s_way(self, receiver, notifier, status):
        # Given a receiver that refuses
        receiver.status = status
        notifier.notify("anna", 1)
        await receiver.received(1)
        # When it takes notifications again
        receiver.status = "204 No Content"
        notifier.notify("bert", 2)
        await receiver.received(2)
        # Then they come
        assert receiver.users() == [{"anna": 1}, {"bert": 2}]

    async def test_a_receiver_that_hangs_up_is_in_nobody_s_way(self, receiver, notifier):
        receiver.hangs_up = True
        notifier.notify("anna", 1)
        await receiver.received(1)
        receiver.hangs_up = False
        notifier.notify("bert", 2)
        await receiver.received(2)
        assert receiver.users()[-1] == {"bert": 2}

    @pytest.mark.usefixtures("unheard")
    async def test_nor_is_one_that_is_not_there(self):
        # Given a port on which nobody listens any more
        async with receiving() as gone:
            url = gone.url
        notifier = Notifier(url, SECRET)
        # When it is to be told something, nothing is raised here or in a task
        notifier.notify("anna", 1)
        await notifier.close()

    async def test_without_an_address_nobody_is_told(self):
        notifier = Notifier(None, SECRET)
        notifier.notify("anna", 1)
        await notifier.close()

    async def test_closing_finishes_what_is_under_way(self, receiver, notifier):
        notifier.notify("anna", 1)
        await notifier.close()
        assert receiver.users() == [{"anna": 1}]


class TestRuns:
    async def test_all_of_a_run_goes_together_its_lines_joined(self, receiver, notifier):
        # Given a receiver that is slow to answer
        receiver.open.clear()
        notifier.notify("anna", 1)
        await receiver.received(1)
        # When runs show something meanwhile
        names = {"run": "r", "task": "t"}
        for status in ("starting", "running"):
            notifier.stage("anna", RunStage(**names, status=status))
        notifier.lines("anna", "r", "t", 0, "one\n")
        notifier.lines("anna", "r", "t", 4, "two\n")
        said = RunProgress(**names, at="2026-01-01T00:00:00Z", message="half", percent=50)
        notifier.progress("anna", said)
        receiver.open.set()
        await receiver.received(2)
        await notifier.close()
        # Then the receiver reads the latest of it, and all lines
        told = read_notification(SECRET, *receiver.requests[1])
        assert run_frames(told) == {
            "anna": [
                RunStage(**names, status="running"),
                RunLines(**names, offset=0, text="one\ntwo\n"),
                said,
            ]
        }

    def test_a_run_that_prints_much_displaces_nothing_else(self):
        # Given an answer and a run that wait, and much that another run prints
        outbox = Outbox()
        outbox.delta("anna", "e", "c", 1, 0, "an answer")
        outbox.lines("anna", "quiet", "t", 0, "a line\n")
        for number in range(500):
            outbox.lines("bert", "loud", "u", number * 8192, "x" * 8192)
        # When all of it is told
        pieces, deltas = [], []
        while outbox:
            body, _ = outbox.take()
            assert len(body) <= MAX_BODY_BYTES
            told = json.loads(body)
            deltas += told["deltas"].get("anna", [])
            pieces += [each for of in told.get("lines", {}).values() for each in of]
        # Then only its own oldest lines gave way
        assert [each["text"] for each in deltas] == ["an answer"]
        assert [each["text"] for each in pieces if each["run"] == "quiet"] == ["a line\n"]
        loud = [each for each in pieces if each["run"] == "loud"]
        assert sum(len(each["text"]) for each in loud) == MAX_RUN_CHARACTERS
        assert loud[-1]["offset"] + len(loud[-1]["text"]) == 500 * 8192

    def test_many_runs_fit_into_bodies_in_parts(self):
        outbox = Outbox()
        for number in range(600):
            names = {"run": f"{number}", "task": "ü" * 300}
            outbox.stage("anna", RunStage(**names, status="running"))
            outbox.progress("anna", RunProgress(**names, at="now", message="ü" * 500, percent=None))
            outbox.lines("anna", f"{number}", "ü" * 300, 0, "\x00" * 600)
        seen = {"stages": 0, "progress": 0, "lines": 0}
        while outbox:
            body, _ = outbox.take()
            assert len(body) <= MAX_BODY_BYTES
            for name in seen:
                seen[name] += len(json.loads(body).get(name, {}).get("anna", []))
        assert seen == {"stages": 600, "progress": 600, "lines": 600}


class TestDeltas:
    async def test_the_first_goes_at_once_and_the_rest_together(self, receiver, notifier):
        # Given a receiver that is slow to answer
        receiver.open.clear()
        notifier.delta("anna", "e", "c", 1, 0, "one ")
        await receiver.received(1)
        # When pieces come in meanwhile, of this answer and of another
        notifier.delta("anna", "e", "c", 1, 4, "two ")
        notifier.delta("bert", "f", "d", 1, 0, "else")
        notifier.delta("anna", "e", "c", 1, 8, "three")
        receiver.open.set()
        await notifier.close()
        # Then those that belong together are one
        first, second = [deltas(body) for _, body in receiver.requests]
        assert first == {"anna": [delta("e", 0, "one ", conversation="c")]}
        assert second == {
            "anna": [delta("e", 4, "two three", conversation="c")],
            "bert": [delta("f", 0, "else", conversation="d")],
        }

    async def test_they_go_no_later_than_the_news_of_the_response(self, receiver, notifier):
        notifier.delta("anna", "e", "c", 1, 0, "all")
        notifier.notify("anna", 7)
        await notifier.close()
        [(_, body)] = receiver.requests
        assert json.loads(body)["users"] == {"anna": 7}
        assert deltas(body) == {"anna": [delta("e", 0, "all", conversation="c")]}

    async def test_delivered_waits_for_the_last_of_an_event(self, receiver, notifier):
        # Given a delta under way, and one behind it
        receiver.open.clear()
        notifier.delta("anna", "e", "c", 1, 0, "one ")
        await receiver.received(1)
        notifier.delta("anna", "e", "c", 1, 4, "two")
        waiting = asyncio.create_task(notifier.delivered("e", timeout_seconds=10))
        await notifier.delivered("another", timeout_seconds=10)
        assert not waiting.done()
        # When the receiver takes them
        receiver.open.set()
        await asyncio.wait_for(waiting, 10)
        # Then both are there
        assert len(receiver.requests) == 2

    async def test_nor_does_it_wait_for_long(self, receiver, notifier):
        receiver.open.clear()
        notifier.delta("anna", "e", "c", 1, 0, "one ")
        await asyncio.wait_for(notifier.delivered("e", timeout_seconds=0.01), 5)
        receiver.open.set()

    async def test_a_new_attempt_voids_what_waits_of_the_earlier(self, receiver, notifier):
        receiver.open.clear()
        notifier.notify("anna", 1)
        await receiver.received(1)
        notifier.delta("anna", "e", "c", 1, 0, "void")
        notifier.delta("anna", "e", "c", 2, 0, "new")
        receiver.open.set()
        await notifier.close()
        assert deltas(receiver.requests[1][1]) == {
            "anna": [delta("e", 0, "new", attempt=2, conversation="c")]
        }

    async def test_pieces_that_do_not_follow_one_another_are_not_joined(self, receiver, notifier):
        receiver.open.clear()
        notifier.notify("anna", 1)
        await receiver.received(1)
        notifier.delta("anna", "e", "c", 1, 0, "ab")
        notifier.delta("anna", "e", "c", 1, 9, "x")
        receiver.open.set()
        await notifier.close()
        assert deltas(receiver.requests[1][1]) == {"anna": [delta("e", 9, "x", conversation="c")]}

    async def test_what_waits_is_bounded_and_the_oldest_gives_way(self, receiver, notifier):
        # Given a receiver that does not answer
        receiver.open.clear()
        notifier.notify("anna", 1)
        await receiver.received(1)
        # When twice as much comes in as may wait
        for n in range(64):
            notifier.delta("anna", f"e{n}", "c", 1, 0, chr(ord("0") + n) * 32 * 1024)
        receiver.open.set()
        await notifier.close()
        # Then the newer half is told, and how much was not
        told = [one for _, body in receiver.requests for one in deltas(body).get("anna", [])]
        assert notifier.dropped == 32
        assert {one["event"] for one in told} == {f"e{n}" for n in range(32, 64)}
        assert sum(len(one["text"]) for one in told) == 1024 * 1024
        assert max(len(body) for _, body in receiver.requests) < MAX_BODY_BYTES

    async def test_a_long_piece_is_cut_and_its_offsets_go_on(self, receiver, notifier):
        text = "".join(chr(0x20AC + n % 50) for n in range(100_000))
        notifier.delta("anna", "e", "c", 1, 3, text)
        await notifier.close()
        told = [one for _, body in receiver.requests for one in deltas(body)["anna"]]
        assert max(len(body) for _, body in receiver.requests) < MAX_BODY_BYTES
        assert "".join(one["text"] for one in told) == text
        assert [one["offset"] for one in told] == [
            3 + sum(len(each["text"]) for each in told[:n]) for n in range(len(told))
        ]

    @pytest.mark.parametrize("text", ["\0", "\ud83d", "\ude00\ud83d", "\x1f" * 20_000])
    async def test_odd_text_does_no_harm(self, receiver, notifier, text):
        # When a model says what JSON or UTF-8 cannot carry as it is
        notifier.delta("anna", "e", "c", 1, 0, text)
        await notifier.close()
        # Then the receiver can read it all the same, and the length is right
        told = [
            one
            for headers, body in receiver.requests
            for one in read_notification(SECRET, headers, body).deltas["anna"]
        ]
        assert sum(len(one.text) for one in told) == len(text)


def deltas(body: bytes) -> dict[str, list[dict]]:
    return json.loads(body)["deltas"]


def delta(event: str, offset: int, text: str, *, attempt: int = 1, conversation: str) -> dict:
    return {
        "event": event,
        "conversationID": conversation,
        "attempt": attempt,
        "offset": offset,
        "text": text,
    }


class TestReading:
    def test_the_users_are_read(self):
        body = b'{"type": "frames", "users": {"anna": 3, "bert": 4}}'
        assert read_notification(SECRET, signed(body), body).users == {"anna": 3, "bert": 4}

    def test_header_names_may_be_written_in_any_case(self):
        headers = {name.title(): value for name, value in signed(BODY).items()}
        assert read_notification(SECRET, headers, BODY).users == {"anna": 3}

    def test_a_second_signature_counts_while_a_secret_is_changed(self):
        headers, old = signed(BODY), signed(BODY, secret=OTHER)
        headers["webhook-signature"] = f"{old['webhook-signature']} {headers['webhook-signature']}"
        assert read_notification(SECRET, headers, BODY).users == {"anna": 3}

    @pytest.mark.parametrize("missing", ["webhook-id", "webhook-timestamp", "webhook-signature"])
    def test_a_missing_header(self, missing):
        headers = signed(BODY)
        del headers[missing]
        with pytest.raises(Unauthorized):
            read_notification(SECRET, headers, BODY)

    @pytest.mark.parametrize(
        "signature",
        [
            "",
            "v1",
            "v1,",
            "v1,!!!",
            "v1,abc",
            "v1,ä",
            "v2,AAAA",
            ",",
            "v1,a,b",
            "nonsense",
            "  ",
            "v1,AAAA AAAA",
        ],
    )
    def test_a_malformed_signature(self, signature):
        with pytest.raises(Unauthorized) as refused:
            read_notification(SECRET, {**signed(BODY), "webhook-signature": signature}, BODY)
        assert refused.value.code == "signature_refused"

    @pytest.mark.parametrize(
        "timestamp", ["", "now", "nan", "inf", "-inf", "1e300", "9" * 30, "-" + "9" * 18]
    )
    def test_a_malformed_timestamp(self, timestamp):
        with pytest.raises(Unauthorized):
            read_notification(SECRET, {**signed(BODY), "webhook-timestamp": timestamp}, BODY)

    @pytest.mark.parametrize("minutes", [-6, 6])
    def test_one_of_another_time(self, minutes):
        headers = signed(BODY, at=datetime.now(UTC) + timedelta(minutes=minutes))
        with pytest.raises(Unauthorized):
            read_notification(SECRET, headers, BODY)

    def test_another_body(self):
        with pytest.raises(Unauthorized):
            read_notification(SECRET, signed(BODY), BODY.replace(b"anna", b"bert"))

    def test_another_id(self):
        with pytest.raises(Unauthorized):
            read_notification(SECRET, {**signed(BODY), "webhook-id": "n"}, BODY)

    def test_a_body_that_is_no_text(self):
        with pytest.raises(Unauthorized):
            read_notification(SECRET, signed(BODY), b"\xff\xfe")

    @pytest.mark.parametrize("body", [b"", b"not json", b"[]", b"null", b"{}", b'{"users": ["anna"]}'])
    def test_a_signed_body_that_is_no_notification(self, body):
        with pytest.raises(InvalidRequest) as refused:
            read_notification(SECRET, signed(body), body)
        assert refused.value.code == "not_a_notification"
